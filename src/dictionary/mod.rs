//! Terms (bytes) to ids and back, for callers whose ids are not small numbers.
//!
//! A term lives as long as a key leads to it. Its id goes to another term only when nobody can
//! mistake the two: whoever was between looking ids up and resolving them is done (`grace`), and,
//! on disk, no segment leads to it any more, that is after a whole flush, or an open.
//!
//! Terms are dealt to shards by hash, so that the growth of one table holds nobody up for longer
//! than milliseconds, even with millions of terms.
//!
//! On disk it is a log of terms, appended and synced before any segment that leads to them is
//! published (`docs/format.md`). Reference counts are not stored: opening counts them anew.

mod grace;
mod log;
mod terms;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use crate::chain::IdSet;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::hash::KeyHasher;
use crate::sync::{Mutex, OnceLock, RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};
use grace::Grace;
pub(crate) use log::{Extent, TermLog};
use terms::Terms;

/// Ids with this bit are the dictionary's, the ones below are the caller's own.
pub const TERM_ID_FLAG: u32 = 1 << 30;

/// How long a call that must not wait waits for another change of the shard.
const MOMENT: Duration = Duration::from_micros(50);

/// An id without its flag: the place in a shard above, the shard below.
const SHARD_BITS: u32 = 4;
const SHARDS: usize = 1 << SHARD_BITS;
/// Bytes that a term of some thirty bytes takes in the log.
const TYPICAL_TERM: usize = 48;
/// Retired places that make a flush of all lanes worth while.
const RETIRED_WORTH_A_FLUSH: usize = 1 << 16;
/// The log is written anew once it is three times as long as its terms, and longer by this.
const LOG_SLACK: u64 = 4 << 20;

/// The dictionary of one index.
#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Made with the first term: most indexes have none.
    shards: OnceLock<Box<[RwLock<Terms>; SHARDS]>>,
    /// Entered from the look-up of ids to their terms.
    grace: Grace,
    hasher: KeyHasher,
    log: Option<Mutex<TermLog>>,
    /// Held over a flush of all lanes.
    recycling: Mutex<()>,
}

/// What a change of routes through the dictionary came to.
pub(crate) enum Routed<T> {
    Changed,
    Unchanged,
    /// Not done.
    Failed(T),
}

/// A term's shard and its hash within that.
struct Address {
    shard: usize,
    hash: u32,
}

fn id_of(shard: usize, place: u32) -> u32 {
    TERM_ID_FLAG | (place << SHARD_BITS) | shard as u32
}

fn shard_of(id: u32) -> usize {
    id as usize % SHARDS
}

fn place_of(id: u32) -> u32 {
    (id & !TERM_ID_FLAG) >> SHARD_BITS
}

/// The right to change a shard, which leaves it to readers until then; none if it is not to be had
/// before long. Who holds it may be at the log.
fn claim(shard: &RwLock<Terms>, wait: bool) -> Option<RwLockUpgradableReadGuard<'_, Terms>> {
    if wait { Some(shard.upgradable_read()) } else { shard.try_upgradable_read_for(MOMENT) }
}

impl Dictionary {
    /// A dictionary without a file.
    pub(crate) fn in_memory(hasher: KeyHasher) -> Self {
        let (shards, grace, recycling) = (OnceLock::new(), Grace::default(), Mutex::new(()));
        Self { shards, grace, hasher, log: None, recycling }
    }

    /// The dictionary in a file, or an empty one if there is none. Terms stay unreferenced until
    /// [`Dictionary::count_references`].
    pub(crate) fn open(fs: &Fs, path: PathBuf, hasher: KeyHasher) -> Result<Self> {
        let mut dictionary = Self::in_memory(hasher);
        if fs.exists(&path)? {
            // Growing step by step would hash every term once more for each step.
            let bytes = fs.len(&path)? as usize / SHARDS;
            for shard in dictionary.shards() {
                shard.write().reserve(bytes / TYPICAL_TERM, bytes);
            }
        }
        let log = TermLog::open(fs, path, |id, term| {
            let Address { hash, .. } = dictionary.address(term);
            let mut terms = dictionary.shards()[shard_of(id)].write();
            // A place written twice was freed in between.
            if let Some(former) = terms.bytes(place_of(id)) {
                let former = dictionary.address(former).hash;
                terms.discard(former, place_of(id));
            }
            terms.insert_at(hash, place_of(id), term)
        })?;
        dictionary.log = Some(Mutex::new(log));
        Ok(dictionary)
    }

    fn shards(&self) -> &[RwLock<Terms>; SHARDS] {
        self.shards.get_or_init(Box::default)
    }

    /// The shards, if any term was ever interned.
    fn used_shards(&self) -> impl Iterator<Item = &RwLock<Terms>> {
        self.shards.get().into_iter().flat_map(|shards| shards.iter())
    }

    fn address(&self, term: &[u8]) -> Address {
        let fingerprint = self.hasher.fingerprint(term).0;
        Address { shard: fingerprint as usize % SHARDS, hash: (fingerprint >> 32) as u32 }
    }

    /// Whether there is nothing to count references of.
    pub(crate) fn is_empty(&self) -> bool {
        self.used_shards().all(|shard| shard.read().is_empty())
    }

    /// Whether any term was ever interned.
    pub(crate) fn is_in_use(&self) -> bool {
        self.shards.get().is_some()
    }

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

    /// Runs `put` with the term's id, interning the term if it is new, and counts a reference if
    /// it changed anything. No other change of the term comes between. None if another change has
    /// the shard, and it must not `wait`.
    pub(crate) fn with_interned<T>(
        &self,
        term: &[u8],
        wait: bool,
        put: impl FnOnce(u32) -> Routed<T>,
    ) -> Result<Option<Routed<T>>> {
        let Address { shard, hash } = self.address(term);
        // Readers of the shard do not wait for the log.
        let Some(terms) = claim(&self.shards()[shard], wait) else { return Ok(None) };
        let known = terms.find(hash, term);
        let (terms, place) = match known {
            Some(place) => (terms, place),
            None => {
                let mut terms = RwLockUpgradableReadGuard::upgrade(terms);
                if terms.has_no_free_place() && terms.has_many_passing() {
                    terms.release_some(&self.grace);
                }
                let place = terms.insert(hash, term, TERM_ID_FLAG >> SHARD_BITS)?;
                (RwLockWriteGuard::downgrade_to_upgradable(terms), place)
            }
        };
        let outcome = put(id_of(shard, place));
        let changed = matches!(outcome, Routed::Changed);
        if changed || known.is_none() {
            let mut terms = RwLockUpgradableReadGuard::upgrade(terms);
            if !changed {
                terms.discard(hash, place);
                return Ok(Some(outcome));
            }
            terms.add_reference(place);
            if known.is_none() && self.log.is_some() {
                TermLog::encode(&mut terms.unwritten, id_of(shard, place), term);
            }
        }
        Ok(Some(outcome))
    }

    /// Runs `delete` with the term's id and drops a reference if it changed anything; unchanged
    /// if the term is unknown; none as above.
    pub(crate) fn with_known<T>(
        &self,
        term: &[u8],
        wait: bool,
        mut delete: impl FnMut(u32) -> Routed<T>,
    ) -> Option<Routed<T>> {
        let Address { shard, hash } = self.address(term);
        let Some(shards) = self.shards.get() else { return Some(Routed::Unchanged) };
        // Readers of the shard do not wait for the log.
        let mut shared = claim(&shards[shard], wait)?;
        let mut outcome = Routed::Unchanged;
        for place in shared.find_all(hash, term) {
            match delete(id_of(shard, place)) {
                Routed::Unchanged => {}
                Routed::Failed(failure) => return Some(Routed::Failed(failure)),
                Routed::Changed => {
                    outcome = Routed::Changed;
                    let mut terms = RwLockUpgradableReadGuard::upgrade(shared);
                    if terms.drop_reference(place) {
                        if self.log.is_some() {
                            terms.retire([place]);
                        } else {
                            terms.unlist(hash, place);
                            terms.let_pass([place], self.grace.stamp());
                        }
                    }
                    shared = RwLockWriteGuard::downgrade_to_upgradable(terms);
                }
            }
        }
        Some(outcome)
    }

    /// Takes in that an id is this term's, as a record of the index's log says.
    pub(crate) fn define(&self, id: u32, term: &[u8]) -> Result<()> {
        let Address { hash, .. } = self.address(term);
        let (id, place) = (id | TERM_ID_FLAG, place_of(id));
        let mut terms = self.shards()[shard_of(id)].write();
        match terms.bytes(place) {
            Some(same) if same == term => return Ok(()),
            Some(former) => {
                // The place was freed in between.
                let former = self.address(former).hash;
                terms.discard(former, place);
            }
            None => {}
        }
        terms.insert_at(hash, place, term)?;
        TermLog::encode(&mut terms.unwritten, id, term);
        Ok(())
    }

    /// Looks ids up and hands their terms to `f`; none is given to another term in between. Ids
    /// that are not the dictionary's, or of no term, come without one.
    pub(crate) fn resolve<T>(
        &self,
        look_up: impl FnOnce() -> Result<(T, IdSet)>,
        mut f: impl FnMut(u32, Option<&[u8]>),
    ) -> Result<T> {
        let _reading = self.grace.enter();
        let (answer, ids) = look_up()?;
        for &id in ids.as_slice() {
            match self.shards.get() {
                Some(shards) if id & TERM_ID_FLAG != 0 => {
                    f(id, shards[shard_of(id)].read().bytes(place_of(id)));
                }
                _ => f(id, None),
            }
        }
        Ok(answer)
    }

    /// Runs a flush of all lanes. No segment leads to places retired before it after it. One at a time:
    /// a place that comes back and is retired again meanwhile must not be in the hands of two.
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

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        let shards = self.used_shards().map(|shard| shard.read().memory());
        shards.map(|bytes| bytes + size_of::<RwLock<Terms>>()).sum()
    }

    /// Lets go of everything. Whoever still flushes finds the file closed.
    pub(crate) fn clear(&self) {
        if let Some(log) = &self.log {
            log.lock().close();
        }
        for shard in self.used_shards() {
            let gone = std::mem::take(&mut *shard.write());
            drop(gone);
        }
    }
}
