//! When may an id be given to another term? Once everybody who was resolving ids when its term was
//! retired is done: a grace period, told by counting readers in two generations.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Counts readers by the generation they came in.
///
/// Readers of a generation share one of two counters with those two generations away, which are
/// gone by then: a generation begins only when the counter it takes over is at zero.
#[derive(Debug, Default)]
pub(super) struct Grace {
    generation: AtomicUsize,
    readers: [AtomicUsize; 2],
}

/// A reader under way.
pub(super) struct Reading<'g>(&'g AtomicUsize);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A reader that stays for longer than a call.
#[derive(Debug)]
pub(crate) struct Stay {
    grace: Arc<Grace>,
    counter: usize,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.grace.readers[self.counter].fetch_sub(1, Ordering::SeqCst);
    }
}

impl Grace {
    /// Never waits.
    pub(super) fn enter(&self) -> Reading<'_> {
        Reading(&self.readers[self.count_in()])
    }

    /// Never waits.
    pub(super) fn stay(self: &Arc<Self>) -> Stay {
        Stay { counter: self.count_in(), grace: Arc::clone(self) }
    }

    /// Counts a reader in; by which counter.
    fn count_in(&self) -> usize {
        loop {
            let generation = self.generation.load(Ordering::SeqCst);
            let counter = generation % 2;
            self.readers[counter].fetch_add(1, Ordering::SeqCst);
            if self.generation.load(Ordering::SeqCst) == generation {
                return counter;
            }
            self.readers[counter].fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The present generation: the stamp of what is retired now.
    pub(super) fn stamp(&self) -> usize {
        self.generation.load(Ordering::SeqCst)
    }

    /// Whether all who might have seen what was retired at `stamp` are gone. Begins a new
    /// generation if it can; asked again and again, it will be true before long.
    pub(super) fn is_over(&self, stamp: usize) -> bool {
        for _ in 0..2 {
            let generation = self.generation.load(Ordering::SeqCst);
            if generation >= stamp + 2 {
                return true;
            }
            if self.readers[(generation + 1) % 2].load(Ordering::SeqCst) != 0 {
                return false;
            }
            let next = generation + 1;
            let (set, read) = (Ordering::SeqCst, Ordering::SeqCst);
            let _ = self.generation.compare_exchange(generation, next, set, read);
        }
        self.generation.load(Ordering::SeqCst) >= stamp + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_before_is_waited_for_and_later_ones_are_not() {
        let grace = Grace::default();
        let before = grace.enter();
        let stamp = grace.stamp();
        assert!(!grace.is_over(stamp));
        let later = grace.enter();
        assert!(!grace.is_over(stamp));
        drop(before);
        assert!(grace.is_over(stamp));
        assert!(grace.is_over(stamp));
        drop(later);
    }

    #[test]
    fn who_stays_is_waited_for() {
        let grace = Arc::new(Grace::default());
        let (stay, stamp) = (grace.stay(), grace.stamp());
        drop(grace.enter());
        assert!(!grace.is_over(stamp));
        drop(stay);
        assert!(grace.is_over(stamp));
    }

    #[test]
    fn readers_that_are_never_all_away_do_not_hold_it_up() {
        let grace = Grace::default();
        let mut reading = grace.enter();
        for _ in 0..100 {
            let stamp = grace.stamp();
            // Overlapping readers: the counters are never both at zero.
            for _ in 0..2 {
                let next = grace.enter();
                drop(std::mem::replace(&mut reading, next));
                grace.is_over(stamp);
            }
            assert!(grace.is_over(stamp));
        }
    }
}
