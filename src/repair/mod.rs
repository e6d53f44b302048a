//! Makes a damaged index openable again: what can be made anew is, what cannot be read goes to
//! quarantine, and what is lost by that is told. A dry run tells the same and changes nothing.

mod lane;
mod terms;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::epoch::{self, CURRENT, Epoch};
use crate::error::{Error, Result};
use crate::fs::{Disk, FileSystem, Fs};
use crate::hash::KeyHasher;
use crate::index::Index;
use crate::lock::DirectoryLock;
use crate::quarantine;
use crate::slots::SlotTable;
use crate::wal::Scan;

/// What is done about one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The damaged file. It is in `quarantine/` afterwards, if it was there at all.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: String,
    /// What cannot be had back.
    pub lost: Lost,
}

/// What a repair cannot bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Nothing: the file was made anew from others.
    Nothing,
    /// The newest records of that many keys: their sets are what older segments say, or empty.
    Keys(u64),
    /// The records of a segment of which it is not even known how many keys it had.
    UnknownKeys,
    /// That many terms, and the key-to-term pairs that led to them.
    Terms {
        /// Terms that keys led to.
        terms: u64,
        /// Pairs taken out of the index.
        pairs: u64,
    },
    /// Bytes of the write-ahead log: changes that no segment had.
    LogBytes(u64),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Nothing => write!(f, "nothing"),
            Lost::Keys(keys) => write!(f, "the newest records of {keys} keys"),
            Lost::UnknownKeys => write!(f, "the newest records of an unknown number of keys"),
            Lost::Terms { terms, pairs } => {
                write!(f, "{terms} terms, and {pairs} pairs of a key and one of them")
            }
            Lost::LogBytes(bytes) => {
                write!(f, "{bytes} bytes of the log, with changes that no segment has")
            }
        }
    }
}

/// Repairs the index in `root`, which must be open nowhere; without `apply`, only tells what would
/// be done. No remedies: nothing is wrong.
///
/// # Errors
/// [`Error::Locked`]; [`Error::Corrupt`] for what cannot be repaired: META, which holds the hash
/// key; [`Error::UnsupportedVersion`], [`Error::Io`].
pub fn repair(root: &Path, apply: bool) -> Result<Vec<Remedy>> {
    repair_on(Arc::new(Disk), root, apply)
}

/// As [`repair`], on a file system of the caller's.
///
/// # Errors
/// As [`repair`].
pub fn repair_on(system: Arc<dyn FileSystem>, root: &Path, apply: bool) -> Result<Vec<Remedy>> {
    let fs = Fs::new(Arc::clone(&system));
    if !fs.exists(root)? || !fs.exists(&root.join(CURRENT))? && epoch::all(&fs, root)?.is_empty() {
        return Err(Error::io("find", root, std::io::ErrorKind::NotFound.into()));
    }
    let lock = match DirectoryLock::acquire(&fs, root) {
        Ok(lock) => Some(lock),
        // A directory that cannot be written to can be looked at.
        Err(Error::Io { .. }) if !apply => None,
        Err(e) => return Err(e),
    };
    let mut repairer = Repairer { fs, root: root.to_path_buf(), apply, remedies: Vec::new() };
    let epoch = repairer.epoch()?;
    let slots = SlotTable::new(epoch.meta.num_lanes);
    let mut terms = repairer.terms(&epoch, &slots)?;
    let mut flushed = 0;
    for lane in 0..epoch.meta.num_lanes {
        flushed = flushed.max(repairer.lane(&epoch, &slots, lane, &mut terms)?);
    }
    if apply && terms.are_damaged() {
        // What a merge left behind may lead to terms that are lost, whose ids are free now.
        (0..epoch.meta.num_lanes).try_for_each(|lane| repairer.purge_lane(&epoch, lane))?;
    }
    repairer.finish_terms(terms)?;
    let log_damaged = repairer.log(&epoch, flushed)?;
    let remedies = repairer.remedies;
    drop(lock);
    let lossy = remedies.iter().any(|remedy| remedy.lost != Lost::Nothing);
    if apply && (log_damaged || lossy) {
        let config = Config { salvage: true, ..Config::default() };
        let index = Index::open_on(system, root, &config)?;
        // It would tell of more than is left.
        index.forget_stamp()?;
        index.close()?;
    }
    Ok(remedies)
}

/// Tells damage, which a missing file is too, from what may pass: a file that could not be read
/// this time, or that another release reads.
fn damage(fault: Error) -> Result<Error> {
    match fault {
        Error::Corrupt { .. } => Ok(fault),
        Error::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => Ok(fault),
        other => Err(other),
    }
}

#[derive(Debug)]
struct Repairer {
    fs: Fs,
    root: PathBuf,
    apply: bool,
    remedies: Vec<Remedy>,
}

impl Repairer {
    fn note(&mut self, path: &Path, fault: impl ToString, lost: Lost) {
        self.remedies.push(Remedy { path: path.to_path_buf(), fault: fault.to_string(), lost });
    }

    /// Before the file is replaced or removed. One that is missing is passed over.
    fn keep_copy(&self, path: &Path) -> Result<()> {
        if self.fs.exists(path)? {
            quarantine::keep_copy(&self.fs, &self.root, path, &self.fs.read(path)?)?;
        }
        Ok(())
    }

    /// CURRENT can be made anew if only one epoch is there. META cannot: it has the hash key.
    fn epoch(&mut self) -> Result<Epoch> {
        let current = self.root.join(CURRENT);
        let fault = match Epoch::open(&self.fs, &self.root) {
            Ok(epoch) => return Ok(epoch),
            Err(fault) => damage(fault)?,
        };
        let mut epochs = epoch::all(&self.fs, &self.root)?;
        match (epochs.pop(), epochs.pop()) {
            (Some(Ok(only)), None) => {
                self.note(&current, fault, Lost::Nothing);
                if self.apply {
                    self.keep_copy(&current)?;
                    only.make_current(&self.fs, &self.root)?;
                }
                Ok(only)
            }
            (Some(Err(unreadable)), None) => Err(unreadable),
            _ => Err(fault),
        }
    }

    /// Whether the log is damaged; the salvage itself is an open's.
    fn log(&mut self, epoch: &Epoch, flushed: u64) -> Result<bool> {
        let hasher = KeyHasher::new(&epoch.meta.hash_key);
        let scan =
            |salvage| Scan::read(&self.fs, &self.root, &hasher, epoch.number, flushed, salvage);
        let fault = match scan(false) {
            Ok(_) => return Ok(false),
            Err(fault @ Error::Corrupt { .. }) => fault,
            Err(other) => return Err(other),
        };
        for lost in scan(true)?.dropped().to_vec() {
            self.note(&lost.path, &fault, Lost::LogBytes(lost.bytes));
        }
        Ok(true)
    }
}
