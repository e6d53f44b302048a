//! The minimal perfect hash of a segment: n distinct fingerprints to the positions 0..n.
//!
//! Construction is ptr_hash's (Groot Koerkamp, "PtrHash: Minimal Perfect Hashing at RAM
//! Throughput", 2025), with its fast parameters: a pilot byte for every three keys, 99 % load.
//! Evaluation and the stored form are ours: a few multiplications over two plain arrays. So
//! bytes from disk never reach code that trusts them, absent keys cannot read out of bounds,
//! look-ups can prefetch between the steps, and the format does not follow a crate's releases.

use std::cell::Cell;

use ptr_hash::{PtrHash, PtrHashParams, bucket_fn::Linear};

use crate::error::{Error, Result};
use crate::hash::Fingerprint;

/// ptr_hash's mixing constant for pilots; part of our format now.
const PILOT_MIX: u64 = 0x517c_c1b7_2722_0a95;

/// Multipliers tried in turn. The first is the identity; the others reshuffle the fingerprints
/// should construction ever fail with all of ptr_hash's own seeds.
const MULTIPLIERS: [u64; 4] =
    [1, 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f];

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
        fingerprint.0.wrapping_mul(self.params.multiplier) ^ self.params.seed
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

thread_local! {
    /// The seed ptr_hash handed to the hasher last. It keeps the seed private otherwise.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// The identity, as fingerprints are hashes already; notes the seed in passing.
#[derive(Clone)]
struct SeedWitness;

impl ptr_hash::hash::KeyHasher<u64> for SeedWitness {
    type H = u64;

    #[inline]
    fn hash(key: &u64, seed: u64) -> u64 {
        SEED.set(seed);
        key ^ seed
    }
}

type Builder = PtrHash<u64, Linear, Vec<u32>, SeedWitness>;

impl BuiltMph {
    /// Builds the function for distinct fingerprints.
    ///
    /// # Errors
    /// [`Error::MphConstruction`] when no seed works; [`Error::TooLarge`] above 2^32 - 1 keys.
    pub(crate) fn build(fingerprints: &[u64]) -> Result<Self> {
        if fingerprints.len() > u32::MAX as usize {
            return Err(Error::TooLarge { what: "a segment's keys", limit: u32::MAX.into() });
        }
        for multiplier in MULTIPLIERS {
            let keys: Vec<u64> = fingerprints.iter().map(|f| f.wrapping_mul(multiplier)).collect();
            let built = Builder::try_new(&keys, PtrHashParams::default_fast());
            if let Some(found) = built.and_then(|b| extract(&b, &keys, multiplier, fingerprints)) {
                return Ok(found);
            }
        }
        Err(Error::MphConstruction { keys: fingerprints.len() })
    }
}

/// Reads ptr_hash's result out through its public functions alone, and proves on the way that
/// our evaluation agrees with it on every key. `None` if it ever does not.
fn extract(
    builder: &Builder,
    keys: &[u64],
    multiplier: u64,
    fingerprints: &[u64],
) -> Option<BuiltMph> {
    if keys.is_empty() {
        return None;
    }
    // Every evaluation passes the seed to the hasher.
    builder.index_no_remap(&keys[0]);
    let params = MphParams {
        keys: keys.len() as u64,
        buckets: bucket_count(keys.len(), PtrHashParams::default_fast().lambda),
        slots: builder.max_index_no_remap() as u64,
        seed: SEED.get(),
        multiplier,
    };
    let mph = Mph::new(params);
    let pilots = recover_pilots(builder, &mph)?;

    let mut remap = vec![0_u8; params.remap_len() as usize * 4];
    let mut positions = Vec::with_capacity(keys.len());
    for (key, &fingerprint) in keys.iter().zip(fingerprints) {
        let fingerprint = Fingerprint(fingerprint);
        let position = builder.index(key);
        let slot = mph.slot(fingerprint, *pilots.get(mph.bucket(fingerprint))?);
        if let Some(spare) = slot.checked_sub(keys.len()) {
            let word = remap.get_mut(spare * 4..spare * 4 + 4)?;
            word.copy_from_slice(&(position as u32).to_le_bytes());
        } else if slot != position {
            return None;
        }
        positions.push(u32::try_from(position).ok()?);
    }
    Some(BuiltMph { mph, pilots, remap, positions })
}

/// ptr_hash's number of buckets for one part: n / lambda, and three more for small n.
fn bucket_count(keys: usize, lambda: f64) -> u64 {
    (keys as f64 / lambda).ceil() as u64 + 3
}

/// Finds each bucket's pilot by asking where probes of that bucket land. Small pilots are the
/// commonest (ptr_hash takes the first that fits), so the search is short.
fn recover_pilots(builder: &Builder, mph: &Mph) -> Option<Vec<u8>> {
    // With few slots many pilots agree on one probe; pilots that agree on all of these are
    // interchangeable, or `extract` notices on the members.
    const PROBES: u64 = 16;
    let MphParams { buckets, seed, slots, .. } = *mph.params();
    let mixed: [u64; 256] = std::array::from_fn(|pilot| mixed_pilot(pilot as u8, seed));
    let land = |hashed: u64, pilot: u64| mul_high(slots, mph.inverse.wrapping_mul(hashed ^ pilot));
    let asked = |hashed: u64| builder.index_no_remap(&(hashed ^ seed));
    (0..buckets)
        .map(|bucket| {
            let start = (u128::from(bucket) << 64).div_ceil(u128::from(buckets)) as u64;
            let first = asked(start);
            let agrees = |pilot: u64| {
                (1..PROBES).all(|i| {
                    let hashed = start + i.wrapping_mul(PILOT_MIX) / buckets;
                    land(hashed, pilot) == asked(hashed)
                })
            };
            let found =
                mixed.iter().position(|&pilot| land(start, pilot) == first && agrees(pilot));
            found.map(|pilot| pilot as u8)
        })
        .collect()
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
        for n in 1..=300 {
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
        // Low bits fixed as a lane's are.
        let keys: Vec<u64> =
            fingerprints(20_000, 7).iter().map(|f| (f & !0x3fff) | 0x123).collect();
        assert_bijective(&keys);
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
