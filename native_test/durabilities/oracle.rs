//! What may be there after a crash, pair by pair.

use std::collections::{BTreeMap, BTreeSet};

use lsm_index::{Durability, Op};

use crate::script::{ALL_KEYS, IDS, Pair, TERMS, keys_of};
use crate::support::simulated::Loss;

/// What one pair may be after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    now: bool,
    /// After the process died, and after the power failed.
    killed: BTreeSet<bool>,
    power: BTreeSet<bool>,
}

impl Past {
    pub(crate) fn settled(now: bool) -> Self {
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
pub(crate) struct Oracle(BTreeMap<Pair, Past>);

impl Oracle {
    pub(crate) fn new(found: &BTreeSet<Pair>) -> Self {
        let pairs = (0..ALL_KEYS).flat_map(|key| (0..IDS + TERMS).map(move |target| (key, target)));
        Self(pairs.map(|pair| (pair, Past::settled(found.contains(&pair)))).collect())
    }

    pub(crate) fn change(&mut self, op: Op, pair: Pair, durability: Durability) -> bool {
        let past = self.0.get_mut(&pair).expect("all are there");
        let before = past.now;
        past.become_now(op == Op::Put, durability);
        before != past.now
    }

    /// A drop of a namespace; whether it had anything.
    pub(crate) fn drop_all(&mut self, name: usize, durability: Durability) -> bool {
        let mut any = false;
        for pair in keys_of(name).flat_map(|key| (0..IDS + TERMS).map(move |to| (key, to))) {
            any |= self.change(Op::Delete, pair, durability);
        }
        any
    }

    /// Whether a namespace has nothing now.
    pub(crate) fn is_empty(&self, name: usize) -> bool {
        let mut of_name = self.0.iter().filter(|((key, _), _)| keys_of(name).any(|k| k == *key));
        of_name.all(|(_, past)| !past.now)
    }

    pub(crate) fn settle(&mut self) {
        self.0.values_mut().for_each(|past| *past = Past::settled(past.now));
    }

    /// A sync of the log: what survives the process is on stable storage then.
    pub(crate) fn sync_log(&mut self) {
        self.0.values_mut().for_each(|past| past.power = past.killed.clone());
    }

    /// The one or the other.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        for (pair, past) in &mut self.0 {
            past.killed.extend(&other.0[pair].killed);
            past.power.extend(&other.0[pair].power);
        }
        self
    }

    pub(crate) fn check_now(&self, found: &BTreeSet<Pair>) -> std::result::Result<(), String> {
        let wrong = self.0.iter().find(|(pair, past)| past.now != found.contains(pair));
        wrong.map_or(Ok(()), |(pair, past)| Err(format!("{pair:?} should be {}", past.now)))
    }

    pub(crate) fn check(
        &self,
        found: &BTreeSet<Pair>,
        loss: Loss,
    ) -> std::result::Result<(), String> {
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
