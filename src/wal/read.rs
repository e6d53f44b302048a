//! Reads the log after a restart: its files, its records. `holes` decides what is left out.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::format::{self, Found, HEADER, Header, MAX_SEQUENCE, RawRecord, Seed};
use super::{DIRECTORY, EXTENSION, LoggedOp, Sealed, file_path};
use crate::error::{Error, Result};
use crate::fs::{Fs, number_of};
use crate::hash::KeyHasher;

/// Bytes of the log that recovery left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostBytes {
    /// The file.
    pub path: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// A record, taken apart.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) sequence: u64,
    /// By place in the dictionary.
    pub(crate) terms: Vec<(u32, &'a [u8])>,
    pub(crate) ops: Vec<LoggedOp>,
}

/// The log as it was found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(super) dir: PathBuf,
    pub(super) files: Vec<LogFile>,
    /// Files that no header says are needed.
    pub(super) obsolete: Vec<PathBuf>,
    /// Files behind a torn end, oldest first.
    pub(super) discarded: Vec<PathBuf>,
    pub(super) torn: Option<LostBytes>,
    /// What is left out for damage; only of a salvage.
    pub(super) dropped: Vec<LostBytes>,
    /// The last record that a lane has flushed.
    pub(super) relied_on: u64,
    /// Why the newest file was taken for one whose creation was cut short.
    pub(super) unreadable: Option<Error>,
    /// The system was started since: what was not synced may be missing.
    pub(super) restarted: bool,
}

#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// Bytes it had.
    pub(super) found: usize,
    pub(super) seed: Seed,
    pub(super) header: Option<Header>,
    /// What is wrong with the header, and where.
    pub(super) fault: (usize, String),
    /// Where whole records lie.
    pub(super) runs: Vec<Range<usize>>,
    /// The last whole record, or the last before its first.
    pub(super) last: u64,
}

/// Whether a path is named as the log's files are.
pub(crate) fn is_log_file(path: &Path) -> bool {
    number_of(path, EXTENSION).is_some()
}

impl Scan {
    /// Reads and checks all of the log, which has to reach as far as the lanes rely on it; changes
    /// nothing.
    pub(crate) fn read(
        fs: &Fs,
        root: &Path,
        hasher: &KeyHasher,
        epoch: u64,
        relied_on: u64,
        salvage: bool,
    ) -> Result<Self> {
        let dir = root.join(DIRECTORY);
        // Without its directory the log has no files either.
        let files = if fs.exists(&dir)? { fs.list(&dir)? } else { Vec::new() };
        let mut numbers: Vec<u64> = files.iter().filter_map(|p| number_of(p, EXTENSION)).collect();
        numbers.sort_unstable();
        let mut scan = Self {
            dir,
            files: Vec::new(),
            obsolete: Vec::new(),
            discarded: Vec::new(),
            torn: None,
            dropped: Vec::new(),
            relied_on,
            unreadable: None,
            restarted: false,
        };
        let mut headers = Vec::new();
        for number in numbers {
            let path = file_path(&scan.dir, number);
            let bytes = fs.read(&path)?;
            let header = check_header(&path, &bytes, number, epoch);
            if let Err(Error::UnsupportedVersion { .. }) = header {
                header?;
                continue;
            }
            let fault = match &header {
                Err(Error::Corrupt { offset, what, .. }) => (*offset as usize, what.clone()),
                _ => (0, String::new()),
            };
            let seed = Seed::new(hasher, number);
            scan.files.push(LogFile {
                number,
                path,
                found: bytes.len(),
                bytes,
                seed,
                header: header.as_ref().ok().copied(),
                fault,
                runs: Vec::new(),
                last: 0,
            });
            headers.push(header);
        }
        scan.keep_needed(headers, fs.boot_id(), salvage)?;
        let holes = scan.walk();
        scan.judge(holes, salvage)?;
        Ok(scan)
    }

    /// Puts aside what the newest header says is not needed, and a file whose creation was cut
    /// short.
    fn keep_needed(
        &mut self,
        mut headers: Vec<Result<Header>>,
        boot: [u8; 16],
        salvage: bool,
    ) -> Result<()> {
        // Only its creation cut short leaves the newest file without a header and without a record;
        // but for a power failure, it is no longer than a header then.
        let boots = self.files.iter().rev().find_map(|file| file.header).map(|header| header.boot);
        let same_boot = boots.is_some_and(|of| [boot, [0; 16]].contains(&of));
        while self.files.len() > 1
            && let (Some(newest), Some(Err(_))) = (self.files.last(), headers.last())
            && (!same_boot || newest.bytes.len() <= HEADER)
            && format::find_later(&newest.bytes, 0, &newest.seed, 1..MAX_SEQUENCE).is_none()
        {
            let bytes = newest.bytes.len() as u64;
            if bytes > 0 {
                self.torn = Some(LostBytes { path: newest.path.clone(), offset: 0, bytes });
            }
            self.discarded.insert(0, newest.path.clone());
            self.files.pop();
            self.unreadable = headers.pop().and_then(Result::err);
        }
        let Some(newest) = self.files.iter().rev().find_map(|file| file.header) else {
            // There is always one that was synced when it was made.
            return match headers.pop() {
                Some(Err(_)) if salvage => Ok(()),
                Some(Err(e)) => Err(e),
                _ if salvage => {
                    self.dropped.push(LostBytes { path: self.dir.clone(), offset: 0, bytes: 0 });
                    Ok(())
                }
                _ => Err(Error::corrupt(&self.dir, 0, "the log has no files")),
            };
        };
        let old = self.files.iter().take_while(|file| file.number < newest.oldest).count();
        self.obsolete = self.files.drain(..old).map(|file| file.path).collect();
        // What was written before is synced by the open that follows, at the latest. So if anything
        // can be missing, it is of the time when the newest file was begun.
        self.restarted = ![boot, [0; 16]].contains(&newest.boot);
        let mut there = self.files.iter().map(|file| file.number).peekable();
        for number in newest.oldest..=newest.number {
            // The oldest was synced before it was called that.
            if there.next_if_eq(&number).is_some() || self.restarted && number > newest.oldest {
                continue;
            }
            let path = file_path(&self.dir, number);
            if !salvage {
                return Err(Error::corrupt(&path, 0, "this file of the log is missing"));
            }
            self.dropped.push(LostBytes { path, offset: 0, bytes: 0 });
        }
        Ok(())
    }

    /// The last record there is.
    pub(super) fn last(&self) -> u64 {
        self.files.last().map_or(0, |file| file.last)
    }

    /// The sequence number of the next record: none is given twice.
    pub(super) fn next(&self) -> u64 {
        self.last().max(self.relied_on) + 1
    }

    /// Makes the files what the scan says they are, and puts that on stable storage.
    pub(crate) fn mend(&self, fs: &Fs) -> Result<()> {
        for file in &self.files {
            let open = fs.open(&file.path)?;
            if file.found > file.bytes.len() {
                open.truncate(file.bytes.len() as u64)?;
            }
            open.sync()?;
        }
        self.discarded.iter().rev().try_for_each(|path| fs.remove(path))?;
        if !self.files.is_empty() {
            fs.sync_dir(&self.dir)?;
        }
        self.obsolete.iter().try_for_each(|path| fs.remove(path))
    }

    pub(super) fn raw_records(&self) -> impl Iterator<Item = RawRecord<'_>> {
        let runs = self.files.iter().flat_map(|f| f.runs.iter().map(move |run| (f, run.clone())));
        runs.flat_map(|(file, mut run)| {
            std::iter::from_fn(move || match format::find(&file.bytes[run.clone()], &file.seed) {
                Found::Record(record) => {
                    run.start += record.len();
                    Some(record)
                }
                _ => None,
            })
        })
    }

    /// The batches, in order.
    pub(crate) fn batches(&self) -> impl Iterator<Item = Result<Batch<'_>>> {
        let changes = self.raw_records().filter(|record| !record.payload.is_empty());
        changes.map(|RawRecord { sequence, payload, .. }| match format::content(payload) {
            Some((terms, ops)) => Ok(Batch { sequence, terms, ops }),
            None => {
                let what = format!("record {sequence} does not add up");
                Err(Error::corrupt(&self.dir, 0, what))
            }
        })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = Sealed> {
        self.files.iter().map(|file| Sealed {
            number: file.number,
            last: file.last,
            len: file.bytes.len() as u64,
            unsynced: None,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of the needed files, and how many files.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.files.iter().map(|f| f.bytes.len() as u64).sum(), self.files.len() as u64)
    }

    /// The end that was cut off.
    pub(crate) fn torn(&self) -> Option<&LostBytes> {
        self.torn.as_ref()
    }

    /// What a salvage left out.
    pub(crate) fn dropped(&self) -> &[LostBytes] {
        &self.dropped
    }

    /// Damaged files, with their bytes as they were found.
    pub(crate) fn damaged_files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let damaged = |file: &&LogFile| self.dropped.iter().any(|lost| lost.path == file.path);
        self.files.iter().filter(damaged).map(|file| (file.path.as_path(), &file.bytes[..]))
    }

    /// The files that are needed.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Files that the next open removes.
    pub(crate) fn leftovers(&self) -> impl Iterator<Item = &PathBuf> {
        self.obsolete.iter().chain(&self.discarded)
    }
}

fn check_header(path: &Path, bytes: &[u8], number: u64, epoch: u64) -> Result<Header> {
    let header = Header::decode(path, bytes)?;
    if (header.number, header.epoch) != (number, epoch) {
        let what = format!("it is file {} of epoch {}", header.number, header.epoch);
        return Err(Error::corrupt(path, 12, what));
    }
    Ok(header)
}
