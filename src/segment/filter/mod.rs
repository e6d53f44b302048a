//! Filters of a segment: which keys it does not have, told from a byte or so for each that it has.

mod bloom;
mod fuse;

use crate::config::Filter;
use crate::hash::Fingerprint;

/// What a segment's header says of its filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterParams {
    pub(crate) kind: Filter,
    /// Of the binary fuse filter: the logarithm, to base 2, of a block's bytes.
    pub(crate) block_log: u8,
    /// Blocks of the Bloom filter; those of the binary fuse filter in which a key can have its first
    /// byte.
    pub(crate) blocks: u32,
    /// Of the binary fuse filter.
    pub(crate) seed: u64,
}

impl FilterParams {
    /// The section's bytes.
    pub(crate) fn byte_len(&self) -> u64 {
        match self.kind {
            Filter::None => 0,
            Filter::Bloom => bloom::byte_len(self.blocks),
            Filter::Fuse8 => fuse::byte_len(self),
        }
    }

    /// Whether the numbers can belong together.
    pub(crate) fn plausible(&self) -> bool {
        match self.kind {
            Filter::None => *self == Self::default(),
            Filter::Bloom => self.blocks > 0 && (self.block_log, self.seed) == (0, 0),
            Filter::Fuse8 => self.blocks > 0 && self.block_log <= fuse::MAX_BLOCK_LOG,
        }
    }

    /// Whether the segment may have the key; false if it has not. Whatever the bytes are, this reads
    /// within them, and says true of what lies outside.
    #[inline]
    pub(crate) fn may_have(&self, bytes: &[u8], fingerprint: Fingerprint) -> bool {
        match self.kind {
            Filter::None => true,
            Filter::Bloom => bloom::may_have(self.blocks, bytes, fingerprint),
            Filter::Fuse8 => fuse::may_have(self, bytes, fingerprint),
        }
    }
}

/// A freshly built filter with its bytes.
#[derive(Debug, Default)]
pub(crate) struct BuiltFilter {
    pub(crate) params: FilterParams,
    pub(crate) bytes: Vec<u8>,
}

impl BuiltFilter {
    /// Of distinct fingerprints. None comes of it where the kind of filter cannot be had for them.
    pub(crate) fn build(kind: Filter, fingerprints: &[u64]) -> Self {
        let built = match kind {
            Filter::None => None,
            Filter::Bloom => Some(bloom::build(fingerprints)),
            Filter::Fuse8 => fuse::build(fingerprints),
        };
        built.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::random;

    const KINDS: [Filter; 2] = [Filter::Bloom, Filter::Fuse8];

    #[test]
    fn every_key_passes_and_few_others_do() {
        for kind in KINDS {
            for n in (1..100).chain([1000, 4096, 100_000]) {
                let keys: Vec<u64> = random(n as u64).take(n).collect();
                let BuiltFilter { params, bytes } = BuiltFilter::build(kind, &keys);
                assert_eq!(params.kind, kind, "{n} keys");
                assert!(params.plausible() && params.byte_len() == bytes.len() as u64);
                let passes = |key: &u64| params.may_have(&bytes, Fingerprint(*key));
                assert!(keys.iter().all(passes), "{kind:?}, {n} keys");
                let others = random(1 << 20 | n as u64).take(20_000);
                let passing = others.filter(passes).count();
                let most = if kind == Filter::Bloom { 400 } else { 130 };
                assert!(passing < most, "{kind:?}, {n} keys: {passing} of 20 000");
            }
        }
    }

    /// A key that may be there is looked up; one that is said not to be is not.
    #[test]
    fn bytes_that_are_missing_say_that_keys_may_be_there() {
        for kind in KINDS {
            let BuiltFilter { params, .. } = BuiltFilter::build(kind, &[1, 2, 3]);
            assert!(random(3).take(100).all(|key| params.may_have(&[], Fingerprint(key))));
            for blocks in [1, 1000, u32::MAX] {
                let params = FilterParams { blocks, block_log: fuse::MAX_BLOCK_LOG, ..params };
                for key in random(2).take(100) {
                    params.may_have(&[0; 100], Fingerprint(key));
                }
            }
        }
    }

    /// Fingerprints that the first seed of the binary fuse filter's construction sends to one place: it
    /// counts to 63 there.
    #[test]
    fn keys_that_were_chosen_to_break_it_get_no_filter_or_a_right_one() {
        const FIRST_SEED: u64 = 0x910a_2dec_8902_5cc1;
        let random_keys: Vec<u64> = random(1).take(5000).collect();
        let some = BuiltFilter::build(Filter::Fuse8, &random_keys).params;
        assert_eq!(some.seed, FIRST_SEED);
        // Small hashes have their first two places in common.
        let together = |n: u64| (1..=n).map(|hash| fuse::unhash(FIRST_SEED, hash));
        assert!(together(9).all(|key| fuse::hash(FIRST_SEED, Fingerprint(key)) < 10));
        for n in [60, 64, 65, 66, 100, 127, 128, 200] {
            let keys: Vec<u64> = random_keys.iter().copied().chain(together(n)).collect();
            let BuiltFilter { params, bytes } = BuiltFilter::build(Filter::Fuse8, &keys);
            assert!(
                keys.iter().all(|&key| params.may_have(&bytes, Fingerprint(key))),
                "{n} of them"
            );
        }
    }

    #[test]
    fn none_takes_no_room_and_lets_all_pass() {
        let BuiltFilter { params, bytes } = BuiltFilter::build(Filter::None, &[1]);
        assert!(params.plausible() && bytes.is_empty() && params.byte_len() == 0);
        assert!(params.may_have(&bytes, Fingerprint(2)));
    }
}
