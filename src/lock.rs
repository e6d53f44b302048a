//! One opener per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

/// An exclusive advisory lock on an index's directory. The operating system releases it when
/// the holder closes it or dies, so a lock file left behind never blocks anybody.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock and writes this process's id into it, for whoever comes second.
    pub(crate) fn acquire(root: &Path) -> Result<Self> {
        let path = root.join("LOCK");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder =
                    file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::Locked { path: root.to_path_buf(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        let note_holder = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note_holder(&mut file).map_err(|e| Error::io("write", &path, e))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_opener_is_told_who_holds_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = DirectoryLock::acquire(dir.path()).expect("free");
        let second = DirectoryLock::acquire(dir.path());
        let me = std::process::id();
        assert!(matches!(second, Err(Error::Locked { holder: Some(pid), .. }) if pid == me));
        drop(first);
        DirectoryLock::acquire(dir.path()).expect("free again");
    }

    #[test]
    fn a_symlink_is_the_same_directory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let alias = dir.path().join("alias");
        let real = dir.path().join("real");
        std::fs::create_dir(&real).expect("directory");
        std::os::unix::fs::symlink(&real, &alias).expect("symlink");
        let _held = DirectoryLock::acquire(&real).expect("free");
        assert!(matches!(DirectoryLock::acquire(&alias), Err(Error::Locked { .. })));
    }
}
