//! Random scripts that mix durabilities on one index, with crashes between calls and within them.
//! What is there after a crash can be explained pair by pair: by the last change that was promised
//! to survive it, or by a later one.
//!
//! `DURABILITY_SEEDS=from..to` sets which scripts are run. A script that fails is made shorter
//! first.

mod oracle;
mod script;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use lsm_index::{
    Change, Config, Durability, Index, Loader, Most, Op, Outcome as Routed, Recovery, Result,
    SMALLEST_LOG, Target, Verifier,
};
use oracle::Oracle;
use script::{ALL_KEYS, Crash, IDS, NAMES, Pair, Script, Step, TERMS, in_namespace, key, term};
use support::simulated::{Loss, Simulated};
use support::{config, namespaces, seeds, step_round};

const ROOT: &str = "/db";

/// An index that is open, and what it should hold.
struct Run<'s> {
    script: &'s Script,
    system: Simulated,
    index: Option<Index>,
    oracle: Oracle,
}

type Outcome = std::result::Result<(), String>;

fn told<T>(what: &str, outcome: Result<T>) -> std::result::Result<T, String> {
    outcome.map_err(|e| format!("{what}: {e}"))
}

/// All pairs, each of which has to be there once.
fn contents(index: &Index, in_namespaces: bool) -> std::result::Result<BTreeSet<Pair>, String> {
    let mut found = BTreeSet::new();
    let mut keys = 0;
    let known = |bytes: &[u8]| (IDS..IDS + TERMS).find(|&target| term(target) == bytes);
    for n in 0..ALL_KEYS {
        let mut targets = Vec::new();
        let asked = match in_namespace(n) {
            Some((name, key)) => {
                let (name, key) = (namespaces::name(name), namespaces::key(key));
                index.targets_in(&name, &key, Most::ALL, |term| targets.push(known(term)))
            }
            None => index.targets(&key(n), Most::ALL, |target| {
                targets.push(match target {
                    Target::Id(id) => Some(id),
                    Target::Term(bytes) => known(bytes),
                });
            }),
        };
        told("targets", asked)?;
        let before = found.len();
        for target in &targets {
            found.insert((n, target.ok_or_else(|| format!("key {n} has an unknown term"))?));
        }
        if found.len() != before + targets.len() {
            return Err(format!("key {n} has a target twice"));
        }
        keys += u64::from(!targets.is_empty());
    }
    let count = told("count", index.count())?;
    // What dropped namespaces had may be there still, and keys of names are.
    if count < keys || count > keys && !in_namespaces {
        return Err(format!("{count} keys are counted, {keys} are there"));
    }
    Ok(found)
}

/// Each namespace counts what is there; with all work done, nothing else is there.
fn check_namespaces(index: &Index, found: &BTreeSet<Pair>) -> Outcome {
    let of = |name: usize| {
        let all =
            found.iter().filter(move |(key, _)| in_namespace(*key).is_some_and(|(n, _)| n == name));
        all.map(|(_, target)| target).collect::<BTreeSet<_>>().len() as u64
    };
    for name in 0..NAMES {
        let count = told("count in", index.count_in(&namespaces::name(name)))?;
        if count != of(name) {
            return Err(format!("{count} targets of {name} are counted, {} are there", of(name)));
        }
    }
    while told("work", index.work())? {}
    let names = (0..NAMES).filter(|&name| of(name) > 0).count();
    let keys = found.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len() + names;
    let count = told("count", index.count())?;
    if count != keys as u64 {
        return Err(format!("{count} keys are left, {keys} should be"));
    }
    Ok(())
}

fn verify(system: &Simulated) -> Outcome {
    let mut verifier =
        told("verify", Verifier::begin_on(Arc::new(system.clone()), Path::new(ROOT)))?;
    while verifier.step() {}
    let report = verifier.finish();
    if report.faults.is_empty() { Ok(()) } else { Err(format!("verify: {:?}", report.faults)) }
}

impl<'s> Run<'s> {
    fn new(script: &'s Script) -> std::result::Result<Self, String> {
        let system = Simulated::new();
        let mut run = Self { script, system, index: None, oracle: Oracle::new(&BTreeSet::new()) };
        run.open()?;
        Ok(run)
    }

    fn open(&mut self) -> std::result::Result<BTreeSet<Pair>, String> {
        let config = Config {
            durability: self.script.durability,
            max_log_bytes: Some(SMALLEST_LOG),
            ..config(self.script.num_lanes, self.script.threshold)
        };
        let system = Arc::new(self.system.clone());
        let index = told("open", Index::open_on(system, Path::new(ROOT), &config))?;
        let Recovery { dropped, .. } = index.recovery();
        assert!(dropped.is_empty());
        let found = contents(&index, self.script.in_namespaces)?;
        self.index = Some(index);
        Ok(found)
    }

    /// The machine is another one: what it holds is explained, and relied on from now on.
    fn crashed(&mut self, system: Simulated, oracle: &Oracle, loss: Loss) -> Outcome {
        self.index = None;
        self.system = system;
        verify(&self.system)?;
        let found = self.open()?;
        oracle.check(&found, loss)?;
        self.oracle = Oracle::new(&found);
        verify(&self.system)
    }

    fn change(&mut self, op: Op, (n, target): Pair, durability: Durability) -> Outcome {
        let index = self.index.as_ref().expect("open");
        let term = term(target);
        if let Some((name, key)) = in_namespace(n) {
            let (name_of, key) = (namespaces::name(name), namespaces::key(key));
            let made = told("route", index.route_in(&name_of, &key, &term, op, durability))?;
            let changed = self.oracle.change(op, (n, target), durability);
            let emptied = changed && self.oracle.is_empty(name);
            if made != (Routed { changed, emptied }) {
                return Err(format!("{made:?}"));
            }
            return Ok(());
        }
        let to = if target < IDS { Target::Id(target) } else { Target::Term(&term) };
        let changed = told("change", index.route_with(&key(n), to, op, durability))?;
        if changed != self.oracle.change(op, (n, target), durability) {
            return Err(format!("changed: {changed}"));
        }
        Ok(())
    }

    fn batch(&mut self, batch: &[(Op, Pair)], durability: Durability) -> Outcome {
        let index = self.index.as_ref().expect("open");
        let keys: Vec<Vec<u8>> = batch.iter().map(|(_, (n, _))| key(*n)).collect();
        let changes: Vec<Change<&[u8]>> =
            batch.iter().zip(&keys).map(|(&(op, (_, id)), key)| (op, &key[..], id)).collect();
        told("write", index.write_with(&changes, durability))?;
        let last: BTreeMap<Pair, Op> = batch.iter().map(|&(op, pair)| (pair, op)).collect();
        for (pair, op) in last {
            self.oracle.change(op, pair, durability);
        }
        Ok(())
    }

    fn load(&mut self, pairs: &[Pair]) -> Outcome {
        let index = self.index.as_ref().expect("open");
        let mut loader = Loader::new(index);
        for &(n, id) in pairs {
            told("add", loader.add(index, &key(n), id))?;
        }
        while told("load", loader.step(index))? {}
        for &pair in pairs {
            self.oracle.change(Op::Put, pair, Durability::Sync);
        }
        self.oracle.settle();
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Change(op, pair, durability) => {
                self.change(*op, *pair, *durability)?;
                if *durability == Durability::Sync {
                    self.oracle.sync_log();
                }
            }
            Step::Drop(name, durability) => {
                let name_of = namespaces::name(*name);
                let any = told("drop", self.index().drop_namespace(&name_of, *durability))?;
                if any != self.oracle.drop_all(*name, *durability) {
                    return Err(format!("dropped: {any}"));
                }
                if *durability == Durability::Sync {
                    self.oracle.sync_log();
                }
            }
            Step::Batch(batch, durability) => {
                self.batch(batch, *durability)?;
                if *durability == Durability::Sync {
                    self.oracle.sync_log();
                }
            }
            Step::Load(pairs) => self.load(pairs)?,
            Step::Flush => {
                told("flush", self.index().flush())?;
                self.oracle.settle();
            }
            Step::FlushLane(lane) => {
                told("flush", self.index().flush_lane(*lane % self.script.num_lanes))?;
            }
            Step::Compact => told("compact", self.index().compact())?,
            Step::Round => told("round", step_round(self.index()))?,
            Step::Work => drop(told("work", self.index().work())?),
            Step::Sync => {
                told("sync", self.index().sync())?;
                self.oracle.settle();
            }
            Step::Close => {
                told("close", self.index().close())?;
                self.index = None;
                self.oracle.settle();
                verify(&self.system)?;
                let found = self.open()?;
                self.oracle.check_now(&found)?;
            }
            Step::Crash(crash) => {
                let oracle = self.oracle.clone();
                let (system, loss) = match crash {
                    Crash::Killed => (self.system.killed(), Loss::Nothing),
                    Crash::Restarted => (self.system.restarted(), Loss::Nothing),
                    Crash::Power => (self.system.crash(Loss::Unsynced), Loss::Unsynced),
                };
                self.crashed(system, &oracle, loss)?;
            }
            Step::Within(step, moment, variant) => {
                let before = self.oracle.clone();
                self.system.record();
                self.step(step)?;
                let oracle = before.or(&self.oracle);
                let points = self.system.take_recording();
                let point = &points[*moment as usize % points.len()];
                let variants = point.variants();
                let choice = *variant as usize % (variants.len() + 1);
                match variants.into_iter().nth(choice) {
                    Some((_, system, loss)) => self.crashed(system, &oracle, loss)?,
                    None => self.crashed(point.killed(), &oracle, Loss::Nothing)?,
                }
            }
        }
        self.oracle.check_now(&contents(self.index(), self.script.in_namespaces)?)
    }

    fn index(&self) -> &Index {
        self.index.as_ref().expect("open")
    }
}

fn run(script: &Script) -> Outcome {
    let mut run = Run::new(script)?;
    for step in &script.steps {
        run.step(step).map_err(|e| format!("{e} (at {step:?})"))?;
    }
    if script.in_namespaces {
        let found = contents(run.index(), true)?;
        check_namespaces(run.index(), &found).map_err(|e| format!("{e} (in the end)"))?;
        run.oracle.check_now(&contents(run.index(), true)?)?;
    }
    Ok(())
}

/// Leaves out steps for as long as it fails all the same.
fn shortened(mut script: Script) -> (Script, String) {
    let mut failure = run(&script).expect_err("it fails");
    'again: loop {
        for len in [8, 4, 2, 1] {
            for at in (0..script.steps.len()).rev() {
                let mut shorter = script.clone();
                shorter.steps.drain(at..(at + len).min(script.steps.len()));
                if let Err(e) = run(&shorter) {
                    (script, failure) = (shorter, e);
                    continue 'again;
                }
            }
        }
        return (script, failure);
    }
}

fn try_all(seeds: Range<u64>, script: impl Fn(u64) -> Script) {
    let mut failures = Vec::new();
    for seed in seeds {
        let script = script(seed);
        if run(&script).is_err() {
            let (script, failure) = shortened(script);
            failures.push(format!("seed {seed}: {failure}\n{script:#?}"));
            if failures.len() == 3 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn promises_hold_whatever_is_mixed() {
    try_all(seeds("DURABILITY_SEEDS", 0..300), Script::random);
}

#[test]
fn promises_hold_in_namespaces_whatever_is_mixed() {
    try_all(seeds("DURABILITY_SEEDS", 0..300), Script::in_namespaces);
}
