//! A lane's MANIFEST: which segments are live, newest first. Swapped by rename.

use std::path::Path;

use crate::dictionary::Extent;
use crate::error::{Error, Result};
use crate::frame::{self, PayloadWriter};
use crate::fs::Fs;
use crate::segment::Segment;

const MAGIC: &[u8; 8] = b"LSMI-MAN";
/// Nothing that is counted one by one comes near this.
const MAX_COUNT: u64 = 1 << 62;
pub(crate) const FILE_NAME: &str = "MANIFEST";

/// What a lane consists of on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) lane: u32,
    /// The number the next segment gets; numbers are never used twice.
    pub(crate) next_number: u64,
    /// Keys with a non-empty set, all of the lane's flushed changes considered.
    pub(crate) live_keys: u64,
    /// The last record of the write-ahead log that the segments have the lane's changes of.
    pub(crate) flushed: u64,
    /// How much of the dictionary's log the lane's keys may lead to.
    pub(crate) terms: Extent,
    /// Newest first.
    pub(crate) segments: Vec<ManifestSegment>,
}

/// One live segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestSegment {
    pub(crate) number: u64,
    pub(crate) level: u8,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl ManifestSegment {
    /// Whether the file is the one that was listed.
    pub(crate) fn agrees_with(&self, path: &Path, segment: &Segment) -> Result<()> {
        if (segment.keys() as u64, segment.byte_len() as u64) == (self.keys, self.bytes) {
            return Ok(());
        }
        let what = format!(
            "{} keys in {} bytes where the manifest has {} in {}",
            segment.keys(),
            segment.byte_len(),
            self.keys,
            self.bytes
        );
        Err(Error::corrupt(path, 24, what))
    }
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut payload = PayloadWriter::default();
        payload.u32(self.lane).u64(self.next_number).u64(self.live_keys).u64(self.flushed);
        payload.u64(self.terms.generation).u64(self.terms.len);
        payload.u32(self.segments.len() as u32);
        for segment in &self.segments {
            payload.u64(segment.number).u32(u32::from(segment.level));
            payload.u64(segment.keys).u64(segment.bytes);
        }
        payload.into_frame(MAGIC)
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut payload = frame::open(path, bytes, MAGIC)?;
        let mut manifest = Self {
            lane: payload.u32()?,
            next_number: payload.u64()?,
            live_keys: payload.u64()?,
            flushed: payload.u64()?,
            terms: Extent { generation: payload.u64()?, len: payload.u64()? },
            segments: Vec::new(),
        };
        for _ in 0..payload.u32()? {
            manifest.segments.push(ManifestSegment {
                number: payload.u64()?,
                level: payload.u32()? as u8,
                keys: payload.u64()?,
                bytes: payload.u64()?,
            });
        }
        payload.finish()?;
        Ok(manifest)
    }

    /// Writes the lane's manifest anew, in one step.
    pub(crate) fn store(&self, fs: &Fs, lane_dir: &Path) -> Result<()> {
        fs.replace(&lane_dir.join(FILE_NAME), &self.encode())
    }

    /// Writes the first manifest of a lane that is nobody's yet.
    pub(crate) fn store_first(&self, fs: &Fs, lane_dir: &Path) -> Result<()> {
        fs.write_synced(&lane_dir.join(FILE_NAME), &self.encode())?;
        fs.sync_dir(lane_dir)
    }

    /// Reads and checks the lane's manifest.
    pub(crate) fn load(fs: &Fs, lane_dir: &Path, lane: u32) -> Result<Self> {
        let path = lane_dir.join(FILE_NAME);
        let manifest = Self::decode(&path, &frame::read(fs, &path)?)?;
        if manifest.lane != lane {
            let what = format!("it is the manifest of lane {}", manifest.lane);
            return Err(Error::corrupt(&path, 16, what));
        }
        manifest.check_counts(&path)?;
        Ok(manifest)
    }

    /// Refuses what cannot be, for arithmetic to be safe from it.
    fn check_counts(&self, path: &Path) -> Result<()> {
        let newest = self.segments.iter().map(|segment| segment.number).max();
        if newest.is_some_and(|newest| newest >= self.next_number) || self.next_number > MAX_COUNT {
            let what = format!("the next segment cannot have number {}", self.next_number);
            return Err(Error::corrupt(path, 20, what));
        }
        let keys = self.segments.iter().fold(0, |sum: u64, s| sum.saturating_add(s.keys));
        if self.live_keys > keys {
            let what = format!("{} live keys in segments of {keys} keys", self.live_keys);
            return Err(Error::corrupt(path, 28, what));
        }
        if self.flushed > MAX_COUNT {
            let what = format!("{} is no record's number", self.flushed);
            return Err(Error::corrupt(path, 36, what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_a_round_trip() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let segments = vec![
            ManifestSegment { number: 9, level: 0, keys: 5, bytes: 512 },
            ManifestSegment { number: 3, level: 2, keys: 100, bytes: 2048 },
        ];
        let terms = Extent { generation: 2, len: 77 };
        let (lane, next_number, live_keys, flushed) = (7, 10, 99, 1234);
        let manifest = Manifest { lane, next_number, live_keys, flushed, terms, segments };
        manifest.store(&Fs::disk(), dir.path()).expect("written");
        assert_eq!(Manifest::load(&Fs::disk(), dir.path(), 7).expect("sound"), manifest);
        assert!(matches!(Manifest::load(&Fs::disk(), dir.path(), 8), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let segments = vec![ManifestSegment { number: 9, level: 0, keys: 5, bytes: 512 }];
        let sound = Manifest { next_number: 10, live_keys: 5, segments, ..Manifest::default() };
        for (change, field) in [
            (Manifest { next_number: 9, ..sound.clone() }, 20),
            (Manifest { next_number: u64::MAX, ..sound.clone() }, 20),
            (Manifest { live_keys: 6, ..sound.clone() }, 28),
            (Manifest { live_keys: u64::MAX, ..sound.clone() }, 28),
            (Manifest { flushed: u64::MAX, ..sound }, 36),
        ] {
            change.store(&Fs::disk(), dir.path()).expect("written");
            let error = Manifest::load(&Fs::disk(), dir.path(), 0).expect_err("impossible");
            assert!(matches!(error, Error::Corrupt { offset, .. } if offset == field), "{error}");
        }
    }
}
