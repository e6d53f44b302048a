//! Every file operation of the engine: names, fsync, atomic replacement.
//!
//! What is assumed of the file system: after `fsync` of a file its bytes are on stable storage;
//! after `fsync` of a directory its entries are; `rename` replaces atomically.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where a replacement of a file is written first; a crash may leave it behind.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

pub(crate) fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("create directory", path, e))
}

pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("sync directory", path, e))
}

/// Writes a new file and syncs its bytes (not its directory's entry). A file that could not be
/// written whole is removed: on a full disk its space is needed.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<File> {
    let mut file = File::create(path).map_err(|e| Error::io("create", path, e))?;
    let written = file.write_all(bytes).map_err(|e| Error::io("write", path, e));
    let synced = written.and_then(|()| file.sync_all().map_err(|e| Error::io("sync", path, e)));
    if synced.is_err() {
        let _ = fs::remove_file(path);
    }
    synced.map(|()| file)
}

/// Puts a new file in the place of `path` in one step: after a crash the old or the new one is
/// there, whole. Which of them is settled by syncing the directory.
pub(crate) fn rename_over(path: &Path, bytes: &[u8]) -> Result<File> {
    let temporary = temporary(path);
    let file = write_synced(&temporary, bytes)?;
    if let Err(e) = fs::rename(&temporary, path) {
        let _ = fs::remove_file(&temporary);
        return Err(Error::io("rename to", path, e));
    }
    Ok(file)
}

/// As [`rename_over`], and syncs the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    rename_over(path, bytes)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The length of a file, in bytes.
pub(crate) fn len(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|meta| meta.len()).map_err(|e| Error::io("stat", path, e))
}

/// Reads a whole small file; one above `limit` bytes is refused before it is read.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let len = len(path)?;
    if len > limit {
        return Err(Error::corrupt(path, 0, format!("{len} bytes where at most {limit} belong")));
    }
    read(path)
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io("read", path, e))
}

pub(crate) fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| Error::io("stat", path, e))
}

/// Removes a file; one that is gone already is as good.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The paths in a directory, in no particular order.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).map_err(|e| Error::io("list", path, e))?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(|e| Error::io("list", path, e))).collect()
}
