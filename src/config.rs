//! Options of an index, their defaults and their domains.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hash::{HashKey, NUM_SLOTS};
use crate::pace::Pace;
use crate::residency::Residency;

/// Lanes of an index, unless said otherwise.
pub const DEFAULT_LANES: u32 = 64;
/// Largest weight (keys plus listed ids) of a lane's overlay before it is flushed.
pub const DEFAULT_COMPACTION_THRESHOLD: u32 = 10_000;
/// Bytes of the write-ahead log, unless said otherwise: a second or two of recovery.
pub const DEFAULT_MAX_LOG_BYTES: u64 = 64 << 20;
/// The least that `max_log_bytes` may be.
pub const SMALLEST_LOG: u64 = 4 << 10;
/// Overlays of small lanes may grow to this weight, whatever their share of the lane.
const SMALLEST_OVERLAY: usize = 512;
/// An overlay has at most this fraction of its lane's weight.
const OVERLAY_FRACTION: usize = 20;

/// How much of a fingerprint a look-up compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verify {
    /// All 64 bits.
    #[default]
    Full,
    /// 48 of them, slot included; the cold section of segments stays unread by look-ups. In each
    /// segment asked, an absent key passes for a present one with a chance of lanes / 2^48.
    Fast,
}

/// What tells a look-up that a segment does not have the key, beside the byte that each segment keeps of
/// every key it has. It takes a byte or so more for each, and pays where keys that are asked for are
/// not there: see docs/design.md for figures.
///
/// Segments have the filter that was asked for when they were written. A lane, as its look-ups go,
/// stops asking its filters where most keys are there, and then writes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// None. Those that segments have are not asked.
    #[default]
    None,
    /// A blocked Bloom filter of 10 bits a key, which takes one cache line to ask.
    Bloom,
    /// A binary fuse filter of some 9 bits a key, which takes three.
    Fuse8,
}

/// What a change survives once the call that made it has returned. Of an index without a path
/// nothing is left after the process ends, whatever is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing: there is no log. A crash loses what was not flushed, and may leave half of a batch.
    Memory,
    /// The end of the process, however it comes: the change is in the kernel's hands.
    #[default]
    Os,
    /// A power failure too: the change is on stable storage.
    Sync,
}

/// Options of an index.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Independent LSM trees, 1 ..= 16 384. `None` takes what is stored, or [`DEFAULT_LANES`].
    pub num_lanes: Option<u32>,
    /// Weight of an overlay at which it is flushed at the latest, at least 1. `None` takes
    /// [`DEFAULT_COMPACTION_THRESHOLD`].
    pub compaction_threshold: Option<u32>,
    /// How much of a fingerprint look-ups compare.
    pub verify: Verify,
    /// The secret key of the hash function. `None` takes what is stored, or a random one.
    pub hash_key: Option<HashKey>,
    /// What changes survive, unless the call says otherwise.
    pub durability: Durability,
    /// Bytes of the write-ahead log, at least [`SMALLEST_LOG`]; writers wait when it has grown to
    /// that. It bounds the time of a recovery. `None` takes [`DEFAULT_MAX_LOG_BYTES`].
    pub max_log_bytes: Option<u64>,
    /// Opens an index whose log is damaged, leaving out what cannot be read; see
    /// [`Recovery::dropped`](crate::Recovery::dropped).
    pub salvage: bool,
    /// Where the segments' bytes are kept. In memory alone only [`Residency::Mlock`] and
    /// [`Residency::Heap`] make a difference.
    pub residency: Residency,
    /// Filters of segments that are written from now on, and whether those there are asked.
    pub filter: Filter,
    /// Counts what flushes and merges write, here and in all indexes that share it; whoever calls
    /// [`Index::work`](crate::Index::work) asks it when to.
    pub pace: Option<Arc<Pace>>,
}

impl Config {
    /// Checks the domains.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] naming the first option out of its domain.
    pub fn check(&self) -> Result<()> {
        let refuse = |option, message: String| Err(Error::InvalidOption { option, message });
        if let Some(lanes) = self.num_lanes.filter(|n| !(1..=NUM_SLOTS as u32).contains(n)) {
            return refuse("num_lanes", format!("{lanes} is not within 1..={NUM_SLOTS}"));
        }
        if self.compaction_threshold == Some(0) {
            return refuse("compaction_threshold", "0 is not at least 1".into());
        }
        if let Some(bytes) = self.max_log_bytes.filter(|&bytes| bytes < SMALLEST_LOG) {
            return refuse("max_log_bytes", format!("{bytes} is not at least {SMALLEST_LOG}"));
        }
        Ok(())
    }

    pub(crate) fn limits(&self) -> Limits {
        let threshold = self.compaction_threshold.unwrap_or(DEFAULT_COMPACTION_THRESHOLD);
        Limits { threshold: threshold as usize }
    }
}

/// When an overlay is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    threshold: usize,
}

impl Limits {
    /// The weight at which a lane, whose segments weigh `lane`, freezes its overlay: about 5 %.
    #[inline]
    pub(crate) fn flush_weight(self, lane: usize) -> usize {
        (lane / OVERLAY_FRACTION).max(SMALLEST_OVERLAY).min(self.threshold)
    }

    /// The weight at which writers wait for the flush before.
    #[inline]
    pub(crate) fn stall_weight(self, lane: usize) -> usize {
        2 * self.flush_weight(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flush_weight_follows_the_lane() {
        let limits = Config::default().limits();
        let weights = [0, 10_240, 20_000, 200_000, 10_000_000].map(|n| limits.flush_weight(n));
        assert_eq!(weights, [512, 512, 1000, 10_000, 10_000]);
        let tiny = Config { compaction_threshold: Some(3), ..Config::default() }.limits();
        assert_eq!(tiny.flush_weight(1_000_000), 3);
    }

    #[test]
    fn options_outside_their_domain_are_named() {
        for lanes in [0, 16_385] {
            let config = Config { num_lanes: Some(lanes), ..Config::default() };
            let error = config.check();
            assert!(matches!(error, Err(Error::InvalidOption { option: "num_lanes", .. })));
        }
        assert!(Config { num_lanes: Some(16_384), ..Config::default() }.check().is_ok());
        assert!(Config { compaction_threshold: Some(0), ..Config::default() }.check().is_err());
    }
}
