//! Where the log ends after a crash: a torn end is cut off and told, damage is an error, and the
//! two are told apart by what was synced and by whether the system was started since.

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lsm_index::fs::FileSystem;
use lsm_index::{Config, Durability, Error, Index, Op, Result, SMALLEST_LOG, repair_on, verify_on};
use support::around::{Act, Around, Watch};
use support::config;
use support::simulated::{Loss, Simulated};
use support::small::key;

/// Bytes of a record with one change.
const RECORD: usize = 28 + 4 + 12;
const HEADER: usize = 64;

fn open_with(system: &Simulated, salvage: bool) -> Result<Index> {
    let config = Config { salvage, ..config(1, 1000) };
    Index::open_on(Arc::new(system.clone()), Path::new("/db"), &config)
}

fn open(system: &Simulated) -> Result<Index> {
    open_with(system, false)
}

/// As many puts as asked for, of which the first `synced` are on stable storage.
fn written(puts: u32, synced: u32) -> Simulated {
    let system = Simulated::new();
    let index = open(&system).expect("create");
    for n in 0..puts {
        let durability = if n + 1 == synced { Durability::Sync } else { Durability::Os };
        index.change(&key(n), n, Op::Put, durability).expect("put");
    }
    system
}

/// The file with the records.
fn log() -> PathBuf {
    PathBuf::from("/db/wal/00000000000000000002.wal")
}

fn change(system: &Simulated, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = system.files()[&log()].clone();
    change(&mut bytes);
    system.set_file(log(), &bytes);
}

/// The keys that are there, of the first hundred.
fn present(index: &Index) -> Vec<u32> {
    (0..100).filter(|&n| !index.get(&key(n)).expect("get").as_slice().is_empty()).collect()
}

fn torn_at(system: &Simulated, offset: usize, bytes: usize, left: u32) {
    let report = verify_on(Arc::new(system.clone()), Path::new("/db")).expect("no damage");
    let index = open(system).expect("torn, not damaged");
    let torn = index.recovery().torn.clone().expect("told");
    assert_eq!(report.torn.as_ref(), Some(&torn));
    let place = (torn.path, torn.offset as usize, torn.bytes as usize);
    assert_eq!(place, (log(), offset, bytes));
    assert_eq!(present(&index), (0..left).collect::<Vec<_>>());
    index.put(&key(left), 1).expect("goes on");
    drop(index);
    // It was cut off: the next one finds nothing of it.
    let index = open(system).expect("reopen");
    assert_eq!(index.recovery().torn, None);
    assert_eq!(present(&index), (0..=left).collect::<Vec<_>>());
}

fn damaged_at(system: &Simulated, path: &Path, at: usize, says: &str) {
    let verified = verify_on(Arc::new(system.clone()), Path::new("/db")).map(drop);
    for refused in [open(system).map(drop), verified] {
        match refused {
            Err(Error::Corrupt { path: named, offset, what }) => {
                assert_eq!((named.as_path(), offset as usize), (path, at));
                assert!(what.contains(says), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_append_cut_short_is_cut_off() {
    for cut in 1..RECORD {
        let system = written(5, 0);
        change(&system, |bytes| bytes.truncate(HEADER + 5 * RECORD - cut));
        torn_at(&system, HEADER + 4 * RECORD, RECORD - cut, 4);
    }
}

/// The kernel has all that was written, as long as it lives: no bit of it changes by a crash.
#[test]
fn a_changed_record_is_damage() {
    for n in 0..5 {
        for byte in [0, 5, 9, 20, 25, 30, RECORD - 1] {
            let system = written(5, 0);
            change(&system, |bytes| bytes[HEADER + n * RECORD + byte] ^= 4);
            damaged_at(&system, &log(), HEADER + n * RECORD, "checksum");
        }
    }
}

/// The system was started anew, and by chance everything is there that was written.
fn restarted(system: &Simulated) -> Simulated {
    let after = system.crash(Loss::Unsynced);
    after.set_file(log(), &system.files()[&log()]);
    after
}

/// After a power failure what was not synced may be there in part.
#[test]
fn after_a_power_failure_the_log_ends_with_its_first_hole() {
    for n in 2..5 {
        let lost = restarted(&written(5, 2));
        // The second put was synced; a mark says so.
        let at = HEADER + 2 * RECORD + 28 + (n - 2) * RECORD;
        change(&lost, |bytes| bytes[at..at + 20].fill(0));
        torn_at(&lost, at, HEADER + 5 * RECORD + 28 - at, n as u32);
    }
}

#[test]
fn what_was_synced_cannot_be_missing() {
    for n in 0..2 {
        // There is a mark behind the second that says so.
        let system = restarted(&written(5, 2));
        change(&system, |bytes| bytes[HEADER + n * RECORD + 30] ^= 4);
        damaged_at(&system, &log(), HEADER + n * RECORD, "checksum");
    }
    // Nor what a lane has flushed, whatever is left of the marks.
    let system = Simulated::new();
    let index = open(&system).expect("create");
    index.put(&key(1), 1).expect("put");
    index.flush().expect("flush");
    drop(index);
    let system = system.crash(Loss::Unsynced);
    change(&system, |bytes| bytes.truncate(HEADER));
    damaged_at(&system, &log(), HEADER, "relies on record 1");
    system.remove(&log()).expect("removed");
    let first = Path::new("/db/wal/00000000000000000001.wal");
    damaged_at(&system, first, HEADER, "relies on record 1");
}

#[test]
fn a_missing_file_is_named() {
    let system = Simulated::new();
    let config = Config { max_log_bytes: Some(lsm_index::SMALLEST_LOG), ..config(1, 10_000) };
    let index = Index::open_on(Arc::new(system.clone()), Path::new("/db"), &config).expect("open");
    for n in 0..40 {
        index.put(&key(n), n).expect("put");
    }
    drop(index);
    let files: Vec<PathBuf> =
        system.files().into_keys().filter(|path| path.starts_with("/db/wal")).collect();
    assert!(files.len() > 3, "{files:?}");
    for gone in &files[..files.len() - 1] {
        let system = system.crash(Loss::Nothing);
        system.remove(gone).expect("removed");
        damaged_at(&system, gone, 0, "missing");
    }
    for gone in &files {
        system.remove(gone).expect("removed");
    }
    damaged_at(&system, Path::new("/db/wal"), 0, "no files");
}

#[test]
fn salvage_keeps_all_but_the_damaged_records() {
    let system = written(10, 0);
    change(&system, |bytes| {
        bytes[HEADER + 3 * RECORD + 30] ^= 1;
        bytes[HEADER + 6 * RECORD + 4] ^= 1;
    });
    let damaged = system.files()[&log()].clone();
    damaged_at(&system, &log(), HEADER + 3 * RECORD, "checksum");
    let index = open_with(&system, true).expect("salvage");
    let dropped = &index.recovery().dropped;
    let places: Vec<_> = dropped.iter().map(|lost| (lost.offset as usize, lost.bytes)).collect();
    let record = RECORD as u64;
    assert_eq!(places, [(HEADER + 3 * RECORD, record), (HEADER + 6 * RECORD, record)]);
    assert!(dropped.iter().all(|lost| lost.path == log()));
    assert_eq!(present(&index), [0, 1, 2, 4, 5, 7, 8, 9]);
    index.put(&key(3), 3).expect("goes on");
    drop(index);
    // The damaged file is kept, and not in the way.
    let quarantine = Path::new("/db/quarantine");
    let kept = system.files().into_iter().find(|(path, _)| path.starts_with(quarantine));
    assert_eq!(kept.map(|(_, bytes)| bytes), Some(damaged));
    let index = open(&system).expect("sound again");
    assert_eq!(present(&index), [0, 1, 2, 3, 4, 5, 7, 8, 9]);
}

/// It would tell of more than is left.
#[test]
fn a_salvage_takes_the_stamp_away() {
    let system = written(10, 0);
    let index = open(&system).expect("open");
    index.put_stamp(b"all ten", Durability::Os).expect("stamp");
    index.put(&key(10), 10).expect("put");
    drop(index);
    let sound = open_with(&system.killed(), true).expect("nothing to leave out");
    assert_eq!(sound.stamp().expect("stamp"), Some(b"all ten".to_vec()));
    drop(sound);
    change(&system, |bytes| bytes[HEADER + 3 * RECORD + 30] ^= 1);
    let index = open_with(&system, true).expect("salvage");
    assert!(!index.recovery().dropped.is_empty());
    assert_eq!(index.stamp().expect("stamp"), None);
    drop(index);
    let index = open(&system).expect("sound again");
    assert_eq!((index.stamp().expect("stamp"), index.count().expect("count")), (None, 10));
}

#[test]
fn salvage_of_a_sound_log_changes_nothing() {
    let system = written(5, 0);
    let index = open_with(&system, true).expect("open");
    assert_eq!((&index.recovery().torn, &index.recovery().dropped), (&None, &vec![]));
    assert_eq!(present(&index), [0, 1, 2, 3, 4]);
    assert!(!system.files().keys().any(|path| path.starts_with("/db/quarantine")));
}

/// A damaged log of an index that was closed well: nothing is lost, and it goes on in a new file.
#[test]
fn a_salvaged_index_opens_as_any_other() {
    type Damage = fn(&Simulated, &Path);
    let damages: [(&str, Damage); 5] = [
        ("magic", |system, path| {
            let mut bytes = system.files()[path].clone();
            bytes[0] ^= 1;
            system.set_file(path, &bytes);
        }),
        ("cut", |system, path| system.set_file(path, &[7; 9])),
        ("empty", |system, path| system.set_file(path, b"")),
        ("gone", |system, path| system.remove(path).expect("removed")),
        ("another's name", |system, path| {
            system.rename(path, Path::new("/db/wal/00000000000000000099.wal")).expect("renamed");
        }),
    ];
    for closed in [true, false] {
        for (kind, damage) in damages {
            for repaired in [true, false] {
                let place = format!("{kind}, closed: {closed}, repaired: {repaired}");
                let system = Simulated::new();
                let index = open(&system).expect("create");
                for n in 0..5 {
                    index.put(&key(n), n).expect("put");
                }
                index.flush().expect("flush");
                if closed {
                    index.close().expect("close");
                }
                drop(index);
                for path in system.files().into_keys().filter(|path| path.starts_with("/db/wal")) {
                    damage(&system, &path);
                }
                assert!(matches!(open(&system), Err(Error::Corrupt { .. })), "{place}");
                if repaired {
                    let repair = repair_on(Arc::new(system.clone()), Path::new("/db"), true);
                    assert!(!repair.expect("repaired").is_empty(), "{place}");
                } else {
                    let index = open_with(&system, true).expect("salvage");
                    index.change(&key(5), 5, Op::Put, Durability::Sync).expect("put");
                }
                for loss in [Loss::Nothing, Loss::Unsynced] {
                    let index =
                        open(&system.crash(loss)).unwrap_or_else(|e| panic!("{place}: {e}"));
                    let last = if repaired { 4 } else { 5 };
                    assert_eq!(present(&index), (0..=last).collect::<Vec<_>>(), "{place}");
                }
            }
        }
    }
}

/// No crash of the process leaves it like that.
#[test]
fn a_file_of_zeros_is_damage() {
    let system = written(5, 5);
    let len = system.files()[&log()].len();
    system.set_file(log(), &vec![0; len]);
    damaged_at(&system, &log(), 0, "magic");
}

/// The header of the oldest file was synced before anything else, so no power failure takes it: a log
/// is never without files.
#[test]
fn the_header_of_the_oldest_file_is_never_torn() {
    let oldest = PathBuf::from("/db/wal/00000000000000000001.wal");
    for records_left in [false, true] {
        let before = written(3, 0);
        let system = if records_left { restarted(&before) } else { before.crash(Loss::Unsynced) };
        let mut bytes = system.files()[&oldest].clone();
        bytes[38..].fill(0xff);
        system.set_file(&oldest, &bytes);
        let opened = open(&system).map(drop);
        assert!(
            matches!(&opened, Err(Error::Corrupt { path, .. }) if *path == oldest),
            "{opened:?}"
        );
        assert!(verify_on(Arc::new(system.clone()), Path::new("/db")).is_err());
        drop(open_with(&system, true).expect("salvaged"));
        drop(open(&system).expect("opens"));
        drop(open(&system).expect("opens again"));
    }
}

/// Appends a change as soon as a file of the log was synced, once it is armed.
#[derive(Debug, Default)]
struct Appending {
    index: Mutex<Option<Arc<Index>>>,
    armed: AtomicBool,
}

impl Watch for Appending {
    fn before(&self, _act: Act, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn after(&self, act: Act, path: &Path) {
        let synced = act == Act::Sync && path.starts_with("/db/wal");
        if synced && self.armed.swap(false, Ordering::SeqCst) {
            let index = self.index.lock().expect("lock").clone().expect("open");
            index.put(b"beside", 1).expect("put");
        }
    }
}

/// A trim begins a file that says which are not needed any more. If power fails before that is synced,
/// it may be there and the end of the one before not: then files it spoke of are needed still.
#[test]
fn a_trim_that_power_cuts_short_removes_nothing() {
    let system = Simulated::new();
    let around = Around::new(system.clone(), Appending::default());
    let config = Config { max_log_bytes: Some(SMALLEST_LOG), ..config(1, 100_000) };
    let open = |system: Arc<dyn FileSystem>| Index::open_on(system, Path::new("/db"), &config);
    let index = Arc::new(open(Arc::new(around.clone())).expect("create"));
    *around.watch.index.lock().expect("lock") = Some(Arc::clone(&index));
    for n in 0..300 {
        index.put(&key(n), n).expect("put");
    }
    index.flush().expect("flush");
    index.put(b"last", 1).expect("put");
    around.watch.armed.store(true, Ordering::SeqCst);
    system.record();
    while index.work().expect("work") {}
    let mut states = 0;
    for point in system.take_recording() {
        for (variant, crashed, _) in point.variants() {
            let place = || format!("before {}, {variant}", point.operation);
            for _ in 0..3 {
                let index = open(Arc::new(crashed.clone()));
                let index = index.unwrap_or_else(|e| panic!("{}: {e}", place()));
                assert!(index.count().expect("count") >= 300, "{}", place());
            }
            states += 1;
        }
    }
    assert!(states > 20, "{states}");
    assert!(index.contains(b"beside", 1).expect("get"), "it came in between");
    // They hold each other.
    around.watch.index.lock().expect("lock").take();
}
