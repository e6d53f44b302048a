//! Where the bytes of segments are, and bringing them there.

use std::io;

use memmap2::{Advice, Mmap, MmapMut};

/// Where the bytes of segments that look-ups read are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residency {
    /// In the page cache. The first look-up at a place waits for the device, if the system has the
    /// file's page in memory no more; so opening takes no time, whatever the size.
    #[default]
    Mmap,
    /// In the page cache, and read when it is opened.
    Populate,
    /// Locked into memory, so that the system cannot give it to others. Needs the right to
    /// (`RLIMIT_MEMLOCK`): without it opening fails, and segments that are written later stay
    /// unlocked, which [`Stats::unlocked_segments`](crate::Stats::unlocked_segments) tells.
    Mlock,
    /// In memory of our own, in huge pages where the system gives them: the fastest look-ups in large
    /// indexes, at up to a third more memory.
    Heap,
}

/// What the processor's large pages are.
const HUGE_PAGE: usize = 2 << 20;
/// And its usual ones.
pub(crate) const PAGE: usize = 4096;
/// Memory that is lost for them to be used throughout: a third at the most.
const MOST_LOST: usize = 3;

/// Anonymous memory for `len` bytes of zero, in huge pages as far as they do not cost too much; and
/// how much of it will be taken.
pub(crate) fn huge_pages(len: usize) -> io::Result<(MmapMut, usize)> {
    let whole = len.next_multiple_of(HUGE_PAGE);
    // Address space costs nothing; and mappings of whole huge pages begin with one.
    let map = MmapMut::map_anon(whole)?;
    let worth_it = (whole - len) * MOST_LOST <= len;
    advise_huge(&map, if worth_it { whole } else { whole - HUGE_PAGE });
    Ok((map, if worth_it { whole } else { len.next_multiple_of(PAGE) }))
}

#[cfg(target_os = "linux")]
fn advise_huge(map: &MmapMut, len: usize) {
    if len > 0 {
        // Where the system has none, small ones do.
        let _ = map.advise_range(Advice::HugePage, 0, len);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_map: &MmapMut, _len: usize) {}

/// Reads all of a mapped file into the page cache, and makes its pages known to the processor.
pub(crate) fn populate(map: &Mmap) -> io::Result<()> {
    match advise_populate(map) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            // A kernel before Linux 5.14.
            for page in map.chunks(PAGE) {
                std::hint::black_box(page[0]);
            }
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(target_os = "linux")]
fn advise_populate(map: &Mmap) -> io::Result<()> {
    map.advise(Advice::PopulateRead)
}

#[cfg(not(target_os = "linux"))]
fn advise_populate(_map: &Mmap) -> io::Result<()> {
    Err(io::ErrorKind::InvalidInput.into())
}
