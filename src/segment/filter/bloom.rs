//! A blocked Bloom filter (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007): all bits of a key are in one block, which is one cache line. With 10 bits a
//! key, 5 of them set, one absent key in 80 passes.

use std::ops::Range;

use super::{BuiltFilter, FilterParams};
use crate::config::Filter;
use crate::hash::Fingerprint;

/// Bytes of a block.
const BLOCK: usize = 64;
/// The bits of a block take so many to number.
const BIT_LOG: u32 = 9;
const BITS_PER_KEY: usize = 10;
/// Bits that a key sets.
const SET: u32 = 5;
/// Spreads the fingerprint, whose own upper bits say the block; part of the format.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) fn byte_len(blocks: u32) -> u64 {
    u64::from(blocks) * BLOCK as u64
}

/// The bytes of the key's block.
#[inline]
fn block(blocks: u32, fingerprint: Fingerprint) -> Range<usize> {
    let block = (u128::from(fingerprint.0) * u128::from(blocks)) >> 64;
    let start = block as usize * BLOCK;
    start..start + BLOCK
}

/// The key's bits: in which word of the block, and which of its 64 bits.
#[inline]
fn bits(fingerprint: Fingerprint) -> impl Iterator<Item = (usize, u64)> {
    let mixed = fingerprint.0.wrapping_mul(MIX);
    (1..=SET).map(move |i| {
        let bit = mixed >> (u64::BITS - i * BIT_LOG) & ((1 << BIT_LOG) - 1);
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

#[inline]
pub(super) fn may_have(blocks: u32, bytes: &[u8], fingerprint: Fingerprint) -> bool {
    let Some(block) = bytes.get(block(blocks, fingerprint)) else { return true };
    let (words, _) = block.as_chunks::<8>();
    // All of them, without branches: which is the first that is not set, nothing foretells.
    bits(fingerprint)
        .fold(true, |all, (word, bit)| all & (u64::from_le_bytes(words[word]) & bit != 0))
}

pub(super) fn build(fingerprints: &[u64]) -> BuiltFilter {
    let blocks = (fingerprints.len() * BITS_PER_KEY).div_ceil(BLOCK * 8) as u32;
    let mut bytes = vec![0; byte_len(blocks) as usize];
    for fingerprint in fingerprints.iter().copied().map(Fingerprint) {
        let (words, _) = bytes[block(blocks, fingerprint)].as_chunks_mut::<8>();
        for (word, bit) in bits(fingerprint) {
            words[word] = (u64::from_le_bytes(words[word]) | bit).to_le_bytes();
        }
    }
    let params = FilterParams { kind: Filter::Bloom, blocks, ..FilterParams::default() };
    BuiltFilter { params, bytes }
}
