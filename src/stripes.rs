//! Locks of namespaces, dealt out by name.

use crate::hash::Fingerprint;
use crate::sync::atomic::AtomicU32;
use crate::sync::{MOMENT, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who adds and removes in a namespace holds its name's stripe with others, who makes or drops it
/// holds that alone.
#[derive(Debug, Default)]
pub(crate) struct Stripes([Stripe; 16]);

#[derive(Debug, Default)]
pub(crate) struct Stripe {
    pub(crate) lock: RwLock<()>,
    /// Changes under way: puts are counted as targets already, and deletes are still.
    pub(crate) changes: AtomicU32,
}

impl Stripes {
    pub(crate) fn of(&self, name: Fingerprint) -> &Stripe {
        &self.0[(name.0 >> 32) as usize % self.0.len()]
    }

    pub(crate) fn with_others(
        &self,
        name: Fingerprint,
        wait: bool,
    ) -> Option<RwLockReadGuard<'_, ()>> {
        let stripe = &self.of(name).lock;
        if wait { Some(stripe.read()) } else { stripe.try_read_for(MOMENT) }
    }

    pub(crate) fn alone(&self, name: Fingerprint, wait: bool) -> Option<RwLockWriteGuard<'_, ()>> {
        let stripe = &self.of(name).lock;
        if wait { Some(stripe.write()) } else { stripe.try_write_for(MOMENT) }
    }
}
