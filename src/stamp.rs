//! The stamp: a few bytes that say how far the index has seen, in order with its changes.
//!
//! It is a key of the index, whose ids spell it, three bytes each, so that all that holds for
//! changes holds for it: after a crash it never tells of more than what is there. Where changes are
//! not logged that takes some care: the stamp is written only once they are in segments.

use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::Scope;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wal::Wal;

/// The longest stamp, in bytes.
pub const MAX_STAMP_LEN: usize = IDS * PER_ID - 1;

/// Ids of the stamp: six bits say which one it is, the other 24 are its bytes.
const IDS: usize = 64;
const PER_ID: usize = 3;
const SHIFT: u32 = 24;

/// A stamp that waits, and its number among all that were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Later ones have higher numbers.
    pub number: u64,
    /// Its bytes.
    pub stamp: Vec<u8>,
}

/// Stamps on their way.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// Held for moments only.
    pending: Mutex<Option<Pending>>,
    /// Held by who writes.
    written: Mutex<Written>,
    last_number: AtomicU64,
}

/// The stamp that was written last.
#[derive(Debug, Default)]
struct Written {
    number: u64,
    /// Neither the log nor a segment has it: a record that makes another one of it must wait.
    only_in_memory: bool,
}

impl Stamps {
    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// That one is written: one that waits since before is out of date.
    fn done(&self, number: u64) {
        let mut pending = self.pending.lock();
        if pending.as_ref().is_some_and(|pending| pending.number <= number) {
            *pending = None;
        }
    }
}

/// Its length, its bytes and zeros, dealt to ids; these ascend.
fn spell(stamp: &[u8]) -> Vec<u32> {
    let mut bytes = vec![stamp.len() as u8];
    bytes.extend_from_slice(stamp);
    let ids = bytes.chunks(PER_ID).enumerate().map(|(place, some)| {
        let mut word = [0, 0, 0, 0];
        word[1..=some.len()].copy_from_slice(some);
        (place as u32) << SHIFT | u32::from_be_bytes(word)
    });
    ids.collect()
}

/// None if the ids spell nothing.
fn read(ids: &[u32]) -> Option<Vec<u8>> {
    let in_order = ids.iter().zip(0..).all(|(id, place)| id >> SHIFT == place);
    let mut bytes = ids.iter().flat_map(|id| id.to_be_bytes().into_iter().skip(1));
    let len = usize::from(bytes.next()?);
    let stamp: Vec<u8> = bytes.take(len).collect();
    (in_order && stamp.len() == len).then_some(stamp)
}

impl Index {
    /// Its key: in the scope of the index itself, none of whose keys are hashed like that.
    pub(crate) fn stamp_key(&self) -> Fingerprint {
        self.hasher.scoped(Scope::INDEX.number(), b"stamp")
    }

    /// Says how far the index has seen, after all changes that returned before. It speaks for those
    /// of its own durability: without log, it lasts from the next flush, sync or close on.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond [`MAX_STAMP_LEN`] bytes; as [`Index::put`].
    pub fn put_stamp(&self, stamp: &[u8], durability: Durability) -> Result<()> {
        if stamp.len() > MAX_STAMP_LEN {
            return Err(Error::TooLarge { what: "a stamp", limit: MAX_STAMP_LEN as u64 });
        }
        self.check_writable()?;
        if self.path().is_some() && durability == Durability::Memory {
            let mut pending = self.stamps.pending.lock();
            *pending = Some(Pending { number: self.stamps.next_number(), stamp: stamp.to_vec() });
            return Ok(());
        }
        let mut written = self.stamps.written.lock();
        let number = self.stamps.next_number();
        self.flush_stamp(&mut written)?;
        self.write_stamp(stamp, self.wal_for(durability))?;
        written.number = number;
        self.stamps.done(number);
        drop(written);
        self.settle(durability)
    }

    fn write_stamp(&self, stamp: &[u8], wal: Option<&Wal>) -> Result<()> {
        let key = self.stamp_key();
        let number = self.slots.lane(key);
        let lane = self.lane_or_new(number);
        loop {
            {
                let gate = lane.gate();
                self.check_open()?;
                if !lane.is_stalled(self.limits) && !wal.is_some_and(Wal::is_full) {
                    let new = spell(stamp);
                    let mut wanted: Vec<(u32, Op)> = new.iter().map(|&id| (id, Op::Put)).collect();
                    let old = self.stamp_ids()?;
                    let gone = old.into_iter().filter(|id| !new.contains(id));
                    wanted.extend(gone.map(|id| (id, Op::Delete)));
                    wanted.sort_unstable_by_key(|&(id, _)| id);
                    return self.change_key(lane, &gate, key, &wanted, wal, None).map(drop);
                }
            }
            self.make_way(key)?;
        }
    }

    /// Whether one of the keys is the stamp's.
    pub(crate) fn is_stamped(&self) -> Result<bool> {
        let is_there =
            self.look_up(self.stamp_key(), usize::MAX, |chain| chain.cardinality() > 0)?;
        Ok(is_there == Some(true))
    }

    fn stamp_ids(&self) -> Result<Vec<u32>> {
        let ids = self.look_up(self.stamp_key(), usize::MAX, |chain| chain.id_set())?;
        Ok(ids.map_or(Vec::new(), |ids| ids.as_slice().to_vec()))
    }

    /// The stamp that was put last; none if there never was one. Never waits for who writes one.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn stamp(&self) -> Result<Option<Vec<u8>>> {
        self.check_open()?;
        let pending = self.stamps.pending.lock().clone();
        match pending {
            Some(Pending { stamp, .. }) => Ok(Some(stamp)),
            None => Ok(read(&self.stamp_ids()?)),
        }
    }

    /// Takes the stamp away: what it speaks for was lost.
    pub(crate) fn forget_stamp(&self) -> Result<()> {
        let key = self.stamp_key();
        let gone: Vec<_> = self.stamp_ids()?.into_iter().map(|id| (id, Op::Delete)).collect();
        if !gone.is_empty() {
            let number = self.slots.lane(key);
            let lane = self.lane_or_new(number);
            let gate = lane.gate();
            self.change_key(lane, &gate, key, &gone, None, None)?;
            drop(gate);
            self.flush_lane(number as u32)?;
        }
        Ok(())
    }

    /// The stamp that waits for the changes before it to be in segments. Whoever flushes all lanes
    /// asks before, and has it written after.
    pub fn pending_stamp(&self) -> Option<Pending> {
        self.stamps.pending.lock().clone()
    }

    /// Writes a stamp that waited, and flushes it; a newer one that has come since goes on waiting.
    ///
    /// # Errors
    /// As [`Index::flush`].
    pub fn write_pending_stamp(&self, Pending { number, stamp }: &Pending) -> Result<()> {
        let mut written = self.stamps.written.lock();
        if written.number < *number {
            written.only_in_memory = true;
            self.write_stamp(stamp, None)?;
            written.number = *number;
            self.stamps.done(*number);
        }
        self.flush_stamp(&mut written)
    }

    fn flush_stamp(&self, written: &mut Written) -> Result<()> {
        if written.only_in_memory {
            self.flush_lane(self.slots.lane(self.stamp_key()) as u32)?;
            written.only_in_memory = false;
        }
        Ok(())
    }

    /// Runs a flush of all lanes; what was stamped before it is written after it.
    pub(crate) fn with_stamp(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let pending = self.pending_stamp();
        flush()?;
        pending.map_or(Ok(()), |pending| self.write_pending_stamp(&pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_is_read() {
        for len in 0..=MAX_STAMP_LEN {
            let stamp: Vec<u8> = (0..len).map(|n| (n * 37) as u8).collect();
            let ids = spell(&stamp);
            assert!(ids.len() <= IDS && ids.is_sorted());
            assert!(ids.iter().all(|&id| id < crate::TERM_ID_FLAG));
            assert_eq!(read(&ids), Some(stamp));
        }
        for unfit in [&[][..], &[0x0200_0000], &[0x0003_0000], &[0x0005_0101, 0x0201_0101]] {
            assert_eq!(read(unfit), None, "{unfit:x?}");
        }
    }
}
