//! The dictionary over its file: references counted at open, terms persisted, and places of terms
//! that are gone had back.

use super::log::{Extent, TermLog};
use super::terms::Terms;
use super::{Dictionary, SHARDS, Shard, TERM_ID_FLAG, id_of, place_of, shard_of};
use crate::error::{Error, Result};
use crate::sync::RwLock;
use crate::sync::atomic::Ordering;

/// Bytes of idle terms that are not worth a round, whatever their share.
const MIN_IDLE: usize = 8 << 20;

impl Dictionary {
    /// Takes in that some keys lead to each id.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a key leads to a term that is not in the file.
    pub(crate) fn count_references(
        &self,
        scan: impl FnOnce(&mut dyn FnMut(&[u32])) -> Result<()>,
    ) -> Result<()> {
        let mut stray = None;
        scan(&mut |ids| {
            for &id in ids.iter().filter(|&id| id & TERM_ID_FLAG != 0) {
                if self.shard(shard_of(id)).write().add_reference(place_of(id)).is_none() {
                    stray = Some(id);
                }
            }
        })?;
        stray.map_or(Ok(()), |id| Err(self.lacks(id)))
    }

    /// The fault of a dictionary without the term of an id that a key leads to.
    pub(crate) fn lacks(&self, id: u32) -> Error {
        let path = self.log.as_ref().map(|log| log.lock().path().to_path_buf());
        let what = format!("it lacks the term with id {id}, which a key leads to");
        Error::corrupt(&path.unwrap_or_default(), 0, what)
    }

    /// Appends what is new to the log and syncs it: after this, everything interned before is on
    /// stable storage. Answers how much of the log there is.
    pub(crate) fn persist(&self) -> Result<Extent> {
        let Some(log) = &self.log else { return Ok(Extent::default()) };
        let mut log = log.lock();
        let mut batch = Vec::new();
        for (_, shard) in self.used_shards() {
            batch.append(&mut std::mem::take(&mut shard.write().unwritten));
        }
        if let Err(e) = log.append(&batch) {
            self.write_later(batch);
            return Err(e);
        }
        Ok(log.extent())
    }

    /// Keeps records for the next attempt; which shard holds them does not matter.
    fn write_later(&self, mut records: Vec<u8>) {
        if let Some((_, shard)) = self.used_shards().next() {
            let mut terms = shard.write();
            records.append(&mut terms.unwritten);
            terms.unwritten = records;
        }
    }

    /// A round over all lanes begins: terms that no key leads to from now to its end can go then.
    pub(crate) fn nominate(&self) {
        if self.log.is_some() {
            self.used_shards().for_each(|(_, shard)| shard.write().nominate());
        }
    }

    /// The round is done, and its candidates are in no segment and in no record of the index's log
    /// any more. Writes the file anew without them; then their places are free.
    pub(crate) fn recycle(&self) -> Result<()> {
        let mut gone = 0;
        for (_, shard) in self.used_shards() {
            let mut next = Some(0);
            while let Some(first) = next {
                let (some, left) = shard.write().forsake(first, self.hash_of());
                (gone, next) = (gone + some, left);
            }
        }
        if let Some(log) = self.log.as_ref().filter(|_| gone > 0) {
            self.rewrite(&mut log.lock())?;
            for (_, shard) in self.used_shards() {
                let mut next = Some(0);
                while let Some(first) = next {
                    next = shard.write().let_gone_pass(first, self.grace.stamp());
                }
                shard.write().release_some(&self.grace);
            }
        }
        Ok(())
    }

    pub(super) fn rewrite(&self, log: &mut TermLog) -> Result<()> {
        let (mut records, mut unwritten) = (Vec::new(), Vec::new());
        for (number, shard) in self.used_shards() {
            // What is interned from now on is written twice.
            unwritten.append(&mut std::mem::take(&mut shard.write().unwritten));
            let mut next = Some(0);
            while let Some(first) = next {
                next = shard.read().slice(first, |place, term| {
                    TermLog::encode(&mut records, id_of(number, place), term);
                });
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

    /// Gives back some memory of terms long gone, of one shard at the most; true if there was any.
    pub(crate) fn pack(&self) -> bool {
        self.used_shards().any(|(_, shard)| {
            // Readers are not held up by a look.
            if !shard.read().has_waste() {
                return false;
            }
            let mut terms = shard.write();
            let released = terms.release_some(&self.grace);
            // An arena that cannot be packed is as good as one that is not worth it.
            released || (terms.is_wasteful() && terms.pack(self.hash_of()).is_ok())
        })
    }

    /// Whether a round is worth having back what idle terms take: a quarter of what it has to write
    /// anew, `segments` bytes and the terms, or the last places.
    pub(crate) fn wants_recycling(&self, segments: impl FnOnce() -> usize) -> bool {
        if self.log.is_none() || !self.is_settled() {
            return false;
        }
        let (mut idle, mut used, mut scarce) = (0, 0, false);
        for (_, shard) in self.used_shards() {
            let terms = shard.read();
            (idle, used) = (idle + terms.idle_bytes(), used + terms.used_bytes());
            scarce |= terms.is_scarce();
        }
        scarce || (idle >= MIN_IDLE && idle * 4 >= used + segments())
    }

    /// Whether [`Dictionary::pack`] or a round may have something to do; true once.
    pub(crate) fn claim_upkeep(&self) -> bool {
        self.wasteful.load(Ordering::Relaxed) && self.wasteful.swap(false, Ordering::SeqCst)
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        let table = self.shards.get().map_or(0, |_| SHARDS * size_of::<Shard>());
        let shards = self.used_shards().map(|(_, shard)| shard.read().memory());
        table + shards.map(|bytes| bytes + size_of::<RwLock<Terms>>()).sum::<usize>()
    }

    /// Lets go of everything. Whoever still flushes finds the file closed.
    pub(crate) fn clear(&self) {
        if let Some(log) = &self.log {
            log.lock().close();
        }
        for (_, shard) in self.used_shards() {
            let gone = std::mem::take(&mut *shard.write());
            drop(gone);
        }
    }
}
