//! What readers see of a lane without asking for its lock.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::lane::{Lane, State};
use crate::opened::Opened;
use crate::presence::Presence;
use crate::sync::RwLockWriteGuard;
use crate::version::Tables;

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
        size_of::<Self>() + self.tables().memory()
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
