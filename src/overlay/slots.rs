//! A hash table that one thread changes while others read it, without a lock: linear probing (Knuth,
//! The Art of Computer Programming 3, 6.4) in slots that are each given to one key and never taken back.

use std::sync::Arc;

use crate::hash::Fingerprint;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::word::Word;

/// Of four slots, this many may be used: what is not there is told after two or three.
const FULL: usize = 3;

/// Or a table of few keys would be made anew every few changes.
const FEWEST: usize = 8;

/// Fingerprint to word. A clone is the same table, not one of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    /// A power of two; or none, for a table that never had a key.
    slots: Arc<[Slot]>,
}

/// The fingerprint in two halves, so that a slot takes 12 bytes and not 16.
#[derive(Debug)]
struct Slot {
    high: AtomicU32,
    low: AtomicU32,
    /// Written last when a slot is given to a key, and alone whenever that has another word.
    word: AtomicU32,
}

/// The word of a slot that no key was given.
const UNUSED: Word = Word(u32::MAX - 2);
/// The word of a key of which there is nothing to say any more.
const NOTHING: Word = Word(u32::MAX - 1);
/// Offsets are below this.
const MAX_OFFSET: u32 = (1 << 31) - 4;

impl Slot {
    fn new() -> Self {
        Self { high: AtomicU32::new(0), low: AtomicU32::new(0), word: AtomicU32::new(UNUSED.0) }
    }

    /// While nobody writes.
    fn copy(&self) -> Self {
        let copy = |half: &AtomicU32| AtomicU32::new(half.load(Ordering::SeqCst));
        Self { high: copy(&self.high), low: copy(&self.low), word: copy(&self.word) }
    }

    #[inline]
    fn fingerprint(&self) -> Fingerprint {
        let (high, low) = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
        Fingerprint(u64::from(high) << 32 | u64::from(low))
    }

    /// The word, after which the fingerprint may be read.
    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::SeqCst))
    }

    fn fill(&self, fingerprint: Fingerprint, word: Word) {
        self.high.store((fingerprint.0 >> 32) as u32, Ordering::Relaxed);
        self.low.store(fingerprint.0 as u32, Ordering::Relaxed);
        self.word.store(word.0, Ordering::SeqCst);
    }
}

impl Slots {
    /// With room for that many keys.
    pub(super) fn for_keys(keys: usize) -> Self {
        let slots = (keys * 4).div_ceil(FULL).next_power_of_two().max(FEWEST);
        Self { slots: (0..slots).map(|_| Slot::new()).collect() }
    }

    /// The same once more, of its own, made while nobody writes.
    pub(super) fn copy(&self) -> Self {
        Self { slots: self.slots.iter().map(Slot::copy).collect() }
    }

    /// Whether both are one and the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots)
    }

    /// How many slots may be used.
    pub(super) fn room(&self) -> usize {
        self.slots.len() / 4 * FULL
    }

    /// The slot of the key, or the unused one that it would be given; none if there are no slots. One of
    /// four is unused, so this ends.
    #[inline]
    fn find(&self, fingerprint: Fingerprint) -> Option<(&Slot, Word)> {
        let mask = self.slots.len().wrapping_sub(1);
        // Fibonacci hashing: the lane fixes bits of the fingerprint, and the filter has used some.
        let mut at = (fingerprint.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        loop {
            let slot = self.slots.get(at & mask)?;
            let word = slot.word();
            if word == UNUSED || slot.fingerprint() == fingerprint {
                return Some((slot, word));
            }
            at += 1;
        }
    }

    /// Whether the key was given one.
    pub(super) fn has_slot(&self, fingerprint: Fingerprint) -> bool {
        self.find(fingerprint).is_some_and(|(_, word)| word != UNUSED)
    }

    /// What there is to say of the key. For any thread at any time.
    #[inline]
    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<Word> {
        let (_, word) = self.find(fingerprint)?;
        (word != UNUSED && word != NOTHING).then_some(word)
    }

    /// Says this of the key, and nothing else from now on; true if it was given a slot for that. There
    /// must be room for one. For one thread at a time.
    pub(super) fn set(&self, fingerprint: Fingerprint, word: Option<Word>) -> bool {
        let Some((slot, before)) = self.find(fingerprint) else {
            assert!(word.is_none(), "there is no room");
            return false;
        };
        match word {
            None if before == UNUSED => false,
            Some(word) if before == UNUSED => {
                slot.fill(fingerprint, word);
                true
            }
            word => {
                slot.word.store(word.unwrap_or(NOTHING).0, Ordering::SeqCst);
                false
            }
        }
    }

    /// Every key with what there is to say of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, Word)> {
        let said = |slot: &Slot| match slot.word() {
            UNUSED | NOTHING => None,
            word => Some((slot.fingerprint(), word)),
        };
        self.slots.iter().filter_map(said)
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// A word for the list at a place.
    pub(super) fn list(place: usize) -> Word {
        assert!(place <= MAX_OFFSET as usize, "lists beyond what words can tell");
        Word::offset(place as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_slot_takes_twelve_bytes() {
        assert_eq!(size_of::<Slot>(), 12);
    }

    #[test]
    fn a_full_table_says_what_a_map_says() {
        for room in [1, 2, 3, 4, 100, 1000] {
            let (slots, mut map) = (Slots::for_keys(room), BTreeMap::new());
            assert!(slots.room() >= room);
            let mut used = 0;
            // Fingerprints that differ in one half only, and the one that is all zeros.
            let keys = (0..slots.room() as u64).map(|n| if n % 2 == 0 { n << 32 } else { n });
            let keys: Vec<_> = keys.map(Fingerprint).collect();
            for round in 0..3 {
                for (n, key) in (0..).zip(&keys) {
                    assert_eq!(slots.get(*key), map.get(key).copied());
                    let word = match (n + round) % 4 {
                        0 => None,
                        1 => Some(Word::TOMBSTONE),
                        2 => Some(Slots::list(MAX_OFFSET as usize)),
                        _ => Some(Word::id(n)),
                    };
                    used += usize::from(slots.set(*key, word));
                    match word {
                        Some(word) => map.insert(*key, word),
                        None => map.remove(key),
                    };
                }
                assert!(slots.iter().collect::<BTreeMap<_, _>>() == map);
            }
            assert_eq!(used, keys.len());
            assert_eq!(slots.get(Fingerprint(u64::MAX)), None);
        }
    }

    #[test]
    fn one_that_was_never_used_has_nothing_and_takes_nothing() {
        let slots = Slots::default();
        assert_eq!((slots.get(Fingerprint(0)), slots.room(), slots.memory()), (None, 0, 0));
        assert_eq!(slots.iter().count(), 0);
    }
}
