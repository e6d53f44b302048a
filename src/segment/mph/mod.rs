//! The minimal perfect hash of a segment: n distinct fingerprints to the positions 0..n.
//!
//! The function is that of PtrHash (Groot Koerkamp, "PtrHash: Minimal Perfect Hashing at RAM
//! Throughput", 2025), with its fast parameters: a pilot byte for every three keys, 99 % load.
//! Construction is the ptr_hash crate's. Evaluation and the stored form are ours: a few
//! multiplications over two plain arrays. So bytes from disk never reach code that trusts them,
//! absent keys cannot read out of bounds, look-ups can prefetch between the steps, and the format
//! does not follow a crate's releases.

mod large;
mod small;

use crate::error::{Error, Result};
use crate::hash::Fingerprint;

/// ptr_hash's mixing constant for pilots; part of our format now.
const PILOT_MIX: u64 = 0x517c_c1b7_2722_0a95;

/// Everything but the two arrays: what evaluation needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MphParams {
    pub(crate) keys: u64,
    pub(crate) buckets: u64,
    pub(crate) slots: u64,
    pub(crate) seed: u64,
    pub(crate) multiplier: u64,
}

/// A minimal perfect hash function over borrowed arrays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mph {
    params: MphParams,
    /// 2^64 / slots, for the modulo by multiplication (Lemire's fastmod).
    inverse: u64,
}

impl MphParams {
    pub(crate) fn remap_len(&self) -> u64 {
        self.slots - self.keys
    }

    /// Whether the numbers can belong together; disk bytes pass here before any arithmetic.
    pub(crate) fn plausible(&self) -> bool {
        let Self { keys, buckets, slots, .. } = *self;
        (1..=u64::from(u32::MAX)).contains(&keys)
            && (keys..=keys + keys / 50 + 2).contains(&slots)
            && (1..=keys / 2 + 8).contains(&buckets)
    }
}

impl Mph {
    pub(crate) fn new(params: MphParams) -> Self {
        Self { params, inverse: (u64::MAX / params.slots.max(1)).wrapping_add(1) }
    }

    pub(crate) fn params(&self) -> &MphParams {
        &self.params
    }

    #[inline]
    fn hashed(&self, fingerprint: Fingerprint) -> u64 {
        mixed(fingerprint.0, self.params.multiplier) ^ self.params.seed
    }

    /// The bucket, an index into the pilots.
    #[inline]
    pub(crate) fn bucket(&self, fingerprint: Fingerprint) -> usize {
        mul_high(self.params.buckets, self.hashed(fingerprint))
    }

    /// The slot under the bucket's pilot; slots at and above the key count go through the remap.
    #[inline]
    pub(crate) fn slot(&self, fingerprint: Fingerprint, pilot: u8) -> usize {
        let displaced = self.hashed(fingerprint) ^ mixed_pilot(pilot, self.params.seed);
        mul_high(self.params.slots, self.inverse.wrapping_mul(displaced))
    }

    /// The position of a member; some position, or none, for any other fingerprint.
    ///
    /// `remap` holds little-endian u32 values. Whatever the arrays hold, this reads in bounds.
    #[inline]
    pub(crate) fn position(
        &self,
        fingerprint: Fingerprint,
        pilots: &[u8],
        remap: &[u8],
    ) -> Option<usize> {
        let pilot = *pilots.get(self.bucket(fingerprint))?;
        self.remapped(self.slot(fingerprint, pilot), remap)
    }

    #[inline]
    pub(crate) fn remapped(&self, slot: usize, remap: &[u8]) -> Option<usize> {
        let keys = self.params.keys as usize;
        if slot < keys {
            return Some(slot);
        }
        let (words, _) = remap.as_chunks::<4>();
        let position = u32::from_le_bytes(*words.get(slot - keys)?) as usize;
        (position < keys).then_some(position)
    }
}

/// A bijection that spreads fingerprints which have some of their bits in common: those of one
/// lane share low bits, those of a bulk load perhaps high ones. Slots depend on the low bits
/// wherever their number is even, buckets on the high ones.
#[inline]
fn mixed(fingerprint: u64, multiplier: u64) -> u64 {
    let product = fingerprint.wrapping_mul(multiplier);
    product ^ (product >> 32)
}

#[inline]
fn mul_high(a: u64, b: u64) -> usize {
    ((u128::from(a) * u128::from(b)) >> 64) as usize
}

#[inline]
fn mixed_pilot(pilot: u8, seed: u64) -> u64 {
    PILOT_MIX.wrapping_mul(u64::from(pilot) ^ seed)
}

/// A freshly built function with its arrays.
#[derive(Debug)]
pub(crate) struct BuiltMph {
    pub(crate) mph: Mph,
    pub(crate) pilots: Vec<u8>,
    /// Little-endian u32 words.
    pub(crate) remap: Vec<u8>,
    /// Position of each fingerprint, in the order given.
    pub(crate) positions: Vec<u32>,
}

impl BuiltMph {
    /// Builds the function for distinct fingerprints.
    ///
    /// # Errors
    /// [`Error::MphConstruction`] when no seed works, as for equal fingerprints;
    /// [`Error::TooLarge`] above 2^32 - 1 keys.
    pub(crate) fn build(fingerprints: &[u64]) -> Result<Self> {
        if fingerprints.len() > u32::MAX as usize {
            return Err(Error::TooLarge { what: "a segment's keys", limit: u32::MAX.into() });
        }
        let built = if fingerprints.len() <= small::MAX_KEYS {
            small::build(fingerprints)
        } else {
            large::build(fingerprints)
        };
        built.ok_or(Error::MphConstruction { keys: fingerprints.len() })
    }

    /// Places every key, and sends those in slots above the key count to the free positions.
    /// `None` if two keys share a slot: the pilots are no solution.
    fn place(params: MphParams, pilots: Vec<u8>, fingerprints: &[u64]) -> Option<Self> {
        let mph = Mph::new(params);
        let keys = fingerprints.len();
        let mut taken = vec![false; params.slots as usize];
        let mut positions = Vec::with_capacity(keys);
        for &fingerprint in fingerprints {
            let fingerprint = Fingerprint(fingerprint);
            let slot = mph.slot(fingerprint, *pilots.get(mph.bucket(fingerprint))?);
            if std::mem::replace(taken.get_mut(slot)?, true) {
                return None;
            }
            positions.push(slot as u32);
        }
        let mut free = (0..keys).filter(|&position| !taken[position]);
        // Spare slots that no key uses lead to position 0; whoever gets there is absent.
        let spare: Vec<u32> = taken[keys..]
            .iter()
            .map(|&taken| if taken { free.next().map(|p| p as u32) } else { Some(0) })
            .collect::<Option<_>>()?;
        for position in &mut positions {
            if let Some(above) = (*position as usize).checked_sub(keys) {
                *position = spare[above];
            }
        }
        let remap = spare.iter().flat_map(|position| position.to_le_bytes()).collect();
        Some(Self { mph, pilots, remap, positions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(n: usize, salt: u64) -> Vec<u64> {
        let mut state = salt;
        let mut splitmix = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        (0..n).map(|_| splitmix()).collect()
    }

    fn assert_bijective(keys: &[u64]) {
        let built = BuiltMph::build(keys).expect("construction");
        assert!(built.mph.params().plausible(), "{:?}", built.mph.params());
        let mut seen = vec![false; keys.len()];
        for (&key, &position) in keys.iter().zip(&built.positions) {
            let found = built.mph.position(Fingerprint(key), &built.pilots, &built.remap);
            assert_eq!(found, Some(position as usize));
            assert!(!std::mem::replace(&mut seen[position as usize], true));
        }
    }

    #[test]
    fn every_small_size_is_a_bijection() {
        for n in 1..=600 {
            for salt in 0..5 {
                assert_bijective(&fingerprints(n, salt * 1000 + n as u64));
            }
        }
    }

    #[test]
    fn larger_sizes_are_bijections() {
        for n in [1 << 10, 15_000, 65_536, 200_000] {
            assert_bijective(&fingerprints(n, n as u64));
        }
    }

    #[test]
    fn keys_of_one_lane_are_a_bijection() {
        // 126 keys once failed: 128 slots, and the lane's low bits are few.
        let slots_of_a_lane =
            (0..crate::NUM_SLOTS as u64).filter(|&s| crate::jump_hash(s, 64) == 3);
        let jump_slots: Vec<u64> = slots_of_a_lane.take(200).collect();
        for n in (1..=600).chain([4096, 20_000]) {
            for slots in [1, 2, 200] {
                let lane = fingerprints(n, 7 + n as u64).into_iter().enumerate();
                let slot = |i: usize| jump_slots[i % slots];
                let keys: Vec<u64> = lane.map(|(i, f)| (f & !0x3fff) | slot(i)).collect();
                assert_bijective(&keys);
            }
        }
    }

    #[test]
    fn neighbouring_keys_are_a_bijection() {
        for n in [10, 300, 5000, 50_000] {
            let start = 0x1234_5678_9abc_def0_u64;
            assert_bijective(&(0..n).map(|i| start + i).collect::<Vec<_>>());
            assert_bijective(&(0..n).map(|i| start + (i << 14)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn absent_keys_stay_in_bounds_whatever_the_arrays_hold() {
        for n in [1, 2, 3, 10, 1000] {
            let keys = fingerprints(n, 1);
            let mut built = BuiltMph::build(&keys).expect("construction");
            built.pilots.fill(0xff);
            built.remap.fill(0xff);
            for absent in fingerprints(10_000, 99) {
                let position = built.mph.position(Fingerprint(absent), &built.pilots, &built.remap);
                assert!(position.is_none_or(|p| p < n));
                assert!(built.mph.position(Fingerprint(absent), &[], &[]).is_none());
            }
        }
    }

    #[test]
    fn duplicates_are_an_error_not_a_panic() {
        assert!(matches!(BuiltMph::build(&[7, 7]), Err(Error::MphConstruction { keys: 2 })));
    }
}
