//! A scripted workload on a simulated file system, and what a crash at any of its operations may
//! leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lsm_index::{Config, Durability, Index, Loader, Op, Result, SMALLEST_LOG, Target, verify_on};

use super::simulated::{Loss, Simulated};
use super::{Item, Random, config, namespaces, step_round, targets, term};

pub(crate) const ROOT: &str = "/db";
const KEYS: usize = 24;
const TERMS: usize = 8;

/// What every key leads to.
pub(crate) type Contents = BTreeMap<Vec<u8>, BTreeSet<Item>>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Change(Op, usize, u32, Durability),
    Route(Op, usize, usize),
    /// A route of a namespace.
    RouteIn(Op, [usize; 3], Durability),
    Drop(usize, Durability),
    Batch(Vec<(Op, usize, u32)>, Durability),
    /// Synced before and after: a load does not go through the log.
    Load(Vec<(usize, u32)>),
    Sync,
    Flush,
    Compact,
    /// A piece of a round, or the beginning of one.
    Round,
    Work,
    /// Closed, and opened again.
    Reopen,
}

pub(crate) fn small_log() -> Config {
    Config { max_log_bytes: Some(SMALLEST_LOG), ..config(2, 12) }
}

pub(crate) fn open(system: &Simulated) -> Result<Index> {
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &small_log())
}

fn key(n: usize) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// Those that workloads use.
pub(crate) fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..=KEYS).map(key)
}

/// There in all indexes that ever had namespaces.
fn mark() -> Vec<u8> {
    key(KEYS)
}

pub(crate) fn is_mark(step: &Step) -> bool {
    matches!(step, Step::Change(_, KEYS, ..))
}

/// Steps of every kind, the same for the same seed.
pub(crate) fn script(seed: u64, len: usize) -> Vec<Step> {
    let random = &mut Random(seed);
    let op = |random: &mut Random| if random.below(5) < 3 { Op::Put } else { Op::Delete };
    let pair = |random: &mut Random| (random.below(KEYS), random.below(6) as u32);
    let mode = |random: &mut Random| {
        if random.below(12) == 0 { Durability::Sync } else { Durability::Os }
    };
    let step = |random: &mut Random| match random.below(100) {
        0..50 => {
            let (key, id) = pair(random);
            Step::Change(op(random), key, id, mode(random))
        }
        50..66 => Step::Route(op(random), random.below(KEYS), random.below(TERMS)),
        66..82 => {
            let changes = (0..2 + random.below(7)).map(|_| {
                let (key, id) = pair(random);
                (op(random), key, id)
            });
            Step::Batch(changes.collect(), mode(random))
        }
        82..84 => Step::Load((0..1 + random.below(12)).map(|_| pair(random)).collect()),
        84..87 => Step::Sync,
        87..90 => Step::Flush,
        90..92 => Step::Compact,
        92..95 => Step::Round,
        95..98 => Step::Work,
        _ => Step::Reopen,
    };
    (0..len).map(|_| step(random)).collect()
}

/// Mostly changes of namespaces, and drops.
pub(crate) fn script_in_namespaces(seed: u64, len: usize) -> Vec<Step> {
    let random = &mut Random(seed);
    // Few, for what was dropped to come back, or all.
    let (names, terms) = [(1, 2), (2, 2), (namespaces::NAMES, namespaces::TERMS)][random.below(3)];
    let others = script(seed, len).into_iter().map(|other| {
        let durability = [Durability::Os, Durability::Os, Durability::Sync][random.below(3)];
        let name = random.below(names);
        match random.below(100) {
            0..64 => {
                let op = [Op::Put, Op::Delete][random.below(2)];
                let route = [name, random.below(namespaces::KEYS), random.below(terms)];
                Step::RouteIn(op, route, durability)
            }
            64..76 => Step::Drop(name, durability),
            76..84 => Step::Work,
            84..86 => Step::Compact,
            86..89 => Step::Round,
            _ => other,
        }
    });
    std::iter::once(Step::Change(Op::Put, KEYS, 0, Durability::Sync)).chain(others).collect()
}

fn change(contents: &mut Contents, op: Op, key: Vec<u8>, item: Item) {
    let items = contents.entry(key.clone()).or_default();
    match op {
        Op::Put => items.insert(item),
        Op::Delete => items.remove(&item),
    };
    if items.is_empty() {
        contents.remove(&key);
    }
}

/// What a workload has come to, step by step.
#[derive(Debug)]
pub(crate) struct History {
    /// Before the first step, and after each.
    states: Vec<Contents>,
    steps: Vec<Step>,
    /// Steps that are on stable storage for sure.
    durable: usize,
}

/// How far a workload had got: steps on stable storage, and steps done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) durable: usize,
    pub(crate) done: usize,
}

impl Mark {
    pub(crate) fn unpack(mark: u64) -> Self {
        Self { durable: (mark >> 32) as usize, done: mark as u32 as usize }
    }

    fn pack(self) -> u64 {
        ((self.durable as u64) << 32) | self.done as u64
    }
}

impl History {
    pub(crate) fn new(contents: Contents) -> Self {
        Self { states: vec![contents], steps: Vec::new(), durable: 0 }
    }

    pub(crate) fn last(&self) -> &Contents {
        self.states.last().expect("the first is always there")
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { durable: self.durable, done: self.steps.len() }
    }

    /// Does the steps and marks in the system how far it got. The first error ends it.
    pub(crate) fn run(
        &mut self,
        system: &Simulated,
        index: &mut Index,
        steps: &[Step],
    ) -> Result<()> {
        for step in steps {
            let mut next = self.last().clone();
            predict(&mut next, step);
            // From here on a crash may leave the step done.
            self.states.push(next);
            self.steps.push(step.clone());
            let durable = perform(system, index, step)?;
            if durable {
                self.durable = self.steps.len();
            }
            system.set_mark(self.mark().pack());
        }
        Ok(())
    }

    /// The history of a workload that got that far.
    pub(crate) fn until(steps: &[Step], mark: Mark) -> Self {
        let mut history = Self::new(Contents::new());
        for step in steps.iter().take(mark.done + 1) {
            let mut next = history.last().clone();
            predict(&mut next, step);
            history.states.push(next);
            history.steps.push(step.clone());
        }
        history.durable = mark.durable;
        history
    }

    /// Takes in what a step that failed came to: it may be done, or not.
    pub(crate) fn settle(&mut self, found: Contents) {
        *self.states.last_mut().expect("the first is always there") = found;
    }

    /// Whether a crash at some moment may leave these contents.
    pub(crate) fn knows(&self, found: &Contents) -> bool {
        let mut moments = (0..=self.steps.len()).map(|done| Mark { durable: done, done });
        moments.any(|mark| self.allows(mark, Loss::Nothing, found))
    }

    /// The contents after so many steps.
    pub(crate) fn after(&self, steps: usize) -> Contents {
        self.states[steps].clone()
    }

    /// Whether every pair was there after some step.
    pub(crate) fn held(&self, found: &Contents) -> bool {
        found.iter().all(|(key, items)| {
            let held =
                |item| self.states.iter().any(|s| s.get(key).is_some_and(|i| i.contains(item)));
            items.iter().all(held)
        })
    }

    /// Whether a crash at that mark may leave these contents: those after some step, none lost that
    /// was promised, no step half done.
    pub(crate) fn allows(&self, mark: Mark, loss: Loss, found: &Contents) -> bool {
        let first = if loss == Loss::Nothing { mark.done } else { mark.durable };
        let last = (mark.done + 1).min(self.states.len() - 1);
        if self.states[first..=last].contains(found) {
            return true;
        }
        // Of a load that was under way some pairs may be there; what was before is on stable
        // storage.
        let Some(Step::Load(pairs)) = self.steps.get(mark.done) else { return false };
        let before = &self.states[mark.done];
        let loaded: Contents = {
            let mut loaded = before.clone();
            predict(&mut loaded, &Step::Load(pairs.clone()));
            loaded
        };
        let within = |inner: &Contents, outer: &Contents| {
            inner.iter().all(|(k, items)| outer.get(k).is_some_and(|all| items.is_subset(all)))
        };
        within(before, found) && within(found, &loaded)
    }
}

fn predict(contents: &mut Contents, step: &Step) {
    match step {
        Step::Change(op, k, id, _) => change(contents, *op, key(*k), Item::Id(*id)),
        Step::Route(op, k, t) => change(contents, *op, key(*k), Item::Term(term(*t))),
        Step::RouteIn(op, [n, k, t], _) => {
            change(contents, *op, namespaces::place(*n, *k), Item::Term(term(*t)));
        }
        Step::Drop(n, _) => namespaces::places(*n).for_each(|place| drop(contents.remove(&place))),
        Step::Batch(changes, _) => {
            for (op, k, id) in changes {
                change(contents, *op, key(*k), Item::Id(*id));
            }
        }
        Step::Load(pairs) => {
            for (k, id) in pairs {
                change(contents, Op::Put, key(*k), Item::Id(*id));
            }
        }
        Step::Sync | Step::Flush | Step::Compact | Step::Round | Step::Work | Step::Reopen => {}
    }
}

/// Does a step; whether everything so far is on stable storage then.
fn perform(system: &Simulated, index: &mut Index, step: &Step) -> Result<bool> {
    Ok(match step {
        Step::Change(op, k, id, durability) => {
            index.change(&key(*k), *id, *op, *durability)?;
            *durability == Durability::Sync
        }
        Step::Route(op, k, t) => {
            index.route(&key(*k), Target::Term(&term(*t)), *op)?;
            false
        }
        Step::RouteIn(op, [n, k, t], durability) => {
            let (name, key) = (namespaces::name(*n), namespaces::key(*k));
            index.route_in(&name, &key, &term(*t), *op, *durability)?;
            *durability == Durability::Sync
        }
        Step::Drop(n, durability) => {
            index.drop_namespace(&namespaces::name(*n), *durability)?;
            *durability == Durability::Sync
        }
        Step::Batch(changes, durability) => {
            let keys: Vec<Vec<u8>> = changes.iter().map(|(_, k, _)| key(*k)).collect();
            let batch: Vec<(Op, &[u8], u32)> =
                changes.iter().zip(&keys).map(|((op, _, id), k)| (*op, &k[..], *id)).collect();
            index.write_with(&batch, *durability)?;
            *durability == Durability::Sync
        }
        Step::Load(pairs) => {
            index.sync()?;
            let mut loader = Loader::new(index);
            for (k, id) in pairs {
                loader.add(index, &key(*k), *id)?;
            }
            while loader.step(index)? {}
            index.sync()?;
            true
        }
        Step::Sync => {
            index.sync()?;
            true
        }
        Step::Flush => {
            index.flush()?;
            true
        }
        Step::Compact => {
            index.compact()?;
            true
        }
        Step::Round => {
            step_round(index)?;
            false
        }
        Step::Work => {
            while index.work()? {}
            false
        }
        Step::Reopen => {
            index.close()?;
            *index = open(system)?;
            true
        }
    })
}

/// All that an index holds; keys that it should not hold show in the count.
pub(crate) fn contents(index: &Index) -> Result<Contents> {
    let contents = looked_up(index)?;
    let (count, keys) = (index.count()?, namespaces::keys_of(&contents));
    if contents.contains_key(&mark()) {
        // What dropped ones had may be there still.
        assert!(count >= keys, "{count} keys are counted, {keys} are there");
        namespaces::check_listings(index, &contents)?;
    } else {
        assert_eq!(count, keys, "keys that nobody put");
    }
    Ok(contents)
}

/// What look-ups of all keys give.
pub(crate) fn looked_up(index: &Index) -> Result<Contents> {
    let mut contents = Contents::new();
    for key in keys() {
        let items = targets(index, &key)?;
        if !items.is_empty() {
            contents.insert(key, items);
        }
    }
    namespaces::look_up(index, &mut contents)?;
    Ok(contents)
}

/// If there were namespaces, does all background work and checks that nothing of dropped ones is
/// left; whether there were any.
pub(crate) fn check_all(index: &Index, contents: &Contents) -> Result<bool> {
    let has_namespaces = contents.contains_key(&mark());
    if has_namespaces {
        namespaces::check_purged(index, contents)?;
    }
    Ok(has_namespaces)
}

/// An index opened after a crash is as usable as any, and leaves nothing lying about.
pub(crate) fn check_usable(system: &Simulated, index: &Index) -> Result<()> {
    index.put(b"key 0", 77)?;
    assert!(index.contains(b"key 0", 77)?);
    let contents = looked_up(index)?;
    let has_namespaces = check_all(index, &contents)?;
    if has_namespaces {
        index.compact()?;
    }
    index.close()?;
    let report = verify_on(Arc::new(system.clone()), Path::new(ROOT))?;
    if has_namespaces {
        assert_eq!(report.terms, namespaces::terms_of(&contents), "terms that no key leads to");
    }
    assert_eq!((report.leftovers, report.torn), (vec![], None));
    assert!(system.files().keys().all(|path| path.extension().is_none_or(|e| e != "tmp")));
    Ok(())
}
