//! Collects a segment's records and lays them out.

use super::format::{HEADER_LEN, Header, Layout, Origin, Section};
use super::mph::BuiltMph;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::mmap::Buffer;
use crate::record::Record;
use crate::word::Word;

/// Records for one segment, in any order; a fingerprint may be added once only.
#[derive(Debug, Default)]
pub(crate) struct SegmentWriter {
    fingerprints: Vec<u64>,
    words: Vec<Word>,
    postings: Vec<u32>,
    tombstones: u64,
    deltas: u64,
}

/// First word of a posting list: the flag tells a delta from a complete set, the rest is the
/// number of ids (of added ids, for a delta).
pub(crate) const DELTA_FLAG: u32 = 1 << 31;

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
            _ => Err(Error::TooLarge {
                what: "a segment's postings, in words,",
                limit: Word::MAX_OFFSET.into(),
            }),
        }
    }

    /// Lays the segment out in anonymous memory, complete with checksums.
    pub(crate) fn finish(self, origin: Origin) -> Result<Buffer> {
        let built = BuiltMph::build(&self.fingerprints)?;
        let params = *built.mph.params();
        let postings_words = self.postings.len() as u64;
        let layout = Layout::new(&params, postings_words);
        let mut file = Buffer::zeroed(layout.file_len() as usize)?;

        file[layout.range(Section::Pilots)].copy_from_slice(&built.pilots);
        file[layout.range(Section::Remap)].copy_from_slice(&built.remap);
        fill(&mut file, &layout, Section::Signatures, &built.positions, |i| {
            [Fingerprint(self.fingerprints[i]).signature()]
        });
        fill(&mut file, &layout, Section::Entries, &built.positions, |i| {
            let entry_bits = Fingerprint(self.fingerprints[i]).entry_bits();
            encode_entry(entry_bits, self.words[i])
        });
        fill(&mut file, &layout, Section::Cold, &built.positions, |i| {
            let [a, b, c, _] = Fingerprint(self.fingerprints[i]).cold_bits().to_le_bytes();
            [a, b, c]
        });
        let (words, _) = file[layout.range(Section::Postings)].as_chunks_mut::<4>();
        for (out, word) in words.iter_mut().zip(&self.postings) {
            *out = word.to_le_bytes();
        }

        let header = Header {
            origin,
            mph: params,
            postings_words,
            tombstones: self.tombstones,
            deltas: self.deltas,
            checksums: Section::ALL.map(|section| crc32fast::hash(&file[layout.padded(section)])),
        };
        file[..HEADER_LEN].copy_from_slice(&header.encode());
        Ok(file)
    }
}

/// An entry: fingerprint bits below, value word above.
fn encode_entry(entry_bits: u32, word: Word) -> [u8; 8] {
    ((u64::from(word.0) << 32) | u64::from(entry_bits)).to_le_bytes()
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
