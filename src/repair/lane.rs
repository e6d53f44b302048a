//! One lane: what can be read is merged into a sound segment, what cannot goes to quarantine.
//!
//! First it is found out what there is to do, then it is done: copies to quarantine, the new
//! segment, the manifest that names it, and only then the damaged files go. So a repair that is cut
//! short at any point leaves all that the next one needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::terms::Terms;
use super::{Lost, Repairer, damage};
use crate::chain::Chain;
use crate::compaction::{BOTTOM, LEVEL_1};
use crate::dictionary::TERM_ID_FLAG;
use crate::epoch::{Epoch, is_segment, lane_dir, segment_number, segment_path};
use crate::error::Result;
use crate::fs::Fs;
use crate::layers::{Layer, walk};
use crate::manifest::{FILE_NAME, Manifest, ManifestSegment};
use crate::mmap::MappedBytes;
use crate::record::Record;
use crate::segment::{Origin, Segment, SegmentWriter};
use crate::slots::SlotTable;

/// What there is to do.
struct Plan {
    manifest: Manifest,
    /// The lane's records written anew, under a number.
    segment: Option<(u64, Vec<u8>)>,
    /// Files that go to quarantine.
    damaged: Vec<PathBuf>,
    /// Whether the manifest is to be stored.
    changed: bool,
}

impl Repairer {
    /// Repairs a lane; the last record of the log that it has flushed.
    pub(super) fn lane(
        &mut self,
        epoch: &Epoch,
        slots: &SlotTable,
        lane: u32,
        terms: &mut Terms,
    ) -> Result<u64> {
        let dir = lane_dir(&epoch.dir, lane);
        let plan = self.plan_lane(&dir, slots, lane, terms)?;
        let flushed = plan.manifest.flushed;
        if self.apply && plan.changed {
            self.carry_out(&dir, plan)?;
        }
        Ok(flushed)
    }

    fn plan_lane(
        &mut self,
        dir: &Path,
        slots: &SlotTable,
        lane: u32,
        terms: &mut Terms,
    ) -> Result<Plan> {
        let path = dir.join(FILE_NAME);
        let mut damaged = Vec::new();
        let (mut manifest, fault) = match Manifest::load(&self.fs, dir, lane) {
            Ok(manifest) => (manifest, None),
            Err(fault) => {
                let fault = damage(fault)?;
                let manifest = self.manifest_of_segments(dir, slots, lane, terms, &mut damaged)?;
                damaged.push(path.clone());
                (manifest, Some(fault))
            }
        };
        let mut rewrite = fault.is_some();
        let segments = self.segments(dir, slots, &manifest, &mut damaged, &mut rewrite)?;
        // Also in records that newer ones override: the id of a lost term may go to another.
        rewrite |= segments.iter().any(|segment| names_lost_terms(segment, terms));
        let merged = Merged::of(&segments, terms)?;
        if let Some(fault) = &fault {
            let lost = if merged.baseless { Lost::UnknownKeys } else { Lost::Nothing };
            self.note(&path, fault, lost);
        }
        let live_keys = merged.writer.len() as u64;
        let mut segment = None;
        let mut changed = true;
        if rewrite {
            let number = manifest.next_number;
            let flushed = manifest.flushed;
            let leads_to_terms = terms.leads_to_terms();
            let origin = Origin { lane, number, level: BOTTOM, flushed, leads_to_terms };
            manifest.next_number = number + 1;
            manifest.segments.clear();
            if !merged.writer.is_empty() {
                let bytes = merged.writer.finish(origin, slots)?;
                let (keys, bytes_long) = (live_keys, bytes.len() as u64);
                let entry = ManifestSegment { number, level: BOTTOM, keys, bytes: bytes_long };
                manifest.segments.push(entry);
                segment = Some((number, bytes.to_vec()));
            }
        } else if live_keys != manifest.live_keys {
            let fault = format!("it counts {} live keys, not {live_keys}", manifest.live_keys);
            self.note(&path, fault, Lost::Nothing);
            damaged.push(path);
        } else {
            changed = false;
        }
        manifest.live_keys = live_keys;
        Ok(Plan { manifest, segment, damaged, changed })
    }

    fn carry_out(&self, dir: &Path, plan: Plan) -> Result<()> {
        self.fs.create_dir_all(dir)?;
        plan.damaged.iter().try_for_each(|path| self.keep_copy(path))?;
        if let Some((number, bytes)) = plan.segment {
            self.fs.write_synced(&segment_path(dir, number), &bytes)?;
            self.fs.sync_dir(dir)?;
        }
        plan.manifest.store(&self.fs, dir)?;
        self.purge(dir, &plan.manifest)
    }

    /// Removes the segments that a sound lane does not have any more.
    pub(super) fn purge_lane(&self, epoch: &Epoch, lane: u32) -> Result<()> {
        let dir = lane_dir(&epoch.dir, lane);
        self.purge(&dir, &Manifest::load(&self.fs, &dir, lane)?)
    }

    fn purge(&self, dir: &Path, manifest: &Manifest) -> Result<()> {
        for path in self.fs.list(dir)?.into_iter().filter(|path| is_segment(path)) {
            if !manifest.segments.iter().any(|s| segment_path(dir, s.number) == path) {
                self.fs.remove(&path)?;
            }
        }
        self.fs.sync_dir(dir)
    }

    /// Reads what the manifest lists, newest first, as far as that can be had.
    fn segments(
        &mut self,
        dir: &Path,
        slots: &SlotTable,
        manifest: &Manifest,
        damaged: &mut Vec<PathBuf>,
        rewrite: &mut bool,
    ) -> Result<Vec<Arc<Segment>>> {
        let mut segments = Vec::new();
        for entry in &manifest.segments {
            let (path, lane) = (segment_path(dir, entry.number), manifest.lane);
            let open = || Segment::open(&self.fs, &path, slots, lane, entry.number);
            let opened = open().and_then(|segment| {
                entry.agrees_with(&path, &segment)?;
                segment.check()?;
                segment.check_structure()?;
                Ok(segment)
            });
            let fault = match opened {
                Ok(segment) => {
                    segments.push(Arc::new(segment));
                    continue;
                }
                Err(fault) => damage(fault)?,
            };
            *rewrite = true;
            let lost = match rehashed(&self.fs, &path, slots, (lane, entry.number)) {
                Some(segment) => {
                    segments.push(Arc::new(segment));
                    Lost::Nothing
                }
                None => Lost::Keys(entry.keys),
            };
            self.note(&path, fault, lost);
            damaged.push(path);
        }
        Ok(segments)
    }

    /// What the segments themselves tell of the lane.
    fn manifest_of_segments(
        &mut self,
        dir: &Path,
        slots: &SlotTable,
        lane: u32,
        terms: &Terms,
        damaged: &mut Vec<PathBuf>,
    ) -> Result<Manifest> {
        if !self.fs.exists(dir)? {
            self.note(dir, "the lane's directory is missing", Lost::UnknownKeys);
        }
        let mut found = Vec::new();
        for (path, segment) in segments_in(&self.fs, dir, slots)? {
            match segment {
                Ok(segment) if segment.origin().lane == lane => found.push(segment),
                Ok(_) => {
                    self.note(&path, "it is another lane's", Lost::Nothing);
                    damaged.push(path);
                }
                Err(fault) => {
                    self.note(&path, damage(fault)?, Lost::UnknownKeys);
                    damaged.push(path);
                }
            }
        }
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
        let next_number = next_number(&self.fs, dir)?;
        let terms = terms.extent;
        Ok(Manifest { lane, next_number, live_keys: 0, flushed, terms, segments })
    }
}

/// The segments in a lane's directory, newest first.
pub(super) fn segments_in(
    fs: &Fs,
    dir: &Path,
    slots: &SlotTable,
) -> Result<Vec<(PathBuf, Result<Segment>)>> {
    let mut paths = if fs.exists(dir)? { fs.list(dir)? } else { Vec::new() };
    paths.retain(|path| is_segment(path));
    paths.sort();
    let open = |path: PathBuf| {
        let bytes = MappedBytes::open(fs, &path);
        let segment = bytes.and_then(|bytes| Segment::new(bytes, Some(path.clone()), slots));
        (path, segment)
    };
    Ok(paths.into_iter().rev().map(open).collect())
}

/// A number that no segment of the lane has had.
fn next_number(fs: &Fs, dir: &Path) -> Result<u64> {
    let paths = if fs.exists(dir)? { fs.list(dir)? } else { Vec::new() };
    let newest = paths.iter().filter_map(|path| segment_number(path)).max();
    Ok(newest.map_or(1, |number| number + 1))
}

/// A segment with nothing wrong but its hash function, which is made anew of the fingerprints, or its
/// filter, which it does without;
/// `expected`: its lane and number.
fn rehashed(fs: &Fs, path: &Path, slots: &SlotTable, expected: (u32, u64)) -> Option<Segment> {
    let bytes = MappedBytes::open(fs, path).ok()?;
    let segment = Segment::new(bytes, Some(path.to_path_buf()), slots).ok()?;
    if (segment.origin().lane, segment.number()) != expected {
        return None;
    }
    segment.check_records().ok()?;
    let mut writer = SegmentWriter::with_capacity(segment.keys());
    for item in segment.table().iter() {
        let (fingerprint, record) = item.ok()?;
        let mut chain = Chain::default();
        chain.push(record);
        writer.add(fingerprint, &chain.merged(false)).ok()?;
    }
    let bytes = writer.finish(segment.origin(), slots).ok()?;
    let segment = Segment::new(MappedBytes::anonymous(bytes).ok()?, None, slots).ok()?;
    segment.check_structure().ok()?;
    Some(segment)
}

fn names_lost_terms(segment: &Segment, terms: &mut Terms) -> bool {
    segment.table().iter().filter_map(Result::ok).any(|(_, record)| {
        record.names().any(|id| id & TERM_ID_FLAG != 0 && !terms.has(id & !TERM_ID_FLAG))
    })
}

/// The lane's whole sets.
struct Merged {
    writer: SegmentWriter,
    /// Some sets are changes of sets that are lost.
    baseless: bool,
}

impl Merged {
    fn of(segments: &[Arc<Segment>], terms: &mut Terms) -> Result<Self> {
        let layers: Vec<Layer<'_>> = segments.iter().map(|s| Layer::of(s)).collect();
        let writer = SegmentWriter::default();
        let mut merged = Merged { writer, baseless: false };
        walk(&layers, |fingerprint, chain| {
            let mut ids = chain.ids();
            merged.baseless |= ids.len() != chain.cardinality();
            ids.retain(|id| {
                let kept = id & TERM_ID_FLAG == 0 || terms.has(id & !TERM_ID_FLAG);
                if !kept {
                    terms.dropped(id & !TERM_ID_FLAG);
                }
                kept
            });
            match Record::from_set(ids) {
                Record::Tombstone => Ok(()),
                record => merged.writer.add(fingerprint, &record),
            }
        })?;
        Ok(merged)
    }
}
