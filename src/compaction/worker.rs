//! Executes flushes and merges: each call is one bounded piece of work on one lane.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::merge::merge;
use super::policy::{self, BOTTOM, Merge, Shape};
use crate::config::Filter;
use crate::dictionary::Dictionary;
use crate::epoch::{is_segment, segment_path};
use crate::error::Result;
use crate::freed;
use crate::fs::Fs;
use crate::lane::{Frozen, Keeper, Lane, Logged};
use crate::manifest::{Manifest, ManifestSegment};
use crate::mmap::{ANONYMOUS, MappedBytes};
use crate::overlay::Overlay;
use crate::pace::Pace;
use crate::rcu::Published;
use crate::residency::Residency;
use crate::segment::{Origin, Segment, SegmentWriter};
use crate::slots::SlotTable;
use crate::stats::Counters;
use crate::sync::atomic::Ordering;
use crate::version::Version;
use crate::view::View;
use crate::wal::Wal;

/// What flushes and merges need of the index around the lane.
#[derive(Debug)]
pub(crate) struct Upkeep<'i> {
    pub(crate) fs: &'i Fs,
    pub(crate) counters: &'i Counters,
    pub(crate) dictionary: &'i Dictionary,
    pub(crate) slots: &'i SlotTable,
    pub(crate) wal: Option<&'i Wal>,
    pub(crate) views: &'i Arc<Published<View>>,
    pub(crate) pace: Option<&'i Pace>,
    pub(crate) residency: Residency,
    pub(crate) filter: Filter,
}

impl Upkeep<'_> {
    /// Has a new segment's bytes stay in memory if all are to. Where they cannot be locked, writing on
    /// counts for more.
    fn settle(&self, mut bytes: MappedBytes, path: &Path) -> MappedBytes {
        if self.residency == Residency::Mlock {
            let _ = bytes.lock(path);
        }
        bytes
    }
}

/// A new segment in the making, and what it replaces.
pub(super) struct Output<'v> {
    pub(super) records: SegmentWriter,
    /// The segments it was made from, or stands on.
    pub(super) version: &'v Version,
    pub(super) plan: Merge,
    /// How many live keys it adds to those the manifest counts.
    pub(super) growth: i64,
    /// Those of them that are counted nowhere yet: a bulk load's.
    pub(super) loaded: u64,
    /// Where the log has the changes of the frozen overlay, if that is in it and goes away in the
    /// same step.
    pub(super) flushed: Option<Logged>,
}

impl Lane {
    /// Writes the frozen overlay out, merging segments on the way where the policy says so.
    /// True if there was one.
    pub(crate) fn flush_frozen(&self, upkeep: &Upkeep<'_>) -> Result<bool> {
        let mut keeper = self.keeper.lock();
        self.flush_frozen_as_keeper(&mut keeper, upkeep)
    }

    /// Writes out all that overlays hold, the active one included.
    pub(crate) fn flush(&self, upkeep: &Upkeep<'_>) -> Result<()> {
        let mut keeper = self.keeper.lock();
        self.flush_as_keeper(&mut keeper, upkeep)
    }

    /// Merges the whole lane into at most one segment of plain records.
    pub(crate) fn compact(&self, upkeep: &Upkeep<'_>) -> Result<()> {
        let mut keeper = self.keeper.lock();
        self.flush_frozen_as_keeper(&mut keeper, upkeep)?;
        self.freeze_active();
        let (frozen, version) = self.below_active();
        let plain = version.segments.len() <= 1 && version.segments.iter().all(|s| s.is_plain());
        if frozen.is_none() && plain {
            return Ok(());
        }
        let all = Merge { newest: version.segments.len(), level: BOTTOM };
        self.rewrite(&mut keeper, frozen, &version, all, upkeep)
    }

    /// Merges all segments, if look-ups have paid for that. True if they had.
    pub(crate) fn merge_if_paid(&self, upkeep: &Upkeep<'_>) -> Result<bool> {
        let mut keeper = self.keeper.lock();
        let (_, version) = self.below_active();
        let Counters { flushed_keys, loaded_keys, written_keys, .. } = upkeep.counters;
        let [flushed, loaded, written] =
            [flushed_keys, loaded_keys, written_keys].map(Counters::read);
        let written = written.saturating_sub(loaded);
        let since_flush = keeper.flushed_at.map(|at| at.elapsed());
        if version.segments.len() < 2 || !self.is_paid() {
            return Ok(false);
        }
        if !policy::is_affordable(flushed, written, version.weight, since_flush) {
            // Asked again when look-ups have paid once more.
            self.rent.postpone();
            return Ok(false);
        }
        let all = Merge { newest: version.segments.len(), level: BOTTOM };
        let merged = self.rewrite(&mut keeper, None, &version, all, upkeep);
        if merged.is_err() {
            self.rent.raise();
        }
        merged.map(|()| true)
    }

    /// Sees to it that files of segments that are not the lane's any more are gone for good.
    pub(crate) fn purge(&self, fs: &Fs) -> Result<()> {
        let keeper = self.keeper.lock();
        let Some(dir) = &keeper.dir else { return Ok(()) };
        let (_, version) = self.below_active();
        let is_live =
            |path: &PathBuf| version.segments.iter().any(|segment| segment.path() == path);
        let files = fs.list(dir)?;
        let left = files.iter().filter(|path| is_segment(path) && !is_live(path));
        left.into_iter().try_for_each(|path| fs.remove(path))?;
        fs.sync_dir(dir)
    }

    pub(crate) fn flush_as_keeper(&self, keeper: &mut Keeper, upkeep: &Upkeep<'_>) -> Result<()> {
        self.flush_frozen_as_keeper(keeper, upkeep)?;
        self.freeze_active();
        self.flush_frozen_as_keeper(keeper, upkeep)?;
        Ok(())
    }

    pub(super) fn flush_frozen_as_keeper(
        &self,
        keeper: &mut Keeper,
        upkeep: &Upkeep<'_>,
    ) -> Result<bool> {
        let (frozen, version) = self.below_active();
        let Some(frozen) = frozen else {
            return Ok(false);
        };
        let plan = policy::on_flush(&version.shapes(), frozen.overlay.weight());
        self.rewrite(keeper, Some(frozen), &version, plan, upkeep)?;
        Ok(true)
    }

    fn freeze_active(&self) {
        let _gate = self.gate();
        let mut state = self.change();
        if state.frozen.is_none() {
            state.freeze();
        }
    }

    pub(super) fn below_active(&self) -> (Option<Arc<Frozen>>, Arc<Version>) {
        let state = self.state();
        (state.frozen.clone(), Arc::clone(&state.version))
    }

    /// Publishes a new segment made of `frozen` and the newest segments.
    pub(super) fn rewrite(
        &self,
        keeper: &mut Keeper,
        frozen: Option<Arc<Frozen>>,
        version: &Version,
        plan: Merge,
        upkeep: &Upkeep<'_>,
    ) -> Result<()> {
        let (inputs, kept) = version.segments.split_at(plan.newest);
        let overlay = frozen.as_ref().map(|f| &f.overlay);
        let records = merge(overlay, inputs, kept.is_empty())?;
        let growth = frozen.as_ref().map_or(0, |f| f.growth);
        let flushed = frozen.as_ref().map(|f| f.logged);
        self.publish(
            keeper,
            Output { records, version, plan, growth, loaded: 0, flushed },
            upkeep,
        )?;
        if frozen.is_some() {
            keeper.flushed_at = Some(Instant::now());
        }
        upkeep.counters.flushes.fetch_add(u64::from(frozen.is_some()), Ordering::Relaxed);
        upkeep.counters.merges.fetch_add(u64::from(plan.newest > 0), Ordering::Relaxed);
        upkeep
            .counters
            .flushed_keys
            .fetch_add(overlay.map_or(0, Overlay::len) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a segment of the records and puts it in the place of the `plan.newest` newest ones,
    /// on disk first and then for readers.
    pub(super) fn publish(
        &self,
        keeper: &mut Keeper,
        output: Output<'_>,
        upkeep: &Upkeep<'_>,
    ) -> Result<()> {
        let Output { records, version, plan, growth, loaded, flushed } = output;
        let (replaced, kept) = version.segments.split_at(plan.newest);
        let last_record = flushed.and_then(|logged| logged.records).map_or(0, |(_, last)| last);
        let all_flushed = keeper.flushed.max(last_record);
        let mut segments = Vec::with_capacity(kept.len() + 1);
        if !records.is_empty() {
            let keys = records.len() as u64;
            let segment = self.write_segment(keeper, records, plan.level, all_flushed, upkeep)?;
            segments.push((plan.level, Arc::new(segment)));
            upkeep.counters.written_keys.fetch_add(keys, Ordering::Relaxed);
        }
        segments.extend(version.levels[plan.newest..].iter().copied().zip(kept.iter().cloned()));
        let next = Version::new(segments);

        let live_keys = keeper.live_keys.saturating_add_signed(growth);
        if let Some(dir) = &keeper.dir {
            let (lane, next_number) = (self.number, keeper.next_number);
            let segments = next.manifest_segments();
            // The log first: other lanes may have parts of the same batches. Then terms: no key on
            // disk may lead to a term that is not.
            let logged = upkeep.wal.map_or(Ok(()), |wal| wal.sync_to(last_record));
            let stored = logged.and_then(|()| upkeep.dictionary.persist()).and_then(|terms| {
                let flushed = all_flushed;
                Manifest { lane, next_number, live_keys, flushed, terms, segments }
                    .store(upkeep.fs, dir)
            });
            if let Err(e) = stored {
                next.remove_unnamed(upkeep.fs, dir, lane);
                return Err(e);
            }
        }
        (keeper.live_keys, keeper.flushed) = (live_keys, all_flushed);
        // Before they show, as whoever sees one may count.
        self.count(loaded as i64);
        let dropped = {
            let mut state = self.change();
            let frozen = if flushed.is_some() { state.frozen.take() } else { None };
            (std::mem::replace(&mut state.version, Arc::new(next)), frozen)
        };
        if plan.level == BOTTOM {
            self.rent.end();
        }
        drop(dropped);
        upkeep.views.readers().reclaim();
        for segment in replaced.iter().filter(|s| s.is_on_disk()) {
            // A file that stays behind costs space until the next open, not correctness.
            let removed = upkeep.fs.remove(segment.path());
            upkeep.counters.leftovers.fetch_add(u64::from(removed.is_err()), Ordering::Relaxed);
        }
        Ok(())
    }

    fn write_segment(
        &self,
        keeper: &mut Keeper,
        records: SegmentWriter,
        level: u8,
        flushed: u64,
        upkeep: &Upkeep<'_>,
    ) -> Result<Segment> {
        let number = keeper.next_number;
        // Spent even if what follows fails: a number never names two contents.
        keeper.next_number += 1;
        let leads_to_terms = upkeep.dictionary.is_in_use();
        let origin = Origin { lane: self.number, number, level, flushed, leads_to_terms };
        let filter = if self.filtering.pays() { upkeep.filter } else { Filter::None };
        let bytes = records.finish_as(origin, upkeep.slots, filter, upkeep.residency)?;
        upkeep.counters.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        freed::note(bytes.len());
        if let Some(pace) = upkeep.pace {
            pace.spend(bytes.len());
        }
        match &keeper.dir {
            None => {
                let bytes = upkeep.settle(MappedBytes::anonymous(bytes)?, Path::new(ANONYMOUS));
                Segment::new(bytes, None, upkeep.slots)
            }
            Some(dir) => {
                let path = segment_path(dir, number);
                upkeep.fs.write_synced(&path, &bytes)?;
                let open = || {
                    let bytes = match upkeep.residency {
                        Residency::Heap => MappedBytes::stored(bytes)?,
                        _ => MappedBytes::open(upkeep.fs, &path)?,
                    };
                    let bytes = upkeep.settle(bytes, &path);
                    Segment::opened(bytes, &path, upkeep.slots, self.number, number)
                };
                let opened = upkeep.fs.sync_dir(dir).and_then(|()| open());
                if opened.is_err() {
                    let _ = upkeep.fs.remove(&path);
                }
                opened
            }
        }
    }

    /// Opens a lane as its manifest describes it; the dictionary has been read already.
    pub(crate) fn open(upkeep: &Upkeep<'_>, dir: &Path, number: u32) -> Result<Self> {
        let manifest = Manifest::load(upkeep.fs, dir, number)?;
        upkeep.dictionary.check_extent(manifest.terms)?;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let path = segment_path(dir, entry.number);
            let bytes = MappedBytes::open_as(upkeep.fs, &path, upkeep.residency)?;
            let segment = Segment::opened(bytes, &path, upkeep.slots, number, entry.number)?;
            entry.agrees_with(&path, &segment)?;
            segments.push((entry.level, Arc::new(segment)));
        }
        let keeper = Keeper {
            dir: Some(dir.to_path_buf()),
            next_number: manifest.next_number,
            live_keys: manifest.live_keys,
            flushed: manifest.flushed,
            flushed_at: None,
        };
        let version = Version::new(segments);
        Ok(Self::new(number, keeper, version, manifest.live_keys, upkeep.views))
    }
}

impl Version {
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let weights = self.segments.iter().map(|s| s.weight());
        self.levels.iter().zip(weights).map(|(&level, weight)| Shape { level, weight }).collect()
    }

    /// After a failure, removes the newest segment's file unless the manifest names it: on a full
    /// disk its space is needed.
    fn remove_unnamed(&self, fs: &Fs, dir: &Path, lane: u32) {
        let named = |number| match Manifest::load(fs, dir, lane) {
            Ok(manifest) => manifest.segments.iter().any(|s| s.number == number),
            Err(_) => true,
        };
        if let Some(newest) = self.segments.first().filter(|s| !named(s.number())) {
            let _ = fs.remove(newest.path());
        }
    }

    fn manifest_segments(&self) -> Vec<ManifestSegment> {
        let entry = |(&level, segment): (&u8, &Arc<Segment>)| ManifestSegment {
            number: segment.number(),
            level,
            keys: segment.keys() as u64,
            bytes: segment.byte_len() as u64,
        };
        self.levels.iter().zip(&self.segments).map(entry).collect()
    }
}
