//! The engine's locks and atomics on shuttle's, with the interface and the promises of parking_lot.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub(crate) use shuttle::sync::atomic;
use shuttle::sync::{self, TryLockError};

/// A number of the calling task's own.
pub(crate) fn thread_number() -> usize {
    usize::from(shuttle::current::me())
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// There is none only while its lock is let go of for a condition.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

impl<T> MutexGuard<'_, T> {
    fn wait_on(&mut self, condition: &sync::Condvar) {
        let held = self.0.take().expect("held");
        self.0 = Some(condition.wait(held).unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held")
    }
}

/// A call that waits for a moment is a moment too late after this many chances.
const CHANCES: usize = 2;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// There is no time here: others get a few chances to let go.
    pub(crate) fn try_lock_until(&self, _end: Instant) -> Option<MutexGuard<'_, T>> {
        (0..CHANCES).find_map(|_| {
            shuttle::thread::yield_now();
            self.try_lock()
        })
    }
}

/// Told of by all at once.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.wait_on(&self.0);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Readers beside each other, and beside one that may become a writer; writers alone.
#[derive(Default)]
pub(crate) struct RwLock<T> {
    data: sync::RwLock<T>,
    /// Held by who writes or may.
    writer: sync::Mutex<()>,
    /// Tasks that read. parking_lot lets no reader pass a writer that waits, so whoever reads twice
    /// may wait for itself: a fault even where it goes well.
    readers: std::sync::Mutex<Vec<shuttle::current::TaskId>>,
}

pub(crate) struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    data: sync::RwLockReadGuard<'a, T>,
}

pub(crate) struct RwLockUpgradableReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    // Let go of in this order.
    data: sync::RwLockReadGuard<'a, T>,
    writer: sync::MutexGuard<'a, ()>,
}

pub(crate) struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    data: sync::RwLockWriteGuard<'a, T>,
    writer: sync::MutexGuard<'a, ()>,
}

impl<T> RwLock<T> {
    fn shared(&self) -> sync::RwLockReadGuard<'_, T> {
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> sync::RwLockWriteGuard<'_, T> {
        self.data.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim_writer(&self) -> sync::MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<shuttle::current::TaskId>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        let me = shuttle::current::me();
        let twice = self.readers().contains(&me);
        assert!(!twice, "a reader reads again: it would wait for a writer that waits for it");
        let data = self.shared();
        self.readers().push(me);
        RwLockReadGuard { lock: self, data }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let writer = self.claim_writer();
        RwLockWriteGuard { lock: self, data: self.exclusive(), writer }
    }

    /// There is no time here.
    pub(crate) fn try_read_for(&self, _time: Duration) -> Option<RwLockReadGuard<'_, T>> {
        Some(self.read())
    }

    pub(crate) fn try_write_for(&self, _time: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        Some(self.write())
    }

    pub(crate) fn try_upgradable_read_for(
        &self,
        _time: Duration,
    ) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        Some(self.upgradable_read())
    }

    pub(crate) fn upgradable_read(&self) -> RwLockUpgradableReadGuard<'_, T> {
        let writer = self.claim_writer();
        RwLockUpgradableReadGuard { lock: self, data: self.shared(), writer }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        let me = shuttle::current::me();
        self.lock.readers().retain(|reader| *reader != me);
    }
}

impl<'a, T> RwLockUpgradableReadGuard<'a, T> {
    /// Only readers get in between.
    pub(crate) fn upgrade(guard: Self) -> RwLockWriteGuard<'a, T> {
        let Self { lock, data, writer } = guard;
        drop(data);
        RwLockWriteGuard { lock, data: lock.exclusive(), writer }
    }
}

impl<'a, T> RwLockWriteGuard<'a, T> {
    /// No writer gets in between.
    pub(crate) fn downgrade_to_upgradable(guard: Self) -> RwLockUpgradableReadGuard<'a, T> {
        let Self { lock, data, writer } = guard;
        drop(data);
        RwLockUpgradableReadGuard { lock, data: lock.shared(), writer }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> Deref for RwLockUpgradableReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

/// Set at most once. Whoever comes while its value is made waits for it.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    /// Looked at before `value` is, for others to come in between.
    turn: atomic::AtomicBool,
    /// Held to make the value. Not the lock of the standard library's: another task of this thread
    /// would wait for that in vain.
    making: Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            turn: atomic::AtomicBool::new(false),
            making: Mutex::new(()),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.turn.load(atomic::Ordering::SeqCst);
        self.value.get()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let _made_by_one = self.making.lock();
            if self.value.get().is_none() {
                let made = make();
                self.turn.store(true, atomic::Ordering::SeqCst);
                let _ = self.value.set(made);
            }
        }
        self.value.get().expect("it was set just now")
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
