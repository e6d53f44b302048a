//! A batch on its way into the overlays of several lanes: readers see nothing of it, and from one
//! moment on all of it, although it is made lane by lane.
//!
//! Each lane is told of its part first, shows its keys in the filter that readers ask, and has those that
//! find one there come under its lock. Then the batch is shown, by one flag for all lanes: from now on its
//! records stand before those of the active overlays. Then they are made there, some at a time, and the
//! lane forgets its part. All the while the gates are held, so the active overlay changes by the batch
//! alone; flushes and merges concern only what lies below.

use std::sync::Arc;

use crate::hash::Fingerprint;
use crate::overlay::Overlay;
use crate::record::{Record, RecordRef};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Whether a batch is shown, to all of its lanes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curtain(Arc<AtomicBool>);

impl Curtain {
    /// The moment at which the batch shows.
    pub(crate) fn lift(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One lane's part of a batch.
#[derive(Debug)]
pub(crate) struct Incoming {
    curtain: Curtain,
    /// What the active overlay will have; a tombstone also for what it will have nothing of, where no
    /// layer below has. Ascending.
    records: Box<[(Fingerprint, Record)]>,
}

impl Incoming {
    /// `records` ascend.
    pub(crate) fn new(curtain: Curtain, records: Box<[(Fingerprint, Record)]>) -> Self {
        debug_assert!(records.is_sorted_by(|a, b| a.0 < b.0));
        Self { curtain, records }
    }

    fn is_shown(&self) -> bool {
        self.curtain.0.load(Ordering::SeqCst)
    }

    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = Fingerprint> + Clone {
        self.records.iter().map(|(key, _)| *key)
    }

    /// The key's record, once the batch is shown.
    pub(crate) fn get(&self, key: Fingerprint) -> Option<RecordRef<'_>> {
        if !self.is_shown() {
            return None;
        }
        let at = self.records.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(self.records[at].1.as_ref())
    }

    /// Makes the changes in a copy of the active overlay, once the batch is shown.
    pub(crate) fn add_to(&self, copy: &mut Overlay) {
        if self.is_shown() {
            for (key, record) in &self.records {
                let replace = |old: &mut Record| {
                    *old = record.clone();
                    true
                };
                copy.update(*key, || Record::Tombstone, replace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Ids;

    #[test]
    fn nothing_is_seen_until_it_is_shown() {
        let curtain = Curtain::default();
        let records = [(3, Record::One(7)), (5, Record::Tombstone)];
        let records = records.map(|(key, record)| (Fingerprint(key), record));
        let incoming = Incoming::new(curtain.clone(), records.into());
        let seen = |key| incoming.get(Fingerprint(key));
        assert!([3, 4, 5].into_iter().all(|key| seen(key).is_none()));
        let mut copy = Overlay::default();
        incoming.add_to(&mut copy);
        assert!(copy.is_empty());
        curtain.lift();
        incoming.add_to(&mut copy);
        assert_eq!(copy.record(Fingerprint(3)), Some(Record::One(7)));
        assert_eq!((copy.record(Fingerprint(5)), copy.len()), (Some(Record::Tombstone), 2));
        assert!(matches!(seen(3), Some(RecordRef::Complete(Ids::One(7)))));
        assert!(seen(4).is_none());
        assert!(matches!(seen(5), Some(RecordRef::Tombstone)));
    }
}
