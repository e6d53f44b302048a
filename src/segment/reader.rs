//! An open segment: what it is of, what it takes, and whether it is sound.

use std::path::{Path, PathBuf};

use super::format::{HEADER_LEN, Header, Layout, Origin, Section};
use super::mph::Mph;
use super::packed::Values;
use super::table::Table;
use crate::config::Filter;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::mmap::{ANONYMOUS, MappedBytes};
use crate::record::{Ids, RecordRef};
use crate::slots::SlotTable;
use crate::stats::SectionBytes;
use crate::word::Unpacked;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    bytes: MappedBytes,
    path: Option<PathBuf>,
    header: Header,
    layout: Layout,
    slots: SlotTable,
}

impl Segment {
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
        Ok(Self { bytes, path, header, layout, slots: slots.clone() })
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
        self.bytes.len()
    }

    /// Bytes of memory taken, or mapped.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.allocated()
    }

    /// Reads all of it into memory, for now.
    pub(crate) fn populate(&self) -> Result<()> {
        self.bytes.populate(self.path())
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.bytes.is_locked()
    }

    pub(crate) fn is_on_disk(&self) -> bool {
        self.bytes.is_on_disk()
    }

    pub(crate) fn is_mapped_file(&self) -> bool {
        self.bytes.is_mapped_file()
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

    /// What look-ups ask.
    pub(crate) fn table(&self) -> Table<'_> {
        let section = |section| &self.bytes[self.layout.range(section)];
        Table {
            mph: Mph::new(self.header.mph),
            pilots: section(Section::Pilots),
            remap: section(Section::Remap),
            postings: section(Section::Postings).as_chunks().0,
            signatures: section(Section::Signatures),
            entries: section(Section::Entries),
            cold: section(Section::Cold).as_chunks().0,
            packing: self.layout.packing,
            values: self.header.values,
            slots: self.slots.clone(),
            filter: self.header.filter,
            filter_bytes: section(Section::Filter),
            segment: self,
        }
    }

    /// A list that is not there.
    #[cold]
    pub(super) fn corrupt_posting(&self, offset: u32) -> Error {
        let at = self.layout.range(Section::Postings).start + offset as usize * 4;
        Error::corrupt(self.path(), at, "an entry points at no posting list")
    }

    /// Damage of the entries.
    #[cold]
    pub(super) fn corrupt_entry(&self, what: &str) -> Error {
        Error::corrupt(self.path(), self.layout.range(Section::Entries).start, what)
    }

    fn check_section(&self, section: Section) -> Result<()> {
        let range = self.layout.padded(section);
        let start = range.start;
        if crc32fast::hash(&self.bytes[range]) == self.header.checksums[section as usize] {
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
        let table = self.table();
        let (mut tombstones, mut deltas) = (0, 0);
        let mut values = Values { postings: self.header.values.postings, ..Values::default() };
        for (position, item) in table.iter().enumerate() {
            let (fingerprint, record) = item?;
            if table.position(fingerprint) != Some(position) {
                return Err(fault("an entry is not where its fingerprint leads"));
            }
            if table.excludes(fingerprint) {
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
