//! Crashes at every file operation, in every variant of what the disk may be left with: what was
//! promised is there, no batch is there by half, nothing comes back, nothing is left lying about.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{Durability, Index, Op, Result, Target};
use support::simulated::{Loss, Simulated};
use support::workload::{
    Contents, History, Mark, ROOT, Step, check_usable, contents, open, script, script_in_namespaces,
};
use support::{Item, config, report, resolved};

/// Contents of an index as a crash left it; it is used for a moment, closed and verified.
fn recovered(system: &Simulated) -> Result<Contents> {
    let index = open(system)?;
    let found = contents(&index)?;
    check_usable(system, &index)?;
    Ok(found)
}

fn begin(system: &Simulated) -> Index {
    system.record();
    open(system).expect("a new index")
}

/// `CRASH_SEEDS` sets how many scripts are run.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let given = std::env::var("CRASH_SEEDS").ok().and_then(|n| n.parse().ok());
    0..given.unwrap_or(default)
}

fn every_crash(seeds: std::ops::Range<u64>, script: impl Fn(u64) -> Vec<Step>) {
    let (mut points, mut states) = (0, 0);
    for seed in seeds {
        let system = Simulated::new();
        let mut history = History::new(Contents::new());
        let mut index = begin(&system);
        history.run(&system, &mut index, &script(seed)).expect("nothing fails");
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

#[test]
fn every_crash_leaves_what_was_promised() {
    every_crash(seeds(3), |seed| script(seed, 250));
}

#[test]
fn every_crash_leaves_what_was_promised_in_namespaces() {
    every_crash(seeds(4), |seed| script_in_namespaces(seed, 100));
}

/// The process dies, the index is opened again and written to, then the power fails: what the first
/// process had not synced must not be relied on.
fn second_crashes(seeds: std::ops::Range<u64>, script: impl Fn(u64, usize) -> Vec<Step>) {
    let (mut points, mut states) = (0, 0);
    for seed in seeds.map(|seed| 100 + seed) {
        let system = Simulated::new();
        let mut first = History::new(Contents::new());
        let mut index = begin(&system);
        first.run(&system, &mut index, &script(seed, 120)).expect("nothing fails");
        drop(index);
        // While the index is made every operation counts.
        let recording = (0..).zip(system.take_recording());
        for (place, killed) in recording.filter(|(place, _)| *place < 60 || place % 7 == 0) {
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

#[test]
fn a_second_crash_leaves_what_was_promised() {
    second_crashes(seeds(2), script);
}

#[test]
fn a_second_crash_leaves_what_was_promised_in_namespaces() {
    second_crashes(seeds(1), script_in_namespaces);
}

/// A first opener that died has perhaps made directories whose names are not on stable storage.
#[test]
fn directories_above_the_index_last_too() {
    let root = Path::new("/a/b/db");
    let open = |system: &Simulated| Index::open_on(Arc::new(system.clone()), root, &config(1, 100));
    let system = Simulated::new();
    system.record();
    drop(open(&system).expect("create"));
    for point in system.take_recording() {
        let killed = point.killed();
        let index = open(&killed).expect("open");
        index.change(b"k", 1, Op::Put, Durability::Sync).expect("promised");
        drop(index);
        let index = open(&killed.crash(Loss::Unsynced)).expect("open after the crash");
        assert!(index.contains(b"k", 1).expect("get"), "killed before {}", point.operation);
    }
}

/// A process died between writing a term and syncing it. The next one finds the term, and must not
/// have keys rely on it before it is on stable storage.
#[test]
fn a_term_that_a_dead_process_wrote_lasts_before_keys_lead_to_it() {
    let system = Simulated::new();
    let open = |system: &Simulated| {
        Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(1, 1000)).expect("open")
    };
    let index = open(&system);
    let route = |term: &[u8]| {
        let route = index.route_with(b"k", Target::Term(term), Op::Put, Durability::Sync);
        assert!(route.expect("route"));
    };
    route(b"first");
    index.flush().expect("flush");
    route(b"second");
    system.record();
    index.flush().expect("flush");
    for point in system.take_recording() {
        let killed = point.killed();
        open(&killed).flush().expect("flush");
        let index = open(&killed.crash(Loss::Unsynced));
        let both = [Item::Term(b"first".to_vec()), Item::Term(b"second".to_vec())];
        assert_eq!(resolved(&index, b"k"), both.into(), "killed before {}", point.operation);
    }
}
