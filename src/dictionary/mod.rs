//! Terms (bytes) to ids and back, for callers whose ids are not small numbers.
//!
//! A term lives as long as a key leads to it. Its id goes to another term only when nobody can
//! mistake the two. In memory that is once whoever was between looking ids up and resolving them is
//! done (`grace`). On disk it is only after no byte of any file has the id any more: an id means
//! one term in all files together, so a file that is damaged, lost or old misleads nobody. A round
//! over all lanes (`crate::round`) sees to that.
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
mod upkeep;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::chain::IdSet;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::hash::KeyHasher;
use crate::sync::atomic::{AtomicBool, Ordering};
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

/// The dictionary of one index.
#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Made with the first term: most indexes have none.
    shards: OnceLock<Box<[RwLock<Terms>; SHARDS]>>,
    /// Entered from the look-up of ids to their terms.
    grace: Grace,
    hasher: KeyHasher,
    log: Option<Mutex<TermLog>>,
    /// A shard has memory to give back.
    wasteful: AtomicBool,
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
        let (shards, grace) = (OnceLock::new(), Grace::default());
        Self { shards, grace, hasher, log: None, wasteful: AtomicBool::new(false) }
    }

    /// The dictionary in a file, or an empty one if there is none. Terms stay unreferenced until
    /// [`Dictionary::count_references`].
    pub(crate) fn open(fs: &Fs, path: PathBuf, hasher: KeyHasher) -> Result<Self> {
        let mut dictionary = Self::in_memory(hasher);
        let bytes = TermLog::read(fs, &path)?;
        if let Some(bytes) = &bytes {
            // Growing step by step would hash every term once more for each step.
            let bytes = bytes.len() / SHARDS;
            for shard in dictionary.shards() {
                shard.write().reserve(bytes / TYPICAL_TERM, bytes);
            }
        }
        let log = TermLog::open(fs, path.clone(), bytes.as_deref(), |id, term| {
            dictionary.learn(&path, id, term).map(drop)
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

    /// Whether any term was ever interned, in this process or an earlier one.
    pub(crate) fn is_in_use(&self) -> bool {
        self.shards.get().is_some()
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
                    if terms.drop_reference(place) && self.log.is_none() {
                        terms.release_idle(hash, place, self.grace.stamp());
                    }
                    if terms.has_more_idle() || terms.is_wasteful() {
                        self.wasteful.store(true, Ordering::SeqCst);
                    }
                    shared = RwLockWriteGuard::downgrade_to_upgradable(terms);
                }
            }
        }
        Some(outcome)
    }

    /// Takes in that an id is this term's, as a record of the index's log says.
    pub(crate) fn define(&self, id: u32, term: &[u8]) -> Result<()> {
        let path = self.log.as_ref().map(|log| log.lock().path().to_path_buf());
        if self.learn(&path.unwrap_or_default(), id | TERM_ID_FLAG, term)? {
            let mut terms = self.shards()[shard_of(id)].write();
            TermLog::encode(&mut terms.unwritten, id, term);
        }
        Ok(())
    }

    /// Takes in that an id is this term's; false if that was known.
    fn learn(&self, path: &Path, id: u32, term: &[u8]) -> Result<bool> {
        let Address { hash, .. } = self.address(term);
        let mut terms = self.shards()[shard_of(id)].write();
        match terms.bytes(place_of(id)) {
            None => terms.insert_at(hash, place_of(id), term).map(|()| true),
            Some(same) if same == term => Ok(false),
            Some(_) => {
                let what = format!("place {} is given to two terms", place_of(id));
                Err(Error::corrupt(path, 0, what))
            }
        }
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
}
