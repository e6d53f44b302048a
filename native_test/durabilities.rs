//! Random scripts that mix durabilities on one index, with crashes between calls and within them. What
//! is there after a crash can be explained pair by pair: by the last change that was promised to survive
//! it, or by a later one.
//!
//! `DURABILITY_SEEDS=from..to` sets which scripts are run. A script that fails is made shorter first.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lsm_index::{
    Change, Config, Durability, Index, Loader, Most, Op, Recovery, Result, SMALLEST_LOG, Target,
    Verifier,
};
use support::simulated::{Loss, Simulated};
use support::{Random, config};

const ROOT: &str = "/db";
const KEYS: usize = 5;
const IDS: u32 = 3;
const TERMS: u32 = 4;

/// A key and what it may lead to: ids below [`IDS`], then terms.
type Pair = (usize, u32);

#[derive(Clone, Debug)]
enum Step {
    Change(Op, Pair, Durability),
    Batch(Vec<(Op, Pair)>, Durability),
    Load(Vec<Pair>),
    Flush,
    FlushLane(u32),
    Compact,
    Work,
    Sync,
    Close,
    Crash(Crash),
    /// The step is interrupted: which of the moments, and how.
    Within(Box<Step>, u64, u64),
}

#[derive(Clone, Copy, Debug)]
enum Crash {
    Killed,
    Restarted,
    Power,
}

#[derive(Clone, Debug)]
struct Script {
    durability: Durability,
    num_lanes: u32,
    threshold: u32,
    steps: Vec<Step>,
}

fn key(n: usize) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

fn term(target: u32) -> Vec<u8> {
    format!("term {target}").into_bytes()
}

fn durability(random: &mut Random) -> Durability {
    [Durability::Memory, Durability::Os, Durability::Sync][random.below(3)]
}

fn op(random: &mut Random) -> Op {
    [Op::Put, Op::Delete][random.below(2)]
}

/// How many keys and ids, and terms, a script is about: few, so that changes meet.
#[derive(Clone, Copy, Debug)]
struct Range {
    keys: usize,
    ids: u32,
    terms: u32,
}

impl Range {
    fn pair(self, random: &mut Random) -> Pair {
        let target = random.below((self.ids + self.terms) as usize) as u32;
        // Terms are counted from where ids end at the most.
        let target = if target < self.ids { target } else { target - self.ids + IDS };
        (random.below(self.keys), target)
    }

    fn without_terms(self) -> Self {
        Self { ids: self.ids.max(1), terms: 0, ..self }
    }
}

fn step(random: &mut Random, range: Range) -> Step {
    let plain = range.without_terms();
    match random.below(100) {
        0..50 => Step::Change(op(random), range.pair(random), durability(random)),
        50..58 => {
            let some = 1 + random.below(5);
            let batch = (0..some).map(|_| (op(random), plain.pair(random))).collect();
            Step::Batch(batch, durability(random))
        }
        58..64 => Step::Load((0..1 + random.below(3)).map(|_| plain.pair(random)).collect()),
        64..67 => Step::Flush,
        67..71 => Step::FlushLane(random.below(2) as u32),
        71..73 => Step::Compact,
        73..79 => Step::Work,
        79..81 => Step::Sync,
        81..83 => Step::Close,
        83..92 => Step::Crash([Crash::Killed, Crash::Restarted, Crash::Power][random.below(3)]),
        _ => loop {
            let step = step(random, range);
            if !matches!(step, Step::Crash(_) | Step::Within(..)) {
                break Step::Within(Box::new(step), random.next(), random.next());
            }
        },
    }
}

fn script(seed: u64) -> Script {
    let mut random = Random(seed);
    let len = [8, 16, 40, 150][random.below(4)];
    let (ids, terms) = [(IDS, TERMS), (1, 2), (IDS, 0), (0, TERMS)][random.below(4)];
    let range = Range { keys: 1 + random.below(KEYS), ids, terms };
    Script {
        durability: durability(&mut random),
        num_lanes: 1 + random.below(3) as u32,
        threshold: [1, 2, 4, 1000][random.below(4)],
        steps: (0..len).map(|_| step(&mut random, range)).collect(),
    }
}

/// What one pair may be after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    now: bool,
    /// After the process died, and after the power failed.
    killed: BTreeSet<bool>,
    power: BTreeSet<bool>,
}

impl Past {
    fn settled(now: bool) -> Self {
        Self { now, killed: [now].into(), power: [now].into() }
    }

    fn become_now(&mut self, now: bool, durability: Durability) {
        self.now = now;
        for (set, survives) in [
            (&mut self.killed, durability != Durability::Memory),
            (&mut self.power, durability == Durability::Sync),
        ] {
            if survives {
                set.clear();
            }
            set.insert(now);
        }
    }
}

/// What may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Oracle(BTreeMap<Pair, Past>);

impl Oracle {
    fn new(found: &BTreeSet<Pair>) -> Self {
        let pairs = (0..KEYS).flat_map(|key| (0..IDS + TERMS).map(move |target| (key, target)));
        Self(pairs.map(|pair| (pair, Past::settled(found.contains(&pair)))).collect())
    }

    fn change(&mut self, op: Op, pair: Pair, durability: Durability) -> bool {
        let past = self.0.get_mut(&pair).expect("all are there");
        let before = past.now;
        past.become_now(op == Op::Put, durability);
        before != past.now
    }

    fn settle(&mut self) {
        self.0.values_mut().for_each(|past| *past = Past::settled(past.now));
    }

    /// A sync of the log: what survives the process is on stable storage then.
    fn sync_log(&mut self) {
        self.0.values_mut().for_each(|past| past.power = past.killed.clone());
    }

    /// The one or the other.
    fn or(mut self, other: &Self) -> Self {
        for (pair, past) in &mut self.0 {
            past.killed.extend(&other.0[pair].killed);
            past.power.extend(&other.0[pair].power);
        }
        self
    }

    fn check_now(&self, found: &BTreeSet<Pair>) -> std::result::Result<(), String> {
        let wrong = self.0.iter().find(|(pair, past)| past.now != found.contains(pair));
        wrong.map_or(Ok(()), |(pair, past)| Err(format!("{pair:?} should be {}", past.now)))
    }

    fn check(&self, found: &BTreeSet<Pair>, loss: Loss) -> std::result::Result<(), String> {
        let allowed = |past: &Past, is: bool| match loss {
            Loss::Nothing => past.killed.contains(&is),
            Loss::Unsynced => past.power.contains(&is),
        };
        match self.0.iter().find(|(pair, past)| !allowed(past, found.contains(pair))) {
            Some((pair, _)) => Err(format!(
                "{pair:?} is {} after a crash ({loss:?}) and cannot be",
                found.contains(pair)
            )),
            None => Ok(()),
        }
    }
}

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
fn contents(index: &Index) -> std::result::Result<BTreeSet<Pair>, String> {
    let mut found = BTreeSet::new();
    let mut keys = 0;
    for n in 0..KEYS {
        let mut targets = Vec::new();
        let add = |target: Target<'_>| {
            targets.push(match target {
                Target::Id(id) => Some(id),
                Target::Term(bytes) => (IDS..IDS + TERMS).find(|&target| term(target) == bytes),
            });
        };
        told("targets", index.targets(&key(n), Most::ALL, add))?;
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
    if count != keys {
        return Err(format!("{count} keys are counted, {keys} are there"));
    }
    Ok(found)
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
        let found = contents(&index)?;
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
        let changes: Vec<Change<'_>> =
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
        self.oracle.check_now(&contents(self.index())?)
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

#[test]
fn promises_hold_whatever_is_mixed() {
    let given = std::env::var("DURABILITY_SEEDS").ok();
    let range = given.as_deref().unwrap_or("0..300").split_once("..").expect("from..to");
    let [from, to]: [u64; 2] = [range.0, range.1].map(|n| n.parse().expect("a number"));
    let mut failures = Vec::new();
    for seed in from..to {
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
