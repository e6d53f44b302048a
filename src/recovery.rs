//! Makes the changes of the write-ahead log again that no segment has.

use std::time::Instant;

use crate::chain::IdSet;
use crate::change::{LanePlan, Op};
use crate::dictionary::{Scope, TERM_ID_FLAG};
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::quarantine;
use crate::wal::{Batch, LoggedOp, LostBytes, Scan};

/// What opening an index found in its write-ahead log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Files of the log.
    pub log_files: u64,
    /// Batches with changes that no segment had.
    pub batches: u64,
    /// Those changes.
    pub changes: u64,
    /// How long it took to read the log and to make them, in microseconds.
    pub micros: u64,
    /// The end of the log that was cut off: an append that a crash cut short or, after a power
    /// failure, what was not on stable storage.
    pub torn: Option<LostBytes>,
    /// What a salvage left out.
    pub dropped: Vec<LostBytes>,
}

impl Index {
    /// Replays what a scan of the log found. Whole batches, in order; of each the part of the lanes
    /// that have not flushed it.
    pub(crate) fn recover(&self, scan: &Scan, begun: Instant) -> Result<Recovery> {
        let flushed: Vec<u64> = self.lanes().map(|lane| lane.keeper.lock().flushed).collect();
        let (log_bytes, log_files) = scan.size();
        let (mut batches, mut changes) = (0, 0);
        for batch in scan.batches() {
            let replayed = self.replay(&batch?, &flushed)?;
            batches += u64::from(replayed > 0);
            changes += replayed;
        }
        if !scan.dropped().is_empty() {
            self.quarantine(scan)?;
        }
        let micros = begun.elapsed().as_micros() as u64;
        let (torn, dropped) = (scan.torn().cloned(), scan.dropped().to_vec());
        Ok(Recovery { log_bytes, log_files, batches, changes, micros, torn, dropped })
    }

    /// The number of changes that were to be made again.
    fn replay(&self, batch: &Batch<'_>, flushed: &[u64]) -> Result<u64> {
        let lane_of = |op: &LoggedOp| self.slots.lane(op.fingerprint);
        let mut changes = 0;
        for ops in batch.ops.chunk_by(|a, b| lane_of(a) == lane_of(b)) {
            let number = lane_of(&ops[0]);
            if flushed.get(number).is_none_or(|&flushed| batch.sequence <= flushed) {
                continue;
            }
            // Only now: what a flushed change says of a term may be long out of date.
            for op in ops.iter().filter(|op| op.op == Op::Put && op.id & TERM_ID_FLAG != 0) {
                let place = op.id & !TERM_ID_FLAG;
                if let Some((_, term)) = batch.terms.iter().find(|(of, _)| *of == place) {
                    self.dictionary.define(op.id, term)?;
                }
            }
            self.replay_lane(number, ops, batch.sequence)?;
            changes += ops.len() as u64;
        }
        Ok(changes)
    }

    /// All of the lane's part at once: a flush has all of a record, or nothing.
    fn replay_lane(&self, number: usize, ops: &[LoggedOp], record: u64) -> Result<()> {
        self.relieve(number)?;
        let lane = self.lane_or_new(number);
        let mut plan = LanePlan::new(lane, lane.gate());
        for of_key in ops.chunk_by(|a, b| a.fingerprint == b.fingerprint) {
            let mut wanted: Vec<(u32, Op)> = of_key.iter().map(|op| (op.id, op.op)).collect();
            if let &[(id, Op::Put)] = &wanted[..] {
                let former = self.former_namespaces(of_key[0].fingerprint, id)?;
                wanted.extend(former.into_iter().map(|id| (id, Op::Delete)));
                wanted.sort_unstable_by_key(|&(id, _)| id);
            }
            plan.add(of_key[0].fingerprint, &wanted)?;
        }
        // Also if it comes to nothing: a later flush has the record behind it, or it would be
        // replayed again, over what was written since.
        let froze = plan.publish(Some(record), self.limits);
        self.note(froze);
        Ok(())
    }

    /// If this id is a namespace's, others that the name's key leads to: they were dropped before
    /// it came, but the log need not know.
    fn former_namespaces(&self, key: Fingerprint, id: u32) -> Result<Vec<u32>> {
        if self.dictionary.scope_of(id) != Some(Scope::NAMES) {
            return Ok(Vec::new());
        }
        let ids = self.look_up(key, usize::MAX, |chain| chain.id_set())?;
        let ids = ids.unwrap_or(IdSet::Empty);
        Ok(ids.as_slice().iter().copied().filter(|&other| other != id).collect())
    }

    /// Keeps the damaged files for whoever wants to look into them, and begins a new log.
    fn quarantine(&self, scan: &Scan) -> Result<()> {
        let (Some(root), Some(wal)) = (self.path(), &self.wal) else { return Ok(()) };
        for (path, bytes) in scan.damaged_files() {
            quarantine::keep_copy(&self.fs, root, path, bytes)?;
        }
        self.flush()?;
        wal.restart()
    }
}
