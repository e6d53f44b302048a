//! The dictionary's file: a header, then a record for each term, appended in batches.
//!
//! ```text
//! 0  8  magic "LSMI-TRM"
//! 8  4  format version
//! 12 8  generation: 1, and one more each time the file is replaced by a shorter one
//! 20 8  length the generation was begun with: that much is always whole
//! 28 4  CRC32 of the 28 bytes before
//! then, for each term:
//! 0  4  length of the term, bytes
//! 4  4  id, without its flag
//! 8  …  the term
//! …  4  CRC32 of all of the record before
//! ```
//!
//! What follows the first record that is not whole is a torn append, or damage: which of the two
//! is told by how much was relied on. A manifest states that, and which generation it meant.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::dictionary::TERM_ID_FLAG;
use crate::error::{Error, Result};
use crate::frame::{FORMAT_VERSION, check_version, long, word};
use crate::fs::{Fs, OpenFile};

const MAGIC: &[u8; 8] = b"LSMI-TRM";
const HEADER: usize = 32;
const RECORD_HEADER: usize = 8;
const CRC: usize = 4;
/// No file is replaced that often.
const MOST_GENERATIONS: u64 = 1 << 62;

/// The open file.
#[derive(Debug)]
pub(crate) struct TermLog {
    fs: Fs,
    path: PathBuf,
    /// Made by the first append: most indexes have no terms.
    file: Option<OpenFile>,
    extent: Extent,
    /// The file is the next opener's.
    closed: bool,
    /// The file is in place, but its directory's entry may not be on stable storage yet.
    entry_unsynced: bool,
}

/// How much of the log there is: all of a generation up to a length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub(crate) generation: u64,
    /// Bytes that are whole, the header's included; 0 if there is no file.
    pub(crate) len: u64,
}

impl Extent {
    /// Whether a log of this extent holds all that was relied on. A later generation does: it was
    /// written from all that was.
    pub(crate) fn check(self, path: &Path, relied_on: Extent) -> Result<()> {
        if self >= relied_on {
            return Ok(());
        }
        let what = format!(
            "{} bytes of generation {} are whole, a lane relies on {} of generation {}",
            self.len, self.generation, relied_on.len, relied_on.generation
        );
        Err(Error::corrupt(path, self.len as usize, what))
    }
}

impl TermLog {
    /// The bytes of the file, if there is one.
    pub(crate) fn read(fs: &Fs, path: &Path) -> Result<Option<Vec<u8>>> {
        if fs.exists(path)? { fs.read(path).map(Some) } else { Ok(None) }
    }

    /// Opens the log that has these bytes, handing each term to `each`. What follows the last whole
    /// record is an append that a crash tore: it is cut off.
    pub(crate) fn open(
        fs: &Fs,
        path: PathBuf,
        bytes: Option<&[u8]>,
        mut each: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<Self> {
        let (mut file, mut extent) = (None, Extent::default());
        if let Some(bytes) = bytes {
            extent = Self::parse(&path, bytes, &mut each)?;
            let open = fs.open(&path)?;
            if (bytes.len() as u64) > extent.len {
                open.truncate(extent.len)?;
                open.sync()?;
            }
            file = Some(open);
        }
        let fs = fs.clone();
        Ok(Self { fs, path, file, extent, closed: false, entry_unsynced: false })
    }

    /// Checks every record without changing anything; how much is whole.
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        each: &mut impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<Extent> {
        let Some((header, mut rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Error::corrupt(path, bytes.len(), "the file ends within its header"));
        };
        if &header[..8] != MAGIC {
            return Err(Error::corrupt(path, 0, "not a term log (wrong magic)"));
        }
        check_version(path, word(&header[8..]))?;
        let Some(begun) = Self::begun(bytes) else {
            return Err(Error::corrupt(path, 28, "the header's checksum does not match"));
        };
        while let Some((record, after)) = split_record(rest) {
            let at = bytes.len() - rest.len();
            let id = word(&record[4..]);
            if id >= TERM_ID_FLAG {
                return Err(Error::corrupt(path, at + 4, "a term's id is out of range"));
            }
            each(id, &record[RECORD_HEADER..])?;
            rest = after;
        }
        let whole = Extent { len: (bytes.len() - rest.len()) as u64, ..begun };
        whole.check(path, begun)?;
        Ok(whole)
    }

    /// Hands every whole record of a damaged file to `each`, wherever it lies. What lies beyond
    /// `relied_on`, if that is known, may be a torn append, of ids that were given again since.
    pub(crate) fn salvage<'b>(
        bytes: &'b [u8],
        relied_on: Option<Extent>,
        mut each: impl FnMut(u32, &'b [u8]),
    ) {
        let begun = Self::begun(bytes);
        let end = match (begun, relied_on) {
            (Some(begun), Some(relied_on)) => match begun.generation.cmp(&relied_on.generation) {
                // An old copy: its ids may be other terms' by now.
                Ordering::Less => 0,
                Ordering::Equal => relied_on.len,
                Ordering::Greater => begun.len,
            },
            _ => u64::MAX,
        };
        let bytes = &bytes[..bytes.len().min(usize::try_from(end).unwrap_or(usize::MAX))];
        let whole = |at: usize| {
            let record = split_record(bytes.get(at..)?);
            record.filter(|(record, _)| word(&record[4..]) < TERM_ID_FLAG)
        };
        let mut at = HEADER.min(bytes.len());
        while at < bytes.len() {
            if let Some((record, after)) = whole(at) {
                each(word(&record[4..]), &record[RECORD_HEADER..]);
                at = bytes.len() - after.len();
                continue;
            }
            let next = (at + 1..bytes.len()).find(|&next| whole(next).is_some());
            let next = next.unwrap_or(bytes.len());
            if let Some((place, term)) = with_length_mended(&bytes[at..next]) {
                each(place, term);
            }
            at = next;
        }
    }

    /// The extent that a sound header says the file was begun with.
    fn begun(bytes: &[u8]) -> Option<Extent> {
        let header = bytes.first_chunk::<HEADER>()?;
        let sound = crc32fast::hash(&header[..28]) == word(&header[28..]);
        let begun = Extent { generation: long(&header[12..]), len: long(&header[20..]) };
        (sound && begun.generation < MOST_GENERATIONS).then_some(begun)
    }

    /// The generation that a sound header tells; 0 if there is none.
    pub(crate) fn generation(bytes: &[u8]) -> u64 {
        Self::begun(bytes).map_or(0, |begun| begun.generation)
    }

    /// Puts a file of these encoded records alone in place.
    pub(crate) fn write_anew(
        fs: &Fs,
        path: &Path,
        generation: u64,
        records: &[u8],
    ) -> Result<Extent> {
        let begun = Extent { generation, len: (HEADER + records.len()) as u64 };
        fs.replace(path, &[&Self::header(begun), records].concat())?;
        Ok(begun)
    }

    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lays a record out for [`TermLog::append`].
    pub(crate) fn encode(out: &mut Vec<u8>, id: u32, term: &[u8]) {
        let start = out.len();
        out.extend_from_slice(&(term.len() as u32).to_le_bytes());
        out.extend_from_slice(&(id & !TERM_ID_FLAG).to_le_bytes());
        out.extend_from_slice(term);
        let crc = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    fn header(begun: Extent) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&begun.generation.to_le_bytes());
        out.extend_from_slice(&begun.len.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// Appends encoded records and syncs them.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<()> {
        self.check_open()?;
        self.sync_entry()?;
        if records.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            return self.replace_with(1, records);
        }
        if let Some(file) = &self.file {
            // An append that failed half-way may have left bytes behind.
            file.truncate(self.extent.len)?;
            file.append(records)?;
            file.sync()?;
            self.extent.len += records.len() as u64;
        }
        Ok(())
    }

    /// Replaces the file by one of these encoded records alone.
    pub(crate) fn rewrite(&mut self, records: &[u8]) -> Result<()> {
        self.check_open()?;
        self.replace_with(self.extent.generation + 1, records)
    }

    /// Nothing is written any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    fn check_open(&self) -> Result<()> {
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    fn replace_with(&mut self, generation: u64, records: &[u8]) -> Result<()> {
        let begun = Extent { generation, len: (HEADER + records.len()) as u64 };
        let bytes = [&Self::header(begun), records].concat();
        let file = self.fs.rename_over(&self.path, &bytes)?;
        // From here on the old file is nobody's, whatever happens: appends go to the new one.
        (self.file, self.extent, self.entry_unsynced) = (Some(file), begun, true);
        self.sync_entry()
    }

    fn sync_entry(&mut self) -> Result<()> {
        if self.entry_unsynced {
            self.path.parent().map_or(Ok(()), |dir| self.fs.sync_dir(dir))?;
            self.entry_unsynced = false;
        }
        Ok(())
    }
}

/// The place and the term of a record with nothing wrong but its length.
fn with_length_mended(record: &[u8]) -> Option<(u32, &[u8])> {
    let len = u32::try_from(record.len().checked_sub(RECORD_HEADER + CRC)?).ok()?;
    let (body, crc) = record.split_at(record.len() - CRC);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(&body[4..]);
    let place = word(&body[4..]);
    let whole = hasher.finalize() == word(crc) && place < TERM_ID_FLAG;
    whole.then_some((place, &body[RECORD_HEADER..]))
}

/// A whole record without its checksum, and what follows; none if the first one is not whole.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = word(bytes.first_chunk::<4>()?) as usize;
    let (record, after) = bytes.split_at_checked(len.checked_add(RECORD_HEADER + CRC)?)?;
    let (body, crc) = record.split_at(record.len() - CRC);
    (crc32fast::hash(body) == word(crc)).then_some((body, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Terms = Vec<(u32, Vec<u8>)>;

    fn open(path: &Path, each: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<TermLog> {
        let fs = Fs::disk();
        let bytes = TermLog::read(&fs, path)?;
        TermLog::open(&fs, path.to_path_buf(), bytes.as_deref(), each)
    }

    fn read(path: &Path) -> Result<Terms> {
        let mut terms = Terms::new();
        open(path, |place, term| {
            terms.push((place, term.to_vec()));
            Ok(())
        })?;
        Ok(terms)
    }

    fn write(path: &Path) -> Terms {
        let terms = vec![(0, b"a".to_vec()), (7, vec![]), (1, vec![9; 300])];
        let mut log = open(path, |_, _| Ok(())).expect("new");
        for (place, term) in &terms {
            let mut record = Vec::new();
            TermLog::encode(&mut record, *place, term);
            log.append(&record).expect("append");
        }
        terms
    }

    #[test]
    fn what_is_appended_is_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        assert_eq!(read(&path).expect("none yet"), []);
        let terms = write(&path);
        assert_eq!(read(&path).expect("sound"), terms);
    }

    #[test]
    fn a_torn_tail_is_told_from_damage() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        let terms = write(&path);
        let sound = std::fs::read(&path).expect("read");
        let extent = |bytes: &[u8]| TermLog::parse(&path, bytes, &mut |_, _| Ok(()));
        let relied_on = extent(&sound).expect("sound");
        assert_eq!(relied_on, Extent { generation: 1, len: sound.len() as u64 });

        let first_two = HEADER + 13 + 12;
        for len in HEADER..HEADER + 13 {
            // The generation was begun with the first term.
            assert!(extent(&sound[..len]).is_err(), "cut to {len}");
        }
        for len in first_two..sound.len() {
            std::fs::write(&path, &sound[..len]).expect("write");
            assert_eq!(read(&path).expect("torn"), terms[..2], "cut to {len}");
            let whole = extent(&sound[..len]).expect("torn");
            assert_eq!(whole.len, first_two as u64);
            assert!(whole.check(&path, relied_on).is_err());
            whole.check(&path, whole).expect("no more was relied on");
        }
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = extent(&damaged).and_then(|whole| whole.check(&path, relied_on));
            assert!(noticed.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_append_after_a_torn_one_starts_where_that_did() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        let terms = write(&path);
        let sound = std::fs::read(&path).expect("read");
        std::fs::write(&path, &sound[..sound.len() - 5]).expect("write");
        let mut log = open(&path, |_, _| Ok(())).expect("torn");
        let mut record = Vec::new();
        TermLog::encode(&mut record, terms[2].0, &terms[2].1);
        log.append(&record).expect("append");
        assert_eq!(std::fs::read(&path).expect("read"), sound);
    }

    #[test]
    fn a_later_generation_satisfies_whoever_relied_on_an_earlier_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        write(&path);
        let mut log = open(&path, |_, _| Ok(())).expect("sound");
        let before = log.extent();
        let mut record = Vec::new();
        TermLog::encode(&mut record, 7, b"x");
        log.rewrite(&record).expect("rewrite");
        assert!(log.extent().len < before.len);
        log.extent().check(&path, before).expect("later generation");
        assert_eq!(read(&path).expect("sound"), [(7, b"x".to_vec())]);
    }
}
