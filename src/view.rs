//! What readers see of a lane without asking for its lock.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::compaction::SAMPLED;
use crate::config::{Filter, Verify};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::lane::{Lane, State};
use crate::presence::Presence;
use crate::rcu::{Pin, Published};
use crate::sync::RwLockWriteGuard;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::version::{Asked, Opened, Tables};

/// Which segments there are, and of which keys the overlays may have changes.
#[derive(Debug, Default)]
pub(crate) struct View {
    opened: Opened,
    active: Presence,
    frozen: Option<Presence>,
    closed: bool,
}

impl View {
    fn of(state: &State) -> Self {
        Self {
            opened: Opened::of(Arc::clone(&state.version)),
            active: state.active.presence().clone(),
            frozen: state.frozen.as_ref().map(|frozen| frozen.overlay.presence().clone()),
            closed: state.closed,
        }
    }

    fn is_of(&self, state: &State) -> bool {
        let same_frozen = match (&self.frozen, &state.frozen) {
            (None, None) => true,
            (Some(seen), Some(frozen)) => seen.is(frozen.overlay.presence()),
            _ => false,
        };
        Arc::ptr_eq(self.opened.version(), &state.version)
            && self.active.is(state.active.presence())
            && same_frozen
            && self.closed == state.closed
    }

    /// Bytes of what describes segments to readers.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.opened.memory()
    }

    /// The segments' tables.
    #[inline]
    pub(crate) fn tables(&self) -> &Tables<'_> {
        self.opened.tables()
    }

    /// The segments' tables, if no overlay has a change of the key; none if one may.
    #[inline]
    pub(crate) fn settled(&self, fingerprint: Fingerprint) -> Result<Option<&Tables<'_>>> {
        if self.closed {
            return Err(Error::Closed);
        }
        let frozen = self.frozen.as_ref().is_some_and(|frozen| frozen.may_have(fingerprint));
        Ok((!frozen && !self.active.may_have(fingerprint)).then(|| self.tables()))
    }
}

/// Whoever looks keys up, counted once for all the views it looks at: it should not stay long.
#[derive(Debug)]
pub(crate) struct Reader<'i> {
    pub(crate) pin: Pin<'i, View>,
    pub(crate) verify: Verify,
    pub(crate) filter: Filter,
    /// To be set when there is work for who is idle.
    pub(crate) work_waits: &'i AtomicBool,
}

impl Reader<'_> {
    /// Whether the lane's filters are to be asked.
    #[inline]
    pub(crate) fn filters(&self, lane: &Lane) -> bool {
        self.filter != Filter::None && lane.filtering.pays()
    }

    /// Counts, for some of all look-ups, that segments of the lane were looked into which a merge
    /// would have spared them.
    #[inline]
    pub(crate) fn pay(&self, lane: &Lane, fingerprint: Fingerprint, segments: usize) {
        if segments > 1 && fingerprint.is_sample(SAMPLED) && lane.take_rent(segments - 1) {
            self.work_waits.store(true, Ordering::SeqCst);
        }
    }

    /// The same, and what filters have spared them, or would have.
    #[inline]
    pub(crate) fn count(&self, lane: &Lane, fingerprint: Fingerprint, asked: Asked) {
        self.pay(lane, fingerprint, asked.probed);
        if self.filter != Filter::None && fingerprint.is_sample(SAMPLED) {
            lane.filtering.count(asked.present, asked.absent());
        }
    }
}

/// A lane's contents, for who changes them: readers see what came of it when this goes.
pub(crate) struct Changing<'l> {
    state: RwLockWriteGuard<'l, State>,
    view: &'l Published<View>,
}

impl<'l> Changing<'l> {
    pub(crate) fn new(state: RwLockWriteGuard<'l, State>, view: &'l Published<View>) -> Self {
        Self { state, view }
    }

    fn show(&mut self) {
        if !self.state.shown.is_of(&self.state) {
            let view = Arc::new(View::of(&self.state));
            self.state.shown = Arc::clone(&view);
            self.view.replace(view);
        }
    }
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.show();
    }
}
