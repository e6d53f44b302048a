//! Work that is not for callers in a hurry: flush, compaction, listing, reports.

use std::sync::Arc;

use crate::compaction::Upkeep;
use crate::config::Filter;
use crate::error::Result;
use crate::freed;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::lane::Lane;
use crate::residency::Residency;
use crate::segment::Segment;
use crate::stats::{Counters, Memory, Stats};
use crate::sync::atomic::Ordering;
use crate::version::Version;
use crate::wal::Wal;

impl Index {
    /// True once per burst: the caller tells whoever runs [`Index::work`].
    #[inline]
    #[must_use]
    pub fn claim_wakeup(&self) -> bool {
        let waits = self.work_waits.load(Ordering::SeqCst) || self.views.readers().wants_reclaim();
        waits && !self.awake.swap(true, Ordering::SeqCst)
    }

    /// Drops what readers were shown before and none of them looks at any more.
    pub fn reclaim(&self) {
        self.views.readers().reclaim();
    }

    /// Does one bounded piece of background work, one lane's flush; false if none was left.
    ///
    /// # Errors
    /// Those of the flush; the work is still to be done then.
    pub fn work(&self) -> Result<bool> {
        self.reclaim();
        self.check_writable()?;
        // Cleared before looking, so that an overlay frozen meanwhile is not forgotten.
        self.work_waits.store(false, Ordering::SeqCst);
        let first = self.next_lane.load(Ordering::Relaxed);
        let lanes = self.num_lanes() as usize;
        for number in (first..lanes).chain(0..first.min(lanes)) {
            let Some(lane) = self.lane(number) else { continue };
            if lane.state().frozen.is_some() {
                self.work_waits.store(true, Ordering::SeqCst);
                self.next_lane.store((number + 1) % lanes, Ordering::Relaxed);
                return self.flush_full(lane).map(|()| true);
            }
        }
        if let Some(wal) = self.wal.as_ref().filter(|wal| wal.wants_room()) {
            return self.shorten_log(wal).map(|()| true);
        }
        if self.dictionary.pack() {
            return Ok(true);
        }
        match self.step_slow_work() {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(e) => {
                // Whoever fills an overlay meanwhile is not to wait until it is tried again.
                self.awake.store(false, Ordering::SeqCst);
                return Err(e);
            }
        }
        freed::give_back_now_and_then();
        self.awake.store(false, Ordering::SeqCst);
        // Frozen between the look and the store: whoever froze it found us awake.
        Ok(self.claim_wakeup())
    }

    /// A piece of what nobody waits for.
    fn step_slow_work(&self) -> Result<bool> {
        Ok(self.step_census()?
            || self.step_purge()?
            || self.step_wanted_round()?
            || self.step_paid_merge()?)
    }

    /// Merges a lane for which look-ups have paid.
    fn step_paid_merge(&self) -> Result<bool> {
        for lane in self.lanes() {
            // After an error the lane has to be paid for anew, so the next try comes to the others.
            if lane.is_paid() && lane.merge_if_paid(&self.upkeep())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Flushes a lane's frozen overlay; if writers filled the next one meanwhile, freezes that.
    fn flush_full(&self, lane: &Lane) -> Result<()> {
        lane.flush_frozen(&self.upkeep())?;
        let _gate = lane.gate();
        let froze = lane.change().freeze_if_full(self.limits);
        self.note(froze);
        Ok(())
    }

    /// A writer that found the lane full makes room itself.
    pub(crate) fn relieve(&self, number: usize) -> Result<()> {
        match self.lane(number) {
            Some(lane) if lane.is_stalled(self.limits) => {
                self.counters.stalls.fetch_add(1, Ordering::Relaxed);
                self.flush_full(lane)
            }
            _ => Ok(()),
        }
    }

    /// A writer that found the log full makes room itself.
    pub(crate) fn relieve_log(&self) -> Result<()> {
        while let Some(wal) = self.wal.as_ref().filter(|wal| wal.is_full()) {
            self.counters.stalls.fetch_add(1, Ordering::Relaxed);
            self.check_writable()?;
            self.shorten_log(wal)?;
        }
        Ok(())
    }

    /// Does one piece of what it takes for the oldest file of the log to go: a lane's flush, or the
    /// removal.
    fn shorten_log(&self, wal: &Wal) -> Result<()> {
        let (end, next) = (wal.oldest_end()?, wal.next());
        match self.oldest_needed(next)? {
            (oldest, Some(lane)) if oldest <= end => lane.flush(&self.upkeep()),
            (oldest, _) => wal.trim(oldest.min(next)),
        }
    }

    /// The oldest record of the log that a lane needs, and that lane; `none` if nothing is needed.
    pub(crate) fn oldest_needed(&self, none: u64) -> Result<(u64, Option<&Lane>)> {
        // Who has appended a record holds the gates of its lanes until they know of it.
        self.lanes().for_each(|lane| drop(lane.gate()));
        // Each lane is asked once: one that is flushed meanwhile no longer speaks for the others.
        let needed = self.lanes().map(|lane| (lane.oldest_record().unwrap_or(none), lane));
        let oldest = needed.min_by_key(|(oldest, _)| *oldest);
        // A lane that was cleared by a close needs nothing, whatever the log has of it.
        self.check_open()?;
        Ok(oldest.map_or((none, None), |(oldest, lane)| (oldest, Some(lane))))
    }

    /// Moves everything from overlays to segments; for an index with a path, onto stable storage.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned),
    /// [`Error::Io`](crate::Error::Io).
    pub fn flush(&self) -> Result<()> {
        self.with_stamp(|| (0..self.num_lanes()).try_for_each(|lane| self.flush_lane(lane)))
    }

    /// One lane's part of [`Index::flush`]: a bounded piece of work.
    ///
    /// # Errors
    /// As [`Index::flush`].
    pub fn flush_lane(&self, lane: u32) -> Result<()> {
        self.with_lane(lane, Lane::flush)
    }

    /// Flushes or merges a lane. What it has frozen and could not write waits for [`Index::work`].
    fn with_lane(
        &self,
        number: u32,
        work: impl FnOnce(&Lane, &Upkeep<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_writable()?;
        let Some(lane) = self.lane(number as usize) else { return Ok(()) };
        let done = work(lane, &self.upkeep());
        if done.is_err() {
            self.note(lane.state().frozen.is_some());
        }
        done
    }

    /// Brings every lane down to one segment without tombstones, and has the ids of terms back that
    /// no key leads to: a whole [round](Index::begin_round).
    ///
    /// # Errors
    /// As [`Index::flush`], and [`Error::Corrupt`](crate::Error::Corrupt) if a segment to be
    /// merged is damaged.
    pub fn compact(&self) -> Result<()> {
        let number = self.begin_round()?;
        while !self.is_round_done(number) {
            // Another's piece may have failed.
            if !self.step_round()? {
                self.begin_round()?;
            }
        }
        Ok(())
    }

    /// Brings one lane down to one segment without tombstones.
    ///
    /// # Errors
    /// As [`Index::compact`].
    pub fn compact_lane(&self, lane: u32) -> Result<()> {
        self.with_lane(lane, Lane::compact)
    }

    /// Puts everything written so far on stable storage: syncs the log, and flushes lanes with
    /// changes that are not in it. Without a path there is nothing to do.
    ///
    /// # Errors
    /// As [`Index::flush`].
    pub fn sync(&self) -> Result<()> {
        let Some(wal) = &self.wal else { return self.check_open() };
        self.check_writable()?;
        self.with_stamp(|| {
            let mut unlogged = self.lanes().filter(|lane| lane.is_partly_logged());
            unlogged.try_for_each(|lane| lane.flush(&self.upkeep()))?;
            wal.sync()
        })
    }

    /// All distinct ids, ascending. Reads the whole index.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn ids(&self) -> Result<Vec<u32>> {
        self.check_open()?;
        // Sorted whenever it has doubled: ids that many keys share take no more memory than that,
        // and no id is sorted more often than a few times.
        let (mut all, mut limit) = (Vec::new(), 1 << 16);
        let shorten = |all: &mut Vec<u32>| {
            all.sort_unstable();
            all.dedup();
        };
        self.for_each_key(|_, ids| {
            all.extend_from_slice(ids);
            if all.len() >= limit {
                shorten(&mut all);
                limit = limit.max(2 * all.len());
            }
        })?;
        shorten(&mut all);
        Ok(all)
    }

    /// Calls `f` with every live key's fingerprint and ids, in no particular order. Changes made
    /// meanwhile may or may not be seen.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn for_each_key(&self, mut f: impl FnMut(Fingerprint, &[u32])) -> Result<()> {
        self.check_open()?;
        (0..self.num_lanes() as usize).try_for_each(|lane| self.for_each_key_of(lane, &mut f))
    }

    pub(crate) fn for_each_key_of(
        &self,
        lane: usize,
        mut f: impl FnMut(Fingerprint, &[u32]),
    ) -> Result<()> {
        let stamp = self.stamp_key();
        let each = |key, ids: &[u32]| {
            if key != stamp {
                f(key, ids);
            }
        };
        self.lane(lane).map_or(Ok(()), |lane| lane.for_each_key(each))
    }

    /// The index's shape and counters.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn stats(&self) -> Result<Stats> {
        self.check_open()?;
        let counters = &self.counters;
        let mut stats = Stats {
            num_lanes: self.num_lanes().into(),
            live_keys: self.count()?,
            flushes: Counters::read(&counters.flushes),
            merges: Counters::read(&counters.merges),
            flushed_keys: Counters::read(&counters.flushed_keys),
            loaded_keys: Counters::read(&counters.loaded_keys),
            written_keys: Counters::read(&counters.written_keys),
            written_bytes: Counters::read(&counters.written_bytes),
            stalls: Counters::read(&counters.stalls),
            leftovers: Counters::read(&counters.leftovers),
            log_bytes: self.wal.as_ref().map_or(0, Wal::bytes),
            poisoned: self.fs.poisoned().map(str::to_owned),
            recovery: self.recovery().clone(),
            ..Stats::default()
        };
        for lane in self.lanes() {
            let state = lane.state();
            stats.total_overlay_entries += state.overlays().map(|o| o.len() as u64).sum::<u64>();
            stats.lanes_to_flush += u64::from(state.frozen.is_some());
            let segments = &state.version.segments;
            stats.total_segments += segments.len() as u64;
            let filtered = segments.iter().filter(|segment| segment.has_filter()).count();
            stats.filtered_segments += filtered as u64;
            let asks = self.filter != Filter::None && filtered > 0 && lane.filtering.pays();
            stats.filtering_lanes += u64::from(asks);
            stats.max_segments_per_lane = stats.max_segments_per_lane.max(segments.len() as u64);
            for segment in segments {
                stats.total_segment_entries += segment.keys() as u64;
                stats.tombstones += segment.tombstones();
                let locks = self.residency == Residency::Mlock;
                stats.unlocked_segments += u64::from(locks && !segment.is_locked());
                stats.disk_bytes += u64::from(segment.is_on_disk()) * segment.byte_len() as u64;
            }
        }
        stats.total_entries = stats.total_overlay_entries + stats.total_segment_entries;
        Ok(stats)
    }

    /// Reads a lane's mapped segments into memory, so that no look-up waits for the device: how many
    /// bytes they have. They stay there for as long as the system has no better use for it.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Io`](crate::Error::Io).
    pub fn warm_lane(&self, number: u32) -> Result<u64> {
        self.check_open()?;
        let Some(lane) = self.lane(number as usize) else { return Ok(0) };
        let version = Arc::clone(&lane.state().version);
        let mapped = || version.segments.iter().filter(|segment| segment.is_mapped_file());
        mapped().try_for_each(|segment| segment.populate())?;
        Ok(mapped().map(|segment| segment.byte_len() as u64).sum())
    }

    /// Native memory by part.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn memory(&self) -> Result<Memory> {
        self.check_open()?;
        let slots = self.num_lanes() as usize * size_of::<usize>() * 2;
        let mut memory = Memory {
            tables: (size_of::<Self>() + slots + self.reconciliations.memory()) as u64,
            dictionary: self.dictionary.memory() as u64,
            ..Memory::default()
        };
        for lane in self.lanes() {
            let state = lane.state();
            let of_segment = size_of::<Segment>() + size_of::<usize>();
            let of_segments = state.version.segments.len() * of_segment;
            let of_lane = size_of::<Lane>() + size_of::<Version>() + state.shown.memory();
            memory.tables += (of_lane + of_segments) as u64;
            memory.overlays += state.overlays().map(|o| o.memory() as u64).sum::<u64>();
            for segment in &state.version.segments {
                let bytes = segment.allocated() as u64;
                segment.add_sections(&mut memory.sections);
                if segment.is_mapped_file() {
                    memory.mapped_files += bytes;
                } else {
                    memory.private_segments += bytes;
                }
            }
        }
        Ok(memory)
    }
}
