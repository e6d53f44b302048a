//! A version together with the tables that borrow from it, in one place: what keeps such values behind
//! a pointer of their own costs every look-up a wait for it, a twentieth of one in the caches.
#![expect(unsafe_code, reason = "no type tells that a value borrows from the one beside it")]

use std::sync::Arc;

use crate::version::{Tables, Version};

/// A version's tables, with the version.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Of `version`; never handed out for longer than this is borrowed, and dropped first.
    tables: Tables<'static>,
    version: Arc<Version>,
}

impl Opened {
    pub(crate) fn of(version: Arc<Version>) -> Self {
        // SAFETY: what an `Arc` holds stays where it is, whatever becomes of the `Arc`, until the last
        // one is dropped; and a version is only ever shared, never changed. The one beside the tables
        // outlives them: both are private, neither is replaced, and the tables are dropped first.
        let lasting: &'static Version = unsafe { &*Arc::as_ptr(&version) };
        Self { tables: Tables::of(lasting), version }
    }

    pub(crate) fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// The tables, for no longer than `self` is there.
    #[inline]
    pub(crate) fn tables(&self) -> &Tables<'_> {
        &self.tables
    }
}

impl Default for Opened {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}
