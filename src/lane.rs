//! One of an index's independent LSM trees: an overlay, perhaps a frozen one, and segments.
//!
//! Locks, in the order they are taken:
//! 1. `keeper`, by whoever flushes, compacts or loads: one at a time;
//! 2. `gate`, by writers: one at a time, and the lane's contents change under it alone;
//! 3. `state`, for moments only: never across a segment probe or file operation, and one at a time.
//!
//! A reader looks at the published view (`view.rs`, `lookup.rs`), which has the overlays and the segments
//! of one moment. It takes `state` shared only for what changes in more than one word: lists of ids, and
//! batches. A flush publishes the new segments and drops the frozen overlay in one step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::compaction::Rent;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::filtering::Filtering;
use crate::hash::Fingerprint;
use crate::incoming::Incoming;
use crate::overlay::Overlay;
use crate::rcu::Published;
use crate::record::RecordRef;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{MOMENT, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use crate::version::Version;
use crate::view::{Changing, View};

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    state: RwLock<State>,
    views: Arc<Published<View>>,
    pub(crate) keeper: Mutex<Keeper>,
    gate: Mutex<()>,
    /// A batch is being made. It comes before what the overlays say, so readers have to see it first.
    pub(crate) batch: AtomicBool,
    pub(crate) live: AtomicU64,
    pub(crate) rent: Rent,
    pub(crate) filtering: Filtering,
}

/// What the lane holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) active: Overlay,
    /// What comes before it: a batch that is being made.
    pub(crate) incoming: Option<Incoming>,
    /// Live keys gained (or lost) by the active overlay's changes.
    pub(crate) growth: i64,
    pub(crate) logged: Logged,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) version: Arc<Version>,
    pub(crate) closed: bool,
    /// What readers were shown last: this very state, whenever nobody is changing it.
    pub(crate) shown: Arc<View>,
}

/// An overlay on its way to a segment.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) overlay: Overlay,
    /// Live keys gained (or lost) by its changes.
    pub(crate) growth: i64,
    pub(crate) logged: Logged,
}

/// Where the log has an overlay's changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logged {
    /// The first and the last record with any of them.
    pub(crate) records: Option<(u64, u64)>,
    /// There are some that no record has.
    pub(crate) partial: bool,
}

impl Logged {
    /// A change was made that this record has; or none.
    pub(crate) fn note(&mut self, record: Option<u64>) {
        match record {
            Some(last) => {
                let first = self.records.map_or(last, |(first, _)| first);
                self.records = Some((first, last));
            }
            None => self.partial = true,
        }
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
    /// The last record of the log that the segments have the changes of.
    pub(crate) flushed: u64,
    /// When an overlay was flushed last, if one was since the lane was opened.
    pub(crate) flushed_at: Option<Instant>,
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

/// How long a call that must not wait waits for writers on its lanes, all together: most are gone
/// sooner. It begins with the first wait.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    fn end(&mut self) -> Instant {
        *self.0.get_or_insert_with(|| Instant::now() + MOMENT)
    }
}

impl Lane {
    pub(crate) fn new(
        number: u32,
        keeper: Keeper,
        version: Version,
        live_keys: u64,
        views: &Arc<Published<View>>,
    ) -> Self {
        let lane = Self {
            number,
            state: RwLock::default(),
            views: Arc::clone(views),
            keeper: Mutex::new(keeper),
            gate: Mutex::new(()),
            batch: AtomicBool::new(false),
            live: AtomicU64::new(live_keys),
            rent: Rent::default(),
            filtering: Filtering::default(),
        };
        lane.change().version = Arc::new(version);
        lane
    }

    /// The contents; to be let go of soon, and not while segments are probed.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The contents, to change them.
    pub(crate) fn change(&self) -> Changing<'_> {
        Changing::new(self.state.write(), self)
    }

    /// Has readers see this from now on.
    pub(crate) fn show(&self, view: Arc<View>) {
        self.views.replace(self.number as usize, view);
    }

    /// Keys with a non-empty set.
    pub(crate) fn live_keys(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// The right to write.
    pub(crate) fn gate(&self) -> Gate<'_> {
        self.gate.lock()
    }

    /// The right to write, if it is to be had before the caller's patience ends.
    pub(crate) fn try_gate(&self, patience: &mut Patience) -> Option<Gate<'_>> {
        self.gate.try_lock().or_else(|| self.gate.try_lock_until(patience.end()))
    }

    /// Whether some of the changes in memory are in no record of the log.
    pub(crate) fn is_partly_logged(&self) -> bool {
        let state = self.state();
        state.logged.partial || state.frozen.as_ref().is_some_and(|frozen| frozen.logged.partial)
    }

    /// The first record of the log that has changes which are in memory only.
    pub(crate) fn oldest_record(&self) -> Option<u64> {
        let state = self.state();
        let frozen = state.frozen.as_ref().and_then(|frozen| frozen.logged.records);
        frozen.or(state.logged.records).map(|(first, _)| first)
    }

    /// Whether writers should let the flush before catch up.
    pub(crate) fn is_stalled(&self, limits: Limits) -> bool {
        let state = self.state();
        state.frozen.is_some() && state.active.weight() >= limits.stall_weight(state.version.weight)
    }

    /// Whether look-ups have paid for a merge of all segments.
    pub(crate) fn is_paid(&self) -> bool {
        self.rent.is_enough(self.state().version.weight)
    }

    /// Lets go of everything. Later calls find the lane closed.
    pub(crate) fn clear(&self) {
        let _keeper = self.keeper.lock();
        let _gate = self.gate.lock();
        let gone = {
            let mut state = self.change();
            let shown = Arc::clone(&state.shown);
            std::mem::replace(&mut *state, State { closed: true, shown, ..State::default() })
        };
        drop(gone);
    }
}

impl State {
    /// Newest first.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.active).chain(self.frozen.as_ref().map(|f| &f.overlay))
    }

    /// What a batch in the making and the overlays say of a key, newest first.
    pub(crate) fn records(&self, fingerprint: Fingerprint) -> impl Iterator<Item = RecordRef<'_>> {
        let incoming = self.incoming.as_ref().and_then(|incoming| incoming.get(fingerprint));
        let newest = incoming.or_else(|| self.active.get(fingerprint));
        let frozen = move || self.frozen.as_ref().and_then(|f| f.overlay.get(fingerprint));
        newest.into_iter().chain(std::iter::once_with(frozen).flatten())
    }

    /// Puts the active overlay aside for the flush; false if there is nothing in it. An empty one
    /// can have records in the log: of changes that came to nothing.
    pub(crate) fn freeze(&mut self) -> bool {
        debug_assert!(self.frozen.is_none());
        if self.active.is_empty() && self.logged.records.is_none() {
            self.logged = Logged::default();
            return false;
        }
        let overlay = std::mem::take(&mut self.active);
        let growth = std::mem::take(&mut self.growth);
        let logged = std::mem::take(&mut self.logged);
        self.frozen = Some(Arc::new(Frozen { overlay, growth, logged }));
        true
    }

    /// Does so if the overlay has its share of the lane and none waits for its flush; whether it
    /// did.
    pub(crate) fn freeze_if_full(&mut self, limits: Limits) -> bool {
        let full = self.active.weight() >= limits.flush_weight(self.version.weight);
        full && self.frozen.is_none() && self.freeze()
    }
}
