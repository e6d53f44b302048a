//! The mutable table of a lane's recent changes. One writer changes it, under the lane's lock; which keys
//! it has, and those of one id or none, readers see without that.

mod presence;
mod slots;

use slots::Slots;

use crate::hash::Fingerprint;
use crate::record::{Ids, Record, RecordRef};
use crate::word::{Unpacked, Word};

pub(crate) use presence::Presence;

/// Fingerprint to record: 12 bytes a slot of the table, lists of ids beside it.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    shown: Shown,
    /// Slots of the table that were given to keys, also those of which there is nothing to say now.
    used: usize,
    /// Keys of which there is.
    len: usize,
    lists: Vec<Record>,
    free: Vec<u32>,
    weight: usize,
}

/// What readers see of an overlay. A clone is the same, as it is then, and goes on showing what changes
/// until the overlay needs more room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Asked first: it has every key of the table, and some that left it.
    presence: Presence,
    slots: Slots,
}

/// What an overlay says of a key without its lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    Nothing,
    /// All there is.
    Record(RecordRef<'static>),
    /// A list, for which the lock is needed.
    Listed,
}

impl Shown {
    /// With room for that many keys.
    fn for_keys(keys: usize) -> Self {
        let slots = Slots::for_keys(keys);
        Self { presence: Presence::for_keys(slots.room()), slots }
    }

    /// What it shows now, apart from it.
    fn copy(&self) -> Self {
        Self { presence: self.presence.copy(), slots: self.slots.copy() }
    }

    /// Whether both are one and the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.slots.is(&other.slots)
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// False if the overlay never had the key; true nearly always means that it had.
    #[inline]
    pub(crate) fn may_have(&self, fingerprint: Fingerprint) -> bool {
        self.presence.may_have(fingerprint)
    }

    /// What there is to say of the key.
    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Seen {
        match self.slots.get(fingerprint).map(Word::unpack) {
            None => Seen::Nothing,
            Some(Unpacked::Tombstone) => Seen::Record(RecordRef::Tombstone),
            Some(Unpacked::Id(id)) => Seen::Record(RecordRef::Complete(Ids::One(id))),
            Some(Unpacked::Offset(_)) => Seen::Listed,
        }
    }
}

impl Overlay {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same once more: what is changed here from now on does not show there.
    pub(crate) fn copy(&self) -> Self {
        let Self { ref shown, used, len, ref lists, ref free, weight } = *self;
        let (lists, free) = (lists.clone(), free.clone());
        Self { shown: shown.copy(), used, len, lists, free, weight }
    }

    /// Keys plus listed ids: what the flush threshold is compared with.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        let lists: usize = self.lists.iter().map(Record::allocated).sum();
        self.shown.slots.memory()
            + self.lists.capacity() * size_of::<Record>()
            + self.free.capacity() * size_of::<u32>()
            + lists
            + self.shown.presence.memory()
    }

    /// What readers are to see.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// A copy of the key's record.
    pub(crate) fn record(&self, fingerprint: Fingerprint) -> Option<Record> {
        Some(match self.shown.slots.get(fingerprint)?.unpack() {
            Unpacked::Tombstone => Record::Tombstone,
            Unpacked::Id(id) => Record::One(id),
            Unpacked::Offset(at) => self.lists[at as usize].clone(),
        })
    }

    #[inline]
    pub(crate) fn get(&self, fingerprint: Fingerprint) -> Option<RecordRef<'_>> {
        self.shown.slots.get(fingerprint).map(|word| self.expand(word))
    }

    fn expand(&self, word: Word) -> RecordRef<'_> {
        match word.unpack() {
            Unpacked::Tombstone => RecordRef::Tombstone,
            Unpacked::Id(id) => RecordRef::Complete(Ids::One(id)),
            Unpacked::Offset(at) => self.lists[at as usize].as_ref(),
        }
    }

    /// Changes the key's record, starting from `start` if the key is new here. The key is dropped from
    /// the overlay if `change` returns false. Readers see the record of before, and then the new one.
    pub(crate) fn update(
        &mut self,
        fingerprint: Fingerprint,
        start: impl FnOnce() -> Record,
        change: impl FnOnce(&mut Record) -> bool,
    ) {
        let before = self.shown.slots.get(fingerprint).map(Word::unpack);
        let mut record = match before {
            None => start(),
            Some(Unpacked::Tombstone) => Record::Tombstone,
            Some(Unpacked::Id(id)) => Record::One(id),
            Some(Unpacked::Offset(at)) => {
                std::mem::replace(&mut self.lists[at as usize], Record::Tombstone)
            }
        };
        let was = before.map(|_| 1 + record.list_len());
        if let Some(Unpacked::Offset(at)) = before {
            self.free.push(at);
        }
        let is = change(&mut record).then(|| 1 + record.list_len());
        // The word of before stays until there is the new one: nobody sees the key gone meanwhile.
        let word = is.map(|_| self.keep(record));
        self.say(fingerprint, word);
        self.len = self.len + usize::from(is.is_some()) - usize::from(was.is_some());
        self.weight = self.weight + is.unwrap_or_default() - was.unwrap_or_default();
    }

    /// The word of a record, which is kept if it is a list.
    fn keep(&mut self, record: Record) -> Word {
        match record {
            Record::Tombstone => Word::TOMBSTONE,
            Record::One(id) => Word::id(id),
            // At the place of the list before, if there was one.
            listed => match self.free.pop() {
                Some(at) => {
                    self.lists[at as usize] = listed;
                    Word::offset(at)
                }
                None => {
                    self.lists.push(listed);
                    Slots::list(self.lists.len() - 1)
                }
            },
        }
    }

    fn say(&mut self, fingerprint: Fingerprint, word: Option<Word>) {
        if word.is_some() {
            // First, as it is asked first.
            let Shown { slots, .. } = &self.shown;
            if self.used < slots.room() || slots.has_slot(fingerprint) {
                self.shown.presence.add(fingerprint);
            } else {
                self.announce(self.announcement(std::iter::once(fingerprint)));
            }
        }
        self.used += usize::from(self.shown.slots.set(fingerprint, word));
    }

    /// What is to be shown for readers to know of keys that are in the table, or will be before others
    /// are announced: made while they read, and given to [`Overlay::announce`] before anything else
    /// changes.
    pub(crate) fn announcement(&self, keys: impl ExactSizeIterator<Item = Fingerprint>) -> Shown {
        let room = self.shown.slots.room();
        let shown = if self.used + keys.len() > room {
            self.with_room(keys.len())
        } else {
            self.shown.clone()
        };
        keys.for_each(|key| shown.presence.add(key));
        shown
    }

    /// What there is to say, with room for so many keys more, and for half of all. Keys of which there is
    /// nothing to say are forgotten.
    fn with_room(&self, more: usize) -> Shown {
        let keys = self.len + more;
        let shown = Shown::for_keys(keys + keys / 2);
        for (fingerprint, word) in self.shown.slots.iter() {
            shown.presence.add(fingerprint);
            shown.slots.set(fingerprint, Some(word));
        }
        shown
    }

    /// Lets them know. Who holds the lock for it has little to do.
    pub(crate) fn announce(&mut self, shown: Shown) {
        if !self.shown.is(&shown) {
            self.used = self.len;
            self.shown = shown;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fingerprint, RecordRef<'_>)> {
        self.shown.slots.iter().map(|(fingerprint, word)| (fingerprint, self.expand(word)))
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
    fn readers_see_one_word_after_the_other_and_lists_under_the_lock() {
        let mut overlay = Overlay::default();
        let key = Fingerprint(9);
        assert!(!overlay.shown().may_have(key));
        put(&mut overlay, 9, 1);
        let shown = overlay.shown().clone();
        let ids = |shown: &Shown| match shown.get(key) {
            Seen::Record(RecordRef::Complete(ids)) => ids.iter().collect(),
            seen => format!("{seen:?}").bytes().map(u32::from).collect::<Vec<_>>(),
        };
        assert!(shown.may_have(key));
        assert_eq!(ids(&shown), [1]);
        put(&mut overlay, 9, 2);
        assert!(matches!(shown.get(key), Seen::Listed));
        overlay.update(
            key,
            || unreachable!(),
            |record| {
                record.delete(1);
                true
            },
        );
        assert_eq!(ids(&shown), [2]);
        overlay.update(
            key,
            || unreachable!(),
            |record| {
                record.delete(2);
                true
            },
        );
        assert!(matches!(shown.get(key), Seen::Record(RecordRef::Tombstone)));
        overlay.update(key, || unreachable!(), |_| false);
        assert!(matches!(shown.get(key), Seen::Nothing) && shown.may_have(key));
    }

    #[test]
    fn a_copy_and_what_was_shown_before_it_grew_stay_as_they_were() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 0, 7);
        let (first, copy) = (overlay.shown().clone(), overlay.copy());
        for key in 1..1000 {
            put(&mut overlay, key, 7);
            put(&mut overlay, key, 8);
        }
        put(&mut overlay, 0, 8);
        assert!(!overlay.shown().is(&first));
        assert!(matches!(first.get(Fingerprint(0)), Seen::Record(RecordRef::Complete(_))));
        assert!(matches!(first.get(Fingerprint(999)), Seen::Nothing));
        assert_eq!((ids(&copy, 0), copy.len(), copy.weight()), (Some(vec![7]), 1, 1));
        assert_eq!((ids(&overlay, 0), overlay.len()), (Some(vec![7, 8]), 1000));
    }

    /// Keys that come and go take slots, each for good: the table is made anew, and not larger.
    #[test]
    fn keys_that_come_and_go_take_no_memory_for_long() {
        let mut overlay = Overlay::default();
        (0..100).for_each(|key| put(&mut overlay, key, 1));
        let memory = overlay.memory();
        for key in 100..10_000 {
            put(&mut overlay, key, 1);
            overlay.update(Fingerprint(key), || unreachable!(), |_| false);
        }
        assert!(overlay.memory() <= 2 * memory, "{} of {memory} bytes", overlay.memory());
        assert_eq!((overlay.len(), overlay.iter().count()), (100, 100));
    }

    /// What is said of keys that have a slot takes no room.
    #[test]
    fn a_full_table_is_not_made_anew_for_the_keys_it_has() {
        let mut overlay = Overlay::default();
        put(&mut overlay, 0, 1);
        let full = overlay.shown().slots.room() as u64;
        (1..full).for_each(|key| put(&mut overlay, key, 1));
        let shown = overlay.shown().clone();
        for id in 2..9 {
            put(&mut overlay, id % full, id as u32);
            overlay.update(Fingerprint(0), || Record::One(1), |_| id % 2 == 0);
        }
        assert!(overlay.shown().is(&shown));
        put(&mut overlay, full, 1);
        assert!(!overlay.shown().is(&shown));
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
