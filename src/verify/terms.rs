//! Reads the dictionary's file.

use std::path::Path;

use crate::dictionary::{Extent, TermLog};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::wal::Scan;

/// What is in it.
pub(super) struct Terms {
    pub(super) count: u64,
    pub(super) extent: Extent,
    /// Bytes of a torn append.
    pub(super) torn: u64,
    /// Places and checksums of their terms, ascending.
    known: Vec<(u32, u32)>,
}

impl Terms {
    pub(super) fn read(fs: &Fs, path: &Path) -> Result<Self> {
        let bytes = fs.read(path)?;
        let mut known = Vec::new();
        let extent = TermLog::parse(path, &bytes, &mut |place, term| {
            known.push((place, crc32fast::hash(term)));
            Ok(())
        })?;
        let count = known.len() as u64;
        known.sort_unstable();
        known.dedup();
        if let Some(two) = known.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(Error::corrupt(
                path,
                0,
                format!("place {} is given to two terms", two[0].0),
            ));
        }
        Ok(Self { count, torn: bytes.len() as u64 - extent.len, extent, known })
    }

    fn checksum(&self, place: u32) -> Option<u32> {
        let found = self.known.binary_search_by_key(&place, |&(place, _)| place);
        found.ok().map(|at| self.known[at].1)
    }

    /// Those of these places that have no term.
    pub(super) fn lacks(&self, places: &[u32]) -> Vec<u32> {
        places.iter().copied().filter(|&place| self.checksum(place).is_none()).collect()
    }

    /// A place that stands for another term in the log.
    pub(super) fn contradicts(&self, scan: &Scan) -> Option<u32> {
        let batches = scan.batches().filter_map(Result::ok);
        batches.flat_map(|batch| batch.terms).find_map(|(place, term)| {
            let known = self.checksum(place)?;
            (known != crc32fast::hash(term)).then_some(place)
        })
    }
}
