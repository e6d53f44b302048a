//! Locks and atomics of everything that threads share. The model (`model/`) builds this same engine
//! with those of shuttle, which tries out interleavings; it defines `shuttle`.
//!
//! What is shared between indexes (`hash.rs`, `mmap.rs`) stays with the standard library: it
//! outlives a run of the model, and is never held while anything else is asked for.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
        RwLockWriteGuard,
    };
    pub(crate) use std::sync::{OnceLock, atomic};
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
