//! One of an index's independent LSM trees: an overlay, perhaps a frozen one, and segments.
//!
//! Locks, in the order they are taken:
//! 1. `keeper`, by whoever flushes, compacts or loads: one at a time;
//! 2. `gate`, by writers: one at a time, and the lane's contents change under it alone;
//! 3. `state`, for moments only: never across a segment probe or file operation.
//!
//! A reader takes `state` shared, asks the overlays, and probes the segments it saw there after
//! letting go. A flush publishes the new segments and drops the frozen overlay in one step.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::chain::Chain;
use crate::config::{Limits, Verify};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::segment::Segment;

/// A put or a delete of one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds the id to the key's set.
    Put,
    /// Removes it.
    Delete,
}

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    pub(crate) state: RwLock<State>,
    pub(crate) keeper: Mutex<Keeper>,
    gate: Mutex<()>,
    live: AtomicU64,
}

/// What readers see.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) active: Overlay,
    /// Live keys gained (or lost) by the active overlay's changes.
    growth: i64,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) version: Arc<Version>,
    pub(crate) closed: bool,
}

/// An overlay on its way to a segment.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) overlay: Overlay,
    /// Live keys gained (or lost) by its changes.
    pub(crate) growth: i64,
}

/// The lane's segments, newest first, with their levels.
#[derive(Debug, Default)]
pub(crate) struct Version {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) levels: Vec<u8>,
    /// Keys in all segments together.
    pub(crate) keys: usize,
}

impl Version {
    pub(crate) fn new(segments: Vec<(u8, Arc<Segment>)>) -> Self {
        let keys = segments.iter().map(|(_, s)| s.keys()).sum();
        let (levels, segments) = segments.into_iter().unzip();
        Self { segments, levels, keys }
    }
}

/// What only flush, compaction and load touch.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// The lane's directory; none for an index in memory.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) next_number: u64,
    /// Live keys of the segments alone, as the manifest has it.
    pub(crate) live_keys: u64,
}

/// Set once, when the index closes.
#[derive(Debug, Default)]
pub(crate) struct Closed(AtomicBool);

impl Closed {
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// Proof that the caller is the lane's only writer.
pub(crate) type Gate<'a> = MutexGuard<'a, ()>;

/// What a change did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applied {
    /// The set is another one now.
    pub(crate) changed: bool,
    /// The overlay was frozen: there is work for the compactor.
    pub(crate) froze: bool,
}

/// How long a call that must not wait waits for a writer on the same lane: most are gone sooner.
const PATIENCE: Duration = Duration::from_micros(50);

impl Lane {
    pub(crate) fn new(number: u32, keeper: Keeper, version: Version, live_keys: u64) -> Self {
        let state = State { version: Arc::new(version), ..State::default() };
        Self {
            number,
            state: RwLock::new(state),
            keeper: Mutex::new(keeper),
            gate: Mutex::new(()),
            live: AtomicU64::new(live_keys),
        }
    }

    /// Keys with a non-empty set.
    pub(crate) fn live_keys(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The right to write. `None` if that takes longer than a moment and `wait` is false.
    pub(crate) fn gate(&self, wait: bool) -> Option<Gate<'_>> {
        if wait { Some(self.gate.lock()) } else { self.gate.try_lock_for(PATIENCE) }
    }

    /// Whether writers should let the flush before catch up.
    pub(crate) fn is_stalled(&self, limits: Limits) -> bool {
        let state = self.state.read();
        state.frozen.is_some() && state.active.weight() >= limits.stall_weight(state.version.keys)
    }

    /// Hands what all layers say of a key to `f`. The lock is let go before segments are asked.
    #[inline]
    pub(crate) fn lookup<R>(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        f: impl FnOnce(&Chain<'_>) -> R,
    ) -> Result<R> {
        let (deltas, version) = {
            let state = self.state.read();
            if state.closed {
                return Err(Error::Closed);
            }
            let mut chain = Chain::default();
            for overlay in state.overlays() {
                if overlay.get(fingerprint).is_some_and(|record| chain.push(record)) {
                    return Ok(f(&chain));
                }
            }
            (chain.to_owned_deltas(), Arc::clone(&state.version))
        };
        let mut chain = Chain::of(&deltas);
        version.ask(fingerprint, verify, &mut chain)?;
        Ok(f(&chain))
    }

    /// Applies one change. The gate makes the read before the write safe.
    pub(crate) fn apply(
        &self,
        _gate: &Gate<'_>,
        fingerprint: Fingerprint,
        id: u32,
        op: Op,
        limits: Limits,
    ) -> Result<Applied> {
        let plan = self.plan(fingerprint, id, op)?;
        let Some(Planned { start, appears, vanishes, known_below }) = plan else {
            return Ok(Applied::default());
        };
        let mut state = self.state.write();
        state.active.update(
            fingerprint,
            || start,
            |record| {
                match op {
                    Op::Put => record.put(id),
                    Op::Delete => record.delete(id),
                }
                // A key that lived in this overlay only needs no tombstone.
                known_below || *record != Record::Tombstone
            },
        );
        if appears {
            self.live.fetch_add(1, Ordering::Relaxed);
            state.growth += 1;
        } else if vanishes {
            self.live.fetch_sub(1, Ordering::Relaxed);
            state.growth -= 1;
        }
        let full = state.active.weight() >= limits.flush_weight(state.version.keys);
        let froze = full && state.frozen.is_none() && Self::freeze(&mut state);
        Ok(Applied { changed: true, froze })
    }

    /// Reads what a change must know. `None`: the pair is as it should be already.
    fn plan(&self, fingerprint: Fingerprint, id: u32, op: Op) -> Result<Option<Planned>> {
        let (in_active, frozen, version) = {
            let state = self.state.read();
            if state.closed {
                return Err(Error::Closed);
            }
            let in_active = state.active.get(fingerprint).map(|record| {
                let mut chain = Chain::default();
                let complete = chain.push(record);
                // Settled: the layers below cannot change whether the pair is there.
                let settled = complete || chain.decides(id);
                (chain.contains(id), chain.cardinality(), settled)
            });
            (in_active, state.frozen.clone(), Arc::clone(&state.version))
        };
        let wanted = op == Op::Put;
        if in_active.is_some_and(|(contains, _, settled)| settled && contains == wanted) {
            return Ok(None);
        }
        let settled = in_active.filter(|&(_, _, settled)| settled);
        let last = |cardinality| op == Op::Delete && cardinality == 1;
        if let Some((_, cardinality, _)) = settled
            && !last(cardinality)
        {
            let appears = cardinality == 0;
            let start = Record::Tombstone;
            return Ok(Some(Planned { start, appears, vanishes: false, known_below: true }));
        }
        // What lies below the active overlay decides.
        let mut below = Chain::default();
        let in_frozen = frozen.as_ref().and_then(|f| f.overlay.get(fingerprint));
        if !in_frozen.is_some_and(|record| below.push(record)) {
            version.ask(fingerprint, Verify::Full, &mut below)?;
        }
        let known_below = !below.is_empty();
        let (contains, cardinality) = match in_active {
            Some((contains, cardinality, true)) => (contains, cardinality),
            Some((_, cardinality, false)) => (below.contains(id), cardinality),
            None => (below.contains(id), below.cardinality()),
        };
        if contains == wanted {
            return Ok(None);
        }
        let start = if in_active.is_some() { Record::Tombstone } else { below.to_change() };
        let appears = wanted && cardinality == 0;
        Ok(Some(Planned { start, appears, vanishes: last(cardinality), known_below }))
    }

    /// Puts the active overlay aside for the flush; false if there is nothing in it.
    pub(crate) fn freeze(state: &mut State) -> bool {
        debug_assert!(state.frozen.is_none());
        if state.active.is_empty() {
            return false;
        }
        let overlay = std::mem::take(&mut state.active);
        let growth = std::mem::take(&mut state.growth);
        state.frozen = Some(Arc::new(Frozen { overlay, growth }));
        true
    }

    /// Adds keys that were counted nowhere yet (a bulk load's).
    pub(crate) fn add_live_keys(&self, _gate: &Gate<'_>, keys: u64) {
        self.live.fetch_add(keys, Ordering::Relaxed);
    }

    /// Lets go of everything. Later calls find the lane closed.
    pub(crate) fn clear(&self) {
        let _keeper = self.keeper.lock();
        let _gate = self.gate.lock();
        let gone = {
            let mut state = self.state.write();
            std::mem::replace(&mut *state, State { closed: true, ..State::default() })
        };
        drop(gone);
    }
}

/// What [`Lane::apply`] has to know before it takes the lock.
struct Planned {
    /// The record to start from, if the active overlay has none.
    start: Record,
    /// The key had no ids before.
    appears: bool,
    /// The key has none afterwards.
    vanishes: bool,
    /// A layer below the active overlay has a record of the key.
    known_below: bool,
}

impl State {
    /// Newest first.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.active).chain(self.frozen.as_ref().map(|f| &f.overlay))
    }
}

impl Version {
    /// Adds what the segments say of a key, newest first.
    #[inline]
    pub(crate) fn ask<'a>(
        &'a self,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'a>,
    ) -> Result<()> {
        for segment in &self.segments {
            if let Some(record) = segment.get(fingerprint, verify)?
                && chain.push(record)
            {
                break;
            }
        }
        Ok(())
    }
}
