//! Locks and atomics of everything that threads share. The model (`model/`) builds this same engine
//! with those of shuttle, which tries out interleavings; it defines `shuttle`.
//!
//! What is shared between indexes (`slots.rs`, `mmap.rs`) stays with the standard library: it
//! outlives a run of the model, and is never held while anything else is asked for.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
        RwLockWriteGuard,
    };
    pub(crate) use std::sync::{OnceLock, atomic};

    /// A number of the calling thread's own, to spread counters by; small ones first.
    #[inline]
    pub(crate) fn thread_number() -> usize {
        static THREADS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, atomic::Ordering::Relaxed);
        }
        // A thread that is ending may have none any more.
        NUMBER.try_with(|number| *number).unwrap_or_default()
    }
}

#[cfg(not(shuttle))]
pub(crate) use real::*;

#[cfg(shuttle)]
#[path = "../model/src/sync.rs"]
mod modelled;

#[cfg(shuttle)]
pub(crate) use modelled::*;

/// How long a call that must not wait waits for another.
pub(crate) const MOMENT: std::time::Duration = std::time::Duration::from_micros(50);
