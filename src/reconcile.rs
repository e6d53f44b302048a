//! Brings an index in line with what should be in it: whoever knows names every route that should
//! be, and those that nobody named are removed.
//!
//! Only what was there at the beginning is removed, and nothing that others put meanwhile, were it
//! the same: so they may go on changing routes.

use std::collections::HashSet;
use std::sync::Arc;

use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::{Scope, Stay, TERM_ID_FLAG};
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::routes::Target;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wal::Wal;

/// Keys that are changed while other writers of the lane wait.
const MOST_AT_ONCE: usize = 256;

/// A reconciliation under way: 16 bytes a route.
#[derive(Debug)]
pub struct Reconciler {
    /// By lane, ascending.
    found: Vec<Vec<Found>>,
    next_lane: usize,
    removed: u64,
    watch: Watch,
    /// Pairs are known by their ids, which mean the same all the while.
    _stay: Stay,
}

/// The pairs that were put since the first of the reconciliations under way began.
#[derive(Debug, Default)]
pub(crate) struct Puts {
    watches: AtomicUsize,
    pairs: Mutex<HashSet<(Fingerprint, u32)>>,
}

/// Pairs that are put are noted as long as there is one.
#[derive(Debug)]
struct Watch(Arc<Puts>);

impl Puts {
    /// To be called before a change is planned.
    #[inline]
    pub(crate) fn note(&self, key: Fingerprint, wanted: &[(u32, Op)]) {
        if self.watches.load(Ordering::SeqCst) > 0 {
            let puts = wanted.iter().filter(|(_, op)| *op == Op::Put);
            self.pairs.lock().extend(puts.map(|&(id, _)| (key, id)));
        }
    }

    fn watch(self: &Arc<Self>) -> Watch {
        self.watches.fetch_add(1, Ordering::SeqCst);
        Watch(Arc::clone(self))
    }
}

impl Watch {
    fn has_seen(&self, Found { key, id, .. }: Found) -> bool {
        self.0.pairs.lock().contains(&(key, id))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut pairs = self.0.pairs.lock();
        if self.0.watches.fetch_sub(1, Ordering::SeqCst) == 1 {
            *pairs = HashSet::new();
        }
    }
}

/// A pair of key and id that was there at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    key: Fingerprint,
    id: u32,
    named: bool,
}

impl Index {
    /// Begins a reconciliation of the routes in all namespaces, or of those of the index itself.
    ///
    /// # Errors
    /// As [`Index::get`]; those of [`Index::take_census`].
    pub fn begin_reconciliation(&self, in_namespaces: bool) -> Result<Reconciler> {
        self.take_census()?;
        let (watch, stay) = (self.puts.watch(), self.dictionary.stay());
        let lanes = self.num_lanes() as usize;
        let mut found = vec![Vec::new(); lanes];
        self.for_each_key(|key, ids| {
            let concerned = |&&id: &&u32| match id & TERM_ID_FLAG {
                0 => !in_namespaces,
                _ => self.dictionary.scope_of(id).is_some_and(|scope| match in_namespaces {
                    true => scope.namespace().is_some(),
                    false => scope == Scope::INDEX,
                }),
            };
            let of_lane: &mut Vec<Found> = &mut found[self.slots.lane(key)];
            let pair = |&id: &u32| Found { key, id, named: false };
            of_lane.extend(ids.iter().filter(concerned).map(pair));
        })?;
        found.iter_mut().for_each(|lane| lane.sort_unstable());
        Ok(Reconciler { found, next_lane: 0, removed: 0, watch, _stay: stay })
    }

    /// The ids that a target has, in the scope; more than one only after a crash.
    fn ids_of_target(&self, scope: Scope, target: Target<'_>) -> Vec<u32> {
        match target {
            Target::Id(id) => vec![id],
            Target::Term(term) => self.dictionary.ids_of_term(&scope.term(term)),
        }
    }
}

impl Reconciler {
    /// Names a route that should be, of the namespace of that name or of the index itself. True if it
    /// is there; otherwise the caller has to add it.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn name(
        &mut self,
        index: &Index,
        namespace: Option<&[u8]>,
        key: &[u8],
        target: Target<'_>,
    ) -> Result<bool> {
        let Some((key, scope)) = index.locate(namespace, key)? else { return Ok(false) };
        let lane = &mut self.found[index.slots.lane(key)];
        let mut there = false;
        for id in index.ids_of_target(scope, target) {
            if let Ok(at) = lane.binary_search_by_key(&(key, id), |found| (found.key, found.id)) {
                lane[at].named = true;
                there = true;
            }
        }
        Ok(there)
    }

    /// Removes what nobody named, of one lane; false if no lane was left.
    ///
    /// # Errors
    /// As [`Index::put`].
    pub fn step(&mut self, index: &Index, durability: Durability) -> Result<bool> {
        let Some(lane) = self.found.get_mut(self.next_lane) else {
            // There may be ids to give away once this is dropped.
            index.work_waits.store(true, Ordering::SeqCst);
            return index.settle(durability).map(|()| false);
        };
        let unnamed: Vec<Found> = lane.iter().copied().filter(|found| !found.named).collect();
        for some in unnamed.chunks(MOST_AT_ONCE) {
            self.removed += index.remove_pairs(self.next_lane, some, durability, &self.watch)?;
        }
        self.next_lane += 1;
        Ok(true)
    }

    /// Pairs that were removed so far.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }
}

impl Index {
    fn remove_pairs(
        &self,
        number: usize,
        pairs: &[Found],
        durability: Durability,
        watch: &Watch,
    ) -> Result<u64> {
        let wal = self.wal_for(durability);
        let lane = self.lane_or_new(number);
        let (mut removed, mut left) = (0, pairs);
        while let Some(&found) = left.first() {
            let Found { key, id, .. } = found;
            self.check_writable()?;
            self.relieve(number)?;
            self.relieve_log()?;
            let gate = lane.gate();
            self.check_open()?;
            if lane.is_stalled(self.limits) || wal.is_some_and(Wal::is_full) {
                continue;
            }
            if !watch.has_seen(found)
                && self.change_key(lane, &gate, key, &[(id, Op::Delete)], wal, None)?
            {
                removed += 1;
                if id & TERM_ID_FLAG != 0
                    && let Some(name) = self.dictionary.release(id)
                {
                    self.drop_empty_later(&name);
                }
            }
            left = &left[1..];
        }
        Ok(removed)
    }
}
