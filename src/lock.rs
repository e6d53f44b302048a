//! One opener per directory.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{Fs, OpenFile};

/// An exclusive advisory lock on an index's directory. The operating system releases it when
/// the holder closes it or dies, so a lock file left behind never blocks anybody.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: OpenFile,
}

impl DirectoryLock {
    /// Takes the lock and writes this process's id into it, for whoever comes second.
    pub(crate) fn acquire(fs: &Fs, root: &Path) -> Result<Self> {
        let path = root.join("LOCK");
        let file = fs.open(&path)?;
        if !file.try_lock()? {
            let text = fs.read(&path).unwrap_or_default();
            let holder = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
            return Err(Error::Locked { path: root.to_path_buf(), holder });
        }
        file.truncate(0)?;
        file.append(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_opener_is_told_who_holds_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let first = DirectoryLock::acquire(&Fs::disk(), dir.path()).expect("free");
        let second = DirectoryLock::acquire(&Fs::disk(), dir.path());
        let me = std::process::id();
        assert!(matches!(second, Err(Error::Locked { holder: Some(pid), .. }) if pid == me));
        drop(first);
        DirectoryLock::acquire(&Fs::disk(), dir.path()).expect("free again");
    }

    #[test]
    fn a_symlink_is_the_same_directory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let alias = dir.path().join("alias");
        let real = dir.path().join("real");
        std::fs::create_dir(&real).expect("directory");
        std::os::unix::fs::symlink(&real, &alias).expect("symlink");
        let _held = DirectoryLock::acquire(&Fs::disk(), &real).expect("free");
        assert!(matches!(DirectoryLock::acquire(&Fs::disk(), &alias), Err(Error::Locked { .. })));
    }
}
