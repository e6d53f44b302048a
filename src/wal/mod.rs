//! The write-ahead log: one per index, shared by all lanes.
//!
//! A batch is one record. It is appended before its changes are made, so that a crash leaves all of
//! it or nothing. Whoever wants it on stable storage syncs the log, once for all who wait for that
//! (group commit). Files are of limited length; one goes when every lane has flushed past it.
//!
//! A lane's segments are published only once the log is synced as far as they go. So the log never
//! ends before what lanes hold, and a batch that one of its lanes has flushed is whole.

mod format;
mod holes;
mod read;
mod turns;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{self, Fs, OpenFile};
use crate::hash::KeyHasher;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use format::{HEADER, Header, Seed};
pub(crate) use format::{LoggedOp, Payload};
pub use read::LostBytes;
pub(crate) use read::{Batch, Scan, is_log_file};
use turns::{Turn, Turns};

pub(crate) const DIRECTORY: &str = "wal";
const EXTENSION: &str = "wal";

/// The log is kept in at least this many files, for space to come free bit by bit.
const FILES: u64 = 8;

/// The open log.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Fs,
    dir: PathBuf,
    hasher: KeyHasher,
    epoch: u64,
    boot: [u8; 16],
    /// Bytes of all files together at which writers wait.
    max_bytes: u64,
    tail: Mutex<Tail>,
    syncing: Turns,
    /// Every record up to this one is on stable storage.
    durable: AtomicU64,
    bytes: AtomicU64,
}

/// Where records are appended.
#[derive(Debug)]
struct Tail {
    /// Begun by the first append after an open: most opens are followed by none for a while.
    current: Option<Current>,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    /// The next record's sequence number.
    next: u64,
    /// The last record that is no mark.
    last_change: u64,
    /// The oldest file by the headers on stable storage.
    oldest: u64,
    /// The directory has entries that may not be on stable storage.
    entries_unsynced: bool,
    /// The files are the next opener's.
    closed: bool,
}

#[derive(Debug)]
struct Current {
    file: OpenFile,
    number: u64,
    len: u64,
    /// The oldest file that is needed, as its header has it.
    oldest: u64,
    seed: Seed,
}

/// A file that takes no more records.
#[derive(Debug)]
struct Sealed {
    number: u64,
    /// Its last record; one less than its first if it has none.
    last: u64,
    len: u64,
    /// There until it is synced.
    unsynced: Option<OpenFile>,
}

pub(crate) fn file_path(dir: &Path, number: u64) -> PathBuf {
    fs::numbered(dir, number, EXTENSION)
}

/// Whether a log is more than the empty one of a new index.
pub(crate) fn is_in_use(fs: &Fs, dir: &Path) -> Result<bool> {
    for path in fs.list(dir)?.iter().filter(|path| is_log_file(path)) {
        if *path != file_path(dir, 1) || fs.len(path)? > HEADER as u64 {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Wal {
    /// The first file of a new index's log, before anything refers to the index.
    pub(crate) fn create(fs: &Fs, root: &Path, epoch: u64) -> Result<()> {
        let dir = root.join(DIRECTORY);
        fs.create_dir_all(&dir)?;
        let header = Header { number: 1, epoch, first: 1, oldest: 1, boot: fs.boot_id() };
        fs.write_synced(&file_path(&dir, 1), &header.encode())?;
        fs.sync_dir(&dir)
    }

    /// Goes on after what a scan found; [`Scan::mend`] is done.
    pub(crate) fn new(fs: &Fs, hasher: KeyHasher, epoch: u64, max_bytes: u64, scan: &Scan) -> Self {
        let sealed: VecDeque<Sealed> = scan.files().collect();
        let bytes = sealed.iter().map(|file| file.len).sum();
        let last = scan.next() - 1;
        let tail = Tail {
            current: None,
            oldest: sealed.front().map_or(1, |file| file.number),
            sealed,
            next: last + 1,
            last_change: last,
            entries_unsynced: false,
            closed: false,
        };
        Self {
            fs: fs.clone(),
            dir: scan.dir().to_path_buf(),
            hasher,
            epoch,
            boot: fs.boot_id(),
            max_bytes,
            tail: Mutex::new(tail),
            syncing: Turns::default(),
            durable: AtomicU64::new(last),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the files take half of what they may: lanes should be flushed, for some to go.
    #[inline]
    pub(crate) fn wants_room(&self) -> bool {
        self.bytes() * 2 >= self.max_bytes
    }

    /// Whether writers have to wait for room.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.max_bytes
    }

    /// Writes a batch; its sequence number. The kernel has it then, stable storage may not.
    pub(crate) fn append(&self, payload: Payload) -> Result<u64> {
        let record = payload.into_record()?;
        let mut tail = self.tail.lock();
        self.append_record(&mut tail, record)?;
        tail.last_change = tail.next - 1;
        Ok(tail.last_change)
    }

    fn append_record(&self, tail: &mut Tail, mut record: Vec<u8>) -> Result<()> {
        self.check_sound()?;
        if tail.closed {
            return Err(Error::Closed);
        }
        let full =
            tail.current.as_ref().is_none_or(|current| current.len * FILES >= self.max_bytes);
        if full {
            self.begin_file(tail, None)?;
        }
        let (sequence, durable) = (tail.next, self.durable.load(Ordering::SeqCst));
        let Some(current) = &mut tail.current else { return Err(Error::Closed) };
        format::seal(&mut record, &current.seed, sequence, durable);
        if let Err(e) = current.file.append(&record) {
            // The next record has to begin where this one did.
            if let Err(cut) = current.file.truncate(current.len) {
                self.fs.poison(&format!("half a record in the log: {cut}"));
            }
            return Err(e);
        }
        current.len += record.len() as u64;
        self.bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
        tail.next += 1;
        Ok(())
    }

    /// Goes on in a new file, which says that only files from `oldest` on are needed.
    fn begin_file(&self, tail: &mut Tail, oldest: Option<u64>) -> Result<()> {
        if tail.closed {
            return Err(Error::Closed);
        }
        let (number, first) = (tail.newest() + 1, tail.next);
        let oldest = oldest.unwrap_or(tail.oldest);
        let Self { epoch, boot, .. } = *self;
        let header = Header { number, epoch, first, oldest, boot };
        let path = file_path(&self.dir, number);
        let file = self.fs.create(&path)?;
        if let Err(e) = file.append(&header.encode()) {
            let _ = self.fs.remove(&path);
            return Err(e);
        }
        tail.entries_unsynced = true;
        let seed = Seed::new(&self.hasher, number);
        let begun = Current { file, number, len: HEADER as u64, oldest, seed };
        self.bytes.fetch_add(begun.len, Ordering::Relaxed);
        if let Some(Current { file, number, len, .. }) = tail.current.replace(begun) {
            let last = first - 1;
            tail.sealed.push_back(Sealed { number, last, len, unsynced: Some(file) });
        }
        Ok(())
    }

    /// Nothing may be promised any more once a sync has failed.
    fn check_sound(&self) -> Result<()> {
        match self.fs.poisoned() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { reason: reason.to_owned() }),
        }
    }

    /// Puts everything written so far on stable storage.
    pub(crate) fn sync(&self) -> Result<()> {
        let last_change = self.tail.lock().last_change;
        self.sync_to(last_change)
    }

    /// Puts the records up to this one on stable storage, and with them all that were written by
    /// the time it begins.
    pub(crate) fn sync_to(&self, sequence: u64) -> Result<()> {
        let is_durable = || self.durable.load(Ordering::SeqCst) >= sequence;
        if is_durable() {
            return Ok(());
        }
        let Some(turn) = self.syncing.take_unless(is_durable) else { return Ok(()) };
        self.check_sound()?;
        self.sync_in_turn(&turn)?;
        // For a recovery to know that this much cannot be missing. It is only a help.
        let _ = self.append_record(&mut self.tail.lock(), format::mark());
        Ok(())
    }

    /// Appends go on meanwhile.
    fn sync_in_turn(&self, _turn: &Turn<'_>) -> Result<()> {
        let (files, entries, sequence, newest) = {
            let mut tail = self.tail.lock();
            let sealed = tail.sealed.iter().filter_map(|file| file.unsynced.clone());
            let current = tail.current.as_ref().map(|current| current.file.clone());
            let files: Vec<OpenFile> = sealed.chain(current).collect();
            let entries = std::mem::take(&mut tail.entries_unsynced);
            (files, entries, tail.next - 1, tail.newest())
        };
        files.iter().try_for_each(OpenFile::sync)?;
        if entries {
            self.fs.sync_dir(&self.dir)?;
        }
        for file in &mut self.tail.lock().sealed {
            // One sealed meanwhile may have more in it, or be begun meanwhile as well.
            if file.last <= sequence && file.number <= newest {
                file.unsynced = None;
            }
        }
        self.durable.fetch_max(sequence, Ordering::SeqCst);
        Ok(())
    }

    /// Nothing is appended any more, not even by whoever waits for a sync.
    pub(crate) fn close(&self) {
        self.tail.lock().closed = true;
    }

    /// The last record of the oldest file, which takes no more of them then: lanes have to be
    /// flushed up to it for that file to go.
    pub(crate) fn oldest_end(&self) -> Result<u64> {
        let mut tail = self.tail.lock();
        if tail.sealed.is_empty() && tail.current.is_some() {
            self.begin_file(&mut tail, None)?;
        }
        Ok(tail.sealed.front().map_or(tail.next - 1, |file| file.last))
    }

    /// Has records go into another file from now on; the first of them.
    pub(crate) fn seal(&self) -> Result<u64> {
        let mut tail = self.tail.lock();
        if tail.current.as_ref().is_some_and(|current| current.len > HEADER as u64) {
            self.begin_file(&mut tail, None)?;
        }
        Ok(tail.next)
    }

    /// The next record's sequence number.
    pub(crate) fn next(&self) -> u64 {
        self.tail.lock().next
    }

    /// Removes the files that hold no record from `needed` on. A new file has to say so first, or
    /// a file that is missing could not be told from one that was not needed.
    pub(crate) fn trim(&self, needed: u64) -> Result<()> {
        self.keep(|tail| tail.kept(needed))
    }

    /// Sees to it that files before the oldest one are gone for good, whatever kept a trim from it.
    pub(crate) fn purge(&self) -> Result<()> {
        let oldest = self.tail.lock().oldest;
        let is_old =
            |path: &PathBuf| fs::number_of(path, EXTENSION).is_some_and(|number| number < oldest);
        let files = self.fs.list(&self.dir)?;
        files.iter().filter(|path| is_old(path)).try_for_each(|path| self.fs.remove(path))?;
        self.fs.sync_dir(&self.dir)
    }

    /// Goes on in a new file; none of those before it is needed.
    pub(crate) fn restart(&self) -> Result<()> {
        self.fs.create_dir_all(&self.dir)?;
        self.keep(|tail| Some(tail.newest() + 1))
    }

    /// Removes the files before the one that `kept` tells, if it tells one.
    fn keep(&self, kept: impl Fn(&Tail) -> Option<u64>) -> Result<()> {
        let turn = self.syncing.take();
        self.check_sound()?;
        let Some(oldest) = self.begin_trimmed(kept, &turn)? else { return Ok(()) };
        self.sync_in_turn(&turn)?;
        if self.settle_oldest(oldest)? {
            self.sync_in_turn(&turn)?;
        }
        let gone: Vec<Sealed> = {
            let mut tail = self.tail.lock();
            let gone = tail.sealed.iter().take_while(|file| file.number < oldest).count();
            tail.sealed.drain(..gone).collect()
        };
        for file in &gone {
            self.bytes.fetch_sub(file.len, Ordering::Relaxed);
        }
        gone.iter().try_for_each(|file| self.fs.remove(&file_path(&self.dir, file.number)))
    }

    /// Begins the file that says from which one on files are needed; that one, or none if all are.
    fn begin_trimmed(
        &self,
        kept: impl Fn(&Tail) -> Option<u64>,
        turn: &Turn<'_>,
    ) -> Result<Option<u64>> {
        loop {
            let Some(oldest) = kept(&self.tail.lock()) else { return Ok(None) };
            // On stable storage before anything says that it is the oldest.
            self.sync_in_turn(turn)?;
            let mut tail = self.tail.lock();
            // Appended to meanwhile, perhaps on into the next file, it may be another one.
            if kept(&tail) == Some(oldest) {
                self.begin_file(&mut tail, Some(oldest))?;
                return Ok(Some(oldest));
            }
        }
    }

    /// From now on files say that this is the oldest. True if one was begun meanwhile that says
    /// otherwise: the newest header counts, so another one is begun, and has to be synced.
    fn settle_oldest(&self, oldest: u64) -> Result<bool> {
        let mut tail = self.tail.lock();
        tail.oldest = oldest;
        let overtaken = tail.current.as_ref().is_some_and(|current| current.oldest != oldest);
        if overtaken {
            self.begin_file(&mut tail, None)?;
        }
        Ok(overtaken)
    }
}

impl Tail {
    /// The number of the newest file.
    fn newest(&self) -> u64 {
        let sealed = self.sealed.back().map_or(0, |file| file.number);
        self.current.as_ref().map_or(sealed, |current| current.number)
    }

    /// The oldest file that is left when those without a record from `needed` on go; the next one,
    /// if all go; none if none goes.
    fn kept(&self, needed: u64) -> Option<u64> {
        if needed >= self.next {
            let current = self.current.as_ref().map(|current| current.len);
            let mut lens = self.sealed.iter().map(|file| file.len).chain(current);
            let without_records = |len| len <= HEADER as u64;
            let alone = lens.next().is_none_or(without_records) && lens.next().is_none();
            return (!alone).then(|| self.newest() + 1);
        }
        let old = self.sealed.iter().take_while(|file| file.last < needed).count();
        let kept = self.sealed.get(old).map_or(self.newest(), |file| file.number);
        (old > 0).then_some(kept)
    }
}
