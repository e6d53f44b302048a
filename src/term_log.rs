//! The dictionary's file: a header, then a record for each term, appended in batches.
//!
//! ```text
//! 0  8  magic "LSMI-TRM"
//! 8  4  format version
//! 12 4  CRC32 of the 12 bytes before
//! then, for each term:
//! 0  4  length of the term, bytes
//! 4  4  place: the id without its flag
//! 8  …  the term
//! …  4  CRC32 of all of the record before
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::dictionary::TERM_ID_FLAG;
use crate::error::{Error, Result};
use crate::frame::{FORMAT_VERSION, check_version};
use crate::fs;

const MAGIC: &[u8; 8] = b"LSMI-TRM";
const HEADER: usize = 16;
const RECORD_HEADER: usize = 8;
const CRC: usize = 4;

/// The open file.
#[derive(Debug)]
pub(crate) struct TermLog {
    path: PathBuf,
    /// Made by the first append: most indexes have no terms.
    file: Option<File>,
    /// Length of what is known to be whole.
    len: u64,
}

impl TermLog {
    /// Reads the log, handing each term to `each`. A torn record at the end is cut off; a
    /// damaged one before it is an error.
    pub(crate) fn open(
        path: PathBuf,
        mut each: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<Self> {
        if !fs::exists(&path)? {
            return Ok(Self { path, file: None, len: 0 });
        }
        let bytes = fs::read_bounded(&path, u32::MAX.into())?;
        let end = Self::parse(&path, &bytes, &mut each)?;
        let file =
            OpenOptions::new().write(true).open(&path).map_err(|e| Error::io("open", &path, e))?;
        let mut log = Self { path, file: Some(file), len: end };
        log.cut()?;
        Ok(log)
    }

    /// Checks every record without changing anything; the number of bytes that are whole.
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        each: &mut impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let Some((header, mut rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Error::corrupt(path, bytes.len(), "the file ends within its header"));
        };
        if &header[..8] != MAGIC {
            return Err(Error::corrupt(path, 0, "not a term log (wrong magic)"));
        }
        check_version(path, word(&header[8..]))?;
        if crc32fast::hash(&header[..12]) != word(&header[12..]) {
            return Err(Error::corrupt(path, 12, "the header's checksum does not match"));
        }
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let len = rest.first_chunk::<4>().map_or(usize::MAX, |len| word(len) as usize);
            let size = len.saturating_add(RECORD_HEADER + CRC);
            let Some((record, after)) = rest.split_at_checked(size) else {
                return Ok(at as u64);
            };
            let (body, crc) = record.split_at(size - CRC);
            if crc32fast::hash(body) != word(crc) {
                if after.is_empty() {
                    return Ok(at as u64);
                }
                return Err(Error::corrupt(path, at, "a term's checksum does not match"));
            }
            let place = word(&body[4..]);
            if place >= TERM_ID_FLAG {
                return Err(Error::corrupt(path, at + 4, "a term's id is out of range"));
            }
            each(place, &body[RECORD_HEADER..])?;
            rest = after;
        }
        Ok(bytes.len() as u64)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lays records out for [`TermLog::append`].
    pub(crate) fn encode<'a>(terms: impl Iterator<Item = (u32, &'a [u8])>) -> Vec<u8> {
        let mut out = Vec::new();
        for (place, term) in terms {
            let start = out.len();
            out.extend_from_slice(&(term.len() as u32).to_le_bytes());
            out.extend_from_slice(&place.to_le_bytes());
            out.extend_from_slice(term);
            let crc = crc32fast::hash(&out[start..]);
            out.extend_from_slice(&crc.to_le_bytes());
        }
        out
    }

    fn header() -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// Appends encoded records and syncs them.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            return self.replace_with(records);
        }
        // An append that failed half-way may have left bytes behind.
        self.cut()?;
        let path = &self.path;
        if let Some(file) = &mut self.file {
            file.write_all(records).map_err(|e| Error::io("write", path, e))?;
            file.sync_data().map_err(|e| Error::io("sync", path, e))?;
            self.len += records.len() as u64;
        }
        Ok(())
    }

    /// Replaces the file by one of these terms alone.
    pub(crate) fn rewrite<'a>(
        &mut self,
        terms: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Result<()> {
        self.replace_with(&Self::encode(terms))
    }

    fn replace_with(&mut self, records: &[u8]) -> Result<()> {
        let bytes = [&Self::header(), records].concat();
        fs::replace(&self.path, &bytes)?;
        let file = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .map_err(|e| Error::io("open", &self.path, e))?;
        self.file = Some(file);
        self.len = bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> Result<()> {
        let (path, len) = (&self.path, self.len);
        let Some(file) = &mut self.file else { return Ok(()) };
        file.set_len(len)
            .and_then(|()| file.seek(SeekFrom::Start(len)))
            .map(|_| ())
            .map_err(|e| Error::io("truncate", path, e))
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Terms = Vec<(u32, Vec<u8>)>;

    fn read(path: &Path) -> Result<Terms> {
        let mut terms = Terms::new();
        TermLog::open(path.to_path_buf(), |place, term| {
            terms.push((place, term.to_vec()));
            Ok(())
        })?;
        Ok(terms)
    }

    fn write(path: &Path) -> Terms {
        let terms = vec![(0, b"a".to_vec()), (7, vec![]), (1, vec![9; 300])];
        let mut log = TermLog::open(path.to_path_buf(), |_, _| Ok(())).expect("new");
        for (place, term) in &terms {
            log.append(&TermLog::encode([(*place, &term[..])].into_iter())).expect("append");
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
    fn a_torn_tail_is_cut_and_a_damaged_middle_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("TERMS");
        let terms = write(&path);
        let sound = std::fs::read(&path).expect("read");
        let first_two = HEADER + 13 + 12;
        for len in first_two..sound.len() {
            std::fs::write(&path, &sound[..len]).expect("write");
            assert_eq!(read(&path).expect("cut"), terms[..2], "cut to {len}");
        }
        for byte in 0..first_two {
            let mut damaged = sound.clone();
            damaged[byte] ^= 0x10;
            std::fs::write(&path, &damaged).expect("write");
            // A length that points behind the end is all that looks like a torn tail here.
            assert!(read(&path).map_or(true, |read| read != terms), "byte {byte}");
        }
    }
}
