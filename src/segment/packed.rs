//! The value words of one segment: numbers in as many bits as the largest of them takes.
//!
//! What a word can mean is dealt to the numbers from 0 up, each kind as many as the segment needs:
//!
//! | numbers | meaning |
//! |---|---|
//! | *low ids* | a set of one id: the number |
//! | *high ids* | a set of one id: 2^30 and the number |
//! | *postings* | a list at that word of the postings |
//! | one, if there are tombstones | the empty set |
//!
//! A tag beside a number would take two bits in every key, and the largest kind's width for all.

use crate::word::{Unpacked, Word};

/// Ids from here on are the dictionary's, if the index has one; they begin anew at 0.
const HIGH: u32 = 1 << 30;

/// How many numbers each kind has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    /// One more than the largest id below 2^30 that stands in a word.
    pub(super) low_ids: u32,
    /// The same of ids from 2^30 on, less 2^30.
    pub(super) high_ids: u32,
    /// Length of the postings in units of 4 bytes.
    pub(super) postings: u32,
    pub(super) has_tombstones: bool,
}

impl Values {
    /// What the words need.
    pub(super) fn of(words: &[Word], postings: u32) -> Self {
        let mut values = Self { postings, ..Self::default() };
        for word in words {
            values.admit(word.unpack());
        }
        values
    }

    /// Makes room for one more value; lists have theirs.
    pub(super) fn admit(&mut self, value: Unpacked) {
        match value {
            Unpacked::Id(id) if id < HIGH => self.low_ids = self.low_ids.max(id + 1),
            Unpacked::Id(id) => self.high_ids = self.high_ids.max(id - HIGH + 1),
            Unpacked::Tombstone => self.has_tombstones = true,
            Unpacked::Offset(_) => {}
        }
    }

    /// Whether there can be such ids; disk bytes pass here.
    pub(super) fn plausible(&self) -> bool {
        self.low_ids <= HIGH && self.high_ids <= HIGH
    }

    /// The first number of each kind after the low ids, and the first that is none.
    fn bounds(&self) -> [u64; 4] {
        let high = u64::from(self.low_ids);
        let lists = high + u64::from(self.high_ids);
        let tombstone = lists + u64::from(self.postings);
        [high, lists, tombstone, tombstone + u64::from(self.has_tombstones)]
    }

    /// Width of a word: at most 33, as all numbers are below 2^33.
    pub(super) fn bits(&self) -> u32 {
        let [.., end] = self.bounds();
        u64::BITS - end.saturating_sub(1).leading_zeros()
    }

    /// The number of a value that was admitted.
    pub(super) fn pack(&self, value: Unpacked) -> u64 {
        let [high, lists, tombstone, _] = self.bounds();
        match value {
            Unpacked::Id(id) if id < HIGH => id.into(),
            Unpacked::Id(id) => high + u64::from(id - HIGH),
            Unpacked::Offset(offset) => lists + u64::from(offset),
            Unpacked::Tombstone => tombstone,
        }
    }

    /// What a number means; nothing, if damage made it.
    #[inline]
    pub(super) fn unpack(&self, number: u64) -> Option<Unpacked> {
        let [high, lists, tombstone, end] = self.bounds();
        if number < high {
            Some(Unpacked::Id(number as u32))
        } else if number < lists {
            Some(Unpacked::Id(HIGH | (number - high) as u32))
        } else if number < tombstone {
            Some(Unpacked::Offset((number - lists) as u32))
        } else {
            (number < end).then_some(Unpacked::Tombstone)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(words: &[Unpacked], postings: u32) -> Values {
        let mut values = Values { postings, ..Values::default() };
        words.iter().for_each(|&word| values.admit(word));
        values
    }

    #[test]
    fn every_kind_comes_back_at_every_width() {
        for bits in 0..=30 {
            let largest = (1 << bits) - 1;
            for (low, high, postings, tombstone) in
                (0..16).map(|i| (i & 1 != 0, i & 2 != 0, i & 4 != 0, i & 8 != 0))
            {
                let mut words = Vec::new();
                words.extend([0, largest / 2, largest].map(Unpacked::Id).iter().filter(|_| low));
                let of_terms = [0, largest / 2, largest].map(|id| Unpacked::Id(HIGH + id));
                words.extend(of_terms.iter().filter(|_| high));
                words.extend([0, largest].map(Unpacked::Offset).iter().filter(|_| postings));
                words.extend([Unpacked::Tombstone].iter().filter(|_| tombstone));
                let values = values(&words, if postings { largest + 1 } else { 0 });
                assert!(values.plausible());
                let kinds = [low, high, postings].iter().filter(|&&kind| kind).count() as u64;
                let numbers = (kinds << bits) + u64::from(tombstone);
                assert_eq!(values.bits(), numbers.max(1).next_power_of_two().ilog2());
                for word in words {
                    let number = values.pack(word);
                    assert!(number < numbers);
                    assert_eq!(values.unpack(number), Some(word));
                }
                assert_eq!(values.unpack(numbers), None);
                assert_eq!(values.unpack(u64::MAX), None);
            }
        }
    }

    #[test]
    fn all_there_can_be_takes_33_bits() {
        let most =
            Values { low_ids: HIGH, high_ids: HIGH, postings: u32::MAX, has_tombstones: true };
        assert!(most.plausible());
        assert_eq!(most.bits(), 33);
        assert_eq!(most.unpack(most.pack(Unpacked::Tombstone)), Some(Unpacked::Tombstone));
        let id = Unpacked::Id(crate::MAX_ID);
        assert_eq!(most.unpack(most.pack(id)), Some(id));
        assert!(!Values { low_ids: HIGH + 1, ..most }.plausible());
        assert!(!Values { high_ids: HIGH + 1, ..most }.plausible());
    }

    #[test]
    fn words_say_what_they_need() {
        let words = [Word::id(6), Word::id(HIGH + 3), Word::id(2), Word::offset(4)];
        let values = Values::of(&words, 9);
        let expected = Values { low_ids: 7, high_ids: 4, postings: 9, has_tombstones: false };
        assert_eq!(values, expected);
        assert!(Values::of(&[Word::TOMBSTONE], 0).has_tombstones);
        assert_eq!(Values::of(&[Word::id(0)], 0).bits(), 0);
    }
}
