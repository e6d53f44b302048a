//! Where damaged files go: out of the way, and never removed.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Fs;

/// Below the index's directory.
const DIRECTORY: &str = "quarantine";

/// Keeps a copy of a file, as these bytes.
pub(crate) fn keep_copy(fs: &Fs, root: &Path, path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let copy = free_name(fs, root, path)?;
    fs.write_synced(&copy, bytes)?;
    fs.sync_dir(&root.join(DIRECTORY))?;
    Ok(copy)
}

/// Moves a file there; one that is missing is passed over.
pub(crate) fn put_away(fs: &Fs, root: &Path, path: &Path) -> Result<()> {
    if fs.exists(path)? {
        let to = free_name(fs, root, path)?;
        fs.rename(path, &to)?;
        fs.sync_dir(&root.join(DIRECTORY))?;
        path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))?;
    }
    Ok(())
}

/// A name that tells where the file was, and that nothing has yet.
fn free_name(fs: &Fs, root: &Path, path: &Path) -> Result<PathBuf> {
    let dir = root.join(DIRECTORY);
    fs.create_dir_all(&dir)?;
    let place = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
    let name = parts.join("--");
    for attempt in 0_u32.. {
        let suffix = if attempt == 0 { String::new() } else { format!(".{attempt}") };
        let candidate = dir.join(format!("{name}{suffix}"));
        if !fs.exists(&candidate)? {
            return Ok(candidate);
        }
    }
    Err(Error::TooLarge { what: "the quarantine", limit: u32::MAX.into() })
}
