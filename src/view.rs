//! What readers see of a lane without asking for its lock.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::lane::{Frozen, Lane, State};
use crate::opened::Opened;
use crate::overlay::{Presence, Seen, Shown};
use crate::sync::RwLockWriteGuard;
use crate::version::Tables;

/// Which segments there are, and what overlays have.
#[derive(Debug, Default)]
pub(crate) struct View {
    opened: Opened,
    active: Shown,
    /// Its filter is asked nearly always, and the overlay then as good as never.
    frozen: Option<(Presence, Arc<Frozen>)>,
    closed: bool,
}

impl View {
    fn of(state: &State) -> Self {
        Self {
            opened: Opened::of(Arc::clone(&state.version)),
            active: state.active.shown().clone(),
            frozen: state
                .frozen
                .as_ref()
                .map(|frozen| (frozen.overlay.shown().presence().clone(), Arc::clone(frozen))),
            closed: state.closed,
        }
    }

    fn is_of(&self, state: &State) -> bool {
        let same_frozen = match (&self.frozen, &state.frozen) {
            (None, None) => true,
            (Some((_, seen)), Some(frozen)) => Arc::ptr_eq(seen, frozen),
            _ => false,
        };
        Arc::ptr_eq(self.opened.version(), &state.version)
            && self.active.is(state.active.shown())
            && same_frozen
            && self.closed == state.closed
    }

    /// Bytes of what describes segments to readers.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.tables().memory()
    }

    /// Of the segments together.
    pub(crate) fn weight(&self) -> usize {
        self.opened.version().weight
    }

    /// The segments' tables.
    #[inline]
    pub(crate) fn tables(&self) -> &Tables<'_> {
        self.opened.tables()
    }

    /// Adds what the overlays say of a key, newest first. True if nothing below matters; none if only
    /// the lock of the lane lets see it, or that the lane is closed.
    pub(crate) fn recent<'v>(
        &'v self,
        fingerprint: Fingerprint,
        chain: &mut Chain<'v>,
    ) -> Option<bool> {
        match self.active.get(fingerprint) {
            _ if self.closed => return None,
            Seen::Nothing => {}
            Seen::Record(record) => return Some(chain.push(record)),
            Seen::Listed => return None,
        }
        let frozen = self.frozen.as_ref().and_then(|(_, frozen)| frozen.overlay.get(fingerprint));
        Some(frozen.is_some_and(|record| chain.push(record)))
    }

    /// The segments' tables, if no overlay has a change of the key; none if one may.
    #[inline]
    pub(crate) fn settled(&self, fingerprint: Fingerprint) -> Result<Option<&Tables<'_>>> {
        if self.closed {
            return Err(Error::Closed);
        }
        let frozen = self.frozen.as_ref().is_some_and(|(keys, _)| keys.may_have(fingerprint));
        Ok((!frozen && !self.active.may_have(fingerprint)).then(|| self.tables()))
    }
}

/// A lane's contents, for who changes them: readers see what came of it when this goes.
pub(crate) struct Changing<'l> {
    state: RwLockWriteGuard<'l, State>,
    lane: &'l Lane,
}

impl<'l> Changing<'l> {
    pub(crate) fn new(state: RwLockWriteGuard<'l, State>, lane: &'l Lane) -> Self {
        Self { state, lane }
    }

    fn show(&mut self) {
        if !self.state.shown.is_of(&self.state) {
            let view = Arc::new(View::of(&self.state));
            self.state.shown = Arc::clone(&view);
            self.lane.show(view);
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
