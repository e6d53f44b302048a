//! The bytes of a segment: a header of 192 bytes, then sections on 64-byte boundaries.
//! `docs/format.md` holds the same table for readers; a golden-file test holds both.

use std::ops::Range;
use std::path::Path;

use super::entries::Packing;
use super::filter::FilterParams;
use super::mph::MphParams;
use super::packed::Values;
use crate::config::Filter;
use crate::error::{Error, Result};
use crate::frame::{FORMAT_VERSION, check_version, long, word};
use crate::slots::SlotTable;

pub(crate) const MAGIC: &[u8; 8] = b"LSMI-SEG";
pub(crate) const HEADER_LEN: usize = 192;
const ALIGN: u64 = 64;

const VERSION_AT: usize = 8;
const LANE_AT: usize = 12;
const NUMBER_AT: usize = 16;
const KEYS_AT: usize = 24;
const BUCKETS_AT: usize = 32;
const SLOTS_AT: usize = 40;
const SEED_AT: usize = 48;
const MULTIPLIER_AT: usize = 56;
const POSTINGS_AT: usize = 64;
const LOW_IDS_AT: usize = 68;
const HIGH_IDS_AT: usize = 72;
const TOMBSTONES_AT: usize = 76;
const DELTAS_AT: usize = 80;
const NUM_LANES_AT: usize = 84;
const CHECKSUMS_AT: usize = 88;
const FILTER_BLOCKS_AT: usize = 116;
const FILTER_SEED_AT: usize = 120;
const FLUSHED_AT: usize = 128;
const LEVEL_AT: usize = 136;
const LEADS_TO_TERMS_AT: usize = 137;
const FILTER_AT: usize = 138;
const FILTER_BLOCK_LOG_AT: usize = 139;
const CHECKSUM_AT: usize = 188;

const FILTERS: [Filter; 3] = [Filter::None, Filter::Bloom, Filter::Fuse8];

/// The sections in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Pilots,
    Remap,
    Signatures,
    Entries,
    Cold,
    Postings,
    Filter,
}

impl Section {
    pub(crate) const ALL: [Section; 7] = [
        Section::Pilots,
        Section::Remap,
        Section::Signatures,
        Section::Entries,
        Section::Cold,
        Section::Postings,
        Section::Filter,
    ];
}

/// What a manifest says of a segment, for a lost one to be made anew from its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) lane: u32,
    pub(crate) number: u64,
    pub(crate) level: u8,
    /// The last record of the log that this segment and those below have the lane's changes of.
    pub(crate) flushed: u64,
    /// Whether ids of 2^30 and above are the dictionary's.
    pub(crate) leads_to_terms: bool,
}

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) origin: Origin,
    /// Of the index: which slots are the lane's follows from it.
    pub(crate) num_lanes: u32,
    pub(crate) mph: MphParams,
    pub(crate) values: Values,
    pub(crate) filter: FilterParams,
    pub(crate) tombstones: u32,
    pub(crate) deltas: u32,
    /// CRC32 per section, padding included.
    pub(crate) checksums: [u32; 7],
}

/// Where the sections lie; a function of the header's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    starts: [u64; 8],
    lengths: [u64; 7],
    /// How entries lie in theirs.
    pub(crate) packing: Packing,
}

impl Layout {
    /// `rank_bits`: what tells the slots of one lane apart.
    pub(crate) fn new(
        mph: &MphParams,
        values: &Values,
        filter: &FilterParams,
        rank_bits: u32,
    ) -> Self {
        let packing = Packing::new(rank_bits, values.bits());
        let lengths = [
            mph.buckets,
            mph.remap_len() * 4,
            mph.keys,
            packing.bytes(mph.keys),
            mph.keys * 2,
            u64::from(values.postings) * 4,
            filter.byte_len(),
        ];
        let mut starts = [HEADER_LEN as u64; 8];
        for (i, length) in lengths.iter().enumerate() {
            starts[i + 1] = (starts[i] + length).next_multiple_of(ALIGN);
        }
        Self { starts, lengths, packing }
    }

    /// The section's bytes.
    pub(crate) fn range(&self, section: Section) -> Range<usize> {
        let start = self.starts[section as usize] as usize;
        start..start + self.lengths[section as usize] as usize
    }

    /// The section's bytes and the padding behind it: what its checksum covers.
    pub(crate) fn padded(&self, section: Section) -> Range<usize> {
        self.starts[section as usize] as usize..self.starts[section as usize + 1] as usize
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.starts[7]
    }
}

impl Header {
    fn layout(&self, slots: &SlotTable) -> Layout {
        Layout::new(&self.mph, &self.values, &self.filter, slots.rank_bits())
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[VERSION_AT..][..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[LANE_AT..][..4].copy_from_slice(&self.origin.lane.to_le_bytes());
        out[LEVEL_AT] = self.origin.level;
        out[LEADS_TO_TERMS_AT] = self.origin.leads_to_terms.into();
        out[FILTER_AT] = self.filter.kind as u8;
        out[FILTER_BLOCK_LOG_AT] = self.filter.block_log;
        for (at, value) in [
            (NUMBER_AT, self.origin.number),
            (FLUSHED_AT, self.origin.flushed),
            (KEYS_AT, self.mph.keys),
            (BUCKETS_AT, self.mph.buckets),
            (SLOTS_AT, self.mph.slots),
            (SEED_AT, self.mph.seed),
            (MULTIPLIER_AT, self.mph.multiplier),
            (FILTER_SEED_AT, self.filter.seed),
        ] {
            out[at..][..8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [
            (POSTINGS_AT, self.values.postings),
            (LOW_IDS_AT, self.values.low_ids),
            (HIGH_IDS_AT, self.values.high_ids),
            (TOMBSTONES_AT, self.tombstones),
            (DELTAS_AT, self.deltas),
            (NUM_LANES_AT, self.num_lanes),
            (FILTER_BLOCKS_AT, self.filter.blocks),
        ] {
            out[at..][..4].copy_from_slice(&value.to_le_bytes());
        }
        for (i, crc) in self.checksums.iter().enumerate() {
            out[CHECKSUMS_AT + 4 * i..][..4].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Checks everything the header alone can tell, that it is of an index with those lanes, and
    /// that the file has the length it implies.
    pub(crate) fn decode(path: &Path, bytes: &[u8], slots: &SlotTable) -> Result<(Self, Layout)> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(Error::corrupt(path, bytes.len(), "the file ends within its header"));
        };
        if &header[..8] != MAGIC {
            return Err(Error::corrupt(path, 0, "not a segment (wrong magic)"));
        }
        check_version(path, word(&header[VERSION_AT..]))?;
        if crc32fast::hash(&header[..CHECKSUM_AT]) != word(&header[CHECKSUM_AT..]) {
            return Err(Error::corrupt(path, CHECKSUM_AT, "the header's checksum does not match"));
        }
        let Some(&filter) = FILTERS.get(usize::from(header[FILTER_AT])) else {
            return Err(Error::corrupt(path, FILTER_AT, "a filter of an unknown kind"));
        };
        let decoded = Self {
            origin: Origin {
                lane: word(&header[LANE_AT..]),
                number: long(&header[NUMBER_AT..]),
                level: header[LEVEL_AT],
                flushed: long(&header[FLUSHED_AT..]),
                leads_to_terms: header[LEADS_TO_TERMS_AT] != 0,
            },
            mph: MphParams {
                keys: long(&header[KEYS_AT..]),
                buckets: long(&header[BUCKETS_AT..]),
                slots: long(&header[SLOTS_AT..]),
                seed: long(&header[SEED_AT..]),
                multiplier: long(&header[MULTIPLIER_AT..]),
            },
            num_lanes: word(&header[NUM_LANES_AT..]),
            values: Values {
                low_ids: word(&header[LOW_IDS_AT..]),
                high_ids: word(&header[HIGH_IDS_AT..]),
                postings: word(&header[POSTINGS_AT..]),
                has_tombstones: word(&header[TOMBSTONES_AT..]) > 0,
            },
            filter: FilterParams {
                kind: filter,
                block_log: header[FILTER_BLOCK_LOG_AT],
                blocks: word(&header[FILTER_BLOCKS_AT..]),
                seed: long(&header[FILTER_SEED_AT..]),
            },
            tombstones: word(&header[TOMBSTONES_AT..]),
            deltas: word(&header[DELTAS_AT..]),
            checksums: std::array::from_fn(|i| word(&header[CHECKSUMS_AT + 4 * i..])),
        };
        let (lane, lanes) = (decoded.origin.lane, decoded.num_lanes);
        if lanes != slots.num_lanes() || lane >= lanes {
            let what = format!("lane {lane} of {lanes}, in an index of {}", slots.num_lanes());
            return Err(Error::corrupt(path, NUM_LANES_AT, what));
        }
        let special = u64::from(decoded.tombstones) + u64::from(decoded.deltas);
        let plausible =
            decoded.mph.plausible() && decoded.values.plausible() && decoded.filter.plausible();
        if !plausible || special > decoded.mph.keys {
            return Err(Error::corrupt(path, KEYS_AT, "the header's counts contradict each other"));
        }
        let layout = decoded.layout(slots);
        if layout.file_len() != bytes.len() as u64 {
            let what = format!("{} bytes where {} belong", bytes.len(), layout.file_len());
            return Err(Error::corrupt(path, bytes.len(), what));
        }
        Ok((decoded, layout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> SlotTable {
        SlotTable::new(64)
    }

    fn header() -> Header {
        let mph = MphParams { keys: 100, buckets: 37, slots: 101, seed: 5, multiplier: 1 };
        let values = Values { low_ids: 20, high_ids: 7, postings: 10, has_tombstones: true };
        let checksums = [1, 2, 3, 4, 5, 6, 7];
        let filter = FilterParams { kind: Filter::Fuse8, block_log: 6, blocks: 9, seed: 8 };
        let origin = Origin { lane: 3, number: 9, level: 2, flushed: 7, leads_to_terms: true };
        Header { origin, num_lanes: 64, mph, values, filter, tombstones: 1, deltas: 2, checksums }
    }

    /// The header with nothing behind it but zeros.
    fn decode(header: &Header, len: usize) -> Result<(Header, Layout)> {
        let mut file = header.encode().to_vec();
        file.resize(len, 0);
        Header::decode(Path::new("x"), &file, &slots())
    }

    #[test]
    fn the_header_survives_a_round_trip() {
        let header = header();
        let layout = header.layout(&slots());
        let found = decode(&header, layout.file_len() as usize);
        assert_eq!(found.expect("sound"), (header, layout));
    }

    #[test]
    fn sections_are_aligned_and_apart() {
        let layout = header().layout(&slots());
        let mut end = HEADER_LEN;
        for section in Section::ALL {
            let padded = layout.padded(section);
            assert_eq!(padded.start, end);
            assert_eq!(padded.start % 64, 0);
            assert!(layout.range(section).end <= padded.end);
            end = padded.end;
        }
        assert_eq!(end as u64, layout.file_len());
    }

    #[test]
    fn absurd_counts_are_refused_before_arithmetic() {
        for keys in [0, 1 << 32, 1 << 63, u64::MAX] {
            let mut header = header();
            header.mph.keys = keys;
            assert!(matches!(decode(&header, 4096), Err(Error::Corrupt { .. })));
        }
        let with = |change: &dyn Fn(&mut Header)| {
            let mut header = header();
            change(&mut header);
            decode(&header, 4096)
        };
        for count in [(1 << 30) + 1, 1 << 31, u32::MAX] {
            let changes: [&dyn Fn(&mut Header); 6] = [
                &|header| header.values.postings = count,
                &|header| header.values.low_ids = count,
                &|header| header.values.high_ids = count,
                &|header| header.tombstones = count,
                &|header| header.deltas = count,
                &|header| (header.tombstones, header.deltas) = (count, count),
            ];
            for change in changes {
                assert!(matches!(with(change), Err(Error::Corrupt { .. })));
            }
        }
    }

    #[test]
    fn filters_that_cannot_be_are_refused() {
        let len = header().layout(&slots()).file_len() as usize;
        let refused = |change: &dyn Fn(&mut FilterParams)| {
            let mut header = header();
            change(&mut header.filter);
            matches!(decode(&header, len), Err(Error::Corrupt { .. }))
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|filter| filter.kind = Filter::None));
        assert!(refused(&|filter| filter.kind = Filter::Bloom));
        for block_log in [0, 5, 7, 19, 64, u8::MAX] {
            assert!(refused(&|filter| filter.block_log = block_log));
        }
        for blocks in [0, 8, 10, u32::MAX] {
            assert!(refused(&|filter| filter.blocks = blocks));
        }
        let mut bytes = header().encode();
        bytes[FILTER_AT] = 3;
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        let decoded = Header::decode(Path::new("x"), &bytes, &slots());
        assert!(matches!(decoded, Err(Error::Corrupt { offset: 138, .. })));
    }

    #[test]
    fn lanes_that_are_not_the_indexs_are_refused() {
        let len = header().layout(&slots()).file_len() as usize;
        for (num_lanes, lane) in
            [(0, 0), (1, 0), (63, 3), (65, 3), (16_385, 3), (u32::MAX, 3), (64, 64), (64, u32::MAX)]
        {
            let mut header = header();
            (header.num_lanes, header.origin.lane) = (num_lanes, lane);
            let refused = decode(&header, len);
            assert!(matches!(refused, Err(Error::Corrupt { offset: 84, .. })), "{refused:?}");
        }
    }
}
