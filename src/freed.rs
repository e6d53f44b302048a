//! Memory that was freed: the C library keeps it for later, and after a load that can be as much as the
//! index takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::mmap;

/// Bytes of segments that were built, or of an index that was closed, for it to be worth while. To build a
/// segment takes several times what it has.
const ENOUGH: u64 = 1 << 17;
/// In the background it is done no more often.
const PAUSE: Duration = Duration::from_secs(1);
/// Nor is it done if less time has passed than so many times what it took: in a process with much
/// else on that heap it can take long, and who wants memory waits.
const SHARE: u32 = 200;

/// Of the whole process, as the heap is.
static FREED: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<Option<Given>> = Mutex::new(None);

/// When memory was given back, and how long that took.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Instant,
    took: Duration,
}

impl Given {
    fn is_over(self, pause: Duration) -> bool {
        self.at.elapsed() >= pause.max(self.took * SHARE)
    }
}

/// So many bytes were freed, or passed through memory that was.
pub(crate) fn note(bytes: usize) {
    FREED.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Gives freed memory back to the system: something is done that took much. To be called without locks.
pub(crate) fn give_back() {
    give_back_after(Duration::ZERO);
}

/// The same, where more will soon be wanted.
pub(crate) fn give_back_now_and_then() {
    give_back_after(PAUSE);
}

fn give_back_after(pause: Duration) {
    // Whoever else is at it does it for all.
    let Some(mut last) = LAST.try_lock() else { return };
    let is_time = last.is_none_or(|last| last.is_over(pause));
    if !is_time || FREED.load(Ordering::Relaxed) < ENOUGH {
        return;
    }
    FREED.store(0, Ordering::Relaxed);
    let at = Instant::now();
    mmap::give_back_freed();
    *last = Some(Given { at, took: at.elapsed() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_small_share_of_the_time() {
        let second = Duration::from_secs(1);
        let ago = |seconds: u32, took: Duration| {
            Instant::now().checked_sub(second * seconds).map(|at| Given { at, took })
        };
        let given = |seconds, took| ago(seconds, took).expect("the clock has run for so long");
        assert!(given(0, Duration::ZERO).is_over(Duration::ZERO));
        assert!(!given(0, Duration::ZERO).is_over(PAUSE));
        assert!(given(2, second / 1000).is_over(PAUSE));
        assert!(!given(2, second / 10).is_over(Duration::ZERO));
        assert!(given(30, second / 10).is_over(PAUSE));
    }
}
