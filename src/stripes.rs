//! Locks of namespaces, dealt out by name.

use crate::hash::Fingerprint;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{MOMENT, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who adds and removes in a namespace holds its name's stripe with others, who makes or drops it
/// holds that alone.
#[derive(Debug, Default)]
pub(crate) struct Stripes([Stripe; 16]);

#[derive(Debug, Default)]
pub(crate) struct Stripe {
    pub(crate) lock: RwLock<()>,
    /// Changes under way: puts are counted as targets already, deletes are still, or find out whether
    /// theirs was the last.
    changes: AtomicU32,
}

/// A change under way.
#[derive(Debug)]
pub(crate) struct UnderWay<'s>(&'s AtomicU32);

impl UnderWay<'_> {
    /// How many others there are.
    pub(crate) fn others(&self) -> u32 {
        self.0.load(Ordering::SeqCst) - 1
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stripe {
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        UnderWay(&self.changes)
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.changes.load(Ordering::SeqCst) > 0
    }
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
