//! The mutable table of a lane's recent changes.

use hashbrown::HashTable;

use crate::hash::Fingerprint;
use crate::presence::Presence;
use crate::record::{Ids, Record, RecordRef};
use crate::word::{Unpacked, Word};

/// Fingerprint to record: 12 bytes a key in the table, lists of ids beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    table: HashTable<Entry>,
    lists: Vec<Record>,
    free: Vec<u32>,
    weight: usize,
    /// What readers ask first: it has every key of the table, and some that left it.
    presence: Presence,
    /// Keys that `presence` was told of since it was made.
    shown: usize,
}

/// A filter with more keys, and how many it was told of.
#[derive(Debug)]
pub(crate) struct Announcement {
    presence: Presence,
    shown: usize,
}

/// The fingerprint in two halves, so that an entry takes 12 bytes and not 16.
#[derive(Clone, Copy, Debug)]
struct Entry {
    high: u32,
    low: u32,
    word: Word,
}

impl Entry {
    fn new(fingerprint: Fingerprint, word: Word) -> Self {
        Self { high: (fingerprint.0 >> 32) as u32, low: fingerprint.0 as u32, word }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint((u64::from(self.high) << 32) | u64::from(self.low))
    }
}

/// The table's hash: the fingerprint with the bits that the lane fixes moved out of the ends,
/// which are the ones hashbrown looks at.
#[inline]
fn spread(fingerprint: Fingerprint) -> u64 {
    fingerprint.0.rotate_right(22)
}

impl Overlay {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Keys plus listed ids: what the flush threshold is compared with.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        let lists: usize = self.lists.iter().map(Record::allocated).sum();
        self.table.allocation_size()
            + self.lists.capacity() * size_of::<Record>()
            + self.free.capacity() * size_of::<u32>()
            + lists
            + self.presence.memory()
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// A copy of the key's record.
    pub(crate) fn record(&self, fingerprint: Fingerprint) -> Option<Record> {
        let entry = self.table.find(spread(fingerprint), |e| e.fingerprint() == fingerprint)?;
        Some(match entry.word.unpack() {
            Unpacked::Tombstone => Record::Tombstone,
            Unpacked::Id(id) => Record::One(id),
            Unpacked::Offset(at) => self.lists[at as usize].clone(),
        })
    }

    #[inline]
    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Option<RecordRef<'_>> {
        self.table
            .find(spread(fingerprint), |e| e.fingerprint() == fingerprint)
            .map(|entry| self.expand(entry.word))
    }

    fn expand(&self, word: Word) -> RecordRef<'_> {
        match word.unpack() {
            Unpacked::Tombstone => RecordRef::Tombstone,
            Unpacked::Id(id) => RecordRef::Complete(Ids::One(id)),
            Unpacked::Offset(at) => self.lists[at as usize].as_ref(),
        }
    }

    /// Changes the key's record in place, starting from `start` if the key is new here.
    /// The key is dropped from the overlay if `change` returns false.
    pub(crate) fn update(
        &mut self,
        fingerprint: Fingerprint,
        start: impl FnOnce() -> Record,
        change: impl FnOnce(&mut Record) -> bool,
    ) {
        let mut record = self.take(fingerprint).unwrap_or_else(start);
        if change(&mut record) {
            self.set(fingerprint, record);
        }
    }

    fn take(&mut self, fingerprint: Fingerprint) -> Option<Record> {
        let found =
            self.table.find_entry(spread(fingerprint), |e| e.fingerprint() == fingerprint).ok()?;
        let word = found.remove().0.word;
        let record = match word.unpack() {
            Unpacked::Tombstone => Record::Tombstone,
            Unpacked::Id(id) => Record::One(id),
            Unpacked::Offset(at) => {
                self.free.push(at);
                std::mem::replace(&mut self.lists[at as usize], Record::Tombstone)
            }
        };
        self.weight -= 1 + record.list_len();
        Some(record)
    }

    /// Stores the record of a key that is not in the table.
    fn set(&mut self, fingerprint: Fingerprint, record: Record) {
        self.weight += 1 + record.list_len();
        let word = match record {
            Record::Tombstone => Word::TOMBSTONE,
            Record::One(id) => Word::id(id),
            listed => match self.free.pop() {
                Some(at) => {
                    self.lists[at as usize] = listed;
                    Word::offset(at)
                }
                None => {
                    self.lists.push(listed);
                    Word::offset((self.lists.len() - 1) as u32)
                }
            },
        };
        self.table.insert_unique(spread(fingerprint), Entry::new(fingerprint, word), |e| {
            spread(e.fingerprint())
        });
        if !self.presence.may_have(fingerprint) {
            self.announce(self.announcement(std::iter::once(fingerprint)));
        }
    }

    /// What lets readers know of keys that are in the table, or will be before others are announced:
    /// made while they read, and given to [`Overlay::announce`] before anything else changes.
    pub(crate) fn announcement(
        &self,
        keys: impl ExactSizeIterator<Item = Fingerprint>,
    ) -> Announcement {
        let (mut presence, mut shown) = (self.presence.clone(), self.shown);
        if shown + keys.len() > presence.room() {
            // For twice as many as there are. Those that left the table are forgotten.
            shown = self.table.len();
            presence = Presence::for_keys(2 * (shown + keys.len()));
            self.table.iter().for_each(|entry| presence.add(entry.fingerprint()));
        }
        shown += keys.len();
        keys.for_each(|key| presence.add(key));
        Announcement { presence, shown }
    }

    /// Lets them know. Who holds the lock for it has little to do.
    pub(crate) fn announce(&mut self, announcement: Announcement) {
        Announcement { presence: self.presence, shown: self.shown } = announcement;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fingerprint, RecordRef<'_>)> {
        self.table.iter().map(|entry| (entry.fingerprint(), self.expand(entry.word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(overlay: &mut Overlay, key: u64, id: u32) {
        overlay.update(
            Fingerprint(key),
            || Record::Tombstone,
            |record| {
                record.put(id);
                true
            },
        );
    }

    fn ids(overlay: &Overlay, key: u64) -> Option<Vec<u32>> {
        match overlay.get(Fingerprint(key))? {
            RecordRef::Complete(ids) => Some(ids.iter().collect()),
            _ => Some(vec![]),
        }
    }

    #[test]
    fn an_entry_takes_twelve_bytes() {
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn weight_counts_keys_and_listed_ids() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 1, 10);
        assert_eq!(overlay.weight(), 1);
        put(&mut overlay, 1, 11);
        put(&mut overlay, 1, 12);
        assert_eq!((overlay.weight(), overlay.len()), (4, 1));
        assert_eq!(ids(&overlay, 1), Some(vec![10, 11, 12]));
        overlay.update(Fingerprint(1), || unreachable!(), |_| false);
        assert_eq!((overlay.weight(), overlay.len(), ids(&overlay, 1)), (0, 0, None));
    }

    #[test]
    fn list_places_are_used_again() {
        let mut overlay = Overlay::default();
        for round in 0..100 {
            put(&mut overlay, 7, round);
            put(&mut overlay, 7, round + 1000);
        }
        assert_eq!(overlay.lists.len(), 1);
    }

    #[test]
    fn keys_that_differ_in_either_half_are_apart() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 1, 1);
        put(&mut overlay, 1 << 32, 2);
        assert_eq!(ids(&overlay, 1), Some(vec![1]));
        assert_eq!(ids(&overlay, 1 << 32), Some(vec![2]));
        assert_eq!(overlay.iter().count(), 2);
    }
}
