//! Reads and checks every byte of an index on disk, closed or open.

use std::path::{Path, PathBuf};

use crate::dictionary::TERM_ID_FLAG;
use crate::epoch::{Epoch, META, TERMS, lane_dir, segment_path};
use crate::error::{Error, Result};
use crate::fs;
use crate::layers::{Layer, walk};
use crate::manifest::{self, Manifest};
use crate::segment::Segment;
use crate::term_log::TermLog;

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
    /// Files that no manifest names; the next open removes them.
    pub leftovers: Vec<PathBuf>,
}

/// An index that is open keeps merging; a segment may go between the manifest and the look.
const ATTEMPTS: usize = 5;

/// Checks every file of the index in `root`: frames and checksums, that every entry is where the
/// hash function leads, that lists are in order, and that manifests count right. Changes nothing
/// and takes no lock.
///
/// # Errors
/// The first fault found: [`Error::Corrupt`], [`Error::UnsupportedVersion`], or [`Error::Io`].
pub fn verify(root: &Path) -> Result<Report> {
    let epoch = Epoch::open(root)?;
    let mut report = Report { lanes: epoch.meta.num_lanes.into(), ..Report::default() };
    report.read(&root.join(crate::epoch::CURRENT))?;
    report.read(&epoch.dir.join(META))?;
    let terms = report.check_terms(&epoch.dir.join(TERMS))?;
    for lane in 0..epoch.meta.num_lanes {
        let dir = lane_dir(&epoch.dir, lane);
        let mut attempt = 1;
        let checked = loop {
            match check_lane(&dir, lane, &terms) {
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => break outcome?,
            }
        };
        report.add(checked);
    }
    Ok(report)
}

impl Report {
    fn read(&mut self, path: &Path) -> Result<()> {
        self.bytes += fs::len(path)?;
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

    /// Which places of the dictionary hold a term.
    fn check_terms(&mut self, path: &Path) -> Result<Vec<bool>> {
        let mut known = Vec::new();
        if fs::exists(path)? {
            self.read(path)?;
            let bytes = fs::read_bounded(path, u32::MAX.into())?;
            let whole = TermLog::parse(path, &bytes, &mut |place, _| {
                known.resize(known.len().max(place as usize + 1), false);
                known[place as usize] = true;
                self.terms += 1;
                Ok(())
            })?;
            if whole != bytes.len() as u64 {
                return Err(Error::corrupt(path, whole as usize, "a torn record at the end"));
            }
        }
        Ok(known)
    }
}

fn check_lane(dir: &Path, lane: u32, terms: &[bool]) -> Result<Report> {
    let mut report = Report::default();
    let manifest = Manifest::load(dir, lane)?;
    report.read(&dir.join(manifest::FILE_NAME))?;
    let mut segments = Vec::new();
    for entry in &manifest.segments {
        let path = segment_path(dir, entry.number);
        let segment = Segment::open(&path, lane, entry.number)?;
        entry.agrees_with(&path, &segment)?;
        segment.check()?;
        segment.check_structure()?;
        report.read(&path)?;
        report.segments += 1;
        report.entries += segment.keys() as u64;
        segments.push(segment);
    }
    let layers: Vec<Layer<'_>> = segments.iter().map(Layer::Segment).collect();
    walk(&layers, |fingerprint, chain| {
        report.live_keys += u64::from(chain.cardinality() > 0);
        let ids = chain.ids();
        if ids.len() != chain.cardinality() {
            let what = format!("a delta miscounts the ids of fingerprint {:016x}", fingerprint.0);
            return Err(Error::corrupt(dir, 0, what));
        }
        let stray = |id: &&u32| {
            **id & TERM_ID_FLAG != 0
                && terms.get((**id & !TERM_ID_FLAG) as usize) != Some(&true)
                && !terms.is_empty()
        };
        if let Some(id) = ids.iter().find(stray) {
            let what = format!("a key leads to term {id}, which the dictionary lacks");
            return Err(Error::corrupt(dir, 0, what));
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
    for path in fs::list(dir)? {
        let live = manifest.segments.iter().any(|s| segment_path(dir, s.number) == path);
        if !live && !path.ends_with(manifest::FILE_NAME) {
            report.leftovers.push(path);
        }
    }
    Ok(report)
}
