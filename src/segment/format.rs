//! The bytes of a segment: a header of 128 bytes, then sections on 64-byte boundaries.
//! `docs/format.md` holds the same table for readers; a golden-file test holds both.

use std::ops::Range;
use std::path::Path;

use super::entries::Packing;
use super::mph::MphParams;
use super::packed::Values;
use crate::error::{Error, Result};
use crate::frame::{FORMAT_VERSION, check_version, long, word};
use crate::slots::SlotTable;

pub(crate) const MAGIC: &[u8; 8] = b"LSMI-SEG";
pub(crate) const HEADER_LEN: usize = 128;
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
const FLUSHED_AT: usize = 112;
const LEVEL_AT: usize = 120;
const LEADS_TO_TERMS_AT: usize = 121;
const CHECKSUM_AT: usize = 124;

/// The sections in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Pilots,
    Remap,
    Signatures,
    Entries,
    Cold,
    Postings,
}

impl Section {
    pub(crate) const ALL: [Section; 6] = [
        Section::Pilots,
        Section::Remap,
        Section::Signatures,
        Section::Entries,
        Section::Cold,
        Section::Postings,
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
    pub(crate) tombstones: u32,
    pub(crate) deltas: u32,
    /// CRC32 per section, padding included.
    pub(crate) checksums: [u32; 6],
}

/// Where the sections lie; a function of the header's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    starts: [u64; 7],
    lengths: [u64; 6],
    /// How entries lie in theirs.
    pub(crate) packing: Packing,
}

impl Layout {
    /// `rank_bits`: what tells the slots of one lane apart.
    pub(crate) fn new(mph: &MphParams, values: &Values, rank_bits: u32) -> Self {
        let packing = Packing::new(rank_bits, values.bits());
        let lengths = [
            mph.buckets,
            mph.remap_len() * 4,
            mph.keys,
            packing.bytes(mph.keys),
            mph.keys * 2,
            u64::from(values.postings) * 4,
        ];
        let mut starts = [HEADER_LEN as u64; 7];
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
        self.starts[6]
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[VERSION_AT..][..4].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[LANE_AT..][..4].copy_from_slice(&self.origin.lane.to_le_bytes());
        out[LEVEL_AT] = self.origin.level;
        out[LEADS_TO_TERMS_AT] = self.origin.leads_to_terms.into();
        for (at, value) in [
            (NUMBER_AT, self.origin.number),
            (FLUSHED_AT, self.origin.flushed),
            (KEYS_AT, self.mph.keys),
            (BUCKETS_AT, self.mph.buckets),
            (SLOTS_AT, self.mph.slots),
            (SEED_AT, self.mph.seed),
            (MULTIPLIER_AT, self.mph.multiplier),
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
        if !decoded.mph.plausible() || !decoded.values.plausible() || special > decoded.mph.keys {
            return Err(Error::corrupt(path, KEYS_AT, "the header's counts contradict each other"));
        }
        let layout = Layout::new(&decoded.mph, &decoded.values, slots.rank_bits());
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
        let checksums = [1, 2, 3, 4, 5, 6];
        let origin = Origin { lane: 3, number: 9, level: 2, flushed: 7, leads_to_terms: true };
        Header { origin, num_lanes: 64, mph, values, tombstones: 1, deltas: 2, checksums }
    }

    fn layout(header: &Header) -> Layout {
        Layout::new(&header.mph, &header.values, slots().rank_bits())
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
        let layout = layout(&header);
        let found = decode(&header, layout.file_len() as usize);
        assert_eq!(found.expect("sound"), (header, layout));
    }

    #[test]
    fn sections_are_aligned_and_apart() {
        let layout = layout(&header());
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
    fn lanes_that_are_not_the_indexs_are_refused() {
        let len = layout(&header()).file_len() as usize;
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
