//! Faults at every file operation of a workload: what was acknowledged stays, nothing is there by
//! half, reads go on, and so does everything else once the fault is gone, by itself or by a reopen.

mod support;

use std::ops::Range;
use std::slice::from_ref;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_index::{Durability, Error, Index, Loader, Op, Target};
use support::report;
use support::simulated::{EINTR, EIO, EMFILE, ENOSPC, Fault, FaultKind, Loss, Simulated};
use support::sweeps::{for_seeds, sweep};
use support::workload::{
    Contents, History, Mark, Step, check_all, check_usable, contents, is_mark, looked_up, open,
    script, script_in_namespaces,
};

const KINDS: [FaultKind; 6] = [
    FaultKind::Error(EIO),
    FaultKind::Error(ENOSPC),
    FaultKind::Error(EMFILE),
    FaultKind::Error(EINTR),
    FaultKind::ShortWrite,
    FaultKind::ShortThenFull,
];
const STEPS: usize = 60;
/// Steps that are done while a fault goes on.
const STEPS_UNDER_FAULT: usize = 3;
/// Steps that are done once it is over.
const STEPS_AFTER: usize = 5;

fn expect_typed(error: &Error) {
    assert!(matches!(error, Error::Io { .. } | Error::Poisoned { .. }), "{error:?}");
}

/// No call with this lane does anything, but it asks whether writes are refused.
fn is_poisoned(index: &Index) -> bool {
    matches!(index.flush_lane(u32::MAX), Err(Error::Poisoned { .. }))
}

/// Every kind of write is refused, and none leaves a trace.
fn expect_refused(index: &Index) {
    let before = contents(index).expect("reads go on");
    let batch = [(Op::Put, &b"key 1"[..], 999), (Op::Delete, &b"key 2"[..], 1)];
    let refusals = [
        index.put(b"key 0", 999).map(drop),
        index.delete(b"key 0", 1).map(drop),
        index.write(&batch).map(drop),
        index.route(b"key 0", Target::Term(b"new"), Op::Put).map(drop),
        index.route(b"key 0", Target::Term(b"term 0"), Op::Delete).map(drop),
        index.route_in(b"new", b"key 0", b"term 0", Op::Put, Durability::Os).map(drop),
        index.route_in(b"new", b"key 0", b"term 0", Op::Delete, Durability::Memory).map(drop),
        index.drop_namespace(b"new", Durability::Os).map(drop),
        Loader::new(index).step(index).map(drop),
        index.work().map(drop),
        index.flush(),
        index.compact(),
        index.sync(),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        assert!(matches!(refusal, Err(Error::Poisoned { .. })), "{number}: {refusal:?}");
    }
    assert_eq!(contents(index).expect("reads go on"), before);
}

/// Opens the index, uses it for a moment, closes and verifies it; what it held.
fn recovered(system: &Simulated) -> Contents {
    let index = open(system).expect("no fault any more");
    let found = contents(&index).expect("readable");
    check_usable(system, &index).expect("usable");
    found
}

/// A workload and its index, which a fault may have closed or brought to refuse writes.
struct Run {
    system: Simulated,
    index: Index,
    history: History,
    /// How far it had got before the last step that failed.
    doubt: Option<Mark>,
    poisoned: bool,
    closed: bool,
    /// Syncs that had failed when the index was opened.
    failed_syncs: u64,
}

impl Run {
    fn new() -> Self {
        let system = Simulated::new();
        let index = open(&system).expect("a new index");
        let history = History::new(Contents::new());
        let (poisoned, closed, failed_syncs) = (false, false, 0);
        Self { system, index, history, doubt: None, poisoned, closed, failed_syncs }
    }

    /// Does a step, which may fail, and checks what it leaves. True if it failed.
    fn step(&mut self, step: &Step) -> bool {
        let before = self.history.mark();
        let done = self.history.run(&self.system, &mut self.index, from_ref(step));
        let is_reopen = matches!(step, Step::Reopen);
        if let Err(e) = &done {
            expect_typed(e);
            self.doubt = Some(before);
            if is_reopen {
                self.closed = true;
                return true;
            }
        } else if is_reopen {
            self.failed_syncs = self.system.failed_syncs();
        }
        let found = contents(&self.index).expect("reads go on");
        if done.is_ok() {
            assert_eq!(&found, self.history.last());
        } else {
            let whole = self.history.allows(before, Loss::Nothing, &found);
            assert!(whole, "neither done nor not done: {found:?}");
        }
        self.poisoned = is_poisoned(&self.index);
        if self.system.failed_syncs() > self.failed_syncs {
            assert!(self.poisoned, "a sync failed and writes go on");
        }
        if self.poisoned {
            // What files hold may be the state before or after the step: both stay in the history.
            self.doubt = Some(before);
            expect_refused(&self.index);
        } else {
            self.history.settle(found);
        }
        done.is_err()
    }

    /// A process that died here, and a power failure, leave what was promised.
    fn check_crashes(&self) {
        let mark = self.doubt.unwrap_or_else(|| self.history.mark());
        let found = recovered(&self.system.crash(Loss::Nothing));
        if self.poisoned {
            assert!(self.history.allows(mark, Loss::Nothing, &found), "after a kill: {found:?}");
        } else {
            assert_eq!(&found, self.history.last(), "after a kill");
        }
        let found = recovered(&self.system.crash(Loss::Unsynced));
        let allowed = self.history.allows(mark, Loss::Unsynced, &found);
        assert!(allowed, "after a power failure ({mark:?}): {found:?}");
    }

    /// The fault is gone: without a reopen everything goes on, unless writes are refused.
    fn go_on(&mut self, steps: &[Step]) {
        self.system.clear_faults();
        if self.poisoned {
            return expect_refused(&self.index);
        }
        if self.closed {
            self.index = open(&self.system).expect("no fault any more");
            assert_eq!(&contents(&self.index).expect("readable"), self.history.last());
        }
        for step in steps.iter().chain([&Step::Sync]) {
            let done = self.history.run(&self.system, &mut self.index, from_ref(step));
            done.expect("no fault any more");
            assert_eq!(&contents(&self.index).expect("readable"), self.history.last());
        }
        let found = recovered(&self.system.crash(Loss::Unsynced));
        assert_eq!(&found, self.history.last(), "all was synced");
        check_all(&self.index, &found).expect("no fault any more");
    }

    /// Ends the process, in an orderly way or not, and opens the index again on the same machine.
    fn reopen(self, close: bool) {
        let Self { system, index, history, doubt, poisoned, .. } = self;
        if close {
            let closed = index.close();
            assert_eq!(closed.is_err(), poisoned, "{closed:?}");
        }
        drop(index);
        let index = open(&system).expect("no fault any more");
        let found = contents(&index).expect("readable");
        match doubt.filter(|_| poisoned) {
            Some(mark) => assert!(history.allows(mark, Loss::Nothing, &found), "{found:?}"),
            None => assert_eq!(&found, history.last()),
        }
        // Opening put all of it on stable storage.
        assert_eq!(recovered(&system.crash(Loss::Unsynced)), found);
        check_usable(&system, &index).expect("usable");
    }
}

/// Runs a script with a fault; the operation that took it, if one did.
fn run_with(fault: Fault, steps: &[Step]) -> Option<u64> {
    let mut run = Run::new();
    let mut next = 0;
    while is_mark(&steps[next]) {
        assert!(!run.step(&steps[next]), "no fault yet");
        next += 1;
    }
    let first = run.system.operations();
    run.system.inject(fault);
    let mut under_fault = 0;
    while next < steps.len() && under_fault < if fault.repeat { STEPS_UNDER_FAULT } else { 1 } {
        let failed = run.step(&steps[next]);
        under_fault += usize::from(run.system.first_hit().is_some());
        // Of a load that failed some pairs may be there, which only a sync settles.
        let is_load = matches!(steps[next], Step::Load(_));
        next += 1;
        if run.poisoned || run.closed || failed && is_load {
            break;
        }
    }
    let hit = run.system.first_hit()? - first;
    run.check_crashes();
    run.go_on(&steps[next..(next + STEPS_AFTER).min(steps.len())]);
    run.reopen(fault.at.is_multiple_of(2));
    Some(hit)
}

fn every_fault(seeds: Range<u64>, script: impl Fn(u64, usize) -> Vec<Step> + Sync) {
    let faults = for_seeds(seeds, |seed| {
        let steps = script(seed, STEPS);
        sweep(&format!("seed {seed}"), &KINDS, |fault| run_with(fault, &steps))
    });
    assert!(faults > 5_000, "{faults}");
    report(&format!("fault test: {faults} faults injected"));
}

#[test]
fn every_fault_is_reported_and_costs_nothing() {
    every_fault(200..203, script);
}

#[test]
fn every_fault_in_namespaces_is_reported_and_costs_nothing() {
    every_fault(200..203, script_in_namespaces);
}

/// A machine that an index is to be opened on.
struct Unopened {
    system: Simulated,
    history: History,
    mark: Mark,
}

impl Unopened {
    /// Opens it with a fault, then without; the operation that took the fault.
    fn open_with(&self, fault: Fault, expected: &Contents) -> Option<u64> {
        let system = self.system.killed();
        system.inject(fault);
        let opened = open(&system);
        let hit = system.first_hit()?;
        system.clear_faults();
        let after_failure = recovered(&system.crash(Loss::Unsynced));
        match &opened {
            Ok(index) => {
                assert_eq!(&contents(index).expect("readable"), expected);
                assert_eq!(&after_failure, expected, "opening put it on stable storage");
            }
            Err(e) => {
                expect_typed(e);
                assert!(self.history.allows(self.mark, Loss::Unsynced, &after_failure));
            }
        }
        drop(opened);
        assert_eq!(&recovered(&system.crash(Loss::Nothing)), expected);
        assert_eq!(&recovered(&system), expected);
        Some(hit)
    }
}

/// What a workload leaves that was killed at some of its operations.
fn killed(seed: u64) -> Vec<Unopened> {
    let system = Simulated::new();
    system.record();
    let mut index = open(&system).expect("a new index");
    // Some with namespaces.
    let steps = if seed % 3 == 2 { script_in_namespaces(seed, 60) } else { script(seed, 90) };
    let mut history = History::new(Contents::new());
    history.run(&system, &mut index, &steps).expect("nothing fails");
    drop(index);
    let mut points = system.take_recording();
    let last = points.pop();
    let some = points.into_iter().step_by(61).chain(last);
    some.map(|point| {
        let mark = Mark::unpack(point.mark);
        Unopened { system: point.killed(), history: History::until(&steps, mark), mark }
    })
    .collect()
}

#[test]
fn an_open_that_fails_leaves_all_for_the_next_one() {
    let faults = for_seeds(0..3, |seed| {
        let mut all = killed(300 + seed);
        let history = History::new(Contents::new());
        all.push(Unopened { system: Simulated::new(), mark: history.mark(), history });
        let sweeps = all.iter().enumerate().map(|(number, unopened)| {
            let expected = recovered(&unopened.system.killed());
            let what = format!("opening {number} of seed {seed}");
            sweep(&what, &KINDS, |fault| unopened.open_with(fault, &expected))
        });
        sweeps.sum()
    });
    report(&format!("fault test: {faults} faults while opening"));
}

#[test]
fn a_close_that_fails_loses_nothing() {
    let close_with = |steps: &[Step], fault| {
        let mut run = Run::new();
        run.history.run(&run.system, &mut run.index, steps).expect("nothing fails");
        let first = run.system.operations();
        run.system.inject(fault);
        let closed = run.index.close();
        let hit = run.system.first_hit()? - first;
        run.system.clear_faults();
        let after_failure = recovered(&run.system.crash(Loss::Unsynced));
        match closed {
            Ok(()) => assert_eq!(&after_failure, run.history.last()),
            Err(e) => {
                expect_typed(&e);
                assert!(run.history.allows(run.history.mark(), Loss::Unsynced, &after_failure));
            }
        }
        run.index.close().expect("closed already");
        assert_eq!(&recovered(&run.system.crash(Loss::Nothing)), run.history.last());
        assert_eq!(&recovered(&run.system), run.history.last());
        Some(hit)
    };
    let faults = for_seeds(400..406, |seed| {
        let steps = script(seed, 20 + seed as usize % 50);
        sweep(&format!("closing, seed {seed}"), &KINDS, |fault| close_with(&steps, fault))
    });
    report(&format!("fault test: {faults} faults while closing"));
}

/// A disk that lies: nothing can be promised, not even whole steps (a lane's manifest that was put
/// in place only seemingly is an old one, and nothing tells). But nothing panics, and what is
/// opened later is refused or holds what was there once.
#[test]
fn a_disk_that_lies_does_not_make_contents_up() {
    let [refused, whole, other] = [const { AtomicU64::new(0) }; 3];
    let lied_to = |steps: &[Step], fault| {
        let mut run = Run::new();
        let first = run.system.operations();
        run.system.inject(fault);
        for step in steps {
            if run.history.run(&run.system, &mut run.index, from_ref(step)).is_err() {
                break;
            }
            if matches!(step, Step::Reopen) {
                // Lies were told of what it held before.
                run.history.settle(looked_up(&run.index).expect("readable"));
            }
        }
        let Some(hit) = run.system.first_hit() else {
            // It would have befallen an operation that only reads; or none, at the end.
            return (run.system.operations() > first + fault.at).then_some(fault.at);
        };
        run.system.clear_faults();
        drop(run.index);
        for system in [run.system.crash(Loss::Nothing), run.system.crash(Loss::Unsynced)] {
            let count = match open(&system).and_then(|index| looked_up(&index)) {
                Ok(found) => {
                    assert!(run.history.held(&found), "{found:?}");
                    if run.history.knows(&found) { &whole } else { &other }
                }
                Err(Error::Io { .. } | Error::Corrupt { .. }) => &refused,
                Err(e) => panic!("{e:?}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Some(hit - first)
    };
    for_seeds(500..502, |seed| {
        let steps = script(seed, STEPS);
        sweep(&format!("seed {seed}"), &[FaultKind::Drop], |fault| lied_to(&steps, fault))
    });
    let [refused, whole, other] = [refused, whole, other].map(AtomicU64::into_inner);
    report(&format!("lying disks: {refused} refused, {whole} with whole steps, {other} without"));
}
