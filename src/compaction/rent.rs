//! What look-ups have paid for segments that a merge would spare them: one lane's account.

use super::policy::is_paid;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counted since the lane had one segment, or was refused a merge.
#[derive(Debug, Default)]
pub(crate) struct Rent {
    /// Segments that some of all look-ups had to ask beyond the first.
    probes: AtomicU64,
    /// How often a merge failed that was paid for: the price doubles each time.
    failures: AtomicU32,
}

impl Rent {
    /// Takes in so many segments more, in a lane of that weight. True at the look-up that makes it
    /// enough for a merge.
    pub(crate) fn add(&self, probes: usize, weight: usize) -> bool {
        let before = self.probes.fetch_add(probes as u64, Ordering::Relaxed);
        !self.covers(before, weight) && self.covers(before + probes as u64, weight)
    }

    fn covers(&self, probes: u64, weight: usize) -> bool {
        let probes = probes >> self.failures.load(Ordering::Relaxed).min(32);
        probes > 0 && is_paid(probes, weight)
    }

    /// Whether it is enough for a merge of the lane.
    pub(crate) fn is_enough(&self, weight: usize) -> bool {
        self.covers(self.probes.load(Ordering::Relaxed), weight)
    }

    /// Look-ups have to pay anew, as the merge came at a bad time.
    pub(crate) fn postpone(&self) {
        self.probes.store(0, Ordering::Relaxed);
    }

    /// They have to pay twice as much, as it failed.
    pub(crate) fn raise(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.postpone();
    }

    /// The lane was merged.
    pub(crate) fn end(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.postpone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_that_enough_was_paid() {
        let rent = Rent::default();
        let told = (0..400).filter(|_| rent.add(1, 1_000)).count();
        assert!(told == 1 && rent.is_enough(1_000));
        rent.postpone();
        assert!(!rent.is_enough(1_000) && !rent.add(100, 1_000) && rent.add(100, 1_000));
    }

    #[test]
    fn the_price_doubles_with_each_failure_until_a_merge_goes_well() {
        let rent = Rent::default();
        assert!(rent.add(200, 1_000));
        rent.raise();
        assert!(!rent.add(200, 1_000) && rent.add(200, 1_000));
        (0..100).for_each(|_| rent.raise());
        assert!(!rent.add(1 << 30, 1_000));
        rent.end();
        assert!(rent.add(200, 1_000));
    }
}
