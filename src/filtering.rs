//! Whether a lane's filters pay: its account of what look-ups find in segments.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Probes that are counted before it is settled anew whether filters pay.
const WINDOW: u64 = 128;
/// What a filter spares a look-up where the segment has not the key, as a multiple of what asking it
/// takes where it has: measured with 10 M keys, which is where filters pay at all (benches/filters.rs).
const GAIN: u64 = 2;

/// What look-ups have met in a lane's segments lately.
#[derive(Debug, Default)]
pub(crate) struct Filtering {
    /// Keys that a segment had, in the upper half, and those that it had not, in the lower.
    met: AtomicU64,
    stopped: AtomicBool,
}

impl Filtering {
    /// Whether filters are to be asked, and to be made.
    #[inline]
    pub(crate) fn pays(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Takes in a look-up. Of several at once, some may be lost: they stand for many in any case.
    pub(crate) fn count(&self, present: usize, absent: usize) {
        let more = (present as u64) << 32 | absent as u64;
        let met = self.met.fetch_add(more, Ordering::Relaxed) + more;
        let (present, absent) = (met >> 32, met & u64::from(u32::MAX));
        if present + absent >= WINDOW {
            self.stopped.store(absent * GAIN < present, Ordering::Relaxed);
            self.met.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_asked_as_long_as_keys_are_absent() {
        let filtering = Filtering::default();
        let look_up = |present, absent| (0..WINDOW).for_each(|_| filtering.count(present, absent));
        assert!(filtering.pays(), "until it is known");
        look_up(1, 0);
        assert!(!filtering.pays());
        look_up(0, 1);
        assert!(filtering.pays());
        look_up(1, 4);
        assert!(filtering.pays(), "the first segment of several is not it");
        look_up(4, 1);
        assert!(!filtering.pays());
    }
}
