//! Memory that was freed: the C library keeps it for later, and after a load that can be as much as the
//! index takes.

use std::time::{Duration, Instant};

use crate::index::Index;
use crate::mmap;
use crate::stats::Counters;
use crate::sync::Mutex;

/// Bytes of segments that have been written since, for it to be worth a millisecond or two; making them
/// took several times as many.
const ENOUGH: u64 = 1 << 17;
/// In the background it is done no more often.
const PAUSE: Duration = Duration::from_secs(1);

/// When freed memory was given back last, and what had been written by then.
#[derive(Debug, Default)]
pub(crate) struct Freed(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    written: u64,
    at: Option<Instant>,
}

impl Index {
    /// Gives freed memory back to the system: something is done that took much.
    pub(crate) fn give_back(&self) {
        let written = Counters::read(&self.counters.written_bytes);
        let mut given = self.freed.0.lock();
        if written >= given.written + ENOUGH {
            *given = Given { written, at: Some(Instant::now()) };
            mmap::give_back_freed();
        }
    }

    /// The same, where more will soon be wanted.
    pub(crate) fn give_back_now_and_then(&self) {
        let at = self.freed.0.lock().at;
        if at.is_none_or(|at| at.elapsed() >= PAUSE) {
            self.give_back();
        }
    }

    /// The same, where it is not segments that were freed.
    pub(crate) fn give_all_back(&self) {
        *self.freed.0.lock() = Given::default();
        self.give_back();
    }
}
