//! Random steps with an index, few keys and targets so that they meet.

use lsm_index::{Durability, Op};

use crate::support::{self, Random};

pub(crate) const KEYS: usize = 5;
/// Namespaces, whose keys are numbered behind the index's own, those of one after the other.
pub(crate) const NAMES: usize = 2;
pub(crate) const KEYS_IN: usize = 3;
pub(crate) const ALL_KEYS: usize = KEYS + NAMES * KEYS_IN;
pub(crate) const IDS: u32 = 3;
pub(crate) const TERMS: u32 = 4;

/// A key and what it may lead to: ids below [`IDS`], then terms.
pub(crate) type Pair = (usize, u32);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Change(Op, Pair, Durability),
    /// A namespace.
    Drop(usize, Durability),
    Batch(Vec<(Op, Pair)>, Durability),
    Load(Vec<Pair>),
    Flush,
    FlushLane(u32),
    Compact,
    /// A piece of a round, or the beginning of one.
    Round,
    Work,
    Sync,
    Close,
    Crash(Crash),
    /// The step is interrupted: which of the moments, and how.
    Within(Box<Step>, u64, u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    Killed,
    Restarted,
    Power,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) durability: Durability,
    pub(crate) num_lanes: u32,
    pub(crate) threshold: u32,
    /// Whether it uses any.
    pub(crate) in_namespaces: bool,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn key(n: usize) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// The namespace that a key belongs to, and its number there.
pub(crate) fn in_namespace(key: usize) -> Option<(usize, usize)> {
    let n = key.checked_sub(KEYS)?;
    Some((n / KEYS_IN, n % KEYS_IN))
}

pub(crate) fn keys_of(name: usize) -> impl Iterator<Item = usize> {
    (0..KEYS_IN).map(move |key| KEYS + name * KEYS_IN + key)
}

pub(crate) fn term(target: u32) -> Vec<u8> {
    support::term(target as usize)
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
        73..76 => Step::Round,
        76..79 => Step::Work,
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

/// Changes of namespaces and drops among all else.
fn step_in(random: &mut Random, names: usize, range: Range) -> Step {
    let change = |random: &mut Random| match random.below(5) {
        0 => Step::Drop(random.below(names), durability(random)),
        _ => {
            let key = keys_of(random.below(names)).nth(random.below(range.keys)).expect("a key");
            let target = IDS + random.below(range.terms as usize) as u32;
            Step::Change(op(random), (key, target), durability(random))
        }
    };
    match step(random, range) {
        Step::Change(..) | Step::Batch(..) => change(random),
        Step::Within(_, moment, variant) if random.below(2) == 0 => {
            Step::Within(Box::new(change(random)), moment, variant)
        }
        other => other,
    }
}

impl Script {
    pub(crate) fn in_namespaces(seed: u64) -> Self {
        let mut random = Random(seed);
        let len = [8, 16, 40, 150][random.below(4)];
        let names = 1 + random.below(NAMES);
        let range = Range {
            keys: 1 + random.below(KEYS_IN),
            ids: 1,
            terms: [1, 2, TERMS][random.below(3)],
        };
        Self {
            durability: durability(&mut random),
            num_lanes: 1 + random.below(3) as u32,
            threshold: [1, 2, 4, 1000][random.below(4)],
            in_namespaces: true,
            steps: (0..len).map(|_| step_in(&mut random, names, range)).collect(),
        }
    }

    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let len = [8, 16, 40, 150][random.below(4)];
        let (ids, terms) = [(IDS, TERMS), (1, 2), (IDS, 0), (0, TERMS)][random.below(4)];
        let range = Range { keys: 1 + random.below(KEYS), ids, terms };
        Self {
            durability: durability(&mut random),
            num_lanes: 1 + random.below(3) as u32,
            threshold: [1, 2, 4, 1000][random.below(4)],
            in_namespaces: false,
            steps: (0..len).map(|_| step(&mut random, range)).collect(),
        }
    }
}
