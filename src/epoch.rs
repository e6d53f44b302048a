//! The directory of an index: CURRENT names the epoch, META says how it was made, a directory
//! per lane holds its manifest and segments.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Config, DEFAULT_LANES};
use crate::error::{Error, Result};
use crate::frame::{self, PayloadWriter};
use crate::fs::{self, Fs};
use crate::hash::HashKey;
use crate::manifest::{self, Manifest};
use crate::wal::{self, Wal};

const CURRENT_MAGIC: &[u8; 8] = b"LSMI-CUR";
const META_MAGIC: &[u8; 8] = b"LSMI-MET";
pub(crate) const CURRENT: &str = "CURRENT";
pub(crate) const META: &str = "META";
pub(crate) const TERMS: &str = "TERMS";
const SEGMENT: &str = "seg";

/// How an epoch was made; never changes afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) num_lanes: u32,
    pub(crate) hash_key: HashKey,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

/// A complete set of lanes on disk.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
    pub(crate) meta: Meta,
}

pub(crate) fn epoch_dir(root: &Path, epoch: u64) -> PathBuf {
    root.join(format!("epoch-{epoch:08}"))
}

pub(crate) fn lane_dir(epoch_dir: &Path, lane: u32) -> PathBuf {
    epoch_dir.join(format!("lane-{lane:04}"))
}

pub(crate) fn segment_path(lane_dir: &Path, number: u64) -> PathBuf {
    fs::numbered(lane_dir, number, SEGMENT)
}

impl Epoch {
    /// Opens the current epoch, or creates the first one. The caller holds the directory lock.
    pub(crate) fn open_or_create(fs: &Fs, root: &Path, config: &Config) -> Result<Self> {
        if fs.exists(&root.join(CURRENT))? {
            let epoch = Self::open(fs, root)?;
            epoch.agrees_with(root, config)?;
            epoch.settle(fs, root)?;
            epoch.remove_leftovers(fs, root)?;
            return Ok(epoch);
        }
        refuse_orphans(fs, root)?;
        Self::create(fs, root, config)
    }

    /// Opens the current epoch without changing anything.
    pub(crate) fn open(fs: &Fs, root: &Path) -> Result<Self> {
        let path = root.join(CURRENT);
        let bytes = frame::read(fs, &path)?;
        let mut payload = frame::open(&path, &bytes, CURRENT_MAGIC)?;
        let number = payload.u64()?;
        payload.finish()?;
        let dir = epoch_dir(root, number);
        let meta = Meta::load(fs, &dir)?;
        Ok(Self { number, dir, meta })
    }

    fn create(fs: &Fs, root: &Path, config: &Config) -> Result<Self> {
        let hash_key = match config.hash_key {
            Some(key) => key,
            None => HashKey::random()?,
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let num_lanes = config.num_lanes.unwrap_or(DEFAULT_LANES);
        let meta = Meta { num_lanes, hash_key, created };
        let number = 1;
        let dir = epoch_dir(root, number);
        // Whatever a crash left of an earlier attempt is written over: without CURRENT it is
        // nobody's.
        for lane in 0..num_lanes {
            let lane_dir = lane_dir(&dir, lane);
            fs.create_dir_all(&lane_dir)?;
            Manifest { lane, next_number: 1, ..Manifest::default() }.store_first(fs, &lane_dir)?;
        }
        fs.write_synced(&dir.join(META), &meta.encode())?;
        fs.sync_dir(&dir)?;
        Wal::create(fs, root, number)?;
        fs.sync_dir(root)?;
        // All of them: an opener that died may have made the upper ones.
        root.ancestors().try_for_each(|dir| fs.sync_parent(dir))?;
        let epoch = Self { number, dir, meta };
        epoch.make_current(fs, root)?;
        Ok(epoch)
    }

    /// Has CURRENT name it.
    pub(crate) fn make_current(&self, fs: &Fs, root: &Path) -> Result<()> {
        let mut payload = PayloadWriter::default();
        payload.u64(self.number);
        fs.replace(&root.join(CURRENT), &payload.into_frame(CURRENT_MAGIC))
    }

    fn agrees_with(&self, root: &Path, config: &Config) -> Result<()> {
        let mismatch = |option, stored: String, given: String| {
            Err(Error::Mismatch { option, stored, given, path: root.to_path_buf() })
        };
        if let Some(given) = config.num_lanes.filter(|&n| n != self.meta.num_lanes) {
            return mismatch("num_lanes", self.meta.num_lanes.to_string(), given.to_string());
        }
        if config.hash_key.is_some_and(|key| key != self.meta.hash_key) {
            return mismatch("hash_key", "another key".into(), "not that key".into());
        }
        Ok(())
    }

    /// Puts on stable storage what is there. A process that died may not have got as far as that,
    /// and what is removed and written from now on relies on it.
    fn settle(&self, fs: &Fs, root: &Path) -> Result<()> {
        fs.sync_dir(root)?;
        let terms = self.dir.join(TERMS);
        if fs.exists(&terms)? {
            fs.open(&terms)?.sync()?;
        }
        fs.sync_dir(&self.dir)?;
        (0..self.meta.num_lanes).try_for_each(|lane| fs.sync_dir(&lane_dir(&self.dir, lane)))
    }

    /// Removes what a crash left behind of our own: half-written replacements, and segments that
    /// no manifest names. Other people's files are left alone.
    fn remove_leftovers(&self, fs: &Fs, root: &Path) -> Result<()> {
        let replaced = [root.join(CURRENT), self.dir.join(META), self.dir.join(TERMS)];
        replaced.iter().try_for_each(|path| fs.remove(&fs::temporary(path)))?;
        for lane in 0..self.meta.num_lanes {
            let dir = lane_dir(&self.dir, lane);
            let manifest = Manifest::load(fs, &dir, lane)?;
            fs.remove(&fs::temporary(&dir.join(manifest::FILE_NAME)))?;
            let live: Vec<PathBuf> =
                manifest.segments.iter().map(|s| segment_path(&dir, s.number)).collect();
            for path in fs.list(&dir)?.into_iter().filter(|path| is_segment(path)) {
                if !live.contains(&path) {
                    fs.remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a path is named as our segments are.
pub(crate) fn is_segment(path: &Path) -> bool {
    segment_number(path).is_some()
}

/// The number in a segment's name; none of ours comes near 2^62.
pub(crate) fn segment_number(path: &Path) -> Option<u64> {
    fs::number_of(path, SEGMENT).filter(|&number| number < 1 << 62)
}

/// The epochs that are there, whatever CURRENT says; an error for one whose META is not readable.
pub(crate) fn all(fs: &Fs, root: &Path) -> Result<Vec<Result<Epoch>>> {
    let mut epochs = Vec::new();
    for dir in directories(fs, root, "epoch-")? {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Ok(number) = name.trim_start_matches("epoch-").parse() {
            epochs.push(Meta::load(fs, &dir).map(|meta| Epoch { number, dir, meta }));
        }
    }
    Ok(epochs)
}

/// Without CURRENT a directory is free for a new index, unless segments or records in a log show
/// that it has one: a creation that a crash cut short leaves none.
pub(crate) fn refuse_orphans(fs: &Fs, root: &Path) -> Result<()> {
    let refuse = |place: &Path, what| {
        let what = format!("it is missing, but {} holds {what}", place.display());
        Err(Error::corrupt(&root.join(CURRENT), 0, what))
    };
    let log = root.join(wal::DIRECTORY);
    if fs.exists(&log)? && wal::is_in_use(fs, &log)? {
        return refuse(&log, "records");
    }
    for epoch in directories(fs, root, "epoch-")? {
        for lane in directories(fs, &epoch, "lane-")? {
            if fs.list(&lane)?.iter().any(|path| is_segment(path)) {
                return refuse(&lane, "segments");
            }
        }
    }
    Ok(())
}

/// The directories in one whose names begin in a certain way.
fn directories(fs: &Fs, dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = fs.list(dir)?;
    found.retain(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
    });
    let mut directories = Vec::new();
    for path in found {
        if fs.metadata(&path)?.is_some_and(|found| found.is_dir) {
            directories.push(path);
        }
    }
    Ok(directories)
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let mut payload = PayloadWriter::default();
        payload.u32(self.num_lanes).bytes(&self.hash_key.0).u64(self.created);
        payload.into_frame(META_MAGIC)
    }

    fn load(fs: &Fs, dir: &Path) -> Result<Self> {
        let path = dir.join(META);
        let bytes = frame::read(fs, &path)?;
        let mut payload = frame::open(&path, &bytes, META_MAGIC)?;
        let meta = Self {
            num_lanes: payload.u32()?,
            hash_key: HashKey(payload.array()?),
            created: payload.u64()?,
        };
        payload.finish()?;
        let config = Config { num_lanes: Some(meta.num_lanes), ..Config::default() };
        if config.check().is_err() {
            let what = format!("{} lanes are not possible", meta.num_lanes);
            return Err(Error::corrupt(&path, 16, what));
        }
        Ok(meta)
    }
}
