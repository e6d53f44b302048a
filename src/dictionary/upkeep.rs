//! The dictionary over its file: references counted at open, terms persisted, places recycled, and
//! the log written anew once most of it is terms long gone.

use super::log::{Extent, TermLog};
use super::{Dictionary, TERM_ID_FLAG, id_of, place_of, shard_of};
use crate::error::{Error, Result};

/// Retired places that make a flush of all lanes worth while.
const RETIRED_WORTH_A_FLUSH: usize = 1 << 16;
/// The log is written anew once it is three times as long as its terms, and longer by this.
const LOG_SLACK: u64 = 4 << 20;

impl Dictionary {
    /// Takes in how many keys lead to each id, then frees the terms that none leads to; after a
    /// replay only once all lanes are flushed, or the log would have their ids mean two terms.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a key leads to a term that is not in the file.
    pub(crate) fn count_references(
        &self,
        replayed: bool,
        scan: impl FnOnce(&mut dyn FnMut(&[u32])) -> Result<()>,
    ) -> Result<()> {
        let mut shards: Vec<_> = self.shards().iter().map(|shard| shard.write()).collect();
        let mut stray = None;
        scan(&mut |ids| {
            for &id in ids.iter().filter(|&id| id & TERM_ID_FLAG != 0) {
                if !shards[shard_of(id)].add_reference(place_of(id)) {
                    stray = Some(id);
                }
            }
        })?;
        if let (Some(id), Some(log)) = (stray, &self.log) {
            let what = format!("it lacks the term with id {id}, which a key leads to");
            return Err(Error::corrupt(log.lock().path(), 0, what));
        }
        for terms in &mut shards {
            if replayed {
                terms.retire_unreferenced(|term| self.address(term).hash);
            } else {
                terms.discard_unreferenced(|term| self.address(term).hash);
            }
            if terms.is_wasteful() {
                terms.pack();
            }
        }
        drop(shards);
        self.shorten_log()
    }

    /// Runs a flush of all lanes. No segment leads to places retired before it after it. One at a
    /// time: a place that comes back and is retired again meanwhile must not be in the hands of
    /// two.
    pub(crate) fn recycle_around(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let _turn = self.recycling.lock();
        let retired: Vec<_> = self.used_shards().map(|s| s.write().take_retired()).collect();
        let flushed = flush();
        for (shard, places) in self.used_shards().zip(retired) {
            let mut terms = shard.write();
            // Others were given to a key again, or retired once more.
            let unused: Vec<u32> = places.into_iter().filter(|&p| terms.is_unused(p)).collect();
            if flushed.is_err() {
                terms.retire(unused);
                continue;
            }
            for &place in &unused {
                let hash = terms.bytes(place).map(|term| self.address(term).hash);
                hash.into_iter().for_each(|hash| terms.unlist(hash, place));
            }
            terms.let_pass(unused, self.grace.stamp());
            terms.release_some(&self.grace);
        }
        flushed?;
        while self.pack() {}
        self.shorten_log()
    }

    /// Appends what is new to the log and syncs it: after this, everything interned before is on
    /// stable storage. Answers how much of the log there is.
    pub(crate) fn persist(&self) -> Result<Extent> {
        let Some(log) = &self.log else { return Ok(Extent::default()) };
        let mut log = log.lock();
        let mut batch = Vec::new();
        for shard in self.used_shards() {
            batch.append(&mut shard.write().unwritten);
        }
        if let Err(e) = log.append(&batch) {
            self.write_later(batch);
            return Err(e);
        }
        Ok(log.extent())
    }

    /// Keeps records for the next attempt; which shard holds them does not matter.
    fn write_later(&self, mut records: Vec<u8>) {
        if let Some(shard) = self.used_shards().next() {
            let mut terms = shard.write();
            records.append(&mut terms.unwritten);
            terms.unwritten = records;
        }
    }

    /// Writes the log anew if most of it is terms long gone. Retired ones stay: segments may
    /// lead to them.
    fn shorten_log(&self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut log = log.lock();
        let used: usize = self.used_shards().map(|shard| shard.read().used_bytes()).sum();
        if log.extent().len <= 3 * used as u64 + LOG_SLACK {
            return Ok(());
        }
        let (mut records, mut unwritten) = (Vec::new(), Vec::new());
        for (number, shard) in self.used_shards().enumerate() {
            unwritten.append(&mut shard.write().unwritten);
            // Readers go on meanwhile; what is interned now is written twice.
            for (place, term) in shard.read().iter() {
                TermLog::encode(&mut records, id_of(number, place), term);
            }
        }
        let rewritten = log.rewrite(&records);
        if rewritten.is_err() {
            self.write_later(unwritten);
        }
        rewritten
    }

    /// Whether the log holds all that a lane relies on.
    pub(crate) fn check_extent(&self, relied_on: Extent) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| {
            let log = log.lock();
            log.extent().check(log.path(), relied_on)
        })
    }

    /// Gives back the memory of terms long gone, one shard's at the most; true if there was one.
    pub(crate) fn pack(&self) -> bool {
        self.used_shards().any(|shard| {
            let mut terms = shard.write();
            terms.release_some(&self.grace);
            let wasteful = terms.is_wasteful();
            if wasteful {
                terms.pack();
            }
            wasteful
        })
    }

    /// Whether so many places are retired that a whole flush is worth having them back.
    pub(crate) fn wants_recycling(&self) -> bool {
        let retired = || self.used_shards().map(|shard| shard.read().retired()).sum::<usize>();
        self.log.is_some() && retired() >= RETIRED_WORTH_A_FLUSH
    }
}
