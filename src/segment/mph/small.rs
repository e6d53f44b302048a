//! Construction for small segments: buckets from the fullest down, the first pilot that fits.
//!
//! ptr_hash fails (and reports on standard error) for one in fifty sets of so few keys; with so
//! few, starting over with another seed is quicker than moving keys about.

use super::{BuiltMph, Mph, MphParams};
use crate::hash::Fingerprint;

/// The most keys this is used for.
pub(super) const MAX_KEYS: usize = 256;
const MAX_SEEDS: u64 = 1000;

/// Builds the function, or gives up after [`MAX_SEEDS`]: then two fingerprints are equal.
pub(super) fn build(fingerprints: &[u64]) -> Option<BuiltMph> {
    let keys = fingerprints.len() as u64;
    if keys == 0 {
        return None;
    }
    let slots = keys + keys / 100 + 1;
    // The remainder by a power of two would look at the low bits alone.
    let slots = if slots.is_power_of_two() { slots + 1 } else { slots };
    (0..MAX_SEEDS).find_map(|attempt| {
        let params = MphParams {
            keys,
            buckets: keys.div_ceil(3) + 3,
            slots,
            seed: scramble(2 * attempt),
            // Odd, or it would lose bits.
            multiplier: scramble(2 * attempt + 1) | 1,
        };
        let pilots = find_pilots(&Mph::new(params), fingerprints)?;
        BuiltMph::place(params, pilots, fingerprints)
    })
}

fn find_pilots(mph: &Mph, fingerprints: &[u64]) -> Option<Vec<u8>> {
    let params = mph.params();
    let mut buckets = vec![Vec::new(); params.buckets as usize];
    for &fingerprint in fingerprints {
        let fingerprint = Fingerprint(fingerprint);
        buckets[mph.bucket(fingerprint)].push(fingerprint);
    }
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    order.sort_by_key(|&bucket| std::cmp::Reverse(buckets[bucket].len()));

    let mut taken = vec![false; params.slots as usize];
    let mut pilots = vec![0; buckets.len()];
    for bucket in order {
        let keys = &buckets[bucket];
        pilots[bucket] = (0..=u8::MAX).find(|&pilot| claim(mph, keys, pilot, &mut taken))?;
    }
    Some(pilots)
}

/// Takes the keys' slots if they are free and distinct; takes none otherwise.
fn claim(mph: &Mph, keys: &[Fingerprint], pilot: u8, taken: &mut [bool]) -> bool {
    for (i, &key) in keys.iter().enumerate() {
        let slot = mph.slot(key, pilot);
        if std::mem::replace(&mut taken[slot], true) {
            for &earlier in &keys[..i] {
                taken[mph.slot(earlier, pilot)] = false;
            }
            return false;
        }
    }
    true
}

/// The finalizer of splitmix64 (Steele, Lea, Flood, 2014).
fn scramble(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
