//! A bound on what background work writes, for all indexes that share it: a leaky bucket.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering};

/// More than this is not owed: what a wait for longer would leave undone, merges and the log's end, costs
/// more than the device's time that it saves.
const MOST_OWED: Duration = Duration::from_secs(60);

/// How many bytes of segments background work may write a second. All flushes and merges count;
/// those that a writer or a caller waits for are not held up, so that what they write is made up for
/// by the others: by a wait of a minute at the most.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; none if that is 0.
    rate: AtomicU64,
    /// When all that was written will have had its time: nanoseconds since `start`.
    free_at: AtomicU64,
    start: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rate: AtomicU64::new(0), free_at: AtomicU64::new(0), start: Instant::now() }
    }
}

impl Pace {
    /// Sets the bytes a second from now on; `None` takes the bound away.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.rate.store(bytes_per_second.map_or(0, |rate| rate.max(1)), Ordering::SeqCst);
        self.free_at.store(0, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Takes in that so many bytes were written.
    pub(crate) fn spend(&self, bytes: usize) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let now = self.now();
        let latest = now.saturating_add(MOST_OWED.as_nanos() as u64);
        let later = |free_at: u64| Some(free_at.max(now).saturating_add(nanos).min(latest));
        let _ = self.free_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// How long background work should wait before its next piece; not at all without a bound.
    #[must_use]
    pub fn wait(&self) -> Duration {
        if self.rate.load(Ordering::SeqCst) == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.free_at.load(Ordering::SeqCst).saturating_sub(self.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_to_be_waited_for() {
        let pace = Pace::default();
        pace.spend(usize::MAX);
        assert_eq!(pace.wait(), Duration::ZERO);
        pace.set(Some(1_000));
        assert_eq!(pace.wait(), Duration::ZERO);
        pace.spend(15_000);
        pace.spend(15_000);
        let wait = pace.wait();
        assert!(wait > Duration::from_secs(25) && wait <= Duration::from_secs(30), "{wait:?}");
        pace.set(None);
        assert_eq!(pace.wait(), Duration::ZERO);
        // As slow as can be said, and as much.
        pace.set(Some(0));
        for _ in 0..3 {
            pace.spend(usize::MAX);
            assert!(pace.wait() > MOST_OWED / 2 && pace.wait() <= MOST_OWED, "{:?}", pace.wait());
        }
    }
}
