//! The part of the reader that reads segments.

use super::{hi, jump, u32_at, u64_at};

/// What a segment says of a key.
pub(super) enum Record {
    Complete(Vec<u32>),
    Delta { adds: Vec<u32>, removes: Vec<u32>, len: u32 },
}

/// Bits of a number: as many as it takes to tell so many things apart.
fn bits_for(things: u64) -> u32 {
    (0..64).find(|&bits| things <= 1 << bits).expect("fewer than 2^63")
}

/// One segment's bytes, and where its sections start.
pub(crate) struct Segment {
    pub(super) bytes: Vec<u8>,
    starts: [usize; 8],
    /// The slots of its lane, ascending.
    slots: Vec<u64>,
    rank_bits: u32,
    /// The first packed word that is a high id, a list, the tombstone.
    kinds: [u64; 3],
    word_bits: u32,
    filter: Filter,
}

impl Segment {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(&bytes[..8], b"LSMI-SEG");
        assert_eq!(u32_at(&bytes, 8), 3, "version");
        assert_eq!(crc32fast::hash(&bytes[..188]), u32_at(&bytes, 188), "header's checksum");
        assert!(bytes[137] < 2);
        assert_eq!(bytes[140..188], [0; 48]);
        let [keys, buckets, slots] = [24, 32, 40].map(|at| u64_at(&bytes, at) as usize);
        let [postings, low_ids, high_ids, tombstones, deltas, lanes] =
            [64, 68, 72, 76, 80, 84].map(|at| u32_at(&bytes, at));
        assert!(tombstones as usize + deltas as usize <= keys);
        let (owner, lane) = (|slot| jump(slot, lanes), u32_at(&bytes, 12));
        let owned = |lane| (0..1 << 14).filter(move |&slot| owner(slot) == lane);
        let rank_bits =
            bits_for((0..lanes).map(|lane| owned(lane).count()).max().expect("a lane") as u64);
        let high = u64::from(low_ids);
        let high_end = high + u64::from(high_ids);
        let tombstone = high_end + u64::from(postings);
        let word_bits = bits_for(tombstone + u64::from(tombstones > 0));
        let entries = (keys * (26 + rank_bits + word_bits) as usize).div_ceil(8) + 8;
        let filter = Filter::new(&bytes);
        let lists = 4 * postings as usize;
        let lengths =
            [buckets, 4 * (slots - keys), keys, entries, 2 * keys, lists, filter.length()];
        let mut starts = [192; 8];
        for (i, length) in lengths.into_iter().enumerate() {
            let (end, next) = (starts[i] + length, (starts[i] + length).next_multiple_of(64));
            starts[i + 1] = next;
            assert!(bytes[end..next].iter().all(|&byte| byte == 0), "padding");
            let stored = u32_at(&bytes, 88 + 4 * i);
            assert_eq!(crc32fast::hash(&bytes[starts[i]..next]), stored, "section {i}");
        }
        assert_eq!(starts[7], bytes.len());
        let kinds = [high, high_end, tombstone];
        Self { slots: owned(lane).collect(), bytes, starts, rank_bits, kinds, word_bits, filter }
    }

    pub(crate) fn keys(&self) -> u64 {
        u64_at(&self.bytes, 24)
    }

    pub(crate) fn tombstones_and_deltas(&self) -> (u64, u64) {
        (u32_at(&self.bytes, 76).into(), u32_at(&self.bytes, 80).into())
    }

    fn position(&self, f: u64) -> usize {
        let [keys, buckets, slots, seed, multiplier] =
            [24, 32, 40, 48, 56].map(|at| u64_at(&self.bytes, at));
        let inverse = (u64::MAX / slots).wrapping_add(1);
        let m = f.wrapping_mul(multiplier);
        let h = m ^ (m >> 32) ^ seed;
        let pilot = u64::from(self.bytes[self.starts[0] + hi(buckets, h) as usize]);
        let d = h ^ 0x517c_c1b7_2722_0a95_u64.wrapping_mul(pilot ^ seed);
        let slot = hi(slots, inverse.wrapping_mul(d));
        if slot < keys {
            return slot as usize;
        }
        u32_at(&self.bytes, self.starts[1] + 4 * (slot - keys) as usize) as usize
    }

    /// A number of the entries, bit by bit.
    fn bits(&self, at: usize, width: u32) -> u64 {
        let bit = |bit: usize| u64::from(self.bytes[self.starts[3] + bit / 8] >> (bit % 8) & 1);
        (0..width).map(|i| bit(at + i as usize) << i).sum()
    }

    pub(super) fn get(&self, f: u64) -> Option<Record> {
        let [_, _, signatures, _, cold, postings, filter, _] = self.starts;
        if !self.filter.passes(&self.bytes[filter..], f) {
            return None;
        }
        let at = self.position(f);
        let width = 26 + self.rank_bits + self.word_bits;
        let entry = at * width as usize;
        let rank = self.bits(entry + 26, self.rank_bits) as usize;
        if self.bytes[signatures + at] != (f >> 14) as u8
            || self.bits(entry, 26) != f >> 22 & 0x03ff_ffff
            || self.slots.get(rank) != Some(&(f & 0x3fff))
            || self.bytes[cold + 2 * at..][..2] != ((f >> 48) as u16).to_le_bytes()
        {
            return None;
        }
        let word = self.bits(entry + 26 + self.rank_bits as usize, self.word_bits);
        let [high, lists, tombstone] = self.kinds;
        if word >= tombstone {
            return Some(Record::Complete(vec![]));
        }
        if word < lists {
            let id = if word < high { word } else { (1 << 30) + word - high };
            return Some(Record::Complete(vec![id as u32]));
        }
        let list = |i: usize| u32_at(&self.bytes, postings + 4 * ((word - lists) as usize + i));
        let number = (list(0) & 0x7fff_ffff) as usize;
        if list(0) >> 31 == 0 {
            return Some(Record::Complete((1..=number).map(list).collect()));
        }
        let adds = (3..3 + number).map(list).collect();
        let removes = (3 + number..3 + number + list(1) as usize).map(list).collect();
        Some(Record::Delta { adds, removes, len: list(2) })
    }
}

/// The filter of a segment, as its header has it.
enum Filter {
    None,
    Bloom { blocks: usize },
    Fuse { blocks: u64, block: u64, seed: u64 },
}

impl Filter {
    fn new(bytes: &[u8]) -> Self {
        let (blocks, seed, block_log) = (u32_at(bytes, 116), u64_at(bytes, 120), bytes[139]);
        match bytes[138] {
            0 => {
                assert_eq!((blocks, seed, block_log), (0, 0, 0));
                Self::None
            }
            1 => {
                assert_eq!((seed, block_log), (0, 0));
                Self::Bloom { blocks: blocks as usize }
            }
            2 => Self::Fuse { blocks: blocks.into(), block: 1 << block_log, seed },
            other => panic!("filter {other}"),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Bloom { blocks } => 64 * blocks,
            Self::Fuse { blocks, block, .. } => ((blocks + 2) * block) as usize,
        }
    }

    fn passes(&self, section: &[u8], f: u64) -> bool {
        match *self {
            Self::None => true,
            Self::Bloom { blocks } => {
                let block = &section[64 * hi(f, blocks as u64) as usize..][..64];
                let g = f.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let bits = [55, 46, 37, 28, 19].map(|shift| (g >> shift & 511) as usize);
                bits.iter().all(|bit| block[bit / 8] >> (bit % 8) & 1 == 1)
            }
            Self::Fuse { blocks, block, seed } => {
                let mut h = f.wrapping_add(seed);
                h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
                h ^= h >> 33;
                let first = hi(h, blocks * block);
                let second = (first + block) ^ (h >> 18 & (block - 1));
                let third = (first + 2 * block) ^ (h & (block - 1));
                let [a, b, c] = [first, second, third].map(|at| section[at as usize]);
                a ^ b ^ c == (h ^ (h >> 32)) as u8
            }
        }
    }
}
