//! Whether a table may have a key, told without the table's lock: a Bloom filter of two bits a key,
//! both in one word (Putze, Sanders and Singler, 2007: blocked Bloom filters).

use std::sync::Arc;

use crate::hash::Fingerprint;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Two bytes for each key there is room for: 2 of 100 absent keys pass for present when full.
const KEYS_PER_WORD: usize = 4;

/// Keys are only ever added. A clone is the same filter, not one of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    /// A power of two; or none, for a table that never had a key.
    words: Arc<[AtomicU64]>,
}

impl Presence {
    /// For a table with room for that many keys.
    pub(crate) fn for_keys(keys: usize) -> Self {
        let words = keys.div_ceil(KEYS_PER_WORD).next_power_of_two();
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// One of its own.
    pub(super) fn copy(&self) -> Self {
        let words = self.words.iter().map(|word| AtomicU64::new(word.load(Ordering::SeqCst)));
        Self { words: words.collect() }
    }

    /// The word and its bits. The lane fixes the lowest 14 bits of a fingerprint, more or less; none
    /// of those are used.
    #[inline]
    fn place(&self, fingerprint: Fingerprint) -> (usize, u64) {
        let bits = fingerprint.0;
        let word = (bits >> 32) as usize & self.words.len().wrapping_sub(1);
        (word, (1 << ((bits >> 20) & 63)) | (1 << ((bits >> 26) & 63)))
    }

    /// Shows that the table has the key, from now on. There must be room for one.
    pub(crate) fn add(&self, fingerprint: Fingerprint) {
        let (word, bits) = self.place(fingerprint);
        let word = &self.words[word];
        if word.load(Ordering::SeqCst) & bits != bits {
            word.fetch_or(bits, Ordering::SeqCst);
        }
    }

    /// False if the table never had the key; true nearly always means that it had.
    #[inline]
    pub(crate) fn may_have(&self, fingerprint: Fingerprint) -> bool {
        let (word, bits) = self.place(fingerprint);
        self.words.get(word).is_some_and(|word| word.load(Ordering::SeqCst) & bits == bits)
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{HashKey, KeyHasher};
    use crate::slots::SlotTable;

    #[test]
    fn few_absent_keys_of_a_full_lane_pass_and_no_present_one_is_missed() {
        let (hasher, slots) = (KeyHasher::new(&HashKey([7; 16])), SlotTable::new(64));
        let of_lane = |from: u64| {
            let keys = (from..).map(|n| hasher.fingerprint(&n.to_le_bytes()));
            keys.filter(|key| slots.lane(*key) == 5)
        };
        for keys in [1, 4, 5, 1_000] {
            let presence = Presence::for_keys(keys);
            let room = presence.words.len() * KEYS_PER_WORD;
            assert!((keys..8 * keys).contains(&room));
            let present: Vec<_> = of_lane(0).take(keys).collect();
            assert!(present.iter().all(|key| !presence.may_have(*key)));
            present.iter().for_each(|key| presence.add(*key));
            assert!(present.iter().all(|key| presence.may_have(*key)));
            let passed = of_lane(1 << 40).take(2_000).filter(|key| presence.may_have(*key)).count();
            assert!(passed < 60, "{passed} of 2000 pass at {keys} keys");
        }
    }

    #[test]
    fn one_that_was_never_used_has_nothing_and_takes_nothing() {
        let presence = Presence::default();
        assert!(!presence.may_have(Fingerprint(u64::MAX)));
        assert_eq!(presence.memory(), 0);
    }
}
