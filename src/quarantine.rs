//! Where damaged files go: out of the way, and never removed.

use std::path::Path;

use crate::error::Result;
use crate::fs::Fs;

/// Below the index's directory.
const DIRECTORY: &str = "quarantine";

/// Keeps a copy of a file, as these bytes: one, however often it is asked for.
pub(crate) fn keep_copy(fs: &Fs, root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = root.join(DIRECTORY);
    fs.create_dir_all(&dir)?;
    let mut copy = dir.join(name_of(root, path));
    let mut suffix = 0;
    // What is the beginning of it is an attempt that got no further.
    while fs.exists(&copy)? && !bytes.starts_with(&fs.read(&copy)?) {
        suffix += 1;
        copy = dir.join(format!("{}.{suffix}", name_of(root, path)));
    }
    fs.write_synced(&copy, bytes)?;
    fs.sync_dir(&dir)
}

/// Tells where the file was.
fn name_of(root: &Path, path: &Path) -> String {
    let place = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("--")
}
