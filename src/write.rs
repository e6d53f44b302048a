//! Changes: one pair, or a batch of them. The plain calls may wait for a flush, and do it
//! themselves if nobody else does; their `try_` twins never wait for more than a moment.

use std::sync::atomic::Ordering;

use crate::MAX_ID;
use crate::dictionary::TERM_ID_FLAG;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::lane::{Applied, Gate, Op};

/// One change of a batch: what to do with which pair of key and id.
pub type Change<'k> = (Op, &'k [u8], u32);

/// The outcome of a change that must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// Done.
    Done(T),
    /// Nothing was done: it would have to wait for a flush or another writer.
    Busy,
}

impl Index {
    /// Refuses ids out of range, and those that are the dictionary's once it has terms.
    pub(crate) fn check_id(&self, id: u32, op: Op) -> Result<()> {
        match id {
            0..TERM_ID_FLAG => Ok(()),
            TERM_ID_FLAG..=MAX_ID => self.high_ids.allow_plain(op),
            _ => Err(Error::IdOutOfRange { id: id.into() }),
        }
    }

    /// Adds an id to a key's set; true if it was not there. May wait for a flush, and does that
    /// flush itself if nobody else does.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::IdOutOfRange`], [`Error::Closed`], [`Error::Poisoned`],
    /// and those of the flush.
    pub fn put(&self, key: &[u8], id: u32) -> Result<bool> {
        self.change_or_wait(key, id, Op::Put)
    }

    /// Removes an id from a key's set; true if it was there. Waits and fails as [`Index::put`].
    ///
    /// # Errors
    /// As [`Index::put`].
    pub fn delete(&self, key: &[u8], id: u32) -> Result<bool> {
        self.change_or_wait(key, id, Op::Delete)
    }

    fn change_or_wait(&self, key: &[u8], id: u32, op: Op) -> Result<bool> {
        self.check_id(id, op)?;
        loop {
            match self.attempt(key, id, op, true)? {
                Attempt::Done(changed) => return Ok(changed),
                Attempt::Busy => self.make_way(key)?,
            }
        }
    }

    /// Waits until the key's lane takes writes, doing its flush if that is what it takes.
    pub(crate) fn make_way(&self, key: &[u8]) -> Result<()> {
        let number = self.slots.lane(self.fingerprint(key)?);
        self.relieve(number)?;
        if let Some(lane) = self.lane(number) {
            drop(lane.gate(true));
        }
        Ok(())
    }

    /// Puts or deletes without waiting for more than a moment.
    ///
    /// # Errors
    /// As [`Index::put`], without those of a flush.
    pub fn try_change(&self, key: &[u8], id: u32, op: Op) -> Result<Attempt<bool>> {
        self.check_id(id, op)?;
        self.attempt(key, id, op, false)
    }

    /// The id has been checked.
    pub(crate) fn attempt(&self, key: &[u8], id: u32, op: Op, wait: bool) -> Result<Attempt<bool>> {
        let fingerprint = self.fingerprint(key)?;
        self.check_writable()?;
        let lane = self.lane_or_new(self.slots.lane(fingerprint));
        let Some(gate) = lane.gate(wait) else {
            return Ok(Attempt::Busy);
        };
        // Only now: the lane may have been made while the index was closed.
        self.check_open()?;
        if lane.is_stalled(self.limits) {
            return Ok(Attempt::Busy);
        }
        let applied = lane.apply(&gate, fingerprint, id, op, self.limits)?;
        self.note(applied);
        Ok(Attempt::Done(applied.changed))
    }

    /// Applies a batch in order; the number of pairs that changed. The whole batch is checked
    /// before anything is applied, and no other writer comes between its changes.
    ///
    /// # Errors
    /// As [`Index::put`]; [`Error::Corrupt`] if a damaged segment had to be asked, and then the
    /// changes before that one are made.
    pub fn write(&self, batch: &[Change<'_>]) -> Result<usize> {
        loop {
            match self.attempt_batch(batch, true)? {
                Attempt::Done(changed) => return Ok(changed),
                Attempt::Busy => {
                    for number in self.involved(batch)? {
                        self.relieve(number)?;
                    }
                }
            }
        }
    }

    /// As [`Index::write`], without waiting for more than a moment.
    ///
    /// # Errors
    /// As [`Index::put`], without those of a flush.
    pub fn try_write(&self, batch: &[Change<'_>]) -> Result<Attempt<usize>> {
        self.attempt_batch(batch, false)
    }

    fn attempt_batch(&self, batch: &[Change<'_>], wait: bool) -> Result<Attempt<usize>> {
        let involved = self.involved(batch)?;
        self.check_writable()?;
        // Ascending lanes, so that two batches cannot wait for each other.
        let mut gates: Vec<(usize, Gate<'_>)> = Vec::with_capacity(involved.len());
        for number in involved {
            let lane = self.lane_or_new(number);
            match lane.gate(wait) {
                Some(gate) if !lane.is_stalled(self.limits) => gates.push((number, gate)),
                _ => return Ok(Attempt::Busy),
            }
        }
        self.check_open()?;
        let mut changed = 0;
        for &(op, key, id) in batch {
            let fingerprint = self.hasher.fingerprint(key);
            let number = self.slots.lane(fingerprint);
            if let (Some(lane), Ok(at)) =
                (self.lane(number), gates.binary_search_by_key(&number, |(n, _)| *n))
            {
                let applied = lane.apply(&gates[at].1, fingerprint, id, op, self.limits)?;
                self.note(applied);
                changed += usize::from(applied.changed);
            }
        }
        Ok(Attempt::Done(changed))
    }

    /// The lanes of a batch, ascending; checks every key and id on the way.
    fn involved(&self, batch: &[Change<'_>]) -> Result<Vec<usize>> {
        let mut lanes = Vec::with_capacity(batch.len());
        for &(op, key, id) in batch {
            self.check_id(id, op)?;
            lanes.push(self.slots.lane(self.fingerprint(key)?));
        }
        lanes.sort_unstable();
        lanes.dedup();
        Ok(lanes)
    }

    pub(crate) fn note(&self, applied: Applied) {
        if applied.froze {
            self.work_waits.store(true, Ordering::SeqCst);
        }
    }
}
