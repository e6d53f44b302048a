//! The index: key bytes in, ids out, dealt to lanes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::MAX_KEY_LEN;
use crate::census::Census;
use crate::compaction::Upkeep;
use crate::config::{
    Config, DEFAULT_LANES, DEFAULT_MAX_LOG_BYTES, Durability, Filter, Limits, Verify,
};
use crate::dictionary::Dictionary;
use crate::epoch::{Epoch, TERMS, lane_dir};
use crate::error::{Error, Result};
use crate::freed;
use crate::fs::{Disk, FileSystem, Fs};
use crate::hash::{HashKey, KeyHasher};
use crate::lane::{Closed, Keeper, Lane};
use crate::lock::DirectoryLock;
use crate::pace::Pace;
use crate::purge::Purge;
use crate::rcu::Published;
use crate::reconcile::Reconciliations;
use crate::recovery::Recovery;
use crate::residency::Residency;
use crate::round::Rounds;
use crate::routes::HighIds;
use crate::slots::SlotTable;
use crate::stamp::Stamps;
use crate::stats::Counters;
use crate::stripes::Stripes;
use crate::sync::atomic::{AtomicBool, AtomicUsize};
use crate::sync::{Mutex, OnceLock};
use crate::version::Version;
use crate::view::View;
use crate::wal::{Scan, Wal};

/// A multimap from keys (bytes) to sets of ids, safe to share between threads.
///
/// Reads never wait for files or compaction. Writes go to the write-ahead log and to memory;
/// [`Index::flush`] and background [`Index::work`] move them to segments. What a crash leaves of
/// them is told by their [`Durability`]; [`Index::sync`] and [`Index::close`] put all of them on
/// stable storage.
#[derive(Debug)]
pub struct Index {
    pub(crate) fs: Fs,
    pub(crate) hasher: KeyHasher,
    pub(crate) slots: SlotTable,
    lanes: Box<[OnceLock<Box<Lane>>]>,
    /// What readers see of each lane.
    pub(crate) views: Arc<Published<View>>,
    pub(crate) limits: Limits,
    pub(crate) verify: Verify,
    pub(crate) counters: Counters,
    pace: Option<Arc<Pace>>,
    pub(crate) residency: Residency,
    pub(crate) filter: Filter,
    pub(crate) dictionary: Dictionary,
    pub(crate) high_ids: HighIds,
    root: Option<PathBuf>,
    lock: Mutex<Option<DirectoryLock>>,
    closed: Closed,
    /// None for an index in memory.
    pub(crate) wal: Option<Wal>,
    pub(crate) durability: Durability,
    recovery: Recovery,
    /// A wake-up was claimed and work has not run dry since.
    pub(crate) awake: AtomicBool,
    pub(crate) work_waits: AtomicBool,
    /// The lane that background work looks at first: all get their turn.
    pub(crate) next_lane: AtomicUsize,
    pub(crate) rounds: Mutex<Rounds>,
    pub(crate) census: Mutex<Census>,
    pub(crate) stripes: Stripes,
    pub(crate) purge: Mutex<Purge>,
    pub(crate) stamps: Stamps,
    pub(crate) reconciliations: Arc<Reconciliations>,
}

impl Index {
    /// A new index in memory alone. Cheap: lanes are made when they are first written to.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Io`] if the system gives no randomness.
    pub fn in_memory(config: &Config) -> Result<Self> {
        config.check()?;
        let hash_key = match config.hash_key {
            Some(key) => key,
            None => HashKey::random()?,
        };
        let num_lanes = config.num_lanes.unwrap_or(DEFAULT_LANES);
        Ok(Self::assemble(Fs::disk(), config, num_lanes, &hash_key))
    }

    /// Opens the index in a directory, or creates it there.
    ///
    /// # Errors
    /// [`Error::Locked`] if somebody has it open, [`Error::Mismatch`] if an option contradicts
    /// what is stored, [`Error::Corrupt`], [`Error::UnsupportedVersion`], [`Error::Io`],
    /// [`Error::InvalidOption`].
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        Self::open_on(Arc::new(Disk), path, config)
    }

    /// As [`Index::open`], on a file system of the caller's.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn open_on(system: Arc<dyn FileSystem>, path: &Path, config: &Config) -> Result<Self> {
        config.check()?;
        let fs = Fs::new(system);
        fs.create_dir_all(path)?;
        let lock = DirectoryLock::acquire(&fs, path)?;
        let Epoch { number: epoch, dir, meta } = Epoch::open_or_create(&fs, path, config)?;
        let mut index = Self::assemble(fs, config, meta.num_lanes, &meta.hash_key);
        index.root = Some(path.to_path_buf());
        index.lock = Mutex::new(Some(lock));
        index.dictionary = Dictionary::open(&index.fs, dir.join(TERMS), index.hasher.clone())?;
        for (number, slot) in (0..meta.num_lanes).zip(&index.lanes) {
            let lane = Lane::open(&index.upkeep(), &lane_dir(&dir, number), number)?;
            slot.get_or_init(|| Box::new(lane));
        }
        let relied_on = index.lanes().map(|lane| lane.keeper.lock().flushed).max().unwrap_or(0);
        let (fs, hasher) = (&index.fs, &index.hasher);
        let begun = Instant::now();
        let scan = Scan::read(fs, path, hasher, epoch, relied_on, config.salvage)?;
        scan.mend(fs)?;
        let max_log_bytes = config.max_log_bytes.unwrap_or(DEFAULT_MAX_LOG_BYTES);
        index.wal = Some(Wal::new(fs, hasher.clone(), epoch, max_log_bytes, &scan));
        // Overlays may grow as usual meanwhile, however small they are to be: flushes take their
        // time.
        index.limits = Config::default().limits();
        index.recovery = index.recover(&scan, begun)?;
        index.limits = config.limits();
        if !index.recovery.dropped.is_empty() {
            index.forget_stamp()?;
        }
        if index.dictionary.is_in_use() {
            index.high_ids = HighIds::terms();
            // For the census.
            index.work_waits = AtomicBool::new(true);
        } else {
            index.high_ids = HighIds::unknown();
            index.dictionary.settle(std::iter::empty());
        }
        Ok(index)
    }

    fn assemble(fs: Fs, config: &Config, num_lanes: u32, hash_key: &HashKey) -> Self {
        let hasher = KeyHasher::new(hash_key);
        let nothing = Arc::default();
        Self {
            fs,
            dictionary: Dictionary::in_memory(hasher.clone()),
            high_ids: HighIds::none(),
            hasher,
            slots: SlotTable::new(num_lanes),
            lanes: (0..num_lanes).map(|_| OnceLock::new()).collect(),
            views: Arc::new(Published::new((0..num_lanes).map(|_| Arc::clone(&nothing)))),
            limits: config.limits(),
            verify: config.verify,
            counters: Counters::default(),
            pace: config.pace.clone(),
            residency: config.residency,
            filter: config.filter,
            root: None,
            lock: Mutex::new(None),
            closed: Closed::default(),
            wal: None,
            durability: config.durability,
            recovery: Recovery::default(),
            awake: AtomicBool::new(false),
            work_waits: AtomicBool::new(false),
            next_lane: AtomicUsize::new(0),
            rounds: Mutex::default(),
            census: Mutex::default(),
            stripes: Stripes::default(),
            purge: Mutex::default(),
            stamps: Stamps::default(),
            reconciliations: Arc::default(),
        }
    }

    /// The directory; none for an index in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Lanes of this index.
    #[must_use]
    pub fn num_lanes(&self) -> u32 {
        self.lanes.len() as u32
    }

    /// The lane, if it was ever written to.
    #[inline]
    pub(crate) fn lane(&self, number: usize) -> Option<&Lane> {
        self.lanes.get(number)?.get().map(Box::as_ref)
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter_map(|slot| slot.get().map(Box::as_ref))
    }

    pub(crate) fn lane_or_new(&self, number: usize) -> &Lane {
        self.lanes[number].get_or_init(|| {
            let keeper =
                Keeper { dir: None, next_number: 1, live_keys: 0, flushed: 0, flushed_at: None };
            let number = number as u32;
            Box::new(Lane::new(number, keeper, Version::default(), 0, &self.views))
        })
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.closed.check()
    }

    /// Refuses keys that are too long.
    #[inline]
    pub(crate) fn check_key(key: &[u8]) -> Result<()> {
        if key.len() > MAX_KEY_LEN { Err(Error::KeyTooLong { len: key.len() }) } else { Ok(()) }
    }

    /// Refuses writes from now on: memory may be half-changed. Reads go on.
    pub fn poison(&self, reason: &str) {
        self.fs.poison(reason);
    }

    /// Whether writes are refused until the index is opened again.
    #[inline]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.fs.poisoned().is_some()
    }

    /// What opening the index found in the write-ahead log.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The log, if changes of that durability go there.
    #[inline]
    pub(crate) fn wal_for(&self, durability: Durability) -> Option<&Wal> {
        self.wal.as_ref().filter(|_| durability != Durability::Memory)
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.closed.check()?;
        match self.fs.poisoned() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { reason: reason.to_owned() }),
        }
    }

    pub(crate) fn upkeep(&self) -> Upkeep<'_> {
        Upkeep {
            fs: &self.fs,
            counters: &self.counters,
            dictionary: &self.dictionary,
            slots: &self.slots,
            wal: self.wal.as_ref(),
            views: &self.views,
            pace: self.pace.as_deref(),
            residency: self.residency,
            filter: self.filter,
        }
    }

    /// Keys with at least one id, those of namespaces among them, and one for each namespace; exact,
    /// and independent of how many there are.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn count(&self) -> Result<u64> {
        self.check_open()?;
        loop {
            let stamped = self.is_stamped()?;
            let keys: u64 = self.lanes().map(Lane::live_keys).sum();
            // Or the stamp, which is one of them, came in between and would count for less than nothing.
            if self.is_stamped()? == stamped {
                return Ok(keys.saturating_sub(u64::from(stamped)));
            }
        }
    }

    /// Flushes (if there is a path), releases files, memory and the lock. Calls under way finish
    /// or find the index closed. Closing twice is harmless.
    ///
    /// # Errors
    /// The first of the flush; the index is closed all the same. What was not flushed is in the
    /// log, unless it was written with [`Durability::Memory`].
    pub fn close(&self) -> Result<()> {
        // Held throughout, so that whoever closes second returns when the first is done.
        let mut lock = self.lock.lock();
        if self.check_open().is_err() {
            return Ok(());
        }
        let flushed = if self.root.is_some() { self.flush() } else { Ok(()) };
        freed::note(self.memory().map_or(0, |memory| memory.own()) as usize);
        self.closed.close();
        let mut rest = Ok(());
        for lane in self.lanes() {
            // A batch that found the index open may still be at it.
            drop(lane.gate());
            if self.root.is_some() && rest.is_ok() && self.fs.poisoned().is_none() {
                // What was written between the flush and the closing.
                rest = lane.flush(&self.upkeep());
            }
            lane.clear();
        }
        if let Some(wal) = &self.wal {
            if flushed.is_ok() && rest.is_ok() {
                rest = wal.trim(wal.next());
            }
            wal.close();
        }
        self.views.readers().close();
        self.dictionary.clear();
        lock.take();
        drop(lock);
        freed::give_back();
        flushed.and(rest)
    }
}
