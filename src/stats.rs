//! Counters, and what `stats` and `memory` report.

use crate::sync::atomic::{AtomicU64, Ordering};

use crate::recovery::Recovery;

/// Counted since open.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) merges: AtomicU64,
    /// Keys taken from overlays into segments.
    pub(crate) flushed_keys: AtomicU64,
    /// Keys taken from bulk loads into segments.
    pub(crate) loaded_keys: AtomicU64,
    /// Keys written into segments, those of merges included.
    pub(crate) written_keys: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    /// Writers that had to wait for a flush.
    pub(crate) stalls: AtomicU64,
    /// Replaced files that could not be removed.
    pub(crate) leftovers: AtomicU64,
}

impl Counters {
    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// A snapshot of an index's shape and counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lanes of the index.
    pub num_lanes: u64,
    /// Keys with at least one id, exact.
    pub live_keys: u64,
    /// Entries of overlays (frozen ones included), tombstones too.
    pub total_overlay_entries: u64,
    /// Entries of segments, tombstones and shadowed ones too.
    pub total_segment_entries: u64,
    /// Both together.
    pub total_entries: u64,
    /// Live segments.
    pub total_segments: u64,
    /// Most segments in one lane; never above 4.
    pub max_segments_per_lane: u64,
    /// Tombstones in segments.
    pub tombstones: u64,
    /// Lanes whose overlay waits for its flush.
    pub lanes_to_flush: u64,
    /// Segments that [`Residency::Mlock`](crate::Residency::Mlock) is asked for but not had, small
    /// ones among them, which are not mapped.
    pub unlocked_segments: u64,
    /// Segments with a [`Filter`](crate::Filter).
    pub filtered_segments: u64,
    /// Lanes that ask the filters of theirs: those of whose look-ups enough are of absent keys.
    pub filtering_lanes: u64,
    /// Bytes of segment files on disk.
    pub disk_bytes: u64,
    /// Overlays flushed since open.
    pub flushes: u64,
    /// Flushes and compactions that merged segments, since open.
    pub merges: u64,
    /// Keys flushed from overlays since open.
    pub flushed_keys: u64,
    /// Keys that loads took straight to segments since open.
    pub loaded_keys: u64,
    /// Keys written to segments since open, by loads, flushes and merges.
    pub written_keys: u64,
    /// Bytes of segments written since open.
    pub written_bytes: u64,
    /// Writers that waited for a flush since open.
    pub stalls: u64,
    /// Replaced files that could not be removed (the next open removes them).
    pub leftovers: u64,
    /// Bytes of the write-ahead log.
    pub log_bytes: u64,
    /// Why writes are refused, if they are.
    pub poisoned: Option<String>,
    /// What opening the index found in the log.
    pub recovery: Recovery,
}

impl Stats {
    /// How often a key that came in was written to segments, on average; 0 before any was.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        ratio(self.written_keys, self.flushed_keys + self.loaded_keys)
    }

    /// Entries of all layers for each live key, 1 at best; 0 without any.
    #[must_use]
    pub fn space_amplification(&self) -> f64 {
        ratio(self.total_entries, self.live_keys)
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

/// Native memory by part, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Overlays, frozen ones included.
    pub overlays: u64,
    /// Segment files mapped into memory: page cache, shared and reclaimable.
    pub mapped_files: u64,
    /// Segments in memory of our own: without a path, or too small to be mapped.
    pub private_segments: u64,
    /// Lanes, their locks and lists.
    pub tables: u64,
    /// The dictionary of terms.
    pub dictionary: u64,
    /// What the segments' files (or memory) have in them.
    pub sections: SectionBytes,
}

/// Bytes of segments by section, each with its padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionBytes {
    /// Sizes and checksums.
    pub headers: u64,
    /// Of the perfect hash functions.
    pub pilots: u64,
    /// Of them too.
    pub remap: u64,
    /// A byte of each key's fingerprint.
    pub signatures: u64,
    /// Most of the rest, and the values.
    pub entries: u64,
    /// What only [`Verify::Full`](crate::Verify::Full) reads.
    pub cold: u64,
    /// Lists of ids.
    pub postings: u64,
    /// [`Filter`](crate::Filter)s.
    pub filters: u64,
}

impl Memory {
    /// All but the mapped files: what only this process has.
    #[must_use]
    pub fn own(&self) -> u64 {
        self.total() - self.mapped_files
    }

    /// All parts together; [`Memory::sections`] are within them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { overlays, mapped_files, private_segments, tables, dictionary, .. } = *self;
        overlays + mapped_files + private_segments + tables + dictionary
    }
}
