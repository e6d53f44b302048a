//! A binary fuse filter of 8 bits (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor
//! Filters", 2022): three bytes, in three neighbouring blocks, whose exclusive or is the key's. It
//! takes 9 bits a key if there are many, and one absent key in 256 passes.
//!
//! Construction is the xorf crate's; evaluation is ours, as that of the perfect hash is: a damaged filter
//! never reaches code that trusts it. Nor is construction trusted: it panics if more than 63 keys are
//! drawn to one place, which does not happen to fingerprints, but could be made to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use xorf::BinaryFuse8;

use super::{BuiltFilter, FilterParams};
use crate::config::Filter;
use crate::hash::Fingerprint;

/// The largest blocks that construction makes have 2^18 bytes.
pub(super) const MAX_BLOCK_LOG: u8 = 18;

/// A key's bytes are in its first block and the two after it.
pub(super) fn byte_len(params: &FilterParams) -> u64 {
    (u64::from(params.blocks) + 2) << params.block_log
}

/// The finalizer of MurmurHash3, of the sum.
#[inline]
pub(super) fn hash(seed: u64, fingerprint: Fingerprint) -> u64 {
    let x = fingerprint.0.wrapping_add(seed);
    let x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The fingerprint with that hash.
#[cfg(test)]
pub(super) fn unhash(seed: u64, hash: u64) -> u64 {
    // Of an odd number, modulo 2^64, by Newton's method.
    let inverse =
        |m: u64| (0..6).fold(m, |x, _| x.wrapping_mul(2_u64.wrapping_sub(m.wrapping_mul(x))));
    let x = (hash ^ (hash >> 33)).wrapping_mul(inverse(0xc4ce_b9fe_1a85_ec53));
    let x = (x ^ (x >> 33)).wrapping_mul(inverse(0xff51_afd7_ed55_8ccd));
    (x ^ (x >> 33)).wrapping_sub(seed)
}

/// Where the key's three bytes are.
#[inline]
fn places(params: &FilterParams, hash: u64) -> [usize; 3] {
    let block = 1_u64 << params.block_log;
    let first = ((u128::from(hash) * u128::from(u64::from(params.blocks) * block)) >> 64) as u64;
    let second = (first + block) ^ ((hash >> 18) & (block - 1));
    let third = (first + 2 * block) ^ (hash & (block - 1));
    [first, second, third].map(|place| place as usize)
}

#[inline]
pub(super) fn may_have(params: &FilterParams, bytes: &[u8], fingerprint: Fingerprint) -> bool {
    let hash = hash(params.seed, fingerprint);
    let [Some(a), Some(b), Some(c)] = places(params, hash).map(|place| bytes.get(place)) else {
        return true;
    };
    a ^ b ^ c == (hash ^ (hash >> 32)) as u8
}

/// None if construction fails, as it does for equal fingerprints, or lets not all of them pass.
pub(super) fn build(fingerprints: &[u64]) -> Option<BuiltFilter> {
    // It has nothing of ours but to read.
    let built = catch_unwind(AssertUnwindSafe(|| BinaryFuse8::try_from(fingerprints)));
    let filter = built.ok()?.ok()?;
    let block = filter.descriptor.segment_length;
    let params = FilterParams {
        kind: Filter::Fuse8,
        block_log: block.ilog2() as u8,
        blocks: filter.descriptor.segment_count_length / block,
        seed: filter.descriptor.seed,
    };
    let bytes = filter.fingerprints.into_vec();
    let passes = |&key: &u64| may_have(&params, &bytes, Fingerprint(key));
    fingerprints.iter().all(passes).then_some(BuiltFilter { params, bytes })
}
