//! Terms (bytes) to ids and back, for callers whose ids are not small numbers.
//!
//! A term lives as long as a key leads to it. Then its id can go to another: at once in memory,
//! as readers hold the dictionary from the look-up of ids to their terms; on disk only when no
//! segment leads to it any more, that is after a whole flush, or an open.
//!
//! On disk it is a log of terms, appended and synced before any segment that leads to them is
//! published (`docs/format.md`). Reference counts are not stored: opening counts them anew.

mod log;
mod terms;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::chain::IdSet;
use crate::error::{Error, Result};
use crate::fs;
use crate::hash::KeyHasher;

pub(crate) use log::{Extent, TermLog};
use terms::Terms;

/// Ids with this bit are the dictionary's, the ones below are the caller's own.
pub const TERM_ID_FLAG: u32 = 1 << 30;
/// Bytes that a term of some thirty bytes takes in the log.
const TYPICAL_TERM: usize = 48;

/// The dictionary of one index.
#[derive(Debug)]
pub(crate) struct Dictionary {
    terms: RwLock<Terms>,
    hasher: KeyHasher,
    log: Option<Mutex<TermLog>>,
    /// Set with the first term, for good.
    in_use: AtomicBool,
}

/// What a change of routes through the dictionary came to.
pub(crate) enum Routed<T> {
    Changed,
    Unchanged,
    /// Not done.
    Failed(T),
}

impl Dictionary {
    /// A dictionary without a file.
    pub(crate) fn in_memory(hasher: KeyHasher) -> Self {
        Self { terms: RwLock::default(), hasher, log: None, in_use: AtomicBool::new(false) }
    }

    /// The dictionary in a file, or an empty one if there is none. Terms stay unreferenced until
    /// [`Dictionary::count_references`].
    pub(crate) fn open(path: PathBuf, hasher: KeyHasher) -> Result<Self> {
        let mut terms = Terms::default();
        if fs::exists(&path)? {
            // Growing step by step would hash every term once more for each step.
            let bytes = fs::len(&path)? as usize;
            terms.arena.reserve(bytes);
            terms.table.reserve(bytes / TYPICAL_TERM, |_| 0);
        }
        let log = TermLog::open(path, |place, term| {
            // A place written twice was freed in between.
            terms.forget(&hasher, place);
            terms.insert_at(&hasher, place, term)
        })?;
        let in_use = AtomicBool::new(!terms.table.is_empty());
        Ok(Self { terms: RwLock::new(terms), hasher, log: Some(Mutex::new(log)), in_use })
    }

    /// Whether there is nothing to count references of.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.read().table.is_empty()
    }

    /// Whether any term was ever interned.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    /// Takes in how many keys lead to each id, then frees the terms that none leads to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a key leads to a term that is not in the file.
    pub(crate) fn count_references(
        &self,
        scan: impl FnOnce(&mut dyn FnMut(&[u32])) -> Result<()>,
    ) -> Result<()> {
        let mut terms = self.terms.write();
        let mut stray = None;
        scan(&mut |ids| {
            for id in ids.iter().filter(|&id| id & TERM_ID_FLAG != 0) {
                if !terms.count_reference(id & !TERM_ID_FLAG) {
                    stray = Some(*id);
                }
            }
        })?;
        if let (Some(id), Some(log)) = (stray, &self.log) {
            let what = format!("it lacks the term with id {id}, which a key leads to");
            return Err(Error::corrupt(log.lock().path(), 0, what));
        }
        for place in 0..terms.entries.len() as u32 {
            if terms.entries[place as usize].references == 0 {
                terms.forget(&self.hasher, place);
                terms.free.push(place);
            }
        }
        if let Some(log) = self.log.as_ref().filter(|_| terms.garbage * 2 > terms.arena.len()) {
            terms.pack();
            let places = 0..terms.entries.len() as u32;
            log.lock().rewrite(places.filter_map(|p| terms.bytes(p).map(|term| (p, term))))?;
        }
        Ok(())
    }

    /// Runs `put` with the term's id, interning the term if it is new, and counts a reference if
    /// it changed anything. No other change of the dictionary comes between.
    pub(crate) fn with_interned<T>(
        &self,
        term: &[u8],
        put: impl FnOnce(u32) -> Routed<T>,
    ) -> Result<Routed<T>> {
        let mut terms = self.terms.write();
        self.in_use.store(true, Ordering::Release);
        let known = terms.find(&self.hasher, term);
        let place = match known {
            Some(place) => place,
            None => terms.insert(&self.hasher, term)?,
        };
        let outcome = put(TERM_ID_FLAG | place);
        if matches!(outcome, Routed::Changed) {
            terms.entries[place as usize].references += 1;
            if known.is_none() && self.log.is_some() {
                TermLog::encode(&mut terms.unwritten, place, term);
            }
        } else if known.is_none() {
            // Nobody has seen the id: it can be had again at once.
            terms.forget(&self.hasher, place);
            terms.free.push(place);
        }
        Ok(outcome)
    }

    /// Runs `delete` with the term's id and drops a reference if it changed anything; unchanged
    /// if the term is unknown.
    ///
    /// After a crash one term may be there twice, forgotten and interned again; both count.
    pub(crate) fn with_known<T>(
        &self,
        term: &[u8],
        mut delete: impl FnMut(u32) -> Routed<T>,
    ) -> Routed<T> {
        let mut terms = self.terms.write();
        let mut outcome = Routed::Unchanged;
        for place in terms.find_all(&self.hasher, term) {
            match delete(TERM_ID_FLAG | place) {
                Routed::Unchanged => {}
                Routed::Failed(failure) => return Routed::Failed(failure),
                Routed::Changed => {
                    outcome = Routed::Changed;
                    let entry = &mut terms.entries[place as usize];
                    entry.references = entry.references.saturating_sub(1);
                    if entry.references == 0 {
                        terms.forget(&self.hasher, place);
                        if self.log.is_some() {
                            terms.freed.push(place);
                        } else {
                            terms.free.push(place);
                        }
                    }
                }
            }
        }
        outcome
    }

    /// Looks ids up and hands their terms to `f`, with no change of the dictionary in between.
    /// Ids that are not the dictionary's come with no term, as do those of forgotten terms.
    pub(crate) fn resolve<T>(
        &self,
        look_up: impl FnOnce() -> Result<(T, IdSet)>,
        mut f: impl FnMut(u32, Option<&[u8]>),
    ) -> Result<T> {
        let terms = self.terms.read();
        let (answer, ids) = look_up()?;
        for &id in ids.as_slice() {
            let place = (id & TERM_ID_FLAG != 0).then_some(id & !TERM_ID_FLAG);
            f(id, place.and_then(|place| terms.bytes(place)));
        }
        Ok(answer)
    }

    /// Appends what is new to the log and syncs it: after this, everything interned before is on
    /// stable storage. Answers how much of the log there is.
    pub(crate) fn persist(&self) -> Result<Extent> {
        let Some(log) = &self.log else { return Ok(Extent::default()) };
        let mut log = log.lock();
        let batch = std::mem::take(&mut self.terms.write().unwritten);
        if let Err(e) = log.append(&batch) {
            self.terms.write().unwritten.splice(0..0, batch);
            return Err(e);
        }
        Ok(log.extent())
    }

    /// Whether the log holds all that a lane relies on.
    pub(crate) fn check_extent(&self, relied_on: Extent) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| {
            let log = log.lock();
            log.extent().check(log.path(), relied_on)
        })
    }

    /// Runs a flush of all lanes. Places freed before it can be used again after it.
    pub(crate) fn recycle_around(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let freed = std::mem::take(&mut self.terms.write().freed);
        let flushed = flush();
        let mut terms = self.terms.write();
        if flushed.is_ok() {
            terms.free.extend(freed);
        } else {
            terms.freed.extend(freed);
        }
        flushed
    }

    /// Whether [`Dictionary::pack`] would give much memory back.
    pub(crate) fn is_wasteful(&self) -> bool {
        self.terms.read().is_wasteful()
    }

    /// Gives back the memory of forgotten terms.
    pub(crate) fn pack(&self) {
        self.terms.write().pack();
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        self.terms.read().memory()
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *self.terms.write());
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;

    fn hasher() -> KeyHasher {
        KeyHasher::new(&HashKey([7; 16]))
    }

    fn intern(dictionary: &Dictionary, term: &[u8]) -> u32 {
        let mut given = 0;
        let routed = dictionary.with_interned(term, |id| {
            given = id;
            Routed::<()>::Changed
        });
        assert!(matches!(routed, Ok(Routed::Changed)));
        given
    }

    fn release(dictionary: &Dictionary, term: &[u8]) {
        let routed = dictionary.with_known(term, |_| Routed::<()>::Changed);
        assert!(matches!(routed, Routed::Changed));
    }

    fn term(dictionary: &Dictionary, id: u32) -> Option<Vec<u8>> {
        let mut found = None;
        let look_up = || Ok(((), IdSet::One(id)));
        dictionary.resolve(look_up, |_, term| found = term.map(<[u8]>::to_vec)).expect("resolved");
        found
    }

    #[test]
    fn a_term_lives_as_long_as_its_references() {
        let dictionary = Dictionary::in_memory(hasher());
        let id = intern(&dictionary, b"shape");
        assert_eq!(intern(&dictionary, b"shape"), id);
        release(&dictionary, b"shape");
        assert_eq!(term(&dictionary, id).as_deref(), Some(&b"shape"[..]));
        release(&dictionary, b"shape");
        assert_eq!(term(&dictionary, id), None);
        let gone = dictionary.with_known(b"shape", |_| Routed::<()>::Changed);
        assert!(matches!(gone, Routed::Unchanged));
        // In memory its id can be had at once.
        assert_eq!(intern(&dictionary, b"other"), id);
    }

    #[test]
    fn a_change_that_was_not_made_leaves_no_trace() {
        let dictionary = Dictionary::in_memory(hasher());
        let _ = dictionary.with_interned(b"busy", |_| Routed::Failed(()));
        assert!(dictionary.is_empty());
        let unchanged = dictionary.with_interned(b"same", |_| Routed::<()>::Unchanged);
        assert!(matches!(unchanged, Ok(Routed::Unchanged)));
        assert!(dictionary.is_empty());
    }

    #[test]
    fn packing_keeps_every_term() {
        let dictionary = Dictionary::in_memory(hasher());
        let ids: Vec<u32> = (0..1000_u32).map(|i| intern(&dictionary, &i.to_le_bytes())).collect();
        for i in (0..1000_u32).filter(|i| i % 3 != 0) {
            release(&dictionary, &i.to_le_bytes());
        }
        dictionary.pack();
        for (i, id) in (0..1000_u32).zip(ids) {
            let expected = (i % 3 == 0).then(|| i.to_le_bytes().to_vec());
            assert_eq!(term(&dictionary, id), expected);
        }
        assert_eq!(intern(&dictionary, &3_u32.to_le_bytes()) & TERM_ID_FLAG, TERM_ID_FLAG);
    }

    #[test]
    fn the_file_brings_terms_back_and_frees_the_unused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        let first = Dictionary::open(path.clone(), hasher()).expect("new");
        let kept = intern(&first, b"kept");
        let unused = intern(&first, b"unused");
        first.persist().expect("persist");
        drop(first);

        let second = Dictionary::open(path, hasher()).expect("reopened");
        second
            .count_references(|count| {
                count(&[5, kept]);
                Ok(())
            })
            .expect("sound");
        assert_eq!(term(&second, kept).as_deref(), Some(&b"kept"[..]));
        assert_eq!(term(&second, unused), None);
        assert_eq!(intern(&second, b"next"), unused);
    }

    #[test]
    fn on_disk_an_id_is_used_again_after_a_whole_flush() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let dictionary = Dictionary::open(dir.path().join("TERMS"), hasher()).expect("new");
        let first = intern(&dictionary, b"first");
        release(&dictionary, b"first");
        assert_ne!(intern(&dictionary, b"second"), first);
        let failed = dictionary.recycle_around(|| Err(Error::Closed));
        assert!(failed.is_err());
        assert_ne!(intern(&dictionary, b"third"), first);
        dictionary.recycle_around(|| Ok(())).expect("flushed");
        assert_eq!(intern(&dictionary, b"fourth"), first);
    }

    #[test]
    fn a_missing_term_is_damage() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let dictionary = Dictionary::open(dir.path().join("TERMS"), hasher()).expect("new");
        let counted = dictionary.count_references(|count| {
            count(&[TERM_ID_FLAG | 3]);
            Ok(())
        });
        assert!(matches!(counted, Err(Error::Corrupt { .. })));
    }
}
