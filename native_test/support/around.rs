//! A file system around another one: it is told of every operation, and may hold it up or fail it.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::fs::{File, FileSystem, Mapping, Metadata};

/// What is done to the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    CreateDir,
    SyncDir,
    Create,
    Rename,
    Remove,
    Read,
    Append,
    Sync,
    Truncate,
}

pub(crate) trait Watch: Debug + Send + Sync + 'static {
    /// Before the operation, which is not done if this fails.
    fn before(&self, act: Act, path: &Path) -> io::Result<()>;

    /// After the operation, or its failure.
    fn after(&self, _act: Act, _path: &Path) {}
}

#[derive(Debug)]
pub(crate) struct Around<S, W> {
    system: S,
    pub(crate) watch: Arc<W>,
}

impl<S: Clone, W> Clone for Around<S, W> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), watch: Arc::clone(&self.watch) }
    }
}

#[derive(Debug)]
struct Watched<W> {
    file: Arc<dyn File>,
    path: PathBuf,
    watch: Arc<W>,
}

fn watched<T>(
    watch: &impl Watch,
    act: Act,
    path: &Path,
    operation: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let outcome = watch.before(act, path).and_then(|()| operation());
    watch.after(act, path);
    outcome
}

impl<S, W: Watch> Around<S, W> {
    pub(crate) fn new(system: S, watch: W) -> Self {
        Self { system, watch: Arc::new(watch) }
    }

    fn file(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(Watched { file, path: path.to_path_buf(), watch: Arc::clone(&self.watch) })
    }
}

impl<S: FileSystem, W: Watch> FileSystem for Around<S, W> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        watched(&*self.watch, Act::CreateDir, path, || self.system.create_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        watched(&*self.watch, Act::SyncDir, path, || self.system.sync_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.system.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let created = watched(&*self.watch, Act::Create, path, || self.system.create(path));
        created.map(|file| self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.system.open(path).map(|file| self.file(path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        watched(&*self.watch, Act::Rename, to, || self.system.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        watched(&*self.watch, Act::Remove, path, || self.system.remove(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.system.metadata(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        watched(&*self.watch, Act::Read, path, || self.system.read(path))
    }

    fn map(&self, path: &Path) -> io::Result<Option<Mapping>> {
        self.system.map(path)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        self.system.boot_id()
    }
}

impl<W: Watch> File for Watched<W> {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        watched(&*self.watch, Act::Append, &self.path, || self.file.append(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        watched(&*self.watch, Act::Sync, &self.path, || self.file.sync())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        watched(&*self.watch, Act::Truncate, &self.path, || self.file.truncate(len))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}
