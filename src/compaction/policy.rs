//! When segments are merged, and which: a pure function of a lane's shape, and of what look-ups have
//! paid for it.
//!
//! Leveled: at most two segments at level 0, one at level 1, one at level 2 (the bottom), so at
//! most four on the read path. A flush that finds level 0 full merges it on the way, so that
//! bound holds at every moment and no flush is written twice in a row. What lies above the bottom is
//! merged into it at a tenth of its size, which bounds the memory of what is no more.
//!
//! A lane that is read more than it is written is merged sooner: when looking into more than one
//! segment has taken as long as the merge will. That is at most twice what it would have cost to know
//! beforehand (the ski-rental problem: Karlin, Manasse, Rudolph and Sleator, 1988). While keys are
//! flushed this happens only as far as write amplification stays low; a lane that nobody writes to
//! any more is merged in any case.

use std::time::Duration;

/// Fresh from overlays.
pub(crate) const LEVEL_0: u8 = 0;
/// Merged flushes, up to a tenth of the bottom.
pub(crate) const LEVEL_1: u8 = 1;
/// The oldest segment: nothing lies below it.
pub(crate) const BOTTOM: u8 = 2;

const MAX_LEVEL_0: usize = 2;
const SIZE_RATIO: usize = 10;
/// Looking for a key in one more segment takes a twelfth of what it takes to merge one: 25 and 300
/// nanoseconds, more or less, whatever the machine.
const PROBES_PER_KEY_MERGED: u64 = 12;
/// Merges that look-ups paid for keep to this write amplification,
const MOST_AMPLIFIED: u64 = 10;
/// except in lanes that had no flush for so long.
const IDLE: Duration = Duration::from_secs(600);
/// Look-ups of one key of so many are counted.
pub(crate) const SAMPLED: u64 = 64;

/// Level and weight (keys and listed ids) of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) level: u8,
    pub(crate) weight: usize,
}

/// Merge the `newest` newest segments (and the frozen overlay, if one is being flushed) into
/// one new segment at `level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) newest: usize,
    pub(crate) level: u8,
}

/// What the flush of an overlay of some weight does. `segments` are newest first.
pub(crate) fn on_flush(segments: &[Shape], weight: usize) -> Merge {
    if segments.is_empty() {
        return Merge { newest: 0, level: BOTTOM };
    }
    let fresh = segments.iter().take_while(|s| s.level == LEVEL_0).count();
    if fresh < MAX_LEVEL_0 {
        return Merge { newest: 0, level: LEVEL_0 };
    }
    let upper = segments.iter().take_while(|s| s.level < BOTTOM).count();
    let upper_weight: usize = segments[..upper].iter().map(|s| s.weight).sum();
    let bottom_weight = segments[upper..].iter().map(|s| s.weight).sum::<usize>();
    if (weight + upper_weight) * SIZE_RATIO >= bottom_weight {
        Merge { newest: segments.len(), level: BOTTOM }
    } else {
        Merge { newest: upper, level: LEVEL_1 }
    }
}

/// Whether a merge that writes `weight` keys is within the bound of write amplification, `written` keys
/// for `flushed` ones so far; or the lane was flushed too long ago (or never) for that to matter.
pub(crate) fn is_affordable(
    flushed: u64,
    written: u64,
    weight: usize,
    since_flush: Option<Duration>,
) -> bool {
    since_flush.is_none_or(|since| since >= IDLE)
        || written + weight as u64 <= flushed * MOST_AMPLIFIED
}

/// Whether look-ups have paid for the merge of a whole lane of that weight: with `probes` of further
/// segments, counted in one of [`SAMPLED`] look-ups.
pub(crate) fn is_paid(probes: u64, weight: usize) -> bool {
    probes * SAMPLED >= weight as u64 * PROBES_PER_KEY_MERGED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(spec: &[(u8, usize)]) -> Vec<Shape> {
        spec.iter().map(|&(level, weight)| Shape { level, weight }).collect()
    }

    #[test]
    fn the_first_flush_is_the_bottom() {
        assert_eq!(on_flush(&[], 10), Merge { newest: 0, level: BOTTOM });
    }

    #[test]
    fn level_0_fills_first() {
        assert_eq!(on_flush(&segments(&[(2, 100)]), 5), Merge { newest: 0, level: LEVEL_0 });
        let one = segments(&[(0, 5), (2, 100)]);
        assert_eq!(on_flush(&one, 5), Merge { newest: 0, level: LEVEL_0 });
    }

    #[test]
    fn a_full_level_0_goes_down_as_far_as_it_should() {
        let small = segments(&[(0, 5), (0, 5), (2, 1000)]);
        assert_eq!(on_flush(&small, 5), Merge { newest: 2, level: LEVEL_1 });
        let grown = segments(&[(0, 5), (0, 5), (1, 85), (2, 1000)]);
        assert_eq!(on_flush(&grown, 5), Merge { newest: 4, level: BOTTOM });
    }

    #[test]
    fn look_ups_pay_for_a_merge_by_and_by() {
        assert!(!is_paid(0, 1000));
        assert!(!is_paid(187, 1000));
        assert!(is_paid(188, 1000));
    }

    #[test]
    fn merges_are_affordable_where_little_is_written_or_nothing() {
        let moment = Some(Duration::from_secs(1));
        assert!(is_affordable(100, 700, 300, moment));
        assert!(!is_affordable(100, 700, 301, moment));
        assert!(is_affordable(0, 0, 301, None));
        assert!(is_affordable(100, 700, 301, Some(IDLE)));
    }

    #[test]
    fn never_more_than_four_segments_and_little_write_amplification() {
        let (mut lane, mut written, mut flushed) = (segments(&[(2, 100_000)]), 0_usize, 0_usize);
        for _ in 0..10_000 {
            let keys = (lane.iter().map(|s| s.weight).sum::<usize>() / 20).clamp(512, 10_000);
            let merge = on_flush(&lane, keys);
            let merged: usize = lane.drain(..merge.newest).map(|s| s.weight).sum();
            let out = keys + merged;
            // Steady state: as many keys leave the lane as come in.
            let kept = if merge.level == BOTTOM { 100_000 } else { out };
            lane.insert(0, Shape { level: merge.level, weight: kept });
            (written, flushed) = (written + kept, flushed + keys);
            assert!(lane.len() <= 4);
            assert!(lane.windows(2).all(|w| w[0].level <= w[1].level));
        }
        let amplification = written as f64 / flushed as f64;
        assert!(amplification < 12.0, "write amplification {amplification:.1}");
    }
}
