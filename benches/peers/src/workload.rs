//! The keys, the values, and which of them are asked for.

/// Eight bytes; in no order, whatever order their numbers have.
pub(crate) type Key = [u8; 8];

/// Numbers from here on are the keys that nobody put.
pub(crate) const ABSENT: u64 = 1 << 40;

/// Numbers from here on are the keys that are put one by one, after the load.
pub(crate) const NEW: u64 = 1 << 41;

/// Key number `n`. The step of SplitMix64 scatters the numbers and maps no two to the same key.
#[inline]
pub(crate) fn key(n: u64) -> Key {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n ^ (n >> 31)).to_be_bytes()
}

/// The id that key number `n` leads to.
#[inline]
pub(crate) fn id(n: u64) -> u32 {
    n as u32
}

/// All pairs of the load.
pub(crate) fn pairs(keys: u64) -> Vec<(Key, u32)> {
    (0..keys).map(|n| (key(n), id(n))).collect()
}
