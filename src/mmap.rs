//! Mapped bytes: a segment's file, or anonymous memory for an index without a path.
//! The only unsafe code of the engine is here.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; argued below")]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Result};

/// Read-only bytes that outlive the file's name.
#[derive(Debug)]
pub(crate) struct MappedBytes {
    map: Mmap,
    on_disk: bool,
}

impl MappedBytes {
    /// Maps a whole file. An empty one is refused as damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let len = file.metadata().map_err(|e| Error::io("stat", path, e))?.len();
        if len == 0 {
            return Err(Error::corrupt(path, 0, "the file is empty"));
        }
        // SAFETY:
        // 1. Segments are written once, synced and never changed or cut afterwards; compaction
        //    unlinks the name, which leaves mapped bytes alone.
        // 2. The directory lock keeps other users of this library away.
        // 3. Another program that writes into the file can change what we read, which is why
        //    every index taken from these bytes is bounds-checked before it is used; one that
        //    truncates the file can raise SIGBUS, which docs/design.md states.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))?;
        Ok(Self { map, on_disk: true })
    }

    /// Keeps a buffer as read-only anonymous memory.
    pub(crate) fn anonymous(buffer: MmapMut) -> Result<Self> {
        let map =
            buffer.make_read_only().map_err(|e| Error::io("protect", Path::new(ANONYMOUS), e))?;
        Ok(Self { map, on_disk: false })
    }

    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk
    }
}

/// Stands for a path in errors about memory that has none.
pub(crate) const ANONYMOUS: &str = "(anonymous memory)";

/// Zeroed writable memory of `len` bytes, at least one page.
pub(crate) fn buffer(len: usize) -> Result<MmapMut> {
    MmapMut::map_anon(len).map_err(|e| Error::io("allocate", Path::new(ANONYMOUS), e))
}

impl Deref for MappedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.map
    }
}
