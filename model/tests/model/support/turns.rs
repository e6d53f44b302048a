//! A simulated file system whose operations let other threads come in between.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Real};

use lsm_index::fs::{File, FileSystem, Metadata};
use shuttle::sync::atomic::{AtomicUsize, Ordering};

use super::simulated::Simulated;

#[derive(Debug)]
pub(crate) struct Turns {
    system: Simulated,
    turn: Arc<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// The model may go on with another thread at every atomic.
    next: AtomicUsize,
    /// Syncs of files fail from now on.
    broken: AtomicBool,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn File>,
    turn: Arc<Turn>,
}

impl Turn {
    fn take(&self) {
        self.next.fetch_add(1, Ordering::SeqCst);
    }
}

impl Turns {
    pub(crate) fn new(system: Simulated) -> Self {
        Self { system, turn: Arc::default() }
    }

    pub(crate) fn break_syncs(&self) {
        self.turn.broken.store(true, Real::SeqCst);
    }

    fn opened(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        let turn = Arc::clone(&self.turn);
        file.map(|file| Arc::new(OpenFile { file, turn }) as Arc<dyn File>)
    }
}

impl FileSystem for Turns {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.turn.take();
        self.system.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.turn.take();
        self.system.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.system.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.turn.take();
        self.opened(self.system.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened(self.system.open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn.take();
        self.system.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.turn.take();
        self.system.remove(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.system.metadata(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.turn.take();
        self.system.read(path)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        self.system.boot_id()
    }
}

impl File for OpenFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.turn.take();
        self.file.append(bytes)
    }

    /// What is appended while it is under way is not promised.
    fn sync(&self) -> io::Result<()> {
        self.turn.take();
        let outcome = if self.turn.broken.load(Real::SeqCst) {
            Err(io::Error::other("the disk is broken"))
        } else {
            self.file.sync()
        };
        self.turn.take();
        outcome
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.turn.take();
        self.file.truncate(len)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}
