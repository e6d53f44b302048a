//! A binary fuse filter of 8 bits (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor
//! Filters", 2022): three bytes, in three neighbouring blocks, whose exclusive or is the key's. It
//! takes 9 bits a key if there are many, and one absent key in 256 passes.
//!
//! Construction is the xorf crate's; evaluation is ours, as that of the perfect hash is: bytes from
//! disk never reach code that trusts them.

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
fn hash(seed: u64, fingerprint: Fingerprint) -> u64 {
    let x = fingerprint.0.wrapping_add(seed);
    let x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
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

/// None if construction finds no seed, as for equal fingerprints.
pub(super) fn build(fingerprints: &[u64]) -> Option<BuiltFilter> {
    let filter = BinaryFuse8::try_from(fingerprints).ok()?;
    let block = filter.descriptor.segment_length;
    let params = FilterParams {
        kind: Filter::Fuse8,
        block_log: block.ilog2() as u8,
        blocks: filter.descriptor.segment_count_length / block,
        seed: filter.descriptor.seed,
    };
    Some(BuiltFilter { params, bytes: filter.fingerprints.into_vec() })
}
