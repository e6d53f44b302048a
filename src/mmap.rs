//! A segment's bytes: its mapped file, or memory for what is small or has no file.
//! Unsafe code of the engine is here, in `rcu.rs` and in `opened.rs` alone.
#![expect(unsafe_code, reason = "mapping a file and calling C are unsafe by nature; argued below")]

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::residency::{PAGE, Residency, huge_pages, populate};

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
    locked: bool,
}

#[derive(Debug)]
enum Bytes {
    File(Mapping, MapCount),
    Anonymous(Pages<Mmap>),
    Heap(Vec<u8>),
}

/// Anonymous memory. What is mapped beyond `len` is there for the sake of whole pages, and what is
/// beyond `taken` was never touched.
#[derive(Debug)]
pub(crate) struct Pages<M> {
    map: M,
    len: usize,
    taken: usize,
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
        Self::open_as(fs, path, Residency::Mmap)
    }

    /// The same, and has it in memory as `residency` says.
    pub(crate) fn open_as(fs: &Fs, path: &Path, residency: Residency) -> Result<Self> {
        let len = fs.len(path)?;
        if len == 0 {
            return Err(Error::corrupt(path, 0, "the file is empty"));
        }
        if residency == Residency::Heap {
            let mut buffer = Buffer::zeroed(len as usize, residency)?;
            let bytes = fs.read(path)?;
            if bytes.len() as u64 != len {
                return Err(Error::corrupt(path, bytes.len(), "the file changes its length"));
            }
            buffer.copy_from_slice(&bytes);
            return Self::stored(buffer);
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
        let mut opened = Self { bytes, on_disk: true, locked: false };
        match residency {
            Residency::Mmap | Residency::Heap => {}
            Residency::Populate => opened.populate(path)?,
            Residency::Mlock => opened.lock(path)?,
        }
        Ok(opened)
    }

    /// Has all of a mapped file in memory, for now.
    pub(crate) fn populate(&self, path: &Path) -> Result<()> {
        match &self.bytes {
            Bytes::File(map, _) => populate(&map.0).map_err(|e| Error::io("read", path, e)),
            Bytes::Anonymous(_) | Bytes::Heap(_) => Ok(()),
        }
    }

    /// Has it in memory to stay; small ones on the heap are left as they are.
    pub(crate) fn lock(&mut self, path: &Path) -> Result<()> {
        match &self.bytes {
            Bytes::File(map, _) => map.0.lock(),
            Bytes::Anonymous(pages) => pages.map.lock(),
            Bytes::Heap(_) => Ok(()),
        }
        .map_err(|e| Error::io("lock", path, e))?;
        self.locked = !matches!(self.bytes, Bytes::Heap(_));
        Ok(())
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.locked
    }

    /// Keeps a buffer that is in a file too.
    pub(crate) fn stored(buffer: Buffer) -> Result<Self> {
        Ok(Self { on_disk: true, ..Self::anonymous(buffer)? })
    }

    /// Bytes of memory taken, or mapped.
    pub(crate) fn allocated(&self) -> usize {
        match &self.bytes {
            Bytes::File(map, _) => map.0.len(),
            Bytes::Anonymous(pages) => pages.taken,
            Bytes::Heap(bytes) => bytes.len(),
        }
    }

    /// Keeps a buffer as read-only anonymous memory.
    pub(crate) fn anonymous(buffer: Buffer) -> Result<Self> {
        let bytes = match buffer {
            Buffer::Heap(bytes) => Bytes::Heap(bytes),
            Buffer::Anonymous(Pages { map, len, taken }) => {
                let protect = |e| Error::io("protect", Path::new(ANONYMOUS), e);
                let map = map.make_read_only().map_err(protect)?;
                Bytes::Anonymous(Pages { map, len, taken })
            }
        };
        Ok(Self { bytes, on_disk: false, locked: false })
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
    Anonymous(Pages<MmapMut>),
    Heap(Vec<u8>),
}

impl Buffer {
    /// `len` bytes of zero, in huge pages where that is asked for and pays.
    pub(crate) fn zeroed(len: usize, residency: Residency) -> Result<Self> {
        if (len as u64) < SMALLEST_MAP {
            return Ok(Buffer::Heap(vec![0; len]));
        }
        let pages = match residency {
            Residency::Heap => huge_pages(len),
            _ => MmapMut::map_anon(len).map(|map| (map, len.next_multiple_of(PAGE))),
        };
        let (map, taken) = pages.map_err(Self::unavailable)?;
        Ok(Buffer::Anonymous(Pages { map, len, taken }))
    }

    fn unavailable(e: io::Error) -> Error {
        Error::io("allocate", Path::new(ANONYMOUS), e)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Anonymous(pages) => &pages.map[..pages.len],
            Buffer::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Buffer::Anonymous(pages) => &mut pages.map[..pages.len],
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
            Bytes::Anonymous(pages) => &pages.map[..pages.len],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

/// Gives back to the system what was freed and the C library keeps: glibc until all that comes after it is
/// freed too, and what is last in a thread's heap in any case. Others know no such call.
pub(crate) fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes a number, may be called by any thread at any time, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_takes_no_pages_of_its_own() {
        let huge = 2 << 20;
        for (len, residency, taken) in [
            (1, Residency::Mmap, None),
            (SMALLEST_MAP - 1, Residency::Heap, None),
            (SMALLEST_MAP, Residency::Mmap, Some(SMALLEST_MAP)),
            (SMALLEST_MAP + 1, Residency::Heap, Some(SMALLEST_MAP + 4096)),
            (huge - 1, Residency::Mmap, Some(huge)),
            (huge * 3 / 4 + 1, Residency::Heap, Some(huge)),
            (huge + 1, Residency::Heap, Some(huge + 4096)),
        ] {
            let mut buffer = Buffer::zeroed(len as usize, residency).expect("memory");
            assert!(buffer.iter().all(|&b| b == 0));
            buffer.fill(7);
            let bytes = MappedBytes::anonymous(buffer).expect("kept");
            assert_eq!(matches!(bytes.bytes, Bytes::Heap(_)), taken.is_none());
            assert_eq!(bytes.allocated() as u64, taken.unwrap_or(len));
            assert!(!bytes.is_on_disk() && bytes.iter().all(|&b| b == 7));
            assert_eq!(bytes.len() as u64, len);
        }
    }

    #[test]
    fn a_file_is_the_same_wherever_its_bytes_are() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        for len in [1, SMALLEST_MAP as usize + 5] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &content).expect("written");
            for residency in [Residency::Mmap, Residency::Populate, Residency::Heap] {
                let bytes = MappedBytes::open_as(&Fs::disk(), &path, residency).expect("open");
                assert!(bytes.is_on_disk() && !bytes.is_locked());
                assert_eq!(*bytes, content[..]);
                bytes.populate(&path).expect("populated");
            }
            // Whether it may be locked is the machine's to say.
            match MappedBytes::open_as(&Fs::disk(), &path, Residency::Mlock) {
                Ok(bytes) => {
                    assert_eq!(bytes.is_locked(), len as u64 >= SMALLEST_MAP);
                    assert_eq!(*bytes, content[..]);
                }
                Err(e) => assert!(matches!(e, Error::Io { op: "lock", .. }), "{e}"),
            }
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
