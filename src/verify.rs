//! Reads and checks every byte of an index on disk, closed or open.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::dictionary::TERM_ID_FLAG;
use crate::dictionary::{Extent, TermLog};
use crate::epoch::{CURRENT, Epoch, META, TERMS, is_segment, lane_dir, segment_path};
use crate::error::{Error, Result};
use crate::fs::{Disk, FileSystem, Fs};
use crate::hash::KeyHasher;
use crate::layers::{Layer, walk};
use crate::manifest::{self, Manifest, ManifestSegment};
use crate::segment::Segment;
use crate::wal::{LostBytes, Scan};

/// What was read, all of it sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Keys with at least one id.
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
}

/// An index that is open goes on merging and appending under our eyes: a segment may be gone, or
/// an append half done, that is there a moment later.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = if cfg!(fuzzing) { Duration::ZERO } else { Duration::from_millis(20) };

/// Checks every file of the index in `root`: frames and checksums, that every entry is where the
/// hash function leads, that lists are in order, that manifests count right, and that every term
/// that keys lead to is in the dictionary. Changes nothing and takes no lock.
///
/// # Errors
/// The first fault found: [`Error::Corrupt`], [`Error::UnsupportedVersion`], or [`Error::Io`].
pub fn verify(root: &Path) -> Result<Report> {
    verify_on(Arc::new(Disk), root)
}

/// As [`verify`], on a file system of the caller's.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(system: Arc<dyn FileSystem>, root: &Path) -> Result<Report> {
    let fs = &Fs::new(system);
    let epoch = Epoch::open(fs, root)?;
    let mut report = Report { lanes: epoch.meta.num_lanes.into(), ..Report::default() };
    report.count_file(fs, &root.join(CURRENT))?;
    report.count_file(fs, &epoch.dir.join(META))?;
    // Lanes first: the dictionary only grows, so what they lead to is in it by then.
    let (mut relied_on, mut flushed) = (Extent::default(), 0);
    let mut places = Vec::new();
    for lane in 0..epoch.meta.num_lanes {
        let dir = lane_dir(&epoch.dir, lane);
        let checked = patiently(
            || check_lane(fs, &dir, lane),
            |outcome| outcome.as_ref().is_err_and(is_gone),
        )?;
        report.add(checked.report);
        relied_on = relied_on.max(checked.relied_on);
        flushed = flushed.max(checked.flushed);
        places.extend(checked.places);
        places.sort_unstable();
        places.dedup();
    }
    report.check_terms(fs, &epoch.dir.join(TERMS), relied_on, &places)?;
    report.check_log(fs, root, &epoch, flushed)?;
    Ok(report)
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
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

impl Report {
    fn count_file(&mut self, fs: &Fs, path: &Path) -> Result<()> {
        self.bytes += fs.len(path)?;
        self.files += 1;
        Ok(())
    }

    fn add(&mut self, lane: Report) {
        self.files += lane.files;
        self.bytes += lane.bytes;
        self.segments += lane.segments;
        self.entries += lane.entries;
        self.live_keys += lane.live_keys;
        self.leftovers.extend(lane.leftovers);
    }

    /// `places`: those that keys lead to, ascending.
    fn check_terms(
        &mut self,
        fs: &Fs,
        path: &Path,
        relied_on: Extent,
        places: &[u32],
    ) -> Result<()> {
        if !fs.exists(path)? {
            return Extent::default().check(path, relied_on);
        }
        let read = || {
            let bytes = fs.read(path)?;
            let (mut terms, mut known) = (0, Vec::new());
            let extent = TermLog::parse(path, &bytes, &mut |place, _| {
                terms += 1;
                known.push(place);
                Ok(())
            })?;
            known.sort_unstable();
            Ok((bytes.len() as u64, extent, terms, known))
        };
        let torn = |len: u64, extent: &Extent| len - extent.len;
        let (len, extent, terms, known) = patiently(read, |outcome| {
            outcome.as_ref().is_ok_and(|(len, extent, ..)| torn(*len, extent) > 0)
        })?;
        extent.check(path, relied_on)?;
        if let Some(place) = places.iter().find(|place| known.binary_search(place).is_err()) {
            let what = format!("a key leads to term {place}, which it lacks");
            return Err(Error::corrupt(path, 0, what));
        }
        self.terms = terms;
        self.torn_bytes = torn(len, &extent);
        self.count_file(fs, path)
    }
}

impl Report {
    fn check_log(&mut self, fs: &Fs, root: &Path, epoch: &Epoch, flushed: u64) -> Result<()> {
        let hasher = KeyHasher::new(&epoch.meta.hash_key);
        let read = || {
            let scan = Scan::read(fs, root, &hasher, epoch.number, flushed, false)?;
            let batches = scan.batches().try_fold(0, |n, batch| batch.map(|_| n + 1))?;
            Ok((scan, batches))
        };
        // An index that is open appends to its log, and removes files of it.
        let (scan, batches) = patiently(read, |outcome| match outcome {
            Ok((scan, _)) => scan.torn().is_some(),
            Err(e) => is_gone(e),
        })?;
        let (bytes, files) = scan.size();
        self.bytes += bytes;
        self.files += files;
        self.batches = batches;
        self.torn = scan.torn().cloned();
        self.leftovers.extend(scan.leftovers().cloned());
        Ok(())
    }
}

struct CheckedLane {
    report: Report,
    relied_on: Extent,
    /// The last record of the log that it has flushed.
    flushed: u64,
    /// Places of the dictionary that keys lead to.
    places: Vec<u32>,
}

fn check_lane(fs: &Fs, dir: &Path, lane: u32) -> Result<CheckedLane> {
    let mut report = Report::default();
    let manifest = Manifest::load(fs, dir, lane)?;
    report.count_file(fs, &dir.join(manifest::FILE_NAME))?;
    // All opened before any is checked: a merge may remove the names, but not what is mapped.
    let open = |entry: &ManifestSegment| {
        let path = segment_path(dir, entry.number);
        let segment = Segment::open(fs, &path, lane, entry.number)?;
        entry.agrees_with(&path, &segment)?;
        Ok(segment)
    };
    let segments = manifest.segments.iter().map(open).collect::<Result<Vec<Segment>>>()?;
    for segment in &segments {
        segment.check()?;
        segment.check_structure()?;
        report.files += 1;
        report.bytes += segment.byte_len() as u64;
        report.segments += 1;
        report.entries += segment.keys() as u64;
    }
    let mut places = Vec::new();
    let layers: Vec<Layer<'_>> = segments.iter().map(Layer::Segment).collect();
    walk(&layers, |fingerprint, chain| {
        report.live_keys += u64::from(chain.cardinality() > 0);
        let ids = chain.ids();
        if ids.len() != chain.cardinality() {
            let what = format!("a delta miscounts the ids of fingerprint {:016x}", fingerprint.0);
            return Err(Error::corrupt(dir, 0, what));
        }
        // An index without terms may use these ids itself.
        if manifest.terms != Extent::default() {
            places.extend(
                ids.iter().filter(|&id| id & TERM_ID_FLAG != 0).map(|id| id & !TERM_ID_FLAG),
            );
        }
        Ok(())
    })?;
    if report.live_keys != manifest.live_keys {
        let what = format!(
            "it counts {} live keys, the segments hold {}",
            manifest.live_keys, report.live_keys
        );
        return Err(Error::corrupt(&dir.join(manifest::FILE_NAME), 28, what));
    }
    for path in fs.list(dir)? {
        let live = manifest.segments.iter().any(|s| segment_path(dir, s.number) == path);
        if !live && is_segment(&path) {
            report.leftovers.push(path);
        }
    }
    Ok(CheckedLane { report, relied_on: manifest.terms, flushed: manifest.flushed, places })
}
