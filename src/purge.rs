//! Takes out what dropped namespaces had: a pass over all lanes, one at a time, that removes the
//! targets nobody can reach any more.
//!
//! Nothing of it is logged: a crash leaves namespaces without a name, which the census finds.

use std::collections::{BTreeSet, HashSet};

use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::{Scope, TERM_ID_FLAG, Unsettled};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::lane::Lane;
use crate::sync::atomic::Ordering;

/// Keys that are changed while other writers of the lane wait.
const MOST_AT_ONCE: usize = 1024;
/// Names of empty namespaces that are dropped in one piece.
const MOST_NAMES: usize = 256;

/// What is to be taken out, and how far that has got.
#[derive(Debug, Default)]
pub(crate) struct Purge {
    /// Namespaces that wait for the next pass.
    waiting: HashSet<Scope>,
    /// More than one if several threads do background work.
    passes: Vec<Pass>,
    /// Names of namespaces that may be empty, to be dropped if they are.
    empty: BTreeSet<Vec<u8>>,
    /// How often somebody found out whether theirs was the last target of a namespace.
    decided: u64,
}

#[derive(Debug)]
struct Pass {
    of: HashSet<Scope>,
    next_lane: usize,
}

impl Purge {
    fn next_pass(&mut self) -> Option<Pass> {
        let next = self.passes.pop();
        next.or_else(|| match std::mem::take(&mut self.waiting) {
            of if of.is_empty() => None,
            of => Some(Pass { of, next_lane: 0 }),
        })
    }
}

impl Index {
    /// To be taken out by background work.
    pub(crate) fn purge_namespace(&self, namespace: u32) {
        if self.dictionary.has_references(namespace) {
            // Until the pass ends, lest it take out what a later namespace of that id has.
            self.dictionary.add_members(namespace, 1);
            self.purge.lock().waiting.insert(Scope::of_namespace(namespace));
            self.work_waits.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn drop_empty_later(&self, name: &[u8]) {
        self.purge.lock().empty.insert(name.to_vec());
        self.work_waits.store(true, Ordering::SeqCst);
    }

    /// What a crash left.
    pub(crate) fn purge_later(&self, unsettled: Unsettled) {
        for namespace in unsettled.nameless {
            self.purge_namespace(namespace);
        }
        for name in unsettled.empty {
            if let Some(name) = self.dictionary.name(name) {
                self.drop_empty_later(&name);
            }
        }
    }

    /// Whether theirs was the last target is known: what waited for that can go on.
    pub(crate) fn note_decided(&self) {
        let mut purge = self.purge.lock();
        purge.decided += 1;
        if !purge.empty.is_empty() {
            self.work_waits.store(true, Ordering::SeqCst);
        }
    }

    /// Drops a namespace if it is empty; false if that has to wait for those who find out whether
    /// theirs was the last target, and are to be told.
    fn drop_left(&self, name: &[u8]) -> Result<bool> {
        let key = self.name(name)?;
        self.make_way_for_routes(key)?;
        let _alone = self.stripes.alone(key, true);
        if self.stripes.of(key).is_changing() {
            return Ok(false);
        }
        self.drop_empty(key, name, Durability::Memory).map(|_| true)
    }

    /// Drops some of the namespaces that are empty; false if there were none, or all have to wait.
    fn drop_some_left(&self) -> Result<bool> {
        let decided = self.purge.lock().decided;
        let (mut any, mut waiting, mut outcome) = (false, Vec::new(), Ok(()));
        for _ in 0..MOST_NAMES {
            let Some(name) = self.purge.lock().empty.pop_first() else { break };
            match self.drop_left(&name) {
                Ok(true) => any = true,
                // As in a pass: it is found again when the index is opened next.
                Err(Error::Corrupt { .. }) => {}
                Ok(false) => waiting.push(name),
                Err(e) => {
                    waiting.push(name);
                    outcome = Err(e);
                    break;
                }
            }
        }
        let mut purge = self.purge.lock();
        let again = !waiting.is_empty() && purge.decided != decided;
        purge.empty.extend(waiting);
        drop(purge);
        outcome?;
        if again {
            // Who was waited for looked while they were out.
            self.work_waits.store(true, Ordering::SeqCst);
        }
        Ok(any)
    }

    /// Does one bounded piece, a lane at the most; false if there is nothing to do.
    pub(crate) fn step_purge(&self) -> Result<bool> {
        if self.drop_some_left()? {
            return Ok(true);
        }
        // Taken out, so that nobody who drops a namespace waits for a piece.
        let Some(mut pass) = self.purge.lock().next_pass() else { return Ok(false) };
        let purged = match self.lane(pass.next_lane) {
            Some(lane) => self
                .sync_drops(&pass)
                .and_then(|()| self.purge_lane(pass.next_lane, lane, &pass.of)),
            None => Ok(()),
        };
        // A damaged lane keeps what it has: it is found again when the index is opened next.
        let skipped = matches!(purged, Err(Error::Corrupt { .. }));
        pass.next_lane += usize::from(purged.is_ok() || skipped);
        if pass.next_lane < self.num_lanes() as usize {
            self.purge.lock().passes.push(pass);
        } else {
            for namespace in pass.of.into_iter().filter_map(Scope::namespace) {
                self.dictionary.drop_members(namespace, 1);
            }
        }
        purged.map(|()| true)
    }

    /// A power failure must not bring back a namespace with a part of what it had: a lane that is
    /// flushed without the rest knows nothing of the record that dropped it.
    fn sync_drops(&self, pass: &Pass) -> Result<()> {
        match &self.wal {
            Some(wal) if pass.next_lane == 0 => wal.sync(),
            _ => Ok(()),
        }
    }

    fn purge_lane(&self, number: usize, lane: &Lane, of: &HashSet<Scope>) -> Result<()> {
        let mut found: Vec<(Fingerprint, Vec<(u32, Op)>)> = Vec::new();
        lane.for_each_key(|fingerprint, ids| {
            let dropped = |id: &u32| {
                let scope = self.dictionary.scope_of(*id).filter(|_| id & TERM_ID_FLAG != 0);
                scope.is_some_and(|scope| of.contains(&scope))
            };
            let gone: Vec<_> =
                ids.iter().filter(|id| dropped(id)).map(|&id| (id, Op::Delete)).collect();
            if !gone.is_empty() {
                found.push((fingerprint, gone));
            }
        })?;
        for some in found.chunks(MOST_AT_ONCE) {
            self.relieve(number)?;
            let gate = lane.gate();
            for (fingerprint, gone) in some {
                // Nobody else changes these: their namespace's name is not found.
                if self.change_key(lane, &gate, *fingerprint, gone, None, None)? {
                    gone.iter().for_each(|&(id, _)| drop(self.dictionary.release(id)));
                }
            }
        }
        Ok(())
    }
}
