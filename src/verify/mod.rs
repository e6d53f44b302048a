//! Reads and checks every byte of an index on disk, closed or open.
//!
//! An index that is open goes on merging and appending under our eyes: a segment may be gone, or
//! an append half done, that is there a moment later. So what can be explained that way is tried
//! again.

mod lane;
mod terms;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::dictionary::Extent;
use crate::epoch::{self, CURRENT, Epoch, META, TERMS, lane_dir};
use crate::error::{Error, Result};
use crate::fs::{Disk, FileSystem, Fs};
use crate::hash::KeyHasher;
use crate::slots::SlotTable;
use crate::wal::{self, LostBytes, Scan};
use terms::Terms;

/// What was read.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Lanes.
    pub lanes: u64,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Live segments.
    pub segments: u64,
    /// Entries of segments.
    pub entries: u64,
    /// Keys with at least one id in segments.
    pub live_keys: u64,
    /// Terms of the dictionary's file, freed ones included.
    pub terms: u64,
    /// Bytes of a torn append at the end of the dictionary's file; no key leads there.
    pub torn_bytes: u64,
    /// Batches in the write-ahead log, those that segments have the changes of included.
    pub batches: u64,
    /// The end of the log that is not whole; the next open cuts it off.
    pub torn: Option<LostBytes>,
    /// Segments that no manifest names, and files of the log that are not needed any more; the next
    /// open removes them.
    pub leftovers: Vec<PathBuf>,
    /// Every file, in the order it was checked.
    pub checked: Vec<CheckedFile>,
    /// Every fault, in that order; each names its file.
    pub faults: Vec<Error>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFile {
    /// The file.
    pub path: PathBuf,
    /// Its length; 0 if it is missing.
    pub bytes: u64,
    /// Whether nothing is wrong with it.
    pub sound: bool,
}

/// How far a verification has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes checked.
    pub bytes: u64,
    /// Bytes of all files when it began.
    pub of_bytes: u64,
}

/// A verification under way, lane by lane, as an index can take minutes to read.
#[derive(Debug)]
pub struct Verifier {
    fs: Fs,
    root: PathBuf,
    epoch: Epoch,
    slots: SlotTable,
    next_lane: u32,
    of_bytes: u64,
    /// What the lanes rely on.
    terms: Extent,
    flushed: u64,
    /// Places of the dictionary that keys lead to, and when repetitions are taken out.
    places: Vec<u32>,
    places_limit: usize,
    report: Report,
}

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = if cfg!(fuzzing) { Duration::ZERO } else { Duration::from_millis(20) };

/// Checks every file of the index in `root`: frames and checksums, that every entry is where the
/// hash function leads, that lists are in order, that manifests count right, that every term that
/// keys lead to is in the dictionary, and that the log is whole. Changes nothing and takes no lock.
///
/// # Errors
/// The first fault found: [`Error::Corrupt`], [`Error::UnsupportedVersion`], or [`Error::Io`];
/// [`Verifier`] tells all of them.
pub fn verify(root: &Path) -> Result<Report> {
    verify_on(Arc::new(Disk), root)
}

/// As [`verify`], on a file system of the caller's.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(system: Arc<dyn FileSystem>, root: &Path) -> Result<Report> {
    let mut verifier = Verifier::begin_on(system, root)?;
    while verifier.step() {}
    let mut report = verifier.finish();
    if report.faults.is_empty() { Ok(report) } else { Err(report.faults.swap_remove(0)) }
}

/// Tries again while `transient` says so.
fn patiently<T>(
    mut attempt: impl FnMut() -> Result<T>,
    transient: impl Fn(&Result<T>) -> bool,
) -> Result<T> {
    for _ in 1..ATTEMPTS {
        let outcome = attempt();
        if !transient(&outcome) {
            return outcome;
        }
        std::thread::sleep(PAUSE);
    }
    attempt()
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

impl Verifier {
    /// Begins with the two files that say what else there is.
    ///
    /// # Errors
    /// What is wrong with these: without them nothing can be checked.
    pub fn begin(root: &Path) -> Result<Self> {
        Self::begin_on(Arc::new(Disk), root)
    }

    /// As [`Verifier::begin`], on a file system of the caller's.
    ///
    /// # Errors
    /// As [`Verifier::begin`].
    pub fn begin_on(system: Arc<dyn FileSystem>, root: &Path) -> Result<Self> {
        let fs = Fs::new(system);
        if fs.exists(root)? && !fs.exists(&root.join(CURRENT))? {
            // No index, or one that lacks it.
            epoch::refuse_orphans(&fs, root)?;
        }
        let epoch = Epoch::open(&fs, root)?;
        let mut verifier = Self {
            report: Report { lanes: epoch.meta.num_lanes.into(), ..Report::default() },
            of_bytes: bytes_below(&fs, &epoch.dir).unwrap_or(0)
                + bytes_below(&fs, &root.join(wal::DIRECTORY)).unwrap_or(0),
            fs,
            root: root.to_path_buf(),
            slots: SlotTable::new(epoch.meta.num_lanes),
            epoch,
            next_lane: 0,
            terms: Extent::default(),
            flushed: 0,
            places: Vec::new(),
            places_limit: 1 << 16,
        };
        verifier.note(&root.join(CURRENT), true);
        let meta = verifier.epoch.dir.join(META);
        verifier.note(&meta, true);
        Ok(verifier)
    }

    /// Checks some more, a lane at the most; false if that was all.
    pub fn step(&mut self) -> bool {
        // Lanes first: what they rely on is in the dictionary and the log by then.
        if self.next_lane < self.epoch.meta.num_lanes {
            let number = self.next_lane;
            self.next_lane += 1;
            self.check_lane(number);
            return true;
        }
        let terms = self.epoch.dir.join(TERMS);
        if let Err(fault) = self.check_terms(&terms) {
            self.fault(&terms, fault);
        }
        if let Err(fault) = self.check_log() {
            self.log_faults(fault);
        }
        false
    }

    /// How far it has got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let bytes = self.report.bytes;
        Progress { bytes, of_bytes: self.of_bytes.max(bytes) }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Report {
        self.report
    }

    fn note(&mut self, path: &Path, sound: bool) {
        let bytes = self.fs.len(path).unwrap_or(0);
        self.report.bytes += bytes;
        self.report.files += 1;
        self.report.checked.push(CheckedFile { path: path.to_path_buf(), bytes, sound });
    }

    /// Takes in a fault, of the file that it names or else of `path`.
    fn fault(&mut self, path: &Path, fault: Error) {
        let named = match &fault {
            Error::Corrupt { path, .. }
            | Error::Io { path, .. }
            | Error::UnsupportedVersion { path, .. } => path.clone(),
            _ => path.to_path_buf(),
        };
        match self.report.checked.iter_mut().find(|file| file.path == named) {
            Some(file) => file.sound = false,
            None => self.note(&named, false),
        }
        self.report.faults.push(fault);
    }

    fn check_lane(&mut self, number: u32) {
        let lane = self.lane(number);
        self.terms = self.terms.max(lane.terms);
        self.flushed = self.flushed.max(lane.flushed);
        self.places.extend(lane.places);
        // Keys share terms: no more are kept than twice those that there are.
        if self.places.len() >= self.places_limit {
            self.places.sort_unstable();
            self.places.dedup();
            self.places_limit = 2 * self.places.len().max(1 << 16);
        }
        self.report.segments += lane.segments;
        self.report.entries += lane.entries;
        self.report.live_keys += lane.live_keys;
        self.report.leftovers.extend(lane.leftovers);
        for path in &lane.files {
            self.note(path, true);
        }
        for fault in lane.faults {
            self.fault(&lane_dir(&self.epoch.dir, number), fault);
        }
    }

    /// Of an open index a segment may be gone that is not in the manifest any more.
    fn lane(&self, number: u32) -> lane::Checked {
        let dir = lane_dir(&self.epoch.dir, number);
        let check = || Ok(lane::check(&self.fs, &dir, &self.slots, number));
        let gone = |outcome: &Result<lane::Checked>| {
            outcome.as_ref().is_ok_and(|lane| lane.faults.iter().any(is_gone))
        };
        patiently(check, gone).unwrap_or_default()
    }

    fn check_terms(&mut self, path: &Path) -> Result<()> {
        if !self.fs.exists(path)? {
            return Extent::default().check(path, self.terms);
        }
        let read = || Terms::read(&self.fs, path);
        let terms = patiently(read, |terms| terms.as_ref().is_ok_and(|terms| terms.torn > 0))?;
        self.note(path, true);
        self.report.terms = terms.count;
        self.report.torn_bytes = terms.torn;
        terms.extent.check(path, self.terms)?;
        // An open index writes the file anew without terms that no key leads to any more: those of
        // keys that are gone since. And it adds terms.
        let mut lacking = terms.lacks(&self.places);
        if !lacking.is_empty() {
            let mut again = self.places_again();
            again.sort_unstable();
            lacking.retain(|place| again.binary_search(place).is_ok());
            lacking = Terms::read(&self.fs, path)?.lacks(&lacking);
        }
        if let Some(place) = lacking.first() {
            let what = format!("a key leads to term {place}, which it lacks");
            return Err(Error::corrupt(path, 0, what));
        }
        Ok(())
    }

    /// Places of the dictionary that keys lead to by now.
    fn places_again(&self) -> Vec<u32> {
        (0..self.epoch.meta.num_lanes).flat_map(|number| self.lane(number).places).collect()
    }

    fn check_log(&mut self) -> Result<()> {
        let hasher = KeyHasher::new(&self.epoch.meta.hash_key);
        let (number, flushed) = (self.epoch.number, self.flushed);
        let read = || {
            let scan = Scan::read(&self.fs, &self.root, &hasher, number, flushed, false)?;
            let batches = scan.batches().try_fold(0, |n, batch| batch.map(|_| n + 1))?;
            Ok((scan, batches))
        };
        // An index that is open appends to its log, and removes files of it.
        let (scan, batches) = patiently(read, |outcome| match outcome {
            Ok((scan, _)) => scan.torn().is_some(),
            Err(e) => is_gone(e),
        })?;
        let terms = self.epoch.dir.join(TERMS);
        if self.fs.exists(&terms)? {
            // Numbers of terms may go to others meanwhile, and files of the log.
            let contradiction = || {
                let (scan, _) = read()?;
                // What is wrong with the file itself was told.
                Ok(Terms::read(&self.fs, &terms).ok().and_then(|terms| terms.contradicts(&scan)))
            };
            let place = patiently(contradiction, |found| match found {
                Ok(place) => place.is_some(),
                Err(e) => is_gone(e),
            })?;
            if let Some(place) = place {
                let what = format!("place {place} is another term in the log");
                return Err(Error::corrupt(&terms, 0, what));
            }
        }
        for path in scan.paths() {
            self.note(path, true);
        }
        self.report.batches = batches;
        self.report.torn = scan.torn().cloned();
        self.report.leftovers.extend(scan.leftovers().cloned());
        Ok(())
    }

    /// What is wrong with the log, as opening says it, and with its other files.
    fn log_faults(&mut self, first: Error) {
        let files = self.fs.list(&self.root.join(wal::DIRECTORY)).unwrap_or_default();
        let mut files: Vec<_> = files.into_iter().filter(|path| wal::is_log_file(path)).collect();
        files.sort();
        files.iter().for_each(|path| self.note(path, true));
        let told = match &first {
            Error::Corrupt { path, .. } => Some(path.clone()),
            _ => None,
        };
        self.fault(&self.root.clone(), first);
        let hasher = KeyHasher::new(&self.epoch.meta.hash_key);
        let (number, flushed) = (self.epoch.number, self.flushed);
        let Some(told) = told else { return };
        let Ok(scan) = Scan::read(&self.fs, &self.root, &hasher, number, flushed, true) else {
            return;
        };
        for lost in scan.dropped().iter().filter(|lost| lost.path != told) {
            let what = format!("{} bytes cannot be read", lost.bytes);
            let fault = Error::corrupt(&lost.path, lost.offset as usize, what);
            self.fault(&lost.path, fault);
        }
    }
}

/// Bytes of all files below a directory.
fn bytes_below(fs: &Fs, dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in fs.list(dir)? {
        match fs.metadata(&path)? {
            Some(found) if found.is_dir => bytes += bytes_below(fs, &path)?,
            Some(found) => bytes += found.len,
            None => {}
        }
    }
    Ok(bytes)
}
