//! Terms (bytes) to ids and back, for callers whose ids are not small numbers.
//!
//! A term lives as long as a key leads to it. Its id goes to another term only when nobody can
//! mistake the two. In memory that is once whoever was between looking ids up and resolving them is
//! done (`grace`). On disk it is only after no byte of any file has the id any more: an id means
//! one term in all files together, so a file that is damaged, lost or old misleads nobody. A round
//! over all lanes (`crate::round`) sees to that.
//!
//! Terms are dealt to shards by hash, so that the growth of one table or the packing of one arena
//! holds nobody up for longer than a millisecond, even with millions of terms.
//!
//! On disk it is a log of terms, appended and synced before any segment that leads to them is
//! published (`docs/format.md`). Reference counts are not stored: opening counts them anew.

mod arena;
mod log;
mod members;
mod namespaces;
mod places;
mod scope;
mod table;
mod terms;
#[cfg(test)]
mod tests;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::IdSet;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::grace::{Grace, Stay};
use crate::hash::KeyHasher;
use crate::mmap::MappedBytes;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{MOMENT, Mutex, OnceLock, RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};
pub(crate) use log::{Extent, TermLog};
pub(crate) use namespaces::Unsettled;
pub(crate) use scope::Scope;
use terms::Terms;

/// Ids with this bit are the dictionary's, the ones below are the caller's own.
pub const TERM_ID_FLAG: u32 = 1 << 30;

/// An id without its flag: the place in a shard above, the shard below.
const SHARD_BITS: u32 = 8;
pub(crate) const SHARDS: usize = 1 << SHARD_BITS;

/// Bytes of terms that are read while writers of their shard wait, and what each look is worth.
const MOST_AT_ONCE: usize = 8 << 10;
const LOOK: usize = 100;

/// Made when its first term comes.
type Shard = OnceLock<Box<RwLock<Terms>>>;

/// The dictionary of one index.
#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Made with the first term: most indexes have none.
    shards: OnceLock<Box<[Shard]>>,
    /// Entered from the look-up of ids to their terms.
    grace: Arc<Grace>,
    hasher: KeyHasher,
    log: Option<Mutex<TermLog>>,
    /// A shard has memory to give back.
    wasteful: AtomicBool,
    /// What keys lead to is known. Until then nothing is interned or dropped.
    settled: AtomicBool,
}

/// What a change of routes through the dictionary came to.
pub(crate) enum Routed<T> {
    /// The number of terms that got their first key or lost their last: one at the most, but after
    /// a crash.
    Changed(u32),
    Unchanged,
    /// Not done.
    Failed(T),
}

/// What became of a change that leads a key to an id, or away: whether it changed anything, or why
/// it was not made.
pub(crate) type Made<T> = std::result::Result<bool, T>;

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
        Self {
            shards: OnceLock::new(),
            grace: Arc::default(),
            hasher,
            log: None,
            wasteful: AtomicBool::new(false),
            settled: AtomicBool::new(true),
        }
    }

    /// The dictionary in a file, or an empty one if there is none. Nothing can be changed until
    /// references were counted and it was settled.
    pub(crate) fn open(fs: &Fs, path: PathBuf, hasher: KeyHasher) -> Result<Self> {
        let mut dictionary = Self::in_memory(hasher);
        dictionary.settled = AtomicBool::new(false);
        let bytes = match fs.exists(&path)? {
            true => Some(MappedBytes::open(fs, &path)?),
            false => None,
        };
        if bytes.is_some() {
            dictionary.shards();
        }
        let log = TermLog::open(fs, path.clone(), bytes.as_deref(), |id, term| {
            dictionary.learn(&path, id, term).map(drop)
        })?;
        dictionary.log = Some(Mutex::new(log));
        Ok(dictionary)
    }

    fn shards(&self) -> &[Shard] {
        self.shards.get_or_init(|| std::iter::repeat_with(Shard::default).take(SHARDS).collect())
    }

    fn shard(&self, number: usize) -> &RwLock<Terms> {
        self.shards()[number].get_or_init(Box::default)
    }

    fn used_shard(&self, number: usize) -> Option<&RwLock<Terms>> {
        self.shards.get()?[number].get().map(Box::as_ref)
    }

    /// The shards with terms, or that had some.
    fn used_shards(&self) -> impl Iterator<Item = (usize, &RwLock<Terms>)> {
        (0..SHARDS).filter_map(|number| Some((number, self.used_shard(number)?)))
    }

    fn address(&self, term: &[u8]) -> Address {
        let fingerprint = self.hasher.fingerprint(term).0;
        Address { shard: fingerprint as usize % SHARDS, hash: (fingerprint >> 32) as u32 }
    }

    fn hash_of(&self) -> impl Fn(&[u8]) -> u32 {
        |term| self.address(term).hash
    }

    /// Whether any term was ever interned, in this process or an earlier one.
    pub(crate) fn is_in_use(&self) -> bool {
        self.shards.get().is_some()
    }

    /// Runs `put` with the term's id, interning the term if it is new, and counts a reference if
    /// it changed anything. No other change of the term comes between. None if another change has
    /// the shard, and it must not `wait`, or if the dictionary is not settled.
    pub(crate) fn with_interned<T>(
        &self,
        term: &[u8],
        wait: bool,
        put: impl FnOnce(u32) -> Made<T>,
    ) -> Result<Option<Routed<T>>> {
        if !self.is_settled() {
            return Ok(None);
        }
        let Address { shard, hash } = self.address(term);
        // Readers of the shard do not wait for the log.
        let Some(terms) = claim(self.shard(shard), wait) else { return Ok(None) };
        let known = terms.find(hash, term);
        let (terms, place) = match known {
            Some(place) => (terms, place),
            None => {
                let mut terms = RwLockUpgradableReadGuard::upgrade(terms);
                if terms.needs_places() {
                    terms.release_some(&self.grace);
                }
                let place = terms.insert(hash, term, self.hash_of())?;
                (RwLockWriteGuard::downgrade_to_upgradable(terms), place)
            }
        };
        let made = put(id_of(shard, place));
        let changed = matches!(made, Ok(true));
        let mut first = false;
        if changed || known.is_none() {
            let mut terms = RwLockUpgradableReadGuard::upgrade(terms);
            if changed {
                first = terms.add_reference(place).unwrap_or_default();
                if known.is_none() && self.log.is_some() {
                    TermLog::encode(&mut terms.unwritten, id_of(shard, place), term);
                }
            } else {
                terms.discard(place, self.hash_of());
            }
        }
        Ok(Some(match made {
            Ok(true) => Routed::Changed(first.into()),
            Ok(false) => Routed::Unchanged,
            Err(failure) => Routed::Failed(failure),
        }))
    }

    /// Runs `delete` with the term's id and drops a reference if it changed anything; unchanged
    /// if the term is unknown; none as above.
    pub(crate) fn with_known<T>(
        &self,
        term: &[u8],
        wait: bool,
        mut delete: impl FnMut(u32) -> Made<T>,
    ) -> Option<Routed<T>> {
        if !self.is_settled() {
            return None;
        }
        let Address { shard, hash } = self.address(term);
        let Some(terms) = self.used_shard(shard) else { return Some(Routed::Unchanged) };
        // Readers of the shard do not wait for the log.
        let mut shared = claim(terms, wait)?;
        let (mut changed, mut last) = (false, 0);
        for place in shared.find_all(hash, term) {
            match delete(id_of(shard, place)) {
                Ok(false) => {}
                Err(failure) => return Some(Routed::Failed(failure)),
                Ok(true) => {
                    changed = true;
                    let mut terms = RwLockUpgradableReadGuard::upgrade(shared);
                    last += u32::from(self.drop_reference(&mut terms, place, Some(hash)));
                    shared = RwLockWriteGuard::downgrade_to_upgradable(terms);
                }
            }
        }
        Some(if changed { Routed::Changed(last) } else { Routed::Unchanged })
    }

    /// Counts one key less; true if it was the last one. The term's hash need not be known.
    fn drop_reference(&self, terms: &mut Terms, place: u32, hash: Option<u32>) -> bool {
        let last = terms.drop_reference(place);
        if last && self.log.is_none() {
            let of_term = || terms.bytes(place).map_or(0, self.hash_of());
            terms.release_idle(place, hash.unwrap_or_else(of_term), self.grace.stamp());
        }
        if terms.has_more_to_release() {
            self.wasteful.store(true, Ordering::SeqCst);
        }
        last
    }

    /// Takes in that an id is this term's, as a record of the index's log says.
    pub(crate) fn define(&self, id: u32, term: &[u8]) -> Result<()> {
        let path = self.log.as_ref().map(|log| log.lock().path().to_path_buf());
        if self.learn(&path.unwrap_or_default(), id | TERM_ID_FLAG, term)? {
            let mut terms = self.shard(shard_of(id)).write();
            TermLog::encode(&mut terms.unwritten, id, term);
        }
        Ok(())
    }

    /// Takes in that an id is this term's; false if that was known.
    fn learn(&self, path: &Path, id: u32, term: &[u8]) -> Result<bool> {
        if place_of(id) >= table::MAX_PLACES {
            let what = format!("place {} is out of range", id & !TERM_ID_FLAG);
            return Err(Error::corrupt(path, 0, what));
        }
        let mut terms = self.shard(shard_of(id)).write();
        match terms.bytes(place_of(id)) {
            None => terms.insert_at(place_of(id), term).map(|()| true),
            Some(same) if same == term => Ok(false),
            Some(_) => {
                let what = format!("place {} is given to two terms", id & !TERM_ID_FLAG);
                Err(Error::corrupt(path, 0, what))
            }
        }
    }

    /// Does what takes ids to mean the same all the while: none that keys led to when it began is
    /// given to another term.
    pub(crate) fn unmistaken<T>(&self, f: impl FnOnce() -> T) -> T {
        let _reading = self.grace.enter();
        f()
    }

    /// From now on until that is dropped, no id that keys led to is given to another term.
    pub(crate) fn stay(&self) -> Stay {
        self.grace.stay()
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
        let shard = |id: u32| (id & TERM_ID_FLAG != 0).then(|| shard_of(id));
        // Listings of namespaces have the terms of a shard one after the other.
        for some in ids.as_slice().chunk_by(|a, b| shard(*a) == shard(*b)) {
            let terms = shard(some[0]).and_then(|shard| self.used_shard(shard));
            let (mut held, mut left) = (None, 0);
            for &id in some {
                if left == 0 {
                    // Let go of first: writers get their turn.
                    drop(held.take());
                    (held, left) = (terms.map(|terms| terms.read()), MOST_AT_ONCE);
                }
                let term = held.as_ref().and_then(|terms| terms.bytes(place_of(id)));
                left = left.saturating_sub(term.map_or(0, <[u8]>::len) + LOOK);
                f(id, term);
            }
        }
        Ok(answer)
    }
}
