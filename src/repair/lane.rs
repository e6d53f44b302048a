//! One lane: segments that cannot be read go, the rest is merged into a sound one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::terms::Terms;
use super::{Lost, Repairer, damage};
use crate::chain::Chain;
use crate::compaction::{BOTTOM, LEVEL_1};
use crate::dictionary::TERM_ID_FLAG;
use crate::epoch::{Epoch, is_segment, lane_dir, segment_number, segment_path};
use crate::error::Result;
use crate::layers::{Layer, walk};
use crate::manifest::{FILE_NAME, Manifest, ManifestSegment};
use crate::mmap::MappedBytes;
use crate::record::Record;
use crate::segment::{Origin, Segment, SegmentWriter};

/// What is left of a lane.
struct Remains {
    /// Newest first.
    segments: Vec<Arc<Segment>>,
    /// Files that go to quarantine.
    damaged: Vec<PathBuf>,
    /// The lane's records have to be written anew.
    rewrite: bool,
}

impl Repairer {
    /// Repairs a lane; the last record of the log that it has flushed.
    pub(super) fn lane(&mut self, epoch: &Epoch, lane: u32, terms: &mut Terms) -> Result<u64> {
        let dir = lane_dir(&epoch.dir, lane);
        let path = dir.join(FILE_NAME);
        let (mut manifest, mut anew) = match Manifest::load(&self.fs, &dir, lane) {
            Ok(manifest) => (manifest, false),
            Err(fault) => {
                self.note(&path, damage(fault)?, Lost::Nothing);
                let manifest = self.manifest_of_segments(&dir, lane, terms)?;
                self.put_away(&path)?;
                (manifest, true)
            }
        };
        let mut remains = self.remains(&dir, lane, &manifest)?;
        let (records, live_keys) = merged(&remains.segments, terms)?;
        remains.rewrite |= terms.is_damaged() && records.dropped;
        if remains.rewrite {
            manifest.next_number = manifest.next_number.max(self.next_number(&dir)?);
            let number = manifest.next_number;
            manifest.next_number += 1;
            let flushed = manifest.flushed;
            let origin = Origin { lane, number, level: BOTTOM, flushed };
            manifest.segments = self.write(&dir, records.writer, origin)?;
            anew = true;
        } else if live_keys != manifest.live_keys && !anew {
            let fault = format!("it counts {} live keys, not {live_keys}", manifest.live_keys);
            self.note(&path, fault, Lost::Nothing);
            anew = true;
        }
        if anew && self.apply {
            manifest.live_keys = live_keys;
            manifest.store(&self.fs, &dir)?;
        }
        remains.damaged.iter().try_for_each(|path| self.put_away(path))?;
        Ok(manifest.flushed)
    }

    /// Reads what the manifest lists, as far as that can be had.
    fn remains(&mut self, dir: &Path, lane: u32, manifest: &Manifest) -> Result<Remains> {
        let mut remains = Remains { segments: vec![], damaged: vec![], rewrite: false };
        for entry in &manifest.segments {
            let path = segment_path(dir, entry.number);
            let opened = Segment::open(&self.fs, &path, lane, entry.number).and_then(|segment| {
                entry.agrees_with(&path, &segment)?;
                segment.check()?;
                segment.check_structure()?;
                Ok(segment)
            });
            let fault = match opened {
                Ok(segment) => {
                    remains.segments.push(Arc::new(segment));
                    continue;
                }
                Err(fault) => damage(fault)?,
            };
            remains.rewrite = true;
            remains.damaged.push(path.clone());
            match self.rehashed(&path) {
                Some(segment) => {
                    self.note(&path, fault, Lost::Nothing);
                    remains.segments.push(Arc::new(segment));
                }
                None => self.note(&path, fault, Lost::Keys(entry.keys)),
            }
        }
        Ok(remains)
    }

    /// A segment with nothing wrong but its hash function, which is made anew of the fingerprints.
    fn rehashed(&self, path: &Path) -> Option<Segment> {
        let bytes = MappedBytes::open(&self.fs, path).ok()?;
        let segment = Segment::new(bytes, Some(path.to_path_buf())).ok()?;
        segment.check_records().ok()?;
        let mut writer = SegmentWriter::with_capacity(segment.keys());
        for item in segment.iter() {
            let (fingerprint, record) = item.ok()?;
            let mut chain = Chain::default();
            chain.push(record);
            writer.add(fingerprint, &chain.merged(false)).ok()?;
        }
        let bytes = writer.finish(segment.origin()).ok()?;
        let segment = Segment::new(MappedBytes::anonymous(bytes).ok()?, None).ok()?;
        segment.check_structure().ok()?;
        Some(segment)
    }

    /// What the segments themselves tell of the lane.
    fn manifest_of_segments(&mut self, dir: &Path, lane: u32, terms: &Terms) -> Result<Manifest> {
        let mut found = Vec::new();
        let mut paths = if self.fs.exists(dir)? {
            self.fs.list(dir)?
        } else {
            self.note(dir, "the lane's directory is missing", Lost::UnknownKeys);
            Vec::new()
        };
        if self.apply {
            self.fs.create_dir_all(dir)?;
        }
        paths.retain(|path| is_segment(path));
        paths.sort();
        // Newest first.
        for path in paths.iter().rev() {
            let bytes = MappedBytes::open(&self.fs, path);
            match bytes.and_then(|bytes| Segment::new(bytes, Some(path.clone()))) {
                Ok(segment) if segment.origin().lane == lane => found.push(segment),
                Ok(_) => {
                    self.note(path, "it is another lane's", Lost::Nothing);
                    self.put_away(path)?;
                }
                Err(fault) => {
                    self.note(path, damage(fault)?, Lost::UnknownKeys);
                    self.put_away(path)?;
                }
            }
        }
        let next_number = self.next_number(dir)?;
        let flushed = found.iter().map(|segment| segment.origin().flushed).max().unwrap_or(0);
        // A merge replaces what it was made of: all for the bottom, all above the bottom for level
        // 1. Files of that kind that are still there were about to be removed.
        let mut segments = Vec::new();
        let mut above = u8::MAX;
        for segment in &found {
            let level = segment.origin().level;
            if above == BOTTOM || (above == LEVEL_1 && level != BOTTOM) {
                continue;
            }
            above = level;
            let (number, bytes) = (segment.number(), segment.byte_len() as u64);
            let keys = segment.keys() as u64;
            segments.push(ManifestSegment { number, level, keys, bytes });
        }
        let terms = terms.extent;
        Ok(Manifest { lane, next_number, live_keys: 0, flushed, terms, segments })
    }

    /// A number that no segment of the lane has had.
    fn next_number(&self, dir: &Path) -> Result<u64> {
        let numbers = self.fs.list(dir)?.iter().filter_map(|path| segment_number(path)).max();
        Ok(numbers.map_or(1, |number| number + 1))
    }

    fn write(
        &self,
        dir: &Path,
        records: SegmentWriter,
        origin: Origin,
    ) -> Result<Vec<ManifestSegment>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let keys = records.len() as u64;
        let bytes = records.finish(origin)?;
        if self.apply {
            self.fs.write_synced(&segment_path(dir, origin.number), &bytes)?;
            self.fs.sync_dir(dir)?;
        }
        let (number, level) = (origin.number, origin.level);
        Ok(vec![ManifestSegment { number, level, keys, bytes: bytes.len() as u64 }])
    }
}

/// The lane's whole sets.
struct Merged {
    writer: SegmentWriter,
    /// Some ids are missing: their terms are lost.
    dropped: bool,
}

fn merged(segments: &[Arc<Segment>], terms: &mut Terms) -> Result<(Merged, u64)> {
    let layers: Vec<Layer<'_>> = segments.iter().map(|s| Layer::Segment(s)).collect();
    let mut merged = Merged { writer: SegmentWriter::default(), dropped: false };
    walk(&layers, |fingerprint, chain| {
        let mut ids = chain.ids();
        ids.retain(|id| {
            let kept = id & TERM_ID_FLAG == 0 || terms.has(id & !TERM_ID_FLAG);
            if !kept {
                terms.dropped(id & !TERM_ID_FLAG);
                merged.dropped = true;
            }
            kept
        });
        match Record::from_set(ids) {
            Record::Tombstone => Ok(()),
            record => merged.writer.add(fingerprint, &record),
        }
    })?;
    let live_keys = merged.writer.len() as u64;
    Ok((merged, live_keys))
}
