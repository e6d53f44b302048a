//! Faults at every operation of whatever is tried.

use std::ops::Range;

use super::report;
use super::simulated::{Fault, FaultKind};

/// Says which case it was if the test ends by a panic.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&format!("it was: {}", self.0));
        }
    }
}

/// Calls `run` with every kind of fault at every operation until one comes too late to hit any; it
/// gives the operation that was hit. The number of faults.
pub(crate) fn sweep(what: &str, kinds: &[FaultKind], run: impl Fn(Fault) -> Option<u64>) -> u64 {
    let mut faults = 0;
    for (&kind, repeat) in kinds.iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut at = 0;
        loop {
            let fault = Fault { at, kind, repeat };
            let _case = Case(format!("{what}, {fault:?}"));
            let Some(hit) = run(fault) else { break };
            faults += 1;
            at = hit + 1;
        }
    }
    faults
}

/// The sum of what the function gives for each seed, on two threads.
pub(crate) fn for_seeds(seeds: Range<u64>, sweep: impl Fn(u64) -> u64 + Sync) -> u64 {
    let of_thread = |thread| seeds.clone().skip(thread).step_by(2).map(&sweep).sum::<u64>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| of_thread(1));
        of_thread(0) + other.join().expect("no panic")
    })
}
