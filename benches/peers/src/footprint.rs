//! What the operating system says a peer takes.

use std::fs;
use std::path::Path;

use crate::Result;

/// Every machine this runs on has pages of this size.
const PAGE: u64 = 4096;

/// Memory of this process that is resident, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All of it, pages of mapped files too.
    pub(crate) resident: u64,
    /// Without the pages that belong to files, which the system can take back and share.
    pub(crate) private: u64,
}

impl Memory {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/statm")?;
        let mut pages = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || pages.next().ok_or("statm is short")?.map_err(crate::Error::from);
        let (_size, resident, shared) = (next()?, next()?, next()?);
        Ok(Self { resident: PAGE * resident, private: PAGE * (resident - shared) })
    }

    /// What has come since; a peer may have given back more than it took.
    pub(crate) fn growth_since(self, before: Self) -> Self {
        Self {
            resident: self.resident.saturating_sub(before.resident),
            private: self.private.saturating_sub(before.private),
        }
    }
}

/// Bytes that the files below a directory occupy; holes take nothing.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => 512 * metadata.blocks(),
        };
    }
    Ok(bytes)
}
