//! Changes: one pair, or a batch of them. The plain calls may wait for a flush, and do it
//! themselves if nobody else does; their `try_` twins never wait for more than a moment.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::MAX_ID;
use crate::change::{LanePlan, Op};
use crate::config::Durability;
use crate::dictionary::TERM_ID_FLAG;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::incoming::Curtain;
use crate::index::Index;
use crate::key::Key;
use crate::lane::{Gate, Lane, Patience};
use crate::sync::atomic::Ordering;
use crate::wal::{Payload, Wal};

/// One change of a batch: what to do with which pair of key and id.
pub type Change<K> = (Op, K, u32);

/// One change of one pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'t> {
    pub(crate) id: u32,
    pub(crate) op: Op,
    pub(crate) durability: Durability,
    /// The id's term, for the log.
    pub(crate) term: Option<&'t [u8]>,
}

/// The outcome of a change that must not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    /// Done.
    Done(T),
    /// Nothing was done: it would have to wait for a flush or another writer.
    Busy,
}

impl Index {
    fn check_range(id: u32) -> Result<()> {
        if id > MAX_ID { Err(Error::IdOutOfRange { id: id.into() }) } else { Ok(()) }
    }

    /// Refuses ids out of range, and those that are the dictionary's once it has terms.
    pub(crate) fn check_id(&self, id: u32, op: Op) -> Result<()> {
        Self::check_range(id)?;
        if id < TERM_ID_FLAG { Ok(()) } else { self.high_ids.allow_plain(op) }
    }

    /// Adds an id to a key's set; true if it was not there. May wait for a flush, and does that
    /// flush itself if nobody else does.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::IdOutOfRange`], [`Error::Closed`], [`Error::Poisoned`],
    /// and those of the log and the flush. After an error of a sync the change is made, and
    /// whether it lasts is unknown.
    pub fn put<K: Key + ?Sized>(&self, key: &K, id: u32) -> Result<bool> {
        self.change(key, id, Op::Put, self.durability)
    }

    /// Removes an id from a key's set; true if it was there. Waits and fails as [`Index::put`].
    ///
    /// # Errors
    /// As [`Index::put`].
    pub fn delete<K: Key + ?Sized>(&self, key: &K, id: u32) -> Result<bool> {
        self.change(key, id, Op::Delete, self.durability)
    }

    /// Puts or deletes with a durability of its own; true if that changed anything.
    ///
    /// # Errors
    /// As [`Index::put`].
    pub fn change<K: Key + ?Sized>(
        &self,
        key: &K,
        id: u32,
        op: Op,
        durability: Durability,
    ) -> Result<bool> {
        let key = self.fingerprint(key)?;
        self.check_id(id, op)?;
        loop {
            match self.attempt(key, Wanted { id, op, durability, term: None }, true)? {
                Attempt::Done(changed) => return self.settle(durability).map(|()| changed),
                Attempt::Busy => self.make_way(key)?,
            }
        }
    }

    /// Waits until the key's lane takes writes, doing its flush if that is what it takes.
    pub(crate) fn make_way(&self, key: Fingerprint) -> Result<()> {
        let number = self.slots.lane(key);
        self.relieve(number)?;
        self.relieve_log()?;
        if let Some(lane) = self.lane(number) {
            drop(lane.gate());
        }
        Ok(())
    }

    /// Puts or deletes without waiting for more than a moment, but for the log if the durability
    /// asks for it.
    ///
    /// # Errors
    /// As [`Index::put`], without those of a flush.
    pub fn try_change<K: Key + ?Sized>(
        &self,
        key: &K,
        id: u32,
        op: Op,
        durability: Durability,
    ) -> Result<Attempt<bool>> {
        let key = self.fingerprint(key)?;
        self.check_id(id, op)?;
        let wanted = Wanted { id, op, durability, term: None };
        let outcome = self.attempt(key, wanted, durability != Durability::Memory)?;
        if let Attempt::Done(_) = outcome {
            self.settle(durability)?;
        }
        Ok(outcome)
    }

    /// Does what is left to be done for a change of that durability after it was made.
    pub(crate) fn settle(&self, durability: Durability) -> Result<()> {
        match &self.wal {
            // Also if nothing changed: what made it so may not be on stable storage yet.
            Some(wal) if durability == Durability::Sync => wal.sync(),
            _ => Ok(()),
        }
    }

    /// The id has been checked.
    pub(crate) fn attempt(
        &self,
        key: Fingerprint,
        wanted: Wanted<'_>,
        wait: bool,
    ) -> Result<Attempt<bool>> {
        self.check_writable()?;
        let lane = self.lane_or_new(self.slots.lane(key));
        let gate = if wait { Some(lane.gate()) } else { lane.try_gate(&mut Patience::default()) };
        let Some(gate) = gate else { return Ok(Attempt::Busy) };
        // Only now: the lane may have been made while the index was closed.
        self.check_open()?;
        let wal = self.wal_for(wanted.durability);
        if lane.is_stalled(self.limits) || wal.is_some_and(Wal::is_full) {
            return Ok(Attempt::Busy);
        }
        let change = [(wanted.id, wanted.op)];
        let term = wanted.term.map(|term| (wanted.id, term));
        let changed = self.change_key(lane, &gate, key, &change, wal, term)?;
        Ok(Attempt::Done(changed))
    }

    /// Makes the changes of one key, in the log first; true if there were any. Ids ascend.
    pub(crate) fn change_key(
        &self,
        lane: &Lane,
        gate: &Gate<'_>,
        fingerprint: Fingerprint,
        wanted: &[(u32, Op)],
        wal: Option<&Wal>,
        term: Option<(u32, &[u8])>,
    ) -> Result<bool> {
        self.reconciliations.note(self.slots.lane(fingerprint), fingerprint, wanted);
        let plan = lane.plan(gate, fingerprint, wanted)?;
        // What is so already may be so by changes that the log does not have.
        if plan.is_none() && (wal.is_none() || !lane.is_partly_logged()) {
            return Ok(false);
        }
        let record = wal.map(|wal| {
            let mut payload = Payload::default();
            if let Some((id, term)) = term {
                payload.term(id & !TERM_ID_FLAG, term);
            }
            payload.ops(fingerprint, wanted);
            wal.append(payload)
        });
        let record = record.transpose()?;
        let Some(plan) = plan else {
            lane.note_logged(gate, record);
            return Ok(false);
        };
        self.note(lane.make(gate, plan, record, self.limits));
        Ok(true)
    }

    /// Makes the changes of a batch, later ones of a pair over earlier ones: all of them, or none
    /// if there is an error. They show at one moment, and no other writer comes between; look-ups
    /// made before and after that moment differ, also those of one [`Index::get_many`]. Gives the
    /// number of pairs that are other than before.
    ///
    /// # Errors
    /// As [`Index::put`]; [`Error::Corrupt`] if a damaged segment had to be asked.
    pub fn write<K: Key>(&self, batch: &[Change<K>]) -> Result<usize> {
        self.write_with(batch, self.durability)
    }

    /// As [`Index::write`], with a durability of its own.
    ///
    /// # Errors
    /// As [`Index::write`].
    pub fn write_with<K: Key>(&self, batch: &[Change<K>], durability: Durability) -> Result<usize> {
        let sorted = Sorted::new(self, batch)?;
        loop {
            match self.attempt_batch(&sorted, durability, true, None)? {
                Some(Attempt::Done(changed)) => return self.settle(durability).map(|()| changed),
                Some(Attempt::Busy) | None => {
                    sorted.lanes().try_for_each(|(number, _)| self.relieve(number))?;
                    self.relieve_log()?;
                }
            }
        }
    }

    /// As [`Index::write_with`], without waiting for more than a moment, but for the log if the
    /// durability asks for it. If it takes longer than `within` to look up what there is, as pages may
    /// have to come from a device, nothing is done and there is no outcome.
    ///
    /// # Errors
    /// As [`Index::put`], without those of a flush.
    pub fn try_write<K: Key>(
        &self,
        batch: &[Change<K>],
        durability: Durability,
        within: Option<Duration>,
    ) -> Result<Option<Attempt<usize>>> {
        let until = within.map(|time| Instant::now() + time);
        let sorted = Sorted::new(self, batch)?;
        let wait = durability != Durability::Memory;
        let outcome = self.attempt_batch(&sorted, durability, wait, until)?;
        if let Some(Attempt::Done(_)) = outcome {
            self.settle(durability)?;
        }
        Ok(outcome)
    }

    /// None if it is not known in time what to do.
    fn attempt_batch(
        &self,
        sorted: &Sorted,
        durability: Durability,
        wait: bool,
        until: Option<Instant>,
    ) -> Result<Option<Attempt<usize>>> {
        self.check_writable()?;
        let wal = self.wal_for(durability);
        if wal.is_some_and(Wal::is_full) {
            return Ok(Some(Attempt::Busy));
        }
        let mut patience = Patience::default();
        // Ascending lanes, so that two batches cannot wait for each other.
        let mut plans = Vec::new();
        for (number, _) in sorted.lanes() {
            let lane = self.lane_or_new(number);
            let gate = if wait { Some(lane.gate()) } else { lane.try_gate(&mut patience) };
            match gate {
                Some(gate) if !lane.is_stalled(self.limits) => {
                    plans.push(LanePlan::new(lane, gate));
                }
                _ => return Ok(Some(Attempt::Busy)),
            }
        }
        self.check_open()?;
        let (mut planned, mut changed) = (0, 0);
        let mut payload = Payload::default();
        for (plan, (_, keys)) in plans.iter_mut().zip(sorted.lanes()) {
            let partly_logged = wal.is_some() && plan.lane.is_partly_logged();
            for key in keys {
                // Nothing is changed yet.
                if planned % 16 == 15 && until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(None);
                }
                planned += 1;
                let wanted = &sorted.wanted[key.wanted.clone()];
                self.reconciliations.note(key.lane, key.fingerprint, wanted);
                let changes = plan.add(key.fingerprint, wanted)?;
                changed += changes;
                if wal.is_some() && (changes > 0 || partly_logged) {
                    payload.ops(key.fingerprint, wanted);
                }
            }
            if partly_logged {
                plan.note_logged();
            }
        }
        // All gates are kept to the end, but lanes without a change need no more than that.
        let mut plans: Vec<_> = plans.iter_mut().filter(|plan| !plan.is_empty()).collect();
        let record = match wal {
            Some(wal) if !payload.is_empty() => Some(wal.append(payload)?),
            _ => None,
        };
        let froze = match &mut plans[..] {
            [plan] if plan.is_small() => plan.publish(record, self.limits),
            plans => {
                let curtain = Curtain::default();
                plans.iter().for_each(|plan| plan.announce(&curtain));
                // All at once: whoever looks from now on sees the whole batch.
                curtain.lift();
                plans.iter_mut().fold(false, |froze, plan| plan.settle(record, self.limits) | froze)
            }
        };
        self.note(froze);
        Ok(Some(Attempt::Done(changed)))
    }

    /// Remembers that there is work: an overlay was frozen, or the log is to be shortened. Drops what
    /// readers saw before, if there is a lot and nobody else did.
    pub(crate) fn note(&self, froze: bool) {
        if self.views.readers().is_overdue() {
            self.reclaim();
        }
        if froze || self.wal.as_ref().is_some_and(Wal::wants_room) {
            self.work_waits.store(true, Ordering::SeqCst);
        }
    }
}

/// A batch by lane and key.
struct Sorted {
    keys: Vec<SortedKey>,
    /// Each key's ids, ascending, and what is to be done with them in the end.
    wanted: Vec<(u32, Op)>,
}

struct SortedKey {
    lane: usize,
    fingerprint: Fingerprint,
    wanted: Range<usize>,
}

impl Sorted {
    /// Checks every key and id on the way; only then is settled what kind of ids the index has.
    fn new<K: Key>(index: &Index, batch: &[Change<K>]) -> Result<Self> {
        let mut changes = Vec::with_capacity(batch.len());
        // Backwards, for the last change of a pair to come first: sorting leaves it there.
        for &(op, ref key, id) in batch.iter().rev() {
            Index::check_range(id)?;
            let fingerprint = index.fingerprint(key)?;
            changes.push((index.slots.lane(fingerprint), fingerprint, id, op));
        }
        for &(op, _, id) in batch {
            index.check_id(id, op)?;
        }
        changes.sort_by_key(|&(lane, fingerprint, id, _)| (lane, fingerprint, id));
        changes.dedup_by_key(|&mut (_, fingerprint, id, _)| (fingerprint, id));
        let mut keys = Vec::new();
        let mut start = 0;
        for of_key in changes.chunk_by(|a, b| a.1 == b.1) {
            let (lane, fingerprint, ..) = of_key[0];
            let wanted = start..start + of_key.len();
            start = wanted.end;
            keys.push(SortedKey { lane, fingerprint, wanted });
        }
        let wanted = changes.iter().map(|&(_, _, id, op)| (id, op)).collect();
        Ok(Self { keys, wanted })
    }

    /// The lanes of the batch, ascending, each with its keys.
    fn lanes(&self) -> impl Iterator<Item = (usize, &[SortedKey])> {
        self.keys.chunk_by(|a, b| a.lane == b.lane).map(|keys| (keys[0].lane, keys))
    }
}
