//! From key bytes to fingerprint, and from fingerprint to lane.
//!
//! A key's identity inside the engine is its 64-bit keyed SipHash-2-4 (Aumasson and Bernstein,
//! 2012). The bits of a fingerprint have separate jobs, so that no two uses see the same ones:
//!
//! ```text
//! 63         48 47          22 21    14 13        0
//! +------------+--------------+--------+-----------+
//! |  cold (16) |  entry (26)  | sig (8)|  slot (14)|
//! +------------+--------------+--------+-----------+
//! ```
//!
//! The slot picks the lane. A segment is of one lane, so it stores the rest, and which of its lane's
//! slots it is: signature, entry bits and that rank are the hot part of the verification.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::error::{Error, Result};
use crate::key::TermKey;

/// Slots that fingerprints are dealt to; lanes own slots.
pub const NUM_SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
const SIGNATURE_SHIFT: u32 = SLOT_BITS;
const ENTRY_SHIFT: u32 = SIGNATURE_SHIFT + 8;
/// Bits stored beside the slot's rank and the value.
pub(crate) const ENTRY_BITS: u32 = 26;
const COLD_SHIFT: u32 = ENTRY_SHIFT + ENTRY_BITS;

/// The 64-bit identity of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The slot, `0..NUM_SLOTS`, that decides the lane.
    #[inline]
    #[must_use]
    pub fn slot(self) -> usize {
        (self.0 as usize) & (NUM_SLOTS - 1)
    }

    /// The byte that is compared first.
    #[inline]
    pub(crate) fn signature(self) -> u8 {
        (self.0 >> SIGNATURE_SHIFT) as u8
    }

    /// The [`ENTRY_BITS`] bits stored beside the value.
    #[inline]
    pub(crate) fn entry_bits(self) -> u32 {
        (self.0 >> ENTRY_SHIFT) as u32 & ((1 << ENTRY_BITS) - 1)
    }

    /// The remaining 16 bits, needed to verify in full and to rebuild the fingerprint.
    #[inline]
    pub(crate) fn cold_bits(self) -> u16 {
        (self.0 >> COLD_SHIFT) as u16
    }

    /// Whether the key is one of those, 1 in `of` (a power of two), that stand for all.
    #[inline]
    pub(crate) fn is_sample(self, of: u64) -> bool {
        (self.0 >> COLD_SHIFT) & (of - 1) == 0
    }

    /// Puts a fingerprint together from its parts.
    #[inline]
    pub(crate) fn from_parts(slot: u16, signature: u8, entry_bits: u32, cold_bits: u16) -> Self {
        Self(
            (u64::from(cold_bits) << COLD_SHIFT)
                | (u64::from(entry_bits) << ENTRY_SHIFT)
                | (u64::from(signature) << SIGNATURE_SHIFT)
                | u64::from(slot),
        )
    }
}

/// The secret key of an index's hash function, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl HashKey {
    /// A fresh key from the operating system's random source.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no randomness to give.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| Error::Io {
            op: "read",
            path: "random source".into(),
            source: std::io::Error::other(e),
        })?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Debug for HashKey {
    /// Keeps the secret out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// Computes fingerprints under one hash key.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    plain: SipHasher24,
    /// Under a key that is derived, so that no plain key can be taken for one of a namespace.
    scoped: SipHasher24,
    /// Likewise, for keys that are terms.
    term: SipHasher24,
}

impl KeyHasher {
    /// A hasher for one index.
    #[must_use]
    pub fn new(key: &HashKey) -> Self {
        let plain = SipHasher24::new_with_key(&key.0);
        let derived = |halves: [&[u8]; 2]| {
            let [first, second] = halves.map(|half| plain.hash(half));
            SipHasher24::new_with_keys(first, second)
        };
        let scoped = derived([b"namespace 1", b"namespace 2"]);
        Self { plain, scoped, term: derived([b"term key 1", b"term key 2"]) }
    }

    /// SipHash-2-4 of the key's bytes.
    #[inline]
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        Fingerprint(self.plain.hash(key))
    }

    /// Of a key within a scope: SipHash-2-4, under another key, of the scope's number, 4 bytes, and
    /// the key's bytes.
    #[inline]
    #[must_use]
    pub(crate) fn scoped(&self, scope: u32, key: &[u8]) -> Fingerprint {
        let mut hasher = self.scoped;
        hasher.write(&scope.to_le_bytes());
        hasher.write(key);
        Fingerprint(hasher.finish())
    }

    /// Begins the key of a term: SipHash-2-4, under another key, of its encoding.
    #[inline]
    pub(crate) fn term(&self) -> TermKey {
        TermKey::new(self.term)
    }
}

/// Jump consistent hash: maps `key` to one of `buckets` so that growing from n to n + 1 buckets
/// moves only 1/(n + 1) of the keys, all of them to the new bucket.
///
/// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
/// `buckets` of 0 counts as 1.
#[must_use]
pub fn jump_hash(key: u64, buckets: u32) -> u32 {
    let (mut state, mut bucket, mut next) = (key, 0_i64, 0_i64);
    while next < i64::from(buckets.max(1)) {
        bucket = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1_i64 << 31) as f64 / ((state >> 33) + 1) as f64)) as i64;
    }
    bucket as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the C++ function printed in the paper, for 1, 2, 3, 10, 64, 100, 1024 and
    /// 16 384 buckets.
    const REFERENCE: [(u64, [u32; 8]); 11] = [
        (0x0, [0, 0, 0, 0, 0, 0, 0, 0]),
        (0x1, [0, 0, 0, 6, 55, 55, 549, 8421]),
        (0x2, [0, 0, 0, 6, 62, 62, 338, 3927]),
        (0x3, [0, 0, 2, 8, 8, 8, 961, 12990]),
        (0x2a, [0, 1, 2, 2, 43, 43, 571, 5747]),
        (0x100, [0, 1, 2, 3, 16, 16, 520, 8799]),
        (0x3fff, [0, 1, 1, 9, 43, 68, 622, 5607]),
        (0xdead_beef, [0, 1, 2, 5, 16, 87, 285, 10857]),
        (0xcafe_babe, [0, 1, 1, 5, 46, 85, 634, 7721]),
        (0x9e37_79b9_7f4a_7c15, [0, 1, 1, 3, 3, 71, 838, 4862]),
        (u64::MAX, [0, 1, 2, 9, 10, 92, 313, 13242]),
    ];

    #[test]
    fn jump_hash_agrees_with_the_published_algorithm() {
        for (key, expected) in REFERENCE {
            let buckets = [1, 2, 3, 10, 64, 100, 1024, 16_384];
            assert_eq!(buckets.map(|n| jump_hash(key, n)), expected, "key {key:#x}");
        }
    }

    #[test]
    fn jump_hash_moves_only_to_the_new_bucket() {
        let keys = 20_000_u64;
        for n in [1_u32, 2, 3, 7, 63, 64, 100] {
            let moved: Vec<_> = (0..keys)
                .map(|k| k.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .filter(|&k| jump_hash(k, n) != jump_hash(k, n + 1))
                .inspect(|&k| assert_eq!(jump_hash(k, n + 1), n))
                .collect();
            let expected = keys as f64 / f64::from(n + 1);
            assert!((moved.len() as f64 - expected).abs() < 6.0 * expected.sqrt() + 1.0);
        }
    }

    #[test]
    fn a_scoped_fingerprint_is_a_siphash_under_a_derived_key() {
        let key = std::array::from_fn(|i| i as u8);
        let hasher = KeyHasher::new(&HashKey(key));
        let [k0, k1] =
            ["namespace 1", "namespace 2"].map(|half| hasher.fingerprint(half.as_bytes()).0);
        let derived =
            HashKey([k0.to_le_bytes(), k1.to_le_bytes()].concat().try_into().expect("16"));
        let bytes = [&7_u32.to_le_bytes()[..], b"key"].concat();
        assert_eq!(hasher.scoped(7, b"key"), KeyHasher::new(&derived).fingerprint(&bytes));
        assert_ne!(hasher.scoped(7, b"key"), hasher.fingerprint(&bytes));
    }

    #[test]
    fn siphash_agrees_with_the_reference_vectors() {
        // Key 00..0f, messages of 0, 1, 2 and 15 bytes: vectors of the SipHash paper's code.
        let hasher = KeyHasher::new(&HashKey(std::array::from_fn(|i| i as u8)));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(hasher.fingerprint(&[]).0, 0x726f_db47_dd0e_0e31);
        assert_eq!(hasher.fingerprint(&message[..1]).0, 0x74f8_39c5_93dc_67fd);
        assert_eq!(hasher.fingerprint(&message[..2]).0, 0x0d6c_8009_d9a9_4f5a);
        assert_eq!(hasher.fingerprint(&message).0, 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn parts_make_the_fingerprint_again() {
        for k in 0..1000_u64 {
            let f = Fingerprint(k.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let slot = f.slot() as u16;
            let made = Fingerprint::from_parts(slot, f.signature(), f.entry_bits(), f.cold_bits());
            assert_eq!(made, f);
        }
    }
}
