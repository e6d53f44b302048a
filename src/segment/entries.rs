//! Entries: fingerprint bits and a value word per key, one after the other without regard to bytes.
//!
//! Entry *i* takes the bits *i w* to *(i + 1) w* of its section, fingerprint bits first, where *w* is
//! the same for all entries of a segment. Bit *b* is bit *b* mod 8 of byte *b* / 8.

use crate::hash::{ENTRY_BITS, Fingerprint};
use crate::slots::SlotTable;

/// Bytes behind the last entry, for eight bytes to be there wherever a field begins.
const SLACK: u64 = 8;

/// How wide the parts of an entry are. Neither is wider than 57 bits, which is what eight bytes
/// have of a field that begins anywhere in the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packing {
    fingerprint_bits: u32,
    word_bits: u32,
}

/// What an entry has of a fingerprint: the rank of its slot above its entry bits.
#[inline]
pub(super) fn hot_bits(fingerprint: Fingerprint, slots: &SlotTable) -> u64 {
    u64::from(slots.rank(fingerprint)) << ENTRY_BITS | u64::from(fingerprint.entry_bits())
}

/// The rank and the entry bits.
#[inline]
pub(super) fn hot_parts(hot_bits: u64) -> (usize, u32) {
    ((hot_bits >> ENTRY_BITS) as usize, hot_bits as u32 & ((1 << ENTRY_BITS) - 1))
}

impl Packing {
    pub(super) fn new(rank_bits: u32, word_bits: u32) -> Self {
        Self { fingerprint_bits: ENTRY_BITS + rank_bits, word_bits }
    }

    fn width(&self) -> u32 {
        self.fingerprint_bits + self.word_bits
    }

    /// Bytes that so many entries take.
    pub(super) fn bytes(&self, keys: u64) -> u64 {
        (keys * u64::from(self.width())).div_ceil(8) + SLACK
    }

    #[inline]
    fn start(&self, position: usize) -> usize {
        position * self.width() as usize
    }

    /// The first and the last byte of an entry.
    #[inline]
    pub(super) fn ends(&self, position: usize) -> [usize; 2] {
        let start = self.start(position);
        [start / 8, (start + self.width() as usize - 1) / 8]
    }

    /// The fingerprint bits at a position that there is.
    #[inline]
    pub(super) fn hot_bits(&self, entries: &[u8], position: usize) -> Option<u64> {
        read(entries, self.start(position), self.fingerprint_bits)
    }

    /// The packed word at a position that there is.
    #[inline]
    pub(super) fn word(&self, entries: &[u8], position: usize) -> Option<u64> {
        read(entries, self.start(position) + self.fingerprint_bits as usize, self.word_bits)
    }

    /// Writes an entry where none was written yet.
    pub(super) fn put(&self, entries: &mut [u8], position: usize, hot_bits: u64, word: u64) {
        let start = self.start(position);
        write(entries, start, hot_bits);
        write(entries, start + self.fingerprint_bits as usize, word);
    }
}

#[inline]
fn read(bytes: &[u8], at: usize, width: u32) -> Option<u64> {
    let long = bytes.get(at / 8..)?.first_chunk()?;
    Some(u64::from_le_bytes(*long) >> (at % 8) & ((1 << width) - 1))
}

/// Into bits that are 0.
#[inline]
fn write(bytes: &mut [u8], at: usize, value: u64) {
    let field = &mut bytes[at / 8..at / 8 + 8];
    let long = crate::frame::long(field) | value << (at % 8);
    field.copy_from_slice(&long.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn every_width_gives_back_what_a_plain_vector_holds() {
        for rank_bits in 0..=14 {
            for word_bits in 0..=33 {
                let packing = Packing::new(rank_bits, word_bits);
                for keys in [1, 2, 3, 7, 8, 9, 100] {
                    let mut state = keys << 16 | u64::from(word_bits) << 8 | u64::from(rank_bits);
                    let mut part = |width: u32| match random(&mut state) % 8 {
                        0 => 0,
                        1 => (1 << width) - 1,
                        _ => random(&mut state) & ((1 << width) - 1),
                    };
                    let plain: Vec<(u64, u64)> = (0..keys)
                        .map(|_| (part(ENTRY_BITS + rank_bits), part(word_bits)))
                        .collect();
                    let mut bytes = vec![0; packing.bytes(keys) as usize];
                    // Backwards, so that an entry is written when the next one is there.
                    for (position, &(hot, word)) in plain.iter().enumerate().rev() {
                        packing.put(&mut bytes, position, hot, word);
                    }
                    for (position, &(hot, word)) in plain.iter().enumerate() {
                        assert_eq!(packing.hot_bits(&bytes, position), Some(hot));
                        assert_eq!(packing.word(&bytes, position), Some(word));
                        let [first, last] = packing.ends(position);
                        assert!(first <= last && last < bytes.len() - SLACK as usize);
                    }
                    assert!(bytes.ends_with(&[0; SLACK as usize]));
                    // Nothing is read where nothing is.
                    bytes.truncate(bytes.len() - SLACK as usize);
                    assert_eq!(packing.word(&bytes, keys as usize), None);
                }
            }
        }
    }

    #[test]
    fn parts_make_the_hot_bits_again() {
        for lanes in [1, 64, 16_384] {
            let slots = SlotTable::new(lanes);
            let mut state = lanes.into();
            for fingerprint in (0..1000).map(|_| Fingerprint(random(&mut state))) {
                let (rank, entry_bits) = hot_parts(hot_bits(fingerprint, &slots));
                assert_eq!(entry_bits, fingerprint.entry_bits());
                let lane = slots.lane(fingerprint) as u32;
                assert_eq!(usize::from(slots.of_lane(lane)[rank]), fingerprint.slot());
            }
        }
    }
}
