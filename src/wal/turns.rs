//! Whose turn it is to sync: one at a time, and what it does is done for all who wait.

use crate::sync::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<bool>,
    over: Condvar,
}

/// The right to sync, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut taken = self.taken.lock();
        while *taken {
            self.over.wait(&mut taken);
        }
        *taken = true;
        Turn(self)
    }

    /// Waits for a turn, unless `done` says there is no need of it any more. Whoever waits is told
    /// when a turn is over, all at once: with a lock in its place each would have to get hold of
    /// that first, while those who come again and again get it before them.
    pub(super) fn take_unless(&self, done: impl Fn() -> bool) -> Option<Turn<'_>> {
        let mut taken = self.taken.lock();
        while !done() {
            if !*taken {
                *taken = true;
                return Some(Turn(self));
            }
            self.over.wait(&mut taken);
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_turn_does_for_all_who_wait() {
        let (turns, done) = (Turns::default(), AtomicU32::new(0));
        let first = turns.take();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = turns.take_unless(|| done.load(Ordering::SeqCst) > 0);
                    assert!(turn.is_none(), "it was done");
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            done.store(1, Ordering::SeqCst);
            drop(first);
        });
        drop(turns.take());
    }
}
