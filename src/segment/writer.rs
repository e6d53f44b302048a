//! Collects a segment's records and lays them out.

use super::entries::hot_bits;
use super::filter::BuiltFilter;
use super::format::{HEADER_LEN, Header, Layout, Origin, Section};
use super::mph::BuiltMph;
use super::packed::Values;
use crate::config::Filter;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::mmap::Buffer;
use crate::record::Record;
use crate::residency::Residency;
use crate::slots::SlotTable;
use crate::word::Word;

/// Records for one segment, in any order; a fingerprint may be added once only.
#[derive(Debug, Default)]
pub(crate) struct SegmentWriter {
    fingerprints: Vec<u64>,
    words: Vec<Word>,
    postings: Vec<u32>,
    tombstones: u32,
    deltas: u32,
}

/// First word of a posting list: the flag tells a delta from a complete set, the rest is the
/// number of ids (of added ids, for a delta).
pub(crate) const DELTA_FLAG: u32 = 1 << 31;

const TOO_MANY_POSTINGS: Error =
    Error::TooLarge { what: "a segment's postings, in words,", limit: Word::MAX_OFFSET as u64 };

impl SegmentWriter {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self {
            fingerprints: Vec::with_capacity(keys),
            words: Vec::with_capacity(keys),
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fingerprints.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// Adds a key with one id.
    #[inline]
    pub(crate) fn add_one(&mut self, fingerprint: Fingerprint, id: u32) {
        self.fingerprints.push(fingerprint.0);
        self.words.push(Word::id(id));
    }

    /// Adds a key with several ids, ascending.
    pub(crate) fn add_many(&mut self, fingerprint: Fingerprint, ids: &[u32]) -> Result<()> {
        let word = self.next_offset()?;
        self.postings.push(ids.len() as u32);
        self.postings.extend_from_slice(ids);
        self.fingerprints.push(fingerprint.0);
        self.words.push(word);
        Ok(())
    }

    pub(crate) fn add(&mut self, fingerprint: Fingerprint, record: &Record) -> Result<()> {
        match record {
            Record::One(id) => self.add_one(fingerprint, *id),
            Record::Many(ids) => self.add_many(fingerprint, ids)?,
            Record::Tombstone => {
                self.tombstones += 1;
                self.fingerprints.push(fingerprint.0);
                self.words.push(Word::TOMBSTONE);
            }
            Record::Delta(delta) => {
                let word = self.next_offset()?;
                self.deltas += 1;
                self.postings.push(DELTA_FLAG | delta.adds.len() as u32);
                self.postings.push(delta.removes.len() as u32);
                self.postings.push(delta.len);
                self.postings.extend_from_slice(&delta.adds);
                self.postings.extend_from_slice(&delta.removes);
                self.fingerprints.push(fingerprint.0);
                self.words.push(word);
            }
        }
        Ok(())
    }

    fn next_offset(&self) -> Result<Word> {
        match u32::try_from(self.postings.len()) {
            Ok(offset) if offset <= Word::MAX_OFFSET => Ok(Word::offset(offset)),
            _ => Err(TOO_MANY_POSTINGS),
        }
    }

    /// Lays the segment out in anonymous memory, complete with checksums. All fingerprints are of
    /// the origin's lane.
    pub(crate) fn finish(self, origin: Origin, slots: &SlotTable) -> Result<Buffer> {
        self.finish_as(origin, slots, Filter::None, Residency::Mmap)
    }

    /// The same with a filter, in the kind of memory that it will stay in.
    pub(crate) fn finish_as(
        self,
        origin: Origin,
        slots: &SlotTable,
        filter: Filter,
        residency: Residency,
    ) -> Result<Buffer> {
        let built = BuiltMph::build(&self.fingerprints)?;
        let params = *built.mph.params();
        let postings = u32::try_from(self.postings.len()).map_err(|_| TOO_MANY_POSTINGS)?;
        let values = Values::of(&self.words, postings);
        let filter = BuiltFilter::build(filter, &self.fingerprints);
        let layout = Layout::new(&params, &values, &filter.params, slots.rank_bits());
        let mut file = Buffer::zeroed(layout.file_len() as usize, residency)?;

        file[layout.range(Section::Pilots)].copy_from_slice(&built.pilots);
        file[layout.range(Section::Remap)].copy_from_slice(&built.remap);
        file[layout.range(Section::Filter)].copy_from_slice(&filter.bytes);
        fill(&mut file, &layout, Section::Signatures, &built.positions, |i| {
            [Fingerprint(self.fingerprints[i]).signature()]
        });
        let entries = &mut file[layout.range(Section::Entries)];
        let keys = self.fingerprints.iter().zip(&self.words).zip(&built.positions);
        for ((&fingerprint, word), &position) in keys {
            let fingerprint = Fingerprint(fingerprint);
            debug_assert_eq!(slots.lane(fingerprint), origin.lane as usize);
            let (hot_bits, word) = (hot_bits(fingerprint, slots), values.pack(word.unpack()));
            layout.packing.put(entries, position as usize, hot_bits, word);
        }
        fill(&mut file, &layout, Section::Cold, &built.positions, |i| {
            Fingerprint(self.fingerprints[i]).cold_bits().to_le_bytes()
        });
        let (words, _) = file[layout.range(Section::Postings)].as_chunks_mut::<4>();
        for (out, word) in words.iter_mut().zip(&self.postings) {
            *out = word.to_le_bytes();
        }

        let header = Header {
            origin,
            num_lanes: slots.num_lanes(),
            mph: params,
            values,
            filter: filter.params,
            tombstones: self.tombstones,
            deltas: self.deltas,
            checksums: Section::ALL.map(|section| crc32fast::hash(&file[layout.padded(section)])),
        };
        file[..HEADER_LEN].copy_from_slice(&header.encode());
        Ok(file)
    }
}

/// Writes one item of `N` bytes per key to its position in the section.
fn fill<const N: usize>(
    file: &mut [u8],
    layout: &Layout,
    section: Section,
    positions: &[u32],
    item: impl Fn(usize) -> [u8; N],
) {
    let (items, _) = file[layout.range(section)].as_chunks_mut::<N>();
    for (i, &position) in positions.iter().enumerate() {
        items[position as usize] = item(i);
    }
}
