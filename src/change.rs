//! Changes of a lane: first it is found out what they come to, then they are made.
//!
//! Planning reads what the layers say and changes nothing, so that damage met on the way stops a
//! batch before its first change. Making them takes the lane's lock for a moment, a batch those of
//! its lanes one after the other. The gate, held over both, keeps other writers away.

use std::sync::Arc;

use crate::chain::Chain;
use crate::config::{Limits, Verify};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::incoming::{Curtain, Incoming};
use crate::lane::{Gate, Lane, State};
use crate::overlay::Overlay;
use crate::record::Record;
use crate::sync::atomic::Ordering;

/// Changes that are made under the lane's lock at a time: look-ups wait for some ten microseconds.
const MOST_AT_ONCE: usize = 64;

/// A put or a delete of one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds the id to the key's set.
    Put,
    /// Removes it.
    Delete,
}

/// The ids by which a key's set will differ: `puts` it lacks, `deletes` it holds.
#[derive(Debug)]
enum Edit {
    None,
    /// Nearly always, and so without an allocation.
    One(u32, Op),
    Several {
        puts: Vec<u32>,
        deletes: Vec<u32>,
    },
}

/// What has to be done to the active overlay for the changes of one key.
#[derive(Debug)]
pub(crate) struct KeyPlan {
    fingerprint: Fingerprint,
    edit: Edit,
    /// The record to start from, if the active overlay has none.
    start: Record,
    /// Live keys gained: one, none, or minus one.
    growth: i64,
    /// A layer below the active overlay has a record of the key.
    known_below: bool,
}

/// The changes of one lane that a batch makes.
#[derive(Debug)]
pub(crate) struct LanePlan<'i> {
    pub(crate) lane: &'i Lane,
    gate: Gate<'i>,
    keys: Vec<KeyPlan>,
    /// Live keys gained by all of them.
    growth: i64,
    /// The log has the batch's part of this lane although nothing changes.
    logged: bool,
}

impl Edit {
    /// Takes in what is wanted of an id, if the set is not that way already.
    fn want(&mut self, id: u32, op: Op, contains: bool) {
        if contains != (op == Op::Put) {
            self.push(id, op);
        }
    }

    fn push(&mut self, id: u32, op: Op) {
        match self {
            Edit::None => *self = Edit::One(id, op),
            Edit::One(first, first_op) => {
                let (first, first_op) = (*first, *first_op);
                *self = Edit::Several { puts: Vec::new(), deletes: Vec::new() };
                self.push(first, first_op);
                self.push(id, op);
            }
            Edit::Several { puts, deletes } => match op {
                Op::Put => puts.push(id),
                Op::Delete => deletes.push(id),
            },
        }
    }

    /// How many ids are put and deleted.
    fn counts(&self) -> (usize, usize) {
        match self {
            Edit::None => (0, 0),
            Edit::One(_, Op::Put) => (1, 0),
            Edit::One(_, Op::Delete) => (0, 1),
            Edit::Several { puts, deletes } => (puts.len(), deletes.len()),
        }
    }

    fn count(&self) -> usize {
        let (puts, deletes) = self.counts();
        puts + deletes
    }

    fn make(&self, record: &mut Record) {
        match self {
            Edit::None => {}
            Edit::One(id, Op::Put) => record.put(*id),
            Edit::One(id, Op::Delete) => record.delete(*id),
            Edit::Several { puts, deletes } => record.edit(puts, deletes),
        }
    }

    fn sort(&mut self) {
        if let Edit::Several { puts, deletes } = self {
            puts.sort_unstable();
            deletes.sort_unstable();
        }
    }
}

impl KeyPlan {
    /// The record that comes of it.
    fn outcome(&self, active: &Overlay) -> Record {
        let record = active.record(self.fingerprint);
        let mut record = record.unwrap_or_else(|| self.start.clone());
        self.edit.make(&mut record);
        record
    }

    fn apply(self, overlay: &mut Overlay) {
        let Self { fingerprint, edit, start, known_below, .. } = self;
        overlay.update(
            fingerprint,
            || start,
            |record| {
                edit.make(record);
                // A key that lived in this overlay only needs no tombstone.
                known_below || *record != Record::Tombstone
            },
        );
    }
}

impl Lane {
    /// Finds out what the changes of one key come to; `None` if the set is as they want it
    /// already. `wanted` has each id once, ascending.
    pub(crate) fn plan(
        &self,
        _gate: &Gate<'_>,
        fingerprint: Fingerprint,
        wanted: &[(u32, Op)],
    ) -> Result<Option<KeyPlan>> {
        let mut edit = Edit::None;
        // Ids that the active overlay's record leaves open.
        let mut open = Vec::new();
        let (active, frozen, view) = {
            let state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let active = state.active.get(fingerprint).map(|record| {
                for &(id, op) in wanted {
                    match record.verdict(id) {
                        Some(contains) => edit.want(id, op, contains),
                        None => open.push((id, op)),
                    }
                }
                record.cardinality()
            });
            (active, state.frozen.clone(), Arc::clone(&state.shown))
        };
        if active.is_some() && open.is_empty() && edit.count() == 0 {
            return Ok(None);
        }
        let left = |before: usize, edit: &Edit| {
            let (puts, deletes) = edit.counts();
            before + puts > deletes
        };
        // Otherwise what lies below the active overlay decides.
        let settled = active.is_some_and(|before| open.is_empty() && left(before, &edit));
        let mut below = Chain::default();
        if !settled {
            let in_frozen = frozen.as_ref().and_then(|f| f.overlay.get(fingerprint));
            if !in_frozen.is_some_and(|record| below.push(record)) {
                view.tables().ask(fingerprint, Verify::Full, &mut below)?;
                view.tables().check_ids(fingerprint, &below)?;
            }
            let undecided = if active.is_some() { &open } else { wanted };
            for &(id, op) in undecided {
                edit.want(id, op, below.contains(id));
            }
            if edit.count() == 0 {
                return Ok(None);
            }
        }
        edit.sort();
        let before = active.unwrap_or_else(|| below.cardinality());
        let growth = i64::from(left(before, &edit)) - i64::from(before > 0);
        let start = if active.is_some() { Record::Tombstone } else { below.to_change() };
        let known_below = settled || !below.is_empty();
        Ok(Some(KeyPlan { fingerprint, edit, start, growth, known_below }))
    }

    /// Makes the changes of one key, which `record` of the log has. True if that filled the
    /// overlay, and there is work for the compactor.
    pub(crate) fn make(
        &self,
        _gate: &Gate<'_>,
        plan: KeyPlan,
        record: Option<u64>,
        limits: Limits,
    ) -> bool {
        let growth = plan.growth;
        let mut state = self.change();
        // Whoever sees the key may count: it counts before it shows, and until it is gone.
        self.count(growth.max(0));
        plan.apply(&mut state.active);
        self.count(growth.min(0));
        state.logged.note(record);
        state.growth += growth;
        state.freeze_if_full(limits)
    }

    /// Takes in that `record` has changes of this lane that come to nothing.
    pub(crate) fn note_logged(&self, _gate: &Gate<'_>, record: Option<u64>) {
        self.change().logged.note(record);
    }

    /// Takes in that so many keys more have ids, or fewer.
    pub(crate) fn count(&self, growth: i64) {
        if growth != 0 {
            // Two's complement: adding a negative number wraps to what is meant.
            self.live.fetch_add(growth as u64, Ordering::Relaxed);
        }
    }
}

impl<'i> LanePlan<'i> {
    pub(crate) fn new(lane: &'i Lane, gate: Gate<'i>) -> Self {
        Self { lane, gate, keys: Vec::new(), growth: 0, logged: false }
    }

    /// Plans the changes of one key; the number of pairs that will be other than they are.
    pub(crate) fn add(&mut self, fingerprint: Fingerprint, wanted: &[(u32, Op)]) -> Result<usize> {
        let Some(plan) = self.lane.plan(&self.gate, fingerprint, wanted)? else { return Ok(0) };
        let changes = plan.edit.count();
        self.growth += plan.growth;
        self.keys.push(plan);
        Ok(changes)
    }

    /// The log has something of this lane that changes nothing.
    pub(crate) fn note_logged(&mut self) {
        self.logged = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.logged
    }

    /// Whether they are few enough to be made under the lane's lock at once.
    pub(crate) fn is_small(&self) -> bool {
        self.keys.len() <= MOST_AT_ONCE
    }

    /// Has the lane show the changes when the curtain lifts. What it gains is counted at once, as whoever
    /// sees a key may count.
    pub(crate) fn announce(&self, curtain: &Curtain) {
        let mut records = Vec::with_capacity(self.keys.len());
        for some in self.keys.chunks(MOST_AT_ONCE) {
            let state = self.lane.state();
            let outcome = |plan: &KeyPlan| (plan.fingerprint, plan.outcome(&state.active));
            records.extend(some.iter().map(outcome));
        }
        let incoming = Incoming::new(curtain.clone(), records.into());
        let announcement = self.lane.state().active.announcement(incoming.keys());
        let mut state = self.lane.change();
        state.active.announce(announcement);
        state.incoming = Some(incoming);
        self.lane.batch.store(true, Ordering::SeqCst);
        self.lane.count(self.growth.max(0));
    }

    /// Makes the changes that the lane shows already, which `record` of the log has. True if that
    /// filled the overlay.
    pub(crate) fn settle(&mut self, record: Option<u64>, limits: Limits) -> bool {
        let mut keys = std::mem::take(&mut self.keys).into_iter();
        loop {
            let mut state = self.lane.change();
            keys.by_ref().take(MOST_AT_ONCE).for_each(|plan| plan.apply(&mut state.active));
            if keys.len() == 0 {
                let gone = state.incoming.take();
                let froze = self.end(&mut state, record, limits);
                drop(state);
                self.lane.batch.store(false, Ordering::SeqCst);
                drop(gone);
                return froze;
            }
        }
    }

    /// Makes the changes, which `record` of the log has, under the lane's lock. True if that filled the
    /// overlay.
    pub(crate) fn publish(&mut self, record: Option<u64>, limits: Limits) -> bool {
        // Readers find all of the keys, and come under the lock for them, before any is changed.
        let keys = self.keys.iter().map(|plan| plan.fingerprint);
        let announcement = self.lane.state().active.announcement(keys);
        let mut state = self.lane.change();
        state.active.announce(announcement);
        self.lane.batch.store(true, Ordering::SeqCst);
        self.lane.count(self.growth.max(0));
        self.keys.drain(..).for_each(|plan| plan.apply(&mut state.active));
        let froze = self.end(&mut state, record, limits);
        drop(state);
        self.lane.batch.store(false, Ordering::SeqCst);
        froze
    }

    fn end(&self, state: &mut State, record: Option<u64>, limits: Limits) -> bool {
        self.lane.count(self.growth.min(0));
        state.logged.note(record);
        state.growth += self.growth;
        state.freeze_if_full(limits)
    }
}
