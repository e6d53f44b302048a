//! The write-ahead log as a user sees it: what lasts, how large it grows, what is told of a
//! recovery.

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lsm_index::fs::Disk;
use lsm_index::{Config, Durability, Error, Index, Loader, Op, SMALLEST_LOG, Target};
use support::around::{Act, Around, Watch};
use support::config;
use support::small::{LANE, key, temporary};

const ALL: [Durability; 3] = [Durability::Memory, Durability::Os, Durability::Sync];

fn open(root: &Path) -> Index {
    Index::open(root, &config(2, 10_000)).expect("open")
}

/// As after the end of the process: nothing is flushed.
fn crash(index: Index, root: &Path) -> Index {
    drop(index);
    open(root)
}

fn ids(index: &Index, key: &[u8]) -> Vec<u32> {
    index.get(key).expect("get").as_slice().to_vec()
}

#[test]
fn what_was_logged_is_there_after_a_crash() {
    let dir = temporary();
    let index = open(dir.path());
    index.put(b"a", 1).expect("put");
    index.write(&[(Op::Put, b"b", 2), (Op::Put, b"c", 3), (Op::Delete, b"a", 1)]).expect("write");
    index.route(b"d", Target::Term(b"a term"), Op::Put).expect("route");
    let index = crash(index, dir.path());
    assert_eq!(
        (ids(&index, b"a"), ids(&index, b"b"), ids(&index, b"c")),
        (vec![], vec![2], vec![3])
    );
    assert_eq!(support::resolved(&index, b"d"), [support::Item::Term(b"a term".to_vec())].into());
    let recovery = index.recovery();
    assert_eq!((recovery.batches, recovery.changes), (3, 5));
    assert_eq!((&recovery.torn, &recovery.dropped), (&None, &vec![]));
    assert!(recovery.log_bytes > 0 && recovery.micros > 0, "{recovery:?}");
    assert_eq!(&index.stats().expect("stats").recovery, recovery);
    index.close().expect("close");
    // Closed, all of it is in segments.
    let index = open(dir.path());
    assert_eq!(index.recovery().batches, 0);
    assert_eq!(index.count().expect("count"), 3);
}

/// A put of what is there already changes nothing; but what is there may be in no log.
#[test]
fn what_is_so_already_lasts_once_it_was_promised() {
    let dir = temporary();
    let mut index = open(dir.path());
    for (round, promised) in [Durability::Os, Durability::Sync].into_iter().enumerate() {
        let (one, two) = (key(2 * round as u32), key(2 * round as u32 + 1));
        assert!(index.change(&one, 1, Op::Put, Durability::Memory).expect("put"));
        assert!(!index.change(&one, 1, Op::Put, promised).expect("put"));
        index.change(&two, 2, Op::Put, Durability::Memory).expect("put");
        assert_eq!(index.write_with(&[(Op::Put, &two, 2)], promised).expect("write"), 0);
        index = crash(index, dir.path());
        assert_eq!((ids(&index, &one), ids(&index, &two)), (vec![1], vec![2]));

        index.flush().expect("flush");
        assert!(index.change(&one, 1, Op::Delete, Durability::Memory).expect("delete"));
        assert!(!index.change(&one, 1, Op::Delete, promised).expect("delete"));
        index.change(&two, 2, Op::Delete, Durability::Memory).expect("delete");
        assert_eq!(index.write_with(&[(Op::Delete, &two, 2)], promised).expect("write"), 0);
        index = crash(index, dir.path());
        assert_eq!((ids(&index, &one), ids(&index, &two)), (vec![], vec![]));
    }
}

/// The put is in the log, the delete that undoes it is not.
#[test]
fn a_promised_delete_is_not_undone_by_a_put_before_it() {
    let dir = temporary();
    let index = open(dir.path());
    index.put(b"k", 1).expect("put");
    index.change(b"k", 1, Op::Delete, Durability::Memory).expect("delete");
    assert!(!index.delete(b"k", 1).expect("nothing left to delete"));
    assert_eq!(ids(&crash(index, dir.path()), b"k"), Vec::<u32>::new());
}

/// A load goes past the log; what the log has of its keys came before.
#[test]
fn a_load_is_not_undone_by_changes_before_it() {
    let dir = temporary();
    let index = open(dir.path());
    for n in 0..20 {
        index.put(&key(n), n).expect("put");
        index.delete(&key(n), n).expect("delete");
    }
    let mut loader = Loader::new(&index);
    for n in 0..20 {
        loader.add(&index, &key(n), n).expect("add");
    }
    while loader.step(&index).expect("load") {}
    let index = crash(index, dir.path());
    for n in 0..20 {
        assert_eq!(ids(&index, &key(n)), [n]);
    }
}

#[test]
fn without_the_log_a_sync_is_what_lasts() {
    let dir = temporary();
    let index = open(dir.path());
    let memory = Durability::Memory;
    index.change(b"kept", 1, Op::Put, memory).expect("put");
    index.sync().expect("sync");
    index.change(b"lost", 1, Op::Put, memory).expect("put");
    let index = crash(index, dir.path());
    assert_eq!((ids(&index, b"kept"), ids(&index, b"lost")), (vec![1], vec![]));
    assert_eq!(index.recovery().batches, 0);
}

/// There is no log, so that there is nothing to choose.
#[test]
fn in_memory_every_durability_is_as_good() {
    let index = Index::in_memory(&Config::default()).expect("in memory");
    for (n, durability) in (0..).zip(ALL) {
        assert!(index.change(&key(n), 1, Op::Put, durability).expect("put"));
        let change = [(Op::Delete, &key(n)[..], 1)];
        assert_eq!(index.write_with(&change, durability).expect("write"), 1);
    }
    assert_eq!(index.stats().expect("stats").log_bytes, 0);
}

fn bounded(root: &Path) -> Index {
    let config = Config { max_log_bytes: Some(16 * SMALLEST_LOG), ..config(8, 10_000) };
    Index::open(root, &config).expect("open")
}

fn log_files(root: &Path) -> (u64, usize) {
    let files: Vec<PathBuf> = std::fs::read_dir(root.join("wal"))
        .expect("the log")
        .map(|entry| entry.expect("entry").path())
        .collect();
    let bytes = files.iter().map(|path| std::fs::metadata(path).expect("stat").len()).sum();
    (bytes, files.len())
}

/// Nobody does the background work; a lane with one old change pins the oldest file.
#[test]
fn the_log_stays_within_its_bound() {
    let dir = temporary();
    let index = bounded(dir.path());
    index.put(b"idle", 7).expect("put");
    for n in 0..20_000 {
        // The overlay stays small: only the log grows.
        index.put(&key(n % 3), n).expect("put");
        index.delete(&key(n % 3), n).expect("delete");
        if n % 500 == 0 {
            let (bytes, _) = log_files(dir.path());
            assert_eq!(bytes, index.stats().expect("stats").log_bytes);
            assert!(bytes <= 16 * SMALLEST_LOG + 100, "{bytes} bytes");
        }
    }
    let stats = index.stats().expect("stats");
    assert!(stats.stalls > 0, "{stats:?}");
    drop(index);
    let index = bounded(dir.path());
    assert_eq!((index.count().expect("count"), ids(&index, b"idle")), (1, vec![7]));
}

#[test]
fn background_work_keeps_writers_from_waiting() {
    let dir = temporary();
    let index = bounded(dir.path());
    for n in 0..20_000 {
        index.put(&key(n % 3), n).expect("put");
        index.delete(&key(n % 3), n).expect("delete");
        if index.claim_wakeup() {
            while index.work().expect("work") {}
        }
    }
    let stats = index.stats().expect("stats");
    assert_eq!(stats.stalls, 0, "{stats:?}");
    assert!(stats.log_bytes <= 8 * SMALLEST_LOG + 100, "{stats:?}");
    index.close().expect("close");
    let (bytes, files) = log_files(dir.path());
    assert_eq!((bytes, files), (64, 1), "an empty log");
}

#[test]
fn a_batch_larger_than_the_log_is_written_all_the_same() {
    let dir = temporary();
    let config = Config { max_log_bytes: Some(SMALLEST_LOG), ..config(2, 10_000) };
    let index = Index::open(dir.path(), &config).expect("open");
    let keys: Vec<Vec<u8>> = (0..2000).map(key).collect();
    let batch: Vec<(Op, &[u8], u32)> = keys.iter().map(|key| (Op::Put, &key[..], 1)).collect();
    assert_eq!(index.write(&batch).expect("write"), 2000);
    assert!(index.stats().expect("stats").log_bytes > SMALLEST_LOG);
    // The next one finds the log full, and makes room.
    index.put(b"one more", 1).expect("put");
    assert!(index.stats().expect("stats").log_bytes < SMALLEST_LOG);
    assert_eq!(crash(index, dir.path()).count().expect("count"), 2001);
}

/// A disk whose syncs take their time, and are counted; and one of them fails, if told so.
#[derive(Debug, Default)]
struct Syncs {
    count: AtomicU64,
    fail: AtomicBool,
    millis: u64,
}

fn slow(millis: u64) -> Around<Disk, Syncs> {
    Around::new(Disk, Syncs { millis, ..Syncs::default() })
}

impl Watch for Syncs {
    fn before(&self, act: Act, _path: &Path) -> io::Result<()> {
        if act == Act::Sync {
            std::thread::sleep(Duration::from_millis(self.millis));
            self.count.fetch_add(1, Ordering::SeqCst);
            if self.fail.swap(false, Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        Ok(())
    }
}

/// Those who wait for the disk at the same time wait for one sync.
#[test]
fn a_sync_is_shared() {
    const WRITERS: u32 = 16;
    const EACH: u32 = 20;
    let dir = temporary();
    let slow = slow(2);
    let index =
        Index::open_on(Arc::new(slow.clone()), dir.path(), &config(4, 10_000)).expect("open");
    let before = slow.watch.count.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let index = &index;
            scope.spawn(move || {
                for n in 0..EACH {
                    let changed = index.change(&key(writer), n, Op::Put, Durability::Sync);
                    assert!(changed.expect("put"));
                }
            });
        }
    });
    let syncs = slow.watch.count.load(Ordering::SeqCst) - before;
    assert!(syncs >= u64::from(EACH), "{syncs} syncs: one writer alone needs as many");
    assert!(syncs < u64::from(WRITERS * EACH) / 3, "{syncs} syncs");
}

/// After a sync that failed nobody knows what the disk holds, and another that succeeds tells
/// nothing.
#[test]
fn a_failed_sync_refuses_writes_and_reads_go_on() {
    let dir = temporary();
    let slow = slow(2);
    let index =
        Index::open_on(Arc::new(slow.clone()), dir.path(), &config(4, 10_000)).expect("open");
    index.put(b"before", 1).expect("put");
    index.sync().expect("sync");
    slow.watch.fail.store(true, Ordering::SeqCst);
    let failed = index.change(b"in doubt", 1, Op::Put, Durability::Sync);
    assert!(matches!(failed, Err(Error::Io { op: "sync", .. })), "{failed:?}");
    for durability in ALL {
        let refused = index.change(b"after", 1, Op::Put, durability);
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
    }
    assert!(matches!(index.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(index.flush(), Err(Error::Poisoned { .. })));
    assert_eq!(ids(&index, b"before"), [1]);
    assert!(matches!(index.close(), Err(Error::Poisoned { .. })));
    let index = Index::open_on(Arc::new(slow), dir.path(), &config(4, 10_000)).expect("reopen");
    assert_eq!(ids(&index, b"before"), [1]);
    index.change(b"after", 1, Op::Put, Durability::Sync).expect("works again");
}

/// The next opener begins where the log ended; whoever still waits for a sync must not append to
/// it.
#[test]
fn a_sync_that_outlives_the_index_leaves_the_log_alone() {
    let dir = temporary();
    let (lane, aside) = (dir.path().join(LANE), dir.path().join("aside"));
    let index = Index::open_on(Arc::new(slow(300)), dir.path(), &config(1, 100)).expect("open");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| index.change(b"k", 1, Op::Put, Durability::Sync));
        while index.stats().expect("stats").log_bytes < 100 {
            std::thread::yield_now();
        }
        // The flush fails, so that the log is what is left.
        std::fs::rename(&lane, &aside).expect("rename");
        assert!(matches!(index.close(), Err(Error::Io { .. })));
        std::fs::rename(&aside, &lane).expect("rename back");
        let next = Index::open(dir.path(), &config(1, 100)).expect("open");
        next.put(b"k", 2).expect("put");
        drop(next);
        assert!(waiting.join().expect("no panic").expect("synced"));
    });
    let index = Index::open(dir.path(), &config(1, 100)).expect("sound");
    assert_eq!(ids(&index, b"k"), [1, 2]);
}

/// A recovery needs no more memory than the writing did: lanes are flushed on the way.
#[test]
fn a_long_log_is_made_again_bit_by_bit() {
    const KEYS: u32 = 100_000;
    let system = support::simulated::Simulated::new();
    let open = || Index::open_on(Arc::new(system.clone()), Path::new("/db"), &config(1, 10_000));
    let index = open().expect("create");
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
    for keys in keys.chunks(5_000) {
        let batch: Vec<_> = keys.iter().map(|key| (Op::Put, &key[..], 1)).collect();
        assert_eq!(index.write(&batch).expect("write"), keys.len());
    }
    // The lane says that it has nothing, so that all of it is to be made again.
    let manifest = Path::new("/db").join(LANE).join("MANIFEST");
    drop(index);
    let fresh = support::simulated::Simulated::new();
    let empty = Index::open_on(Arc::new(fresh.clone()), Path::new("/db"), &config(1, 10_000));
    drop(empty.expect("create"));
    system.set_file(&manifest, &fresh.files()[&manifest]);
    let index = open().expect("open");
    assert_eq!(index.count().expect("count"), u64::from(KEYS));
    assert_eq!(index.recovery().changes, u64::from(KEYS));
    let held = index.stats().expect("stats").total_overlay_entries;
    assert!(held <= 30_000, "{held} changes in overlays");
}
