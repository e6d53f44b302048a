//! Answers from a segment's bytes. Nothing read from them is trusted as an index unchecked.

use std::path::{Path, PathBuf};

use prefetch_index::prefetch_index;

use super::body::{Body, Sections};
use super::entries::{hot_bits, hot_parts};
use super::format::{HEADER_LEN, Header, Layout, Origin, Section};
use super::mph::Mph;
use super::packed::Values;
use super::writer::DELTA_FLAG;
use crate::config::{Filter, Verify};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::hash::Fingerprint;
use crate::mmap::{ANONYMOUS, MappedBytes};
use crate::record::{Ids, RecordRef};
use crate::slots::SlotTable;
use crate::stats::SectionBytes;
use crate::word::Unpacked;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    body: Body,
    path: Option<PathBuf>,
    header: Header,
    layout: Layout,
    mph: Mph,
    slots: SlotTable,
}

/// A look-up under way, between prefetches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) fingerprint: Fingerprint,
    /// Bucket, then position; beyond all once the key is known to be absent.
    at: usize,
}

const ABSENT: usize = usize::MAX;

impl Probe {
    pub(crate) fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, at: ABSENT }
    }
}

impl Segment {
    /// Bytes of what describes the bytes.
    pub(crate) const STRUCT: usize =
        size_of::<Self>() + size_of::<MappedBytes>() + size_of::<Sections<'_>>();

    /// Opens a segment file: header, length and the hash function's checksums are checked, the
    /// other sections only by [`Segment::check`].
    pub(crate) fn open(
        fs: &Fs,
        path: &Path,
        slots: &SlotTable,
        lane: u32,
        number: u64,
    ) -> Result<Self> {
        Self::opened(MappedBytes::open(fs, path)?, path, slots, lane, number)
    }

    /// As [`Segment::open`], of a file that is mapped or read already.
    pub(crate) fn opened(
        bytes: MappedBytes,
        path: &Path,
        slots: &SlotTable,
        lane: u32,
        number: u64,
    ) -> Result<Self> {
        let segment = Self::new(bytes, Some(path.to_path_buf()), slots)?;
        let found = (segment.header.origin.lane, segment.header.origin.number);
        if found != (lane, number) {
            let what = format!("it is segment {} of lane {}", found.1, found.0);
            return Err(Error::corrupt(path, 12, what));
        }
        segment.check_section(Section::Pilots)?;
        segment.check_section(Section::Remap)?;
        Ok(segment)
    }

    /// Takes over what a writer laid out in memory.
    pub(crate) fn new(
        bytes: MappedBytes,
        path: Option<PathBuf>,
        slots: &SlotTable,
    ) -> Result<Self> {
        let place = path.as_deref().unwrap_or(Path::new(ANONYMOUS));
        let (header, layout) = Header::decode(place, &bytes, slots)?;
        let mph = Mph::new(header.mph);
        let body = Body::of(bytes, &layout);
        Ok(Self { body, path, header, layout, mph, slots: slots.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(ANONYMOUS))
    }

    pub(crate) fn origin(&self) -> Origin {
        self.header.origin
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.origin.number
    }

    pub(crate) fn keys(&self) -> usize {
        self.header.mph.keys as usize
    }

    /// Keys and the words of their lists; an overlay's weight, but for the words that head lists.
    pub(crate) fn weight(&self) -> usize {
        self.keys() + self.header.values.postings as usize
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.body.bytes().len()
    }

    /// Bytes of memory taken, or mapped.
    pub(crate) fn allocated(&self) -> usize {
        self.body.bytes().allocated()
    }

    /// Reads all of it into memory, for now.
    pub(crate) fn populate(&self) -> Result<()> {
        self.body.bytes().populate(self.path())
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.body.bytes().is_locked()
    }

    pub(crate) fn is_on_disk(&self) -> bool {
        self.body.bytes().is_on_disk()
    }

    pub(crate) fn is_mapped_file(&self) -> bool {
        self.body.bytes().is_mapped_file()
    }

    pub(crate) fn tombstones(&self) -> u64 {
        self.header.tombstones.into()
    }

    /// Whether every record is a whole, non-empty set, as at the bottom.
    pub(crate) fn is_plain(&self) -> bool {
        self.header.tombstones == 0 && self.header.deltas == 0
    }

    pub(crate) fn has_filter(&self) -> bool {
        self.header.filter.kind != Filter::None
    }

    /// Adds the bytes of each section.
    pub(crate) fn add_sections(&self, sums: &mut SectionBytes) {
        let len = |section| self.layout.padded(section).len() as u64;
        sums.headers += HEADER_LEN as u64;
        sums.pilots += len(Section::Pilots);
        sums.remap += len(Section::Remap);
        sums.signatures += len(Section::Signatures);
        sums.entries += len(Section::Entries);
        sums.cold += len(Section::Cold);
        sums.postings += len(Section::Postings);
        sums.filters += len(Section::Filter);
    }

    /// Whether the filter says that the key is not there.
    #[inline]
    pub(crate) fn excludes(&self, fingerprint: Fingerprint) -> bool {
        !self.header.filter.may_have(self.body.sections().filter, fingerprint)
    }

    /// The record of a key of the segment's lane. With [`Verify::Fast`] an absent key passes for a
    /// present one with probability lanes / 2^48: all but the cold bits are compared.
    #[inline(always)]
    pub(crate) fn get(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
    ) -> Result<Option<RecordRef<'_>>> {
        let Sections { pilots, remap, .. } = self.body.sections();
        let Some(position) = self.mph.position(fingerprint, pilots, remap) else {
            return Ok(None);
        };
        match self.matching_word(fingerprint, position, verify) {
            Some(word) => self.expand(word).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the segment has a record of the key.
    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        let Sections { pilots, remap, .. } = self.body.sections();
        self.mph
            .position(fingerprint, pilots, remap)
            .is_some_and(|at| self.matching_word(fingerprint, at, Verify::Full).is_some())
    }

    /// The packed word at the position, if the fingerprint there is the key's.
    #[inline]
    fn matching_word(
        &self,
        fingerprint: Fingerprint,
        position: usize,
        verify: Verify,
    ) -> Option<u64> {
        let Sections { signatures, entries, cold, .. } = self.body.sections();
        if *signatures.get(position)? != fingerprint.signature() {
            return None;
        }
        let packing = &self.layout.packing;
        if packing.hot_bits(entries, position)? != hot_bits(fingerprint, &self.slots) {
            return None;
        }
        if verify == Verify::Full
            && u16::from_le_bytes(*cold.get(position)?) != fingerprint.cold_bits()
        {
            return None;
        }
        packing.word(entries, position)
    }

    /// First stage of a staged look-up: finds the bucket and asks for its pilot's cache line.
    #[inline]
    pub(crate) fn locate(&self, probe: &mut Probe) {
        probe.at = self.mph.bucket(probe.fingerprint);
        prefetch_index(self.body.sections().pilots, probe.at);
    }

    /// Second stage: finds the position and asks for the signature.
    #[inline]
    pub(crate) fn approach(&self, probe: &mut Probe) {
        let Sections { pilots, remap, signatures, .. } = self.body.sections();
        let pilot = pilots.get(probe.at).copied().unwrap_or_default();
        let slot = self.mph.slot(probe.fingerprint, pilot);
        probe.at = self.mph.remapped(slot, remap).unwrap_or(ABSENT);
        prefetch_index(signatures, probe.at);
    }

    /// Third stage: asks for the rest of what is compared, if the signature matches.
    #[inline]
    pub(crate) fn sign(&self, probe: &mut Probe, verify: Verify) {
        let Sections { signatures, entries, cold, .. } = self.body.sections();
        if signatures.get(probe.at) != Some(&probe.fingerprint.signature()) {
            probe.at = ABSENT;
            return;
        }
        for byte in self.layout.packing.ends(probe.at) {
            prefetch_index(entries, byte);
        }
        if verify == Verify::Full {
            prefetch_index(cold, probe.at);
        }
    }

    /// Last stage: the record, as [`Segment::get`] gives it.
    #[inline(always)]
    pub(crate) fn finish(&self, probe: &Probe, verify: Verify) -> Result<Option<RecordRef<'_>>> {
        match self.matching_word(probe.fingerprint, probe.at, verify) {
            Some(word) => self.expand(word).map(Some),
            None => Ok(None),
        }
    }

    /// Inlined, as are its callers: a record handed over in memory is written in parts and read as a
    /// whole, which processors wait for (a fifth of a batch, it was).
    #[inline(always)]
    fn expand(&self, word: u64) -> Result<RecordRef<'_>> {
        match self.header.values.unpack(word) {
            Some(Unpacked::Id(id)) => Ok(RecordRef::Complete(Ids::One(id))),
            Some(Unpacked::Tombstone) => Ok(RecordRef::Tombstone),
            Some(Unpacked::Offset(offset)) => self.listed(offset as usize),
            None => Err(self.corrupt_entry()),
        }
    }

    #[cold]
    fn corrupt_entry(&self) -> Error {
        let at = self.layout.range(Section::Entries).start;
        Error::corrupt(self.path(), at, "an entry's value has no meaning")
    }

    #[inline(never)]
    fn listed(&self, offset: usize) -> Result<RecordRef<'_>> {
        self.posting(offset).ok_or_else(|| {
            let at = self.layout.range(Section::Postings).start + offset * 4;
            Error::corrupt(self.path(), at, "an entry points at no posting list")
        })
    }

    fn posting(&self, offset: usize) -> Option<RecordRef<'_>> {
        let words = self.body.sections().postings.get(offset..)?;
        let word = |i: usize| words.get(i).map(|w| u32::from_le_bytes(*w));
        let first = word(0)?;
        if first & DELTA_FLAG == 0 {
            let ids = words.get(1..1 + first as usize)?;
            return (!ids.is_empty()).then_some(RecordRef::Complete(Ids::Stored(ids)));
        }
        let adds = (first & !DELTA_FLAG) as usize;
        let removes = word(1)? as usize;
        let lists = words.get(3..3 + adds + removes)?;
        Some(RecordRef::Delta {
            adds: Ids::Stored(&lists[..adds]),
            removes: Ids::Stored(&lists[adds..]),
            len: word(2)?,
        })
    }

    /// The fingerprint and record at each position.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<(Fingerprint, RecordRef<'_>)>> {
        let slots = self.slots.of_lane(self.header.origin.lane);
        let packing = self.layout.packing;
        let Sections { signatures, entries, cold, .. } = self.body.sections();
        // Of a rank that the lane does not have, damage made the entry.
        let entry = move |position| {
            let (rank, entry_bits) = hot_parts(packing.hot_bits(entries, position)?);
            Some((*slots.get(rank)?, entry_bits, packing.word(entries, position)?))
        };
        signatures.iter().zip(*cold).enumerate().map(move |(position, (&signature, &cold))| {
            let Some((slot, entry_bits, word)) = entry(position) else {
                let at = self.layout.range(Section::Entries).start;
                return Err(Error::corrupt(self.path(), at, "an entry is of no slot of the lane"));
            };
            let cold_bits = u16::from_le_bytes(cold);
            let fingerprint = Fingerprint::from_parts(slot, signature, entry_bits, cold_bits);
            Ok((fingerprint, self.expand(word)?))
        })
    }

    fn check_section(&self, section: Section) -> Result<()> {
        let range = self.layout.padded(section);
        let start = range.start;
        if crc32fast::hash(&self.body.bytes()[range]) == self.header.checksums[section as usize] {
            return Ok(());
        }
        let what = format!("the checksum of its {section:?} section does not match");
        Err(Error::corrupt(self.path(), start, what))
    }

    /// Checks every byte against its checksum.
    pub(crate) fn check(&self) -> Result<()> {
        Section::ALL.into_iter().try_for_each(|section| self.check_section(section))
    }

    /// As [`Segment::check`], without what can be made anew: the hash function and the filter.
    pub(crate) fn check_records(&self) -> Result<()> {
        let made = [Section::Pilots, Section::Remap, Section::Filter];
        let mut records = Section::ALL.into_iter().filter(|section| !made.contains(section));
        records.try_for_each(|section| self.check_section(section))
    }

    /// Beyond checksums: every entry sits where the hash function sends its fingerprint, every
    /// list is ascending, and the counts of the header are right, those of ids no larger than need be.
    pub(crate) fn check_structure(&self) -> Result<()> {
        let fault = |what: &str| Error::corrupt(self.path(), 0, what);
        let Sections { pilots, remap, .. } = self.body.sections();
        let (mut tombstones, mut deltas) = (0, 0);
        let mut values = Values { postings: self.header.values.postings, ..Values::default() };
        for (position, item) in self.iter().enumerate() {
            let (fingerprint, record) = item?;
            if self.mph.position(fingerprint, pilots, remap) != Some(position) {
                return Err(fault("an entry is not where its fingerprint leads"));
            }
            if self.excludes(fingerprint) {
                return Err(fault("the filter does not let a key pass"));
            }
            let sound = match record {
                RecordRef::Tombstone => {
                    values.admit(Unpacked::Tombstone);
                    tombstones += 1;
                    true
                }
                RecordRef::Complete(Ids::One(id)) => {
                    values.admit(Unpacked::Id(id));
                    true
                }
                RecordRef::Complete(ids) => ascending(ids),
                RecordRef::Delta { adds, removes, .. } => {
                    deltas += 1;
                    ascending(adds) && ascending(removes)
                }
            };
            if !sound {
                return Err(fault("a list of ids is not ascending"));
            }
        }
        if (tombstones, deltas) != (self.header.tombstones, self.header.deltas) {
            return Err(fault("the header miscounts tombstones or deltas"));
        }
        if values != self.header.values {
            return Err(fault("the header gives ids more room than they take"));
        }
        Ok(())
    }
}

fn ascending(ids: Ids<'_>) -> bool {
    ids.iter().zip(ids.iter().skip(1)).all(|(a, b)| a < b)
        && ids.iter().all(|id| id <= crate::MAX_ID)
}
