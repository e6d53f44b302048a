//! A segment's bytes: its mapped file, or memory for what is small or has no file.
//! The only unsafe code of the engine is here.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature; argued below")]

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Result};
use crate::fs::Fs;

/// Files below this are read and not mapped, and memory below it comes from the heap: a system
/// allows a process some ten thousand mappings (65 530 on Linux), and a VM that can get no more
/// ends. And many small segments, each rounded up to a page, would take several times what they
/// hold.
const SMALLEST_MAP: u64 = 64 * 1024;
/// At most this many files are mapped at a time, by all indexes together; further ones are read.
const MOST_MAPS: usize = 16 * 1024;

static MAPS: AtomicUsize = AtomicUsize::new(0);

/// Read-only bytes that outlive the file's name.
#[derive(Debug)]
pub(crate) struct MappedBytes {
    bytes: Bytes,
    on_disk: bool,
}

#[derive(Debug)]
enum Bytes {
    File(Mapping, MapCount),
    Anonymous(Mmap),
    Heap(Vec<u8>),
}

/// A file mapped into memory, read-only.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY:
        // 1. Segments are written once, synced and never changed or cut afterwards; compaction
        //    unlinks the name, which leaves mapped bytes alone. The file of terms is mapped while
        //    an index opens, before anything is written to it; of what is cut off then, nothing
        //    is read any more.
        // 2. The directory lock keeps other users of this library away.
        // 3. Another program that writes into the file can change what we read, which is why
        //    every index taken from these bytes is bounds-checked before it is used; one that
        //    truncates the file can raise SIGBUS, which docs/design.md states.
        unsafe { Mmap::map(file) }.map(Mapping)
    }
}

/// One of [`MAPS`], for as long as it lives.
#[derive(Debug)]
struct MapCount;

impl MapCount {
    fn take() -> Option<Self> {
        let taken = |maps| (maps < MOST_MAPS).then_some(maps + 1);
        MAPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok().map(|_| MapCount)
    }
}

impl Drop for MapCount {
    fn drop(&mut self) {
        MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MappedBytes {
    /// Maps a whole file, or reads a small one. An empty one is refused as damaged.
    pub(crate) fn open(fs: &Fs, path: &Path) -> Result<Self> {
        let len = fs.len(path)?;
        if len == 0 {
            return Err(Error::corrupt(path, 0, "the file is empty"));
        }
        let count = if len < SMALLEST_MAP { None } else { MapCount::take() };
        let bytes = match count {
            Some(count) => fs.map(path)?.map(|map| Bytes::File(map, count)),
            None => None,
        };
        let bytes = match bytes {
            Some(mapped) => mapped,
            None => Bytes::Heap(fs.read(path)?),
        };
        Ok(Self { bytes, on_disk: true })
    }

    /// Keeps a buffer as read-only anonymous memory.
    pub(crate) fn anonymous(buffer: Buffer) -> Result<Self> {
        let bytes = match buffer {
            Buffer::Heap(bytes) => Bytes::Heap(bytes),
            Buffer::Anonymous(map) => Bytes::Anonymous(
                map.make_read_only().map_err(|e| Error::io("protect", Path::new(ANONYMOUS), e))?,
            ),
        };
        Ok(Self { bytes, on_disk: false })
    }

    /// Whether there is a file that holds these bytes.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    /// Whether they are in the page cache only, and not in memory of our own.
    pub(crate) fn is_mapped_file(&self) -> bool {
        matches!(self.bytes, Bytes::File(..))
    }
}

/// Stands for a path in errors about memory that has none.
pub(crate) const ANONYMOUS: &str = "(anonymous memory)";

/// Writable memory that a segment is laid out in.
#[derive(Debug)]
pub(crate) enum Buffer {
    Anonymous(MmapMut),
    Heap(Vec<u8>),
}

impl Buffer {
    /// `len` bytes of zero.
    pub(crate) fn zeroed(len: usize) -> Result<Self> {
        if (len as u64) < SMALLEST_MAP {
            return Ok(Buffer::Heap(vec![0; len]));
        }
        MmapMut::map_anon(len)
            .map(Buffer::Anonymous)
            .map_err(|e| Error::io("allocate", Path::new(ANONYMOUS), e))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Anonymous(map) => map,
            Buffer::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Buffer::Anonymous(map) => map,
            Buffer::Heap(bytes) => bytes,
        }
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::File(map, _) => &map.0,
            Bytes::Anonymous(map) => map,
            Bytes::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_takes_no_pages_of_its_own() {
        for (len, heap) in [(1, true), (SMALLEST_MAP - 1, true), (SMALLEST_MAP, false)] {
            let mut buffer = Buffer::zeroed(len as usize).expect("memory");
            assert!(buffer.iter().all(|&b| b == 0));
            buffer.fill(7);
            let bytes = MappedBytes::anonymous(buffer).expect("kept");
            assert_eq!(matches!(bytes.bytes, Bytes::Heap(_)), heap);
            assert!(!bytes.is_on_disk() && bytes.iter().all(|&b| b == 7));
            assert_eq!(bytes.len() as u64, len);
        }
    }

    #[test]
    fn small_files_are_read_and_large_ones_mapped() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        for (len, mapped) in [(1, false), (SMALLEST_MAP - 1, false), (SMALLEST_MAP, true)] {
            std::fs::write(&path, vec![7; len as usize]).expect("written");
            let bytes = MappedBytes::open(&Fs::disk(), &path).expect("open");
            assert_eq!(bytes.len() as u64, len);
            assert_eq!((bytes.is_mapped_file(), bytes.is_on_disk()), (mapped, true));
            std::fs::remove_file(&path).expect("removed");
            assert!(bytes.iter().all(|&b| b == 7));
        }
    }
}
