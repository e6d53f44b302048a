//! When may something be given away that readers may still be looking at? Once everybody who was
//! reading when it was taken out of sight is done: a grace period, told by counting readers in two
//! generations.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread_number;

/// Counters for threads to spread over, so that few share one.
const STRIPES: usize = 32;

/// Counts readers by the generation they came in.
///
/// Readers of a generation share counters with those two generations away, which are gone by then:
/// a generation begins only when all the counters it takes over were seen at zero. A reader that
/// comes too late for them to be its own sees so, and counts itself in anew.
#[derive(Debug, Default)]
pub(crate) struct Grace {
    generation: Padded<AtomicUsize>,
    stripes: [Padded<[AtomicUsize; 2]>; STRIPES],
}

/// Has a cache line of its own, and the one beside it, which processors fetch along.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A reader under way.
#[derive(Debug)]
pub(crate) struct Reading<'g> {
    counter: &'g AtomicUsize,
    trace: Trace,
}

/// Where a reader was counted: in the generations of one parity, or for a moment in others too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(Option<usize>);

impl Reading<'_> {
    #[inline]
    pub(crate) fn trace(&self) -> Trace {
        self.trace
    }
}

impl Drop for Reading<'_> {
    #[inline]
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A reader that stays for longer than a call.
#[derive(Debug)]
pub(crate) struct Stay {
    grace: Arc<Grace>,
    stripe: usize,
    parity: usize,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.grace.stripes[self.stripe].0[self.parity].fetch_sub(1, Ordering::SeqCst);
    }
}

impl Grace {
    /// Never waits.
    #[inline]
    pub(crate) fn enter(&self) -> Reading<'_> {
        let (stripe, parity, at_once) = self.count_in();
        let trace = Trace(at_once.then_some(parity));
        Reading { counter: &self.stripes[stripe].0[parity], trace }
    }

    /// Never waits.
    pub(crate) fn stay(self: &Arc<Self>) -> Stay {
        let (stripe, parity, _) = self.count_in();
        Stay { grace: Arc::clone(self), stripe, parity }
    }

    /// Counts a reader in; where, and whether at once.
    #[inline]
    fn count_in(&self) -> (usize, usize, bool) {
        let stripe = thread_number() % STRIPES;
        let mut at_once = true;
        loop {
            let generation = self.stamp();
            if self.join(stripe, generation) {
                return (stripe, generation % 2, at_once);
            }
            at_once = false;
        }
    }

    /// Counts a reader into a generation; not if that has passed.
    #[inline]
    fn join(&self, stripe: usize, generation: usize) -> bool {
        let counter = &self.stripes[stripe].0[generation % 2];
        counter.fetch_add(1, Ordering::SeqCst);
        let present = self.stamp() == generation;
        if !present {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
        present
    }

    /// The present generation: the stamp of what is retired now.
    #[inline]
    pub(crate) fn stamp(&self) -> usize {
        self.generation.0.load(Ordering::SeqCst)
    }

    /// Whether one who has just left may have been what the next generation waited for. Those who were
    /// counted in the present one alone never are.
    pub(crate) fn was_held_up_by(&self, trace: Trace) -> bool {
        trace.0.is_none_or(|parity| self.stamp() % 2 != parity)
    }

    /// Whether all who might have seen what was retired at `stamp` are gone. Begins a new
    /// generation if it can; asked again and again, it will be true before long.
    pub(crate) fn is_over(&self, stamp: usize) -> bool {
        for _ in 0..2 {
            let generation = self.stamp();
            if generation >= stamp + 2 {
                return true;
            }
            let next = generation + 1;
            if self.stripes.iter().any(|counters| counters.0[next % 2].load(Ordering::SeqCst) != 0)
            {
                return false;
            }
            let (set, read) = (Ordering::SeqCst, Ordering::SeqCst);
            let _ = self.generation.0.compare_exchange(generation, next, set, read);
        }
        self.stamp() >= stamp + 2
    }
}

#[cfg(all(test, not(shuttle)))]
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
    fn who_comes_too_late_for_a_generation_is_not_of_it() {
        let grace = Grace::default();
        assert!(grace.join(0, 0));
        assert!(!grace.is_over(0) && grace.stamp() == 1);
        assert!(!grace.join(0, 0) && grace.join(0, 1));
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
