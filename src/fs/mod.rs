//! The seam to the file system: every file operation of the engine goes through [`FileSystem`].
//!
//! What is assumed: after [`File::sync`] a file's bytes are on stable storage; after
//! [`FileSystem::sync_dir`] a directory's entries are; a rename replaces in one step. [`Disk`] is
//! the operating system's; tests put one in its place that crashes and fails at will.

mod disk;
mod handle;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::mmap::Mapping;
pub use disk::Disk;
pub(crate) use handle::{Fs, OpenFile, number_of, numbered, temporary};

/// What there is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Length in bytes, of a file.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The operations that the engine asks of a file system. Each is one call of the operating system,
/// or behaves as one: it is done, or not, and a failure tells why.
pub trait FileSystem: Debug + Send + Sync {
    /// Makes a directory in one that exists.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Puts the entries of a directory on stable storage: names that came, went or changed.
    ///
    /// # Errors
    /// What the system says; what is on stable storage is unknown then.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The paths in a directory, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// An empty file, for appending; one of that name loses its bytes.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// The file of that name, for appending; made if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in one step; whatever had that name is gone.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Who has it open or mapped keeps it.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// What there is under a name.
    ///
    /// # Errors
    /// `NotFound`, and what the system says.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Maps a file into memory; `None` where that cannot be had, for the caller to read it.
    ///
    /// # Errors
    /// What the system says.
    fn map(&self, _path: &Path) -> io::Result<Option<Mapping>> {
        Ok(None)
    }

    /// Names the time since the operating system started: as long as it is the same, every byte
    /// written is still there, synced or not. `None` if that cannot be told.
    fn boot_id(&self) -> Option<[u8; 16]> {
        None
    }
}

/// A file that is open for appending.
pub trait File: Debug + Send + Sync {
    /// Writes at the end; the number of bytes it took, which may be fewer than given.
    ///
    /// # Errors
    /// What the system says; nothing was written then.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Puts the file's bytes and length on stable storage.
    ///
    /// # Errors
    /// What the system says; what is on stable storage is unknown then, and asking again tells
    /// nothing (the system may have forgotten what it could not write).
    fn sync(&self) -> io::Result<()>;

    /// Cuts off what is beyond a length.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Takes the file's advisory lock, held until the file is dropped; false if another holds it.
    ///
    /// # Errors
    /// What the system says.
    fn try_lock(&self) -> io::Result<bool>;
}
