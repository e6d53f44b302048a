//! A round over all lanes: each is brought down to one segment, and the log begins anew. After it
//! no file has an id of a term that no key led to all the while, so that such ids are free.
//!
//! That ids mean one term in all files together, even in those parts that newer ones override,
//! makes damage harmless: whatever is lost, what is left is never taken for another term.

use crate::error::{Error, Result};
use crate::freed;
use crate::index::Index;
use crate::sync::atomic::Ordering;
use crate::wal::Wal;

/// Rounds of an index.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    begun: u64,
    done: u64,
    under_way: Option<Round>,
    /// Damage kept one from being finished: none is begun unasked any more.
    refused: bool,
}

/// How far a round has got.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    next_lane: u32,
    /// With all lanes done, the first record that may be kept.
    keep_from: Option<u64>,
}

impl Index {
    /// Begins a round over all lanes; one under way begins again. Its number.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`]; those of [`Index::take_census`].
    pub fn begin_round(&self) -> Result<u64> {
        self.check_writable()?;
        self.take_census()?;
        let mut rounds = self.rounds.lock();
        self.dictionary.nominate();
        rounds.begun += 1;
        rounds.under_way = Some(Round { number: rounds.begun, ..Round::default() });
        Ok(rounds.begun)
    }

    /// Whether that round was finished, or one that was begun later.
    #[must_use]
    pub fn is_round_done(&self, number: u64) -> bool {
        self.rounds.lock().done >= number
    }

    /// Does one bounded piece of the round that is under way, a lane at the most; false if none is.
    ///
    /// # Errors
    /// As [`Index::compact`]; no round is under way any more then.
    pub fn step_round(&self) -> Result<bool> {
        self.check_writable()?;
        let mut rounds = self.rounds.lock();
        let Some(mut round) = rounds.under_way.take() else { return Ok(false) };
        match self.do_piece(&mut round) {
            Ok(true) => rounds.under_way = Some(round),
            Ok(false) => {
                (rounds.done, rounds.refused) = (round.number, false);
                drop(rounds);
                freed::give_back();
            }
            Err(e) => {
                rounds.refused |= matches!(e, Error::Corrupt { .. });
                return Err(e);
            }
        }
        Ok(true)
    }

    /// As [`Index::step_round`], and begins a round if enough of the index is idle terms: a quarter,
    /// as all of it is written anew for them.
    pub(crate) fn step_wanted_round(&self) -> Result<bool> {
        if self.step_round()? {
            return Ok(true);
        }
        let wanted =
            !self.rounds.lock().refused && self.dictionary.wants_recycling(|| self.segment_bytes());
        if wanted {
            self.begin_round()?;
        }
        Ok(wanted)
    }

    fn segment_bytes(&self) -> usize {
        let bytes = |lane: &crate::lane::Lane| {
            lane.state().version.segments.iter().map(|s| s.byte_len()).sum::<usize>()
        };
        self.lanes().map(bytes).sum()
    }

    /// False if that was the last one.
    fn do_piece(&self, round: &mut Round) -> Result<bool> {
        if round.next_lane < self.num_lanes() {
            self.compact_lane(round.next_lane)?;
            if self.dictionary.is_in_use()
                && let Some(lane) = self.lane(round.next_lane as usize)
            {
                lane.purge(&self.fs)?;
            }
            round.next_lane += 1;
            return Ok(true);
        }
        if let Some(wal) = self.wal.as_ref().filter(|_| self.dictionary.is_in_use()) {
            let keep_from = match round.keep_from {
                Some(record) => record,
                None => *round.keep_from.insert(wal.seal()?),
            };
            if self.forget_records(wal, keep_from)? {
                return Ok(true);
            }
        }
        self.dictionary.recycle()?;
        self.work_waits.store(true, Ordering::SeqCst);
        Ok(false)
    }

    /// Does one piece of what it takes for the records before this one to go: a lane's flush, true,
    /// or at last the removal.
    fn forget_records(&self, wal: &Wal, keep_from: u64) -> Result<bool> {
        let (oldest, lane) = self.oldest_needed(keep_from)?;
        if let Some(lane) = lane.filter(|_| oldest < keep_from) {
            return lane.flush(&self.upkeep()).map(|()| true);
        }
        wal.trim(keep_from)?;
        wal.purge()?;
        Ok(false)
    }
}
