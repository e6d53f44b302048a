//! A round over all lanes: each is brought down to one segment, and the log begins anew. After it
//! no file has an id of a term that no key led to all the while, so that such ids are free.
//!
//! That ids mean one term in all files together, even in those parts that newer ones override,
//! makes damage harmless: whatever is lost, what is left is never taken for another term.

use crate::error::Result;
use crate::index::Index;
use crate::wal::Wal;

/// How far a round has got.
#[derive(Debug, Default)]
pub(crate) struct Round {
    next_lane: u32,
    /// With all lanes done, the first record that may be kept.
    keep_from: Option<u64>,
}

impl Index {
    /// Begins a round over all lanes; one under way begins again.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn begin_round(&self) -> Result<()> {
        self.check_writable()?;
        let mut round = self.round.lock();
        self.dictionary.nominate();
        *round = Some(Round::default());
        Ok(())
    }

    /// Does one bounded piece of the round, a lane at the most; false if none is under way.
    ///
    /// # Errors
    /// As [`Index::compact`]; the piece is still to be done then.
    pub fn step_round(&self) -> Result<bool> {
        self.check_writable()?;
        let mut under_way = self.round.lock();
        let Some(round) = under_way.as_mut() else { return Ok(false) };
        if round.next_lane < self.num_lanes() {
            self.compact_lane(round.next_lane)?;
            round.next_lane += 1;
            return Ok(true);
        }
        if let Some(wal) = &self.wal {
            let keep_from = match round.keep_from {
                Some(record) => record,
                None => *round.keep_from.insert(wal.seal()?),
            };
            if self.forget_records(wal, keep_from)? {
                return Ok(true);
            }
        }
        self.dictionary.recycle()?;
        *under_way = None;
        Ok(true)
    }

    /// Whether a round is under way.
    pub(crate) fn is_round_under_way(&self) -> bool {
        self.round.lock().is_some()
    }

    /// Does one piece of what it takes for the records before this one to go: a lane's flush, true,
    /// or at last the removal.
    fn forget_records(&self, wal: &Wal, keep_from: u64) -> Result<bool> {
        let (oldest, lane) = self.oldest_needed(keep_from)?;
        if let Some(lane) = lane.filter(|_| oldest < keep_from) {
            return lane.flush(&self.upkeep()).map(|()| true);
        }
        wal.trim(keep_from)?;
        Ok(false)
    }
}
