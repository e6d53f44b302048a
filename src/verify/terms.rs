//! Reads the dictionary's file.

use std::path::Path;

use crate::dictionary::{Extent, TermLog};
use crate::error::{Error, Result};
use crate::fs::Fs;

/// What is in it.
pub(super) struct Terms {
    pub(super) count: u64,
    pub(super) extent: Extent,
    /// Bytes of a torn append.
    pub(super) torn: u64,
    /// Ascending.
    places: Vec<u32>,
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
            return Err(Error::corrupt(path, 0, format!("id {} is given to two terms", two[0].0)));
        }
        let places = known.into_iter().map(|(place, _)| place).collect();
        Ok(Self { count, torn: bytes.len() as u64 - extent.len, extent, places })
    }

    /// One of these that has no term.
    pub(super) fn lacks(&self, places: &[u32]) -> Option<u32> {
        places.iter().copied().find(|place| self.places.binary_search(place).is_err())
    }
}
