//! A simulated file system whose operations let other threads come in between.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering as Real};

use shuttle::sync::atomic::{AtomicUsize, Ordering};

use super::around::{Act, Around, Watch};
use super::simulated::Simulated;

pub(crate) type Turns = Around<Simulated, Turn>;

#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The model may go on with another thread at every atomic.
    next: AtomicUsize,
    /// Syncs of files fail from now on.
    broken: AtomicBool,
}

impl Turn {
    fn take(&self) {
        self.next.fetch_add(1, Ordering::SeqCst);
    }
}

impl Turns {
    pub(crate) fn break_syncs(&self) {
        self.watch.broken.store(true, Real::SeqCst);
    }
}

impl Watch for Turn {
    fn before(&self, act: Act, _path: &Path) -> io::Result<()> {
        self.take();
        if act == Act::Sync && self.broken.load(Real::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        Ok(())
    }

    /// What is appended while a sync is under way is not promised.
    fn after(&self, act: Act, _path: &Path) {
        if act == Act::Sync {
            self.take();
        }
    }
}
