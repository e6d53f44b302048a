//! Brings an index in line with what should be in it: whoever knows names every route that should
//! be, and those that nobody named are removed.
//!
//! Only what was there at the beginning is removed, and nothing that others put meanwhile, were it
//! the same: so they may go on changing routes. For that, changes tell the reconciliations under way
//! what they put, lane by lane, under the lane's gate.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::{Scope, TERM_ID_FLAG};
use crate::error::Result;
use crate::grace::Stay;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::routes::Target;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::wal::Wal;

/// A reconciliation under way: 16 bytes a route.
#[derive(Debug)]
pub struct Reconciler {
    found: Arc<Found>,
    next_lane: usize,
    removed: u64,
    all: Arc<Reconciliations>,
    /// Pairs are known by their ids, which mean the same all the while.
    _stay: Stay,
}

/// The pairs that were there at the beginning, by lane.
#[derive(Debug)]
struct Found(Box<[Mutex<Lane>]>);

/// Those of one lane.
#[derive(Debug, Default)]
struct Lane {
    /// Ascending.
    pairs: Vec<Pair>,
    /// Pairs that others put before `pairs` were known; none from then on.
    early: Option<HashSet<(Fingerprint, u32)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    key: Fingerprint,
    id: u32,
    /// Named, or put by others meanwhile.
    stays: bool,
}

/// The reconciliations under way, for changes to tell them what is put.
#[derive(Debug, Default)]
pub(crate) struct Reconciliations {
    number: AtomicUsize,
    all: RwLock<Vec<Arc<Found>>>,
}

impl Lane {
    /// If the pair was there at the beginning, it stays.
    fn keep(&mut self, key: Fingerprint, id: u32) {
        if let Ok(at) = self.find(key, id) {
            self.pairs[at].stays = true;
        }
    }

    fn has_to_go(&self, Pair { key, id, .. }: Pair) -> bool {
        self.find(key, id).is_ok_and(|at| !self.pairs[at].stays)
    }

    fn find(&self, key: Fingerprint, id: u32) -> std::result::Result<usize, usize> {
        self.pairs.binary_search_by_key(&(key, id), |pair| (pair.key, pair.id))
    }
}

impl Reconciliations {
    /// To be called before a change of the lane's is planned.
    #[inline]
    pub(crate) fn note(&self, lane: usize, key: Fingerprint, wanted: &[(u32, Op)]) {
        if self.number.load(Ordering::SeqCst) > 0 {
            self.note_puts(lane, key, wanted);
        }
    }

    #[cold]
    fn note_puts(&self, lane: usize, key: Fingerprint, wanted: &[(u32, Op)]) {
        let puts = || wanted.iter().filter(|(_, op)| *op == Op::Put);
        if puts().next().is_none() {
            return;
        }
        for found in &*self.all.read() {
            let mut lane = found.0[lane].lock();
            for &(id, _) in puts() {
                match &mut lane.early {
                    Some(early) => drop(early.insert((key, id))),
                    None => lane.keep(key, id),
                }
            }
        }
    }

    /// Bytes allocated for their pairs.
    pub(crate) fn memory(&self) -> usize {
        let of_lane = |lane: &Mutex<Lane>| {
            let lane = lane.lock();
            let early = lane.early.as_ref().map_or(0, HashSet::capacity);
            lane.pairs.capacity() * size_of::<Pair>() + early * size_of::<(Fingerprint, u32)>()
        };
        self.all.read().iter().flat_map(|found| &found.0).map(of_lane).sum()
    }

    fn begin(&self, lanes: usize) -> Arc<Found> {
        let lane = || Mutex::new(Lane { pairs: Vec::new(), early: Some(HashSet::new()) });
        let found = Arc::new(Found(std::iter::repeat_with(lane).take(lanes).collect()));
        let mut all = self.all.write();
        all.push(Arc::clone(&found));
        self.number.store(all.len(), Ordering::SeqCst);
        found
    }
}

impl Index {
    /// Begins a reconciliation of the routes in all namespaces, or of those of the index itself.
    ///
    /// # Errors
    /// As [`Index::get`]; those of [`Index::take_census`].
    pub fn begin_reconciliation(&self, in_namespaces: bool) -> Result<Reconciler> {
        self.take_census()?;
        let reconciler = Reconciler {
            found: self.reconciliations.begin(self.num_lanes() as usize),
            next_lane: 0,
            removed: 0,
            all: Arc::clone(&self.reconciliations),
            _stay: self.dictionary.stay(),
        };
        let mut there = HashMap::new();
        for (number, of_lane) in reconciler.found.0.iter().enumerate() {
            let mut pairs = Vec::new();
            let mut outcome = Ok(());
            self.for_each_key_of(number, |key, ids| {
                for &id in ids {
                    match self.is_concerned(id, in_namespaces, &mut there) {
                        Ok(true) => pairs.push(Pair { key, id, stays: false }),
                        Ok(false) => {}
                        Err(e) => outcome = Err(e),
                    }
                }
            })?;
            outcome?;
            pairs.shrink_to_fit();
            pairs.sort_unstable();
            let mut of_lane = of_lane.lock();
            of_lane.pairs = pairs;
            for (key, id) in of_lane.early.take().unwrap_or_default() {
                of_lane.keep(key, id);
            }
        }
        Ok(reconciler)
    }

    /// Whether the id is of a namespace that is there, or else of the index itself; `there` is for
    /// what was found out of namespaces. Those that were dropped are background work's.
    fn is_concerned(
        &self,
        id: u32,
        in_namespaces: bool,
        there: &mut HashMap<u32, bool>,
    ) -> Result<bool> {
        if id & TERM_ID_FLAG == 0 || !self.dictionary.is_in_use() {
            return Ok(!in_namespaces);
        }
        let Some(scope) = self.dictionary.scope_of(id) else { return Ok(false) };
        match scope.namespace() {
            None => Ok(!in_namespaces && scope == Scope::INDEX),
            Some(namespace) if in_namespaces => match there.entry(namespace) {
                Entry::Occupied(known) => Ok(*known.get()),
                Entry::Vacant(unknown) => Ok(*unknown.insert(self.has_name(namespace)?)),
            },
            Some(_) => Ok(false),
        }
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
        let number = index.slots.lane(key);
        let mut there = false;
        for id in index.ids_of_target(scope, target) {
            self.found.0[number].lock().keep(key, id);
            // Others may have removed it meanwhile.
            there |= index.has(key, id)?;
        }
        Ok(there)
    }

    /// Removes what nobody named, of one lane; false if no lane was left.
    ///
    /// # Errors
    /// As [`Index::put`].
    pub fn step(&mut self, index: &Index, durability: Durability) -> Result<bool> {
        let Some(of_lane) = self.found.0.get(self.next_lane) else {
            return index.settle(durability).map(|()| false);
        };
        let unnamed: Vec<Pair> =
            of_lane.lock().pairs.iter().copied().filter(|pair| !pair.stays).collect();
        for pair in unnamed {
            self.removed +=
                u64::from(index.remove_pair(self.next_lane, pair, durability, of_lane)?);
        }
        // Nobody asks for them any more.
        of_lane.lock().pairs = Vec::new();
        self.next_lane += 1;
        Ok(true)
    }

    /// Pairs that were removed so far.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// Ends the reconciliation, whatever was not removed. There may be ids to give away now, which
    /// is background work.
    pub fn end(self, index: &Index) {
        drop(self);
        index.work_waits.store(true, Ordering::SeqCst);
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        let mut all = self.all.all.write();
        all.retain(|other| !Arc::ptr_eq(other, &self.found));
        self.all.number.store(all.len(), Ordering::SeqCst);
    }
}

impl Index {
    /// True if the pair was there, and nobody had put it meanwhile.
    fn remove_pair(
        &self,
        number: usize,
        pair: Pair,
        durability: Durability,
        of_lane: &Mutex<Lane>,
    ) -> Result<bool> {
        let wal = self.wal_for(durability);
        let lane = self.lane_or_new(number);
        let Pair { key, id, .. } = pair;
        loop {
            self.check_writable()?;
            self.relieve(number)?;
            self.relieve_log()?;
            let gate = lane.gate();
            self.check_open()?;
            if lane.is_stalled(self.limits) || wal.is_some_and(Wal::is_full) {
                continue;
            }
            let goes = of_lane.lock().has_to_go(pair);
            let removed =
                goes && self.change_key(lane, &gate, key, &[(id, Op::Delete)], wal, None)?;
            if removed
                && id & TERM_ID_FLAG != 0
                && let Some(name) = self.dictionary.release(id)
            {
                self.drop_empty_later(&name);
            }
            return Ok(removed);
        }
    }
}
