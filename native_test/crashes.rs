//! Crashes at every file operation, in every variant of what the disk may be left with: what was
//! promised is there, no batch is there by half, nothing comes back, nothing is left lying about.

mod support;

use std::io::Write as _;

use lsm_index::Result;
use support::simulated::{Loss, Simulated};
use support::workload::{Contents, History, Mark, check_usable, contents, open, script};

/// Straight to standard error, which the test runner does not capture.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Contents of an index as a crash left it; it is used for a moment, closed and verified.
fn recovered(system: &Simulated) -> Result<Contents> {
    let index = open(system)?;
    let found = contents(&index)?;
    check_usable(system, &index)?;
    Ok(found)
}

fn begin(system: &Simulated) -> lsm_index::Index {
    system.record();
    open(system).expect("a new index")
}

/// `CRASH_SEEDS` sets how many scripts are run.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let given = std::env::var("CRASH_SEEDS").ok().and_then(|n| n.parse().ok());
    0..given.unwrap_or(default)
}

#[test]
fn every_crash_leaves_what_was_promised() {
    let (mut points, mut states) = (0, 0);
    for seed in seeds(3) {
        let system = Simulated::new();
        let mut history = History::new(Contents::new());
        let mut index = begin(&system);
        history.run(&system, &mut index, &script(seed, 250)).expect("nothing fails");
        index.close().expect("close");
        for point in system.take_recording() {
            points += 1;
            let mark = Mark::unpack(point.mark);
            for (variant, crashed, loss) in point.variants() {
                states += 1;
                let place = || format!("seed {seed}, before {}, {variant}", point.operation);
                let found = recovered(&crashed).unwrap_or_else(|e| panic!("{}: {e}", place()));
                assert!(history.allows(mark, loss, &found), "{} ({mark:?})", place());
            }
        }
    }
    assert!(points > 1000, "{points}");
    report(&format!("crash test: {points} crash points, {states} states after them"));
}

/// The process dies, the index is opened again and written to, then the power fails: what the first
/// process had not synced must not be relied on.
#[test]
fn a_second_crash_leaves_what_was_promised() {
    let (mut points, mut states) = (0, 0);
    for seed in seeds(2).map(|seed| 100 + seed) {
        let system = Simulated::new();
        let mut first = History::new(Contents::new());
        let mut index = begin(&system);
        first.run(&system, &mut index, &script(seed, 120)).expect("nothing fails");
        drop(index);
        for (place, killed) in (0..).zip(system.take_recording()).step_by(7) {
            let system = killed.killed();
            system.set_mark(u64::MAX);
            let mut index = begin(&system);
            let found = contents(&index).expect("readable");
            let mark = Mark::unpack(killed.mark);
            assert!(first.allows(mark, Loss::Nothing, &found), "seed {seed}, {}", killed.operation);
            // Opening put all of it on stable storage.
            system.set_mark(0);
            let mut second = History::new(found);
            second
                .run(&system, &mut index, &script(1000 * seed + place, 12))
                .expect("nothing fails");
            drop(index);
            for point in system.take_recording() {
                points += 1;
                for (variant, crashed, loss) in point.variants() {
                    states += 1;
                    let place = || {
                        let (one, two) = (&killed.operation, &point.operation);
                        format!("seed {seed}, killed before {one}, then before {two}, {variant}")
                    };
                    let found = recovered(&crashed).unwrap_or_else(|e| panic!("{}: {e}", place()));
                    let allowed = match point.mark {
                        u64::MAX => first.allows(mark, loss, &found),
                        done => second.allows(Mark::unpack(done), loss, &found),
                    };
                    assert!(allowed, "{}", place());
                }
            }
        }
    }
    report(&format!("second crashes: {points} crash points, {states} states after them"));
}
