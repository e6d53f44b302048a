//! What the engine does with files, put together from the seam's operations: errors that name
//! operation and place, whole writes, files replaced in one step.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, File, FileSystem, Metadata};
use crate::error::{Error, Result};
use crate::mmap::Mapping;
use crate::sync::OnceLock;

/// An index's access to its file system. Clones are the same access.
#[derive(Clone, Debug)]
pub(crate) struct Fs {
    system: Arc<dyn FileSystem>,
    /// Why nothing may be written any more, once that is so.
    poison: Arc<OnceLock<String>>,
}

/// A file that is open for appending.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    file: Arc<dyn File>,
    path: PathBuf,
    fs: Fs,
}

/// Where a replacement of a file is written first; a crash may leave it behind.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// The name of the n-th file of a kind.
pub(crate) fn numbered(dir: &Path, number: u64, extension: &str) -> PathBuf {
    dir.join(format!("{number:020}.{extension}"))
}

/// The number in such a name.
pub(crate) fn number_of(path: &Path, extension: &str) -> Option<u64> {
    let digits = path.file_stem()?.to_str()?;
    let named = path.extension().is_some_and(|e| e == extension)
        && digits.len() == 20
        && digits.bytes().all(|b| b.is_ascii_digit());
    if named { digits.parse().ok() } else { None }
}

impl Fs {
    pub(crate) fn new(system: Arc<dyn FileSystem>) -> Self {
        Self { system, poison: Arc::default() }
    }

    pub(crate) fn disk() -> Self {
        Self::new(Arc::new(Disk))
    }

    /// Why nothing may be written any more, if that is so.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Nothing may be written from now on: memory or files are in doubt. The first reason counts.
    pub(crate) fn poison(&self, reason: &str) {
        self.poison.get_or_init(|| reason.to_owned());
    }

    /// After a sync that failed it is unknown what is on stable storage, and asking again tells
    /// nothing.
    fn synced(&self, op: &'static str, path: &Path, outcome: io::Result<()>) -> Result<()> {
        // Nor does one that comes after.
        if let Some(reason) = self.poisoned() {
            return Err(Error::Poisoned { reason: reason.to_owned() });
        }
        outcome.map_err(|e| {
            let error = Error::io(op, path, e);
            self.poison(&error.to_string());
            error
        })
    }

    /// Makes a directory and those above it that are missing, durably.
    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match self.system.metadata(path) {
            Ok(Metadata { is_dir: true, .. }) => return Ok(()),
            Ok(_) => {
                let source = io::ErrorKind::AlreadyExists.into();
                return Err(Error::io("create directory", path, source));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("create directory", path, e)),
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        match self.system.create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create directory", path, e));
            }
            _ => {}
        }
        self.sync_parent(path)
    }

    /// Syncs the directory that a directory is in, unless that may not be read: then it is not
    /// ours.
    pub(crate) fn sync_parent(&self, path: &Path) -> Result<()> {
        let parent = match path.parent() {
            None => return Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
        };
        match self.system.sync_dir(parent) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            outcome => self.synced("sync directory", parent, outcome),
        }
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.synced("sync directory", path, self.system.sync_dir(path))
    }

    fn handle(&self, path: &Path, file: Arc<dyn File>) -> OpenFile {
        OpenFile { file, path: path.to_path_buf(), fs: self.clone() }
    }

    /// An empty file under that name, for appending.
    pub(crate) fn create(&self, path: &Path) -> Result<OpenFile> {
        let file = self.system.create(path).map_err(|e| Error::io("create", path, e))?;
        Ok(self.handle(path, file))
    }

    /// The file under that name, for appending; made if there is none.
    pub(crate) fn open(&self, path: &Path) -> Result<OpenFile> {
        let file = self.system.open(path).map_err(|e| Error::io("open", path, e))?;
        Ok(self.handle(path, file))
    }

    /// Writes a new file and syncs its bytes (not its directory's entry). A file that could not be
    /// written whole is removed: on a full disk its space is needed.
    pub(crate) fn write_synced(&self, path: &Path, bytes: &[u8]) -> Result<OpenFile> {
        let file = self.create(path)?;
        let synced = file.append(bytes).and_then(|()| file.sync());
        if synced.is_err() {
            let _ = self.remove(path);
        }
        synced.map(|()| file)
    }

    /// Puts a new file in the place of `path` in one step: after a crash the old or the new one is
    /// there, whole. Which of them is settled by syncing the directory.
    pub(crate) fn rename_over(&self, path: &Path, bytes: &[u8]) -> Result<OpenFile> {
        let temporary = temporary(path);
        let file = self.write_synced(&temporary, bytes)?;
        if let Err(e) = self.rename(&temporary, path) {
            let _ = self.remove(&temporary);
            return Err(e);
        }
        Ok(OpenFile { path: path.to_path_buf(), ..file })
    }

    /// Gives a file another name.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.system.rename(from, to).map_err(|e| Error::io("rename to", to, e))
    }

    /// As [`Fs::rename_over`], and syncs the directory.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.rename_over(path, bytes)?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    /// What there is under a name; none if nothing is.
    pub(crate) fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        match self.system.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("stat", path, e)),
        }
    }

    /// The length of a file, in bytes.
    pub(crate) fn len(&self, path: &Path) -> Result<u64> {
        let metadata = self.system.metadata(path).map_err(|e| Error::io("stat", path, e))?;
        Ok(metadata.len)
    }

    pub(crate) fn exists(&self, path: &Path) -> Result<bool> {
        self.metadata(path).map(|found| found.is_some())
    }

    /// Reads a whole small file; one above `limit` bytes is refused before it is read.
    pub(crate) fn read_bounded(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let len = self.len(path)?;
        if len > limit {
            let what = format!("{len} bytes where at most {limit} belong");
            return Err(Error::corrupt(path, 0, what));
        }
        self.read(path)
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.system.read(path).map_err(|e| Error::io("read", path, e))
    }

    /// Maps a whole file; none where that cannot be had.
    pub(crate) fn map(&self, path: &Path) -> Result<Option<Mapping>> {
        self.system.map(path).map_err(|e| Error::io("map", path, e))
    }

    /// Removes a file; one that is gone already is as good.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        match self.system.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Names the time since the system started; zero if that cannot be told.
    pub(crate) fn boot_id(&self) -> [u8; 16] {
        self.system.boot_id().unwrap_or_default()
    }

    /// The paths in a directory, in no particular order.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<PathBuf>> {
        self.system.list(path).map_err(|e| Error::io("list", path, e))
    }
}

impl OpenFile {
    /// Writes all bytes at the end. After an error some of them may be there.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.append(rest) {
                Ok(0) => {
                    return Err(Error::io("write", &self.path, io::ErrorKind::WriteZero.into()));
                }
                Ok(written) => rest = &rest[written..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("write", &self.path, e)),
            }
        }
        Ok(())
    }

    /// Puts the file's bytes on stable storage.
    pub(crate) fn sync(&self) -> Result<()> {
        self.fs.synced("sync", &self.path, self.file.sync())
    }

    pub(crate) fn truncate(&self, len: u64) -> Result<()> {
        self.file.truncate(len).map_err(|e| Error::io("truncate", &self.path, e))
    }

    /// Takes the file's lock for as long as it is open; false if another holds it.
    pub(crate) fn try_lock(&self) -> Result<bool> {
        self.file.try_lock().map_err(|e| Error::io("lock", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel tells a failed write-back once: whoever asks later is told that all is well.
    #[test]
    fn after_a_failed_sync_no_other_counts() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let fs = Fs::disk();
        let file = fs.create(&dir.path().join("file")).expect("create");
        file.sync().expect("sync");
        let other = fs.clone();
        assert!(other.synced("sync", Path::new("x"), Err(io::ErrorKind::Other.into())).is_err());
        assert!(matches!(file.sync(), Err(Error::Poisoned { .. })));
        assert!(matches!(fs.sync_dir(dir.path()), Err(Error::Poisoned { .. })));
        // Another index is another matter.
        Fs::disk().sync_dir(dir.path()).expect("sync");
    }
}
