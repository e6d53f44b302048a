//! The operating system's file system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{File, FileSystem, Metadata};
use crate::mmap::Mapping;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(fs::File);

impl FileSystem for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        // Appending and truncating exclude each other at opening.
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        file.set_len(0)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::metadata(path).map(|meta| Metadata { len: meta.len(), is_dir: meta.is_dir() })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn map(&self, path: &Path) -> io::Result<Option<Mapping>> {
        Mapping::of(&fs::File::open(path)?).map(Some)
    }

    /// Linux tells; elsewhere nobody does.
    fn boot_id(&self) -> Option<[u8; 16]> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&digits, 16).ok().map(u128::to_le_bytes)
    }
}

impl File for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // The length counts as data; times do not matter.
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_go_to_the_end_wherever_that_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        let file = Disk.create(&path).expect("create");
        for (cut, bytes) in [(0, "abc"), (3, "de"), (2, "xyz")] {
            file.truncate(cut).expect("truncate");
            assert_eq!(file.append(bytes.as_bytes()).expect("append"), bytes.len());
        }
        file.sync().expect("sync");
        assert_eq!(Disk.read(&path).expect("read"), b"abxyz");
        Disk.open(&path).expect("open").append(b"!").expect("append");
        assert_eq!(Disk.metadata(&path).expect("there"), Metadata { len: 6, is_dir: false });
        Disk.create(&path).expect("create");
        assert_eq!(Disk.metadata(&path).expect("there").len, 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_boot_is_named_and_stays() {
        assert!(Disk.boot_id().is_some_and(|id| id != [0; 16]));
        assert_eq!(Disk.boot_id(), Disk.boot_id());
    }
}
