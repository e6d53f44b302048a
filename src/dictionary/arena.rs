//! Terms' bytes, one after the other in chunks, so that growing moves none of them.
//!
//! A term lies in one chunk, behind its length in LEB128. One that is longer than a chunk has a
//! chunk of its own.

use crate::error::{Error, Result};

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;
/// What the first chunk begins with: most indexes have few terms.
const FIRST: usize = 128;

/// The bytes. A start is the number of a chunk above and a place in it below.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    /// Of all chunks.
    capacity: usize,
}

fn length_of(mut len: usize) -> ([u8; 5], usize) {
    let (mut bytes, mut used) = ([0; 5], 0);
    loop {
        bytes[used] = len as u8 & 0x7f;
        len >>= 7;
        used += 1;
        if len == 0 {
            return (bytes, used);
        }
        bytes[used - 1] |= 0x80;
    }
}

/// What a term takes.
pub(super) fn weight(term: &[u8]) -> usize {
    length_of(term.len()).1 + term.len()
}

impl Arena {
    /// Adds a term; where it starts.
    pub(super) fn push(&mut self, term: &[u8]) -> Result<u32> {
        let too_large = || Error::TooLarge { what: "a dictionary shard", limit: 1 << 32 };
        if term.len() >= 1 << 32 {
            return Err(too_large());
        }
        let (length, used) = length_of(term.len());
        let needed = used + term.len();
        if self.chunks.last().is_none_or(|chunk| chunk.len() + needed > CHUNK) {
            let number = self.chunks.len() as u32;
            // The last number is no term's.
            if number >= (1 << (32 - CHUNK_BITS)) - 1 {
                return Err(too_large());
            }
            self.chunks.push(Vec::new());
        }
        let first = self.chunks.len() == 1;
        let number = self.chunks.len() as u32 - 1;
        let Some(chunk) = self.chunks.last_mut() else { return Err(too_large()) };
        let free = chunk.capacity() - chunk.len();
        if free < needed {
            // Doubling, so that the end is half empty at the most.
            let least = if first { FIRST } else { CHUNK / 4 };
            let wanted = (2 * chunk.len()).max(least).min(CHUNK).max(chunk.len() + needed);
            let before = chunk.capacity();
            chunk.reserve_exact(wanted - chunk.len());
            self.capacity += chunk.capacity() - before;
        }
        let start = number << CHUNK_BITS | chunk.len() as u32;
        chunk.extend_from_slice(&length[..used]);
        chunk.extend_from_slice(term);
        Ok(start)
    }

    /// The term that starts there.
    pub(super) fn get(&self, start: u32) -> Option<&[u8]> {
        let chunk = self.chunks.get((start >> CHUNK_BITS) as usize)?;
        let mut rest = chunk.get(start as usize % CHUNK..)?;
        let (mut len, mut shift) = (0, 0);
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return rest.get(..len);
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.capacity + self.chunks.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_all_lengths_come_back() {
        let mut arena = Arena::default();
        let mut random = fastrand::Rng::with_seed(3);
        let lengths = [0, 1, 126, 127, 128, 4_093, 4_094, 4_095, 4_096, 16_383, 16_384, 100_000];
        let random_lengths = (0..2_000).map(|_| random.usize(..300)).collect::<Vec<_>>();
        let mut terms = Vec::new();
        for len in lengths.into_iter().chain(random_lengths) {
            let term: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            terms.push((arena.push(&term).expect("room"), term));
        }
        for (start, term) in &terms {
            assert_eq!(arena.get(*start), Some(&term[..]));
        }
        assert_eq!(arena.get(u32::MAX), None);
    }

    #[test]
    fn little_is_allocated_beyond_the_terms() {
        let mut arena = Arena::default();
        for n in 1..10_000_usize {
            arena.push(&[7; 27]).expect("room");
            // A length, the end of a chunk, and the last chunk.
            let most = n * 28 + n / 2 + 4_096;
            assert!(arena.memory() <= most, "{} for {n}", arena.memory());
        }
        assert!(Arena::default().memory() == 0);
        let mut small = Arena::default();
        small.push(&[7; 30]).expect("room");
        assert!(small.memory() < 300, "{}", small.memory());
    }
}
