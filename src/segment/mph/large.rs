//! Construction by the ptr_hash crate, for all but the smallest segments.

use std::cell::Cell;

use ptr_hash::{PtrHash, PtrHashParams, bucket_fn::Linear};

use super::{BuiltMph, Mph, MphParams, PILOT_MIX, mixed, mixed_pilot, mul_high};

/// Multipliers tried in turn: the next if construction ever fails with all of ptr_hash's seeds.
const MULTIPLIERS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];

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

/// Builds the function, or gives up after all of ptr_hash's seeds with all multipliers.
pub(super) fn build(fingerprints: &[u64]) -> Option<BuiltMph> {
    MULTIPLIERS.into_iter().find_map(|multiplier| {
        let keys: Vec<u64> = fingerprints.iter().map(|&f| mixed(f, multiplier)).collect();
        // ptr_hash breaks ties by this generator; equal keys shall make equal files.
        fastrand::seed(multiplier);
        let parameters = PtrHashParams::default_fast();
        let lambda = parameters.lambda;
        let builder = Builder::try_new(&keys, parameters)?;
        // Every evaluation passes the seed to the hasher.
        builder.index_no_remap(keys.first()?);
        let params = MphParams {
            keys: keys.len() as u64,
            // As ptr_hash computes it: three more for small n.
            buckets: (keys.len() as f64 / lambda).ceil() as u64 + 3,
            slots: builder.max_index_no_remap() as u64,
            seed: SEED.get(),
            multiplier,
        };
        let pilots = recover_pilots(&builder, &Mph::new(params))?;
        BuiltMph::place(params, pilots, fingerprints)
    })
}

/// Finds each bucket's pilot, which ptr_hash keeps private, by asking where probes of that bucket
/// land. Small pilots are the commonest (the first that fits is taken), so the search is short.
/// Should a guess ever be wrong, [`BuiltMph::place`] notices on the keys.
fn recover_pilots(builder: &Builder, mph: &Mph) -> Option<Vec<u8>> {
    // With few slots many pilots agree on one probe.
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
            let fits = |&pilot: &u64| land(start, pilot) == first && agrees(pilot);
            mixed.iter().position(fits).map(|pilot| pilot as u8)
        })
        .collect()
}
