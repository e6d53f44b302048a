//! The write-ahead log, flushes and closing, on a simulated file system that crashes at any moment:
//! what was promised has to be there, and nothing of what was not half.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::simulated::{Loss, Simulated};
use crate::support::{
    Crashes, ROOT, config, explore, holds, key, keys_of, on_disk, together, turns, with,
};
use lsm_index::{Durability, Error, Index, Loader, Op};

/// Who asked for stable storage has it, though one sync serves several.
#[test]
fn what_a_shared_sync_promised_survives_a_power_failure() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(1, 100));
        let crashes = Arc::new(Crashes::default());
        let writer = |n: u32, durability| {
            let (crashes, system) = (Arc::clone(&crashes), system.clone());
            with(&index, move |index| {
                for n in [n, n + 1] {
                    index.change(&key(n), n, Op::Put, durability).expect("change");
                    if durability == Durability::Sync {
                        crashes.keep(system.crash(Loss::Unsynced), &[(key(n), n)]);
                    } else {
                        crashes.keep(system.crash(Loss::Nothing), &[(key(n), n)]);
                    }
                }
            })
        };
        together([
            writer(0, Durability::Sync),
            writer(10, Durability::Sync),
            writer(20, Durability::Os),
            with(&index, |index| index.sync().expect("sync")),
        ]);
        crashes.check(1, |_| {});
    });
}

/// After a sync that failed nobody is promised anything, and what was promised before is kept.
#[test]
fn a_sync_that_fails_ends_all_promises() {
    explore(|| {
        let system = Simulated::new();
        let turns = Arc::new(turns(&system));
        let index = Index::open_on(turns.clone(), Path::new(ROOT), &config(1, 100)).expect("opens");
        let (index, failed) = (Arc::new(index), Arc::new(AtomicBool::new(false)));
        let crashes = Arc::new(Crashes::default());
        let writer = |n: u32| {
            let (crashes, system) = (Arc::clone(&crashes), system.clone());
            let failed = Arc::clone(&failed);
            with(&index, move |index| {
                for n in n..n + 3 {
                    let too_late = failed.load(Ordering::SeqCst);
                    match index.change(&key(n), n, Op::Put, Durability::Sync) {
                        Ok(changed) => {
                            assert!(changed && !too_late, "promised after a failure");
                            crashes.keep(system.crash(Loss::Unsynced), &[(key(n), n)]);
                        }
                        Err(Error::Io { .. } | Error::Poisoned { .. }) => {
                            failed.store(true, Ordering::SeqCst);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        };
        together([writer(0), writer(10), with(&turns, |turns| turns.break_syncs())]);
        crashes.check(1, |_| {});
        if failed.load(Ordering::SeqCst) {
            assert!(matches!(index.sync(), Err(Error::Poisoned { .. })));
            assert!(matches!(index.put(b"late", 1), Err(Error::Poisoned { .. })));
        }
    });
}

/// Of a batch over two lanes a crash leaves all or nothing, also while its lanes are flushed.
#[test]
fn a_crash_leaves_all_of_a_batch_or_nothing() {
    explore(|| {
        let [a, b] = [0, 1].map(|lane| keys_of(lane, 2).next().expect("a key of the lane"));
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 1));
        let crashes = Arc::new(Crashes::default());
        let batch = [(Op::Put, a.clone(), 1), (Op::Put, b.clone(), 1)];
        let crash = |loss| {
            let (crashes, system) = (Arc::clone(&crashes), system.clone());
            with(&index, move |index| {
                // A place for others to come in between.
                index.count().expect("count");
                crashes.keep(system.crash(loss), &[]);
            })
        };
        together([
            with(&index, move |index| {
                let batch = batch.each_ref().map(|(op, key, id)| (*op, key.as_slice(), *id));
                index.write(&batch).expect("write");
            }),
            with(&index, |index| index.flush_lane(1).expect("flush")),
            with(&index, |index| index.flush_lane(0).expect("flush")),
            crash(Loss::Nothing),
            crash(Loss::Unsynced),
        ]);
        crashes.check(2, |index| assert_eq!(holds(index, &a, 1), holds(index, &b, 1)));
    });
}

/// Files of the log go while others are appended to: never one that is needed.
#[test]
fn no_needed_file_of_the_log_is_trimmed() {
    /// A record of that many changes fills a file.
    const FULL: u32 = 50;
    fn write(index: &Index, key: &[u8], n: u32) {
        let batch: Vec<_> = (n * FULL..(n + 1) * FULL).map(|id| (Op::Put, key, id)).collect();
        assert_eq!(index.write(&batch).expect("write"), FULL as usize);
    }
    explore(|| {
        let [a, b] = [0, 1].map(|lane| keys_of(lane, 2).next().expect("a key of the lane"));
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 1_000));
        // Half of what the log may have: it is to be shortened from now on.
        (0..2).for_each(|n| [&a, &b].into_iter().for_each(|key| write(&index, key, n)));
        let crashes = Arc::new(Crashes::default());
        let writer = |key: &[u8]| {
            let (crashes, system, key) = (Arc::clone(&crashes), system.clone(), key.to_vec());
            with(&index, move |index| {
                for n in 2..4 {
                    write(index, &key, n);
                    let promised: Vec<_> = (0..=n).map(|n| (key.clone(), n * FULL)).collect();
                    crashes.keep(system.crash(Loss::Nothing), &promised);
                }
                index.sync().expect("sync");
                crashes.keep(system.crash(Loss::Unsynced), &[(key.clone(), 0), (key, 3 * FULL)]);
            })
        };
        let (keep, machine) = (Arc::clone(&crashes), system.clone());
        together([
            writer(&a),
            writer(&b),
            with(&index, move |index| {
                for _ in 0..5 {
                    index.work().expect("work");
                    keep.keep(machine.crash(Loss::Unsynced), &[]);
                }
            }),
        ]);
        index.close().expect("close");
        let all: Vec<_> =
            (0..4).flat_map(|n| [(a.clone(), n * FULL), (b.clone(), n * FULL)]).collect();
        crashes.keep(system.crash(Loss::Unsynced), &all);
        crashes.check(2, |_| {});
    });
}

/// Calls beside a close are done, or find the index closed; what was done is kept.
#[test]
fn closing_beside_calls_loses_nothing() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 1));
        index.put(&key(0), 0).expect("put");
        let crashes = Arc::new(Crashes::default());
        let done = Arc::new(Mutex::new(vec![(key(0), 0)]));
        let promised = Arc::clone(&done);
        let open = |outcome: Result<bool, Error>| match outcome {
            Ok(outcome) => outcome,
            Err(Error::Closed) => false,
            Err(other) => panic!("{other:?}"),
        };
        together([
            with(&index, |index| index.close().expect("close")),
            with(&index, move |index| {
                for n in 1..4 {
                    if open(index.put(&key(n), n)) {
                        promised.lock().expect("lock").push((key(n), n));
                    }
                }
            }),
            with(&index, move |index| {
                for _ in 0..3 {
                    match index.get(&key(0)) {
                        Ok(ids) => assert_eq!(ids.as_slice(), [0]),
                        Err(Error::Closed) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }),
            with(&index, move |index| {
                open(index.flush().map(|()| true));
            }),
        ]);
        assert!(matches!(index.get(b"a"), Err(Error::Closed)));
        assert!(matches!(index.put(b"a", 1), Err(Error::Closed)));
        crashes.keep(system.crash(Loss::Unsynced), &done.lock().expect("lock"));
        crashes.check(2, |_| {});
    });
}

/// Changes with the log and without it, a load, and work on the log, beside a close: what was
/// promised is there.
#[test]
fn mixed_durabilities_beside_a_load_and_a_close_lose_nothing() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 2));
        let crashes = Arc::new(Crashes::default());
        let done = Arc::new(Mutex::new(Vec::new()));
        let writer = |first: u32, earlier: Durability| {
            let (crashes, system) = (Arc::clone(&crashes), system.clone());
            let done = Arc::clone(&done);
            with(&index, move |index| {
                for n in first..first + 3 {
                    // There without the log, gone without it, and then promised.
                    let changes = [
                        (Op::Put, earlier),
                        (Op::Delete, Durability::Memory),
                        (Op::Put, Durability::Memory),
                        (Op::Put, Durability::Os),
                    ];
                    for (op, durability) in changes {
                        match index.change(&key(n), n, op, durability) {
                            Ok(_) => {}
                            Err(Error::Closed) => return,
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                    done.lock().expect("lock").push((key(n), n));
                    crashes.keep(system.crash(Loss::Nothing), &[(key(n), n)]);
                }
            })
        };
        let (loaded, machine, keep) = (Arc::clone(&done), system.clone(), Arc::clone(&crashes));
        together([
            writer(0, Durability::Os),
            writer(10, Durability::Memory),
            with(&index, move |index| {
                let mut loader = Loader::new(index);
                let pairs: Vec<_> = [0, 10, 20, 21, 22].map(|n| (key(n), n + 100)).into();
                for (key, id) in &pairs {
                    match loader.add(index, key, *id) {
                        Ok(()) | Err(Error::Closed) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                loop {
                    match loader.step(index) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(Error::Closed) => return,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                loaded.lock().expect("lock").extend(pairs.iter().cloned());
                keep.keep(machine.crash(Loss::Unsynced), &pairs);
            }),
            with(&index, |index| {
                for _ in 0..3 {
                    match index.work() {
                        Ok(_) | Err(Error::Closed) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }),
            with(&index, |index| index.close().expect("close")),
        ]);
        crashes.keep(system.crash(Loss::Unsynced), &done.lock().expect("lock"));
        crashes.check(2, |_| {});
    });
}
