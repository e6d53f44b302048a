//! Checks the files of one lane.

use std::path::{Path, PathBuf};

use crate::dictionary::{Extent, TERM_ID_FLAG};
use crate::epoch::{is_segment, segment_path};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::layers::{Layer, walk};
use crate::manifest::{self, Manifest, ManifestSegment};
use crate::mmap::MappedBytes;
use crate::segment::Segment;
use crate::slots::SlotTable;

/// What was found in a lane's directory.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) files: Vec<PathBuf>,
    pub(super) faults: Vec<Error>,
    pub(super) segments: u64,
    pub(super) entries: u64,
    pub(super) live_keys: u64,
    pub(super) leftovers: Vec<PathBuf>,
    /// How much of the dictionary it relies on.
    pub(super) terms: Extent,
    /// The last record of the log that it has flushed.
    pub(super) flushed: u64,
    /// Places of the dictionary that keys lead to.
    pub(super) places: Vec<u32>,
}

/// Checks each segment for itself and, if all are sound, the lane as a whole.
pub(super) fn check(fs: &Fs, dir: &Path, slots: &SlotTable, lane: u32) -> Checked {
    let manifest = match Manifest::load(fs, dir, lane) {
        Ok(manifest) => manifest,
        Err(fault) => return without_manifest(fs, dir, slots, fault),
    };
    let mut checked = Checked {
        files: vec![dir.join(manifest::FILE_NAME)],
        terms: manifest.terms,
        flushed: manifest.flushed,
        ..Checked::default()
    };
    // All opened before any is checked: a merge may remove the names, but not what is mapped.
    let open = |entry: &ManifestSegment| {
        let path = segment_path(dir, entry.number);
        let segment = Segment::open(fs, &path, slots, lane, entry.number)?;
        entry.agrees_with(&path, &segment)?;
        Ok(segment)
    };
    let opened: Vec<Result<Segment>> = manifest.segments.iter().map(open).collect();
    let mut segments = Vec::new();
    for (entry, opened) in manifest.segments.iter().zip(opened) {
        let whole = opened.and_then(|segment| {
            segment.check()?;
            segment.check_structure()?;
            Ok(segment)
        });
        match whole {
            Ok(segment) => {
                checked.files.push(segment_path(dir, entry.number));
                checked.entries += segment.keys() as u64;
                segments.push(segment);
            }
            Err(fault) => checked.faults.push(fault),
        }
    }
    checked.segments = segments.len() as u64;
    if checked.faults.is_empty()
        && let Err(fault) = checked.count(dir, &manifest, &segments)
    {
        checked.faults.push(fault);
    }
    let live =
        |path: &PathBuf| manifest.segments.iter().any(|s| segment_path(dir, s.number) == *path);
    match fs.list(dir) {
        Ok(paths) => checked
            .leftovers
            .extend(paths.into_iter().filter(|path| is_segment(path) && !live(path))),
        Err(fault) => checked.faults.push(fault),
    }
    checked
}

/// Segments can be checked each for itself then, by no more than what they say themselves.
fn without_manifest(fs: &Fs, dir: &Path, slots: &SlotTable, fault: Error) -> Checked {
    let mut checked = Checked { faults: vec![fault], ..Checked::default() };
    let mut paths = fs.list(dir).unwrap_or_default();
    paths.retain(|path| is_segment(path));
    paths.sort();
    for path in paths {
        let opened = MappedBytes::open(fs, &path)
            .and_then(|bytes| Segment::new(bytes, Some(path.clone()), slots))
            .and_then(|segment| segment.check().and_then(|()| segment.check_structure()));
        match opened {
            Ok(()) => checked.files.push(path),
            Err(fault) => checked.faults.push(fault),
        }
    }
    checked
}

impl Checked {
    /// Walks all keys, from the newest segment down.
    fn count(&mut self, dir: &Path, manifest: &Manifest, segments: &[Segment]) -> Result<()> {
        let layers: Vec<Layer<'_>> = segments.iter().map(Layer::of).collect();
        walk(&layers, |fingerprint, chain| {
            self.live_keys += u64::from(chain.cardinality() > 0);
            let ids = chain.ids();
            if ids.len() != chain.cardinality() {
                let what =
                    format!("a delta miscounts the ids of fingerprint {:016x}", fingerprint.0);
                return Err(Error::corrupt(dir, 0, what));
            }
            // An index without terms may use these ids itself.
            if manifest.terms != Extent::default() {
                let terms = ids.iter().filter(|&id| id & TERM_ID_FLAG != 0);
                self.places.extend(terms.map(|id| id & !TERM_ID_FLAG));
            }
            Ok(())
        })?;
        if self.live_keys != manifest.live_keys {
            let what = format!(
                "it counts {} live keys, the segments hold {}",
                manifest.live_keys, self.live_keys
            );
            return Err(Error::corrupt(&dir.join(manifest::FILE_NAME), 28, what));
        }
        Ok(())
    }
}
