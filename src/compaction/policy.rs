//! When segments are merged, and which: a pure function of a lane's shape.
//!
//! Leveled: at most two segments at level 0, one at level 1, one at level 2 (the bottom), so at
//! most four on the read path. A flush that finds level 0 full merges it on the way, so that
//! bound holds at every moment and no flush is written twice in a row.

/// Fresh from overlays.
pub(crate) const LEVEL_0: u8 = 0;
/// Merged flushes, up to a tenth of the bottom.
pub(crate) const LEVEL_1: u8 = 1;
/// The oldest segment: nothing lies below it.
pub(crate) const BOTTOM: u8 = 2;

const MAX_LEVEL_0: usize = 2;
const SIZE_RATIO: usize = 10;

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
