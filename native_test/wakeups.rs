//! Who tells the worker that there is work: every overlay that fills up is flushed, by a worker
//! that does nothing unless it is woken.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use lsm_index::{
    Attempt, Config, Durability, Error, Index, KeyHasher, Loader, Op, SMALLEST_LOG, SlotTable,
    Target,
};
use support::simulated::{ENOSPC, Fault, FaultKind, Simulated};
use support::threads::{batch_key, key};
use support::{HASH_KEY, config, not_stuck};

#[test]
fn a_wake_up_is_claimed_once_a_burst() {
    let index = Index::in_memory(&config(1, 1)).expect("in memory");
    assert!(!index.claim_wakeup(), "no work yet");
    assert!(!index.work().expect("work"), "no work yet");
    let try_put =
        |n: usize| index.try_change(&key(n), 1, Op::Put, Durability::Memory).expect("put");
    assert_eq!(try_put(0), Attempt::Done(true));
    assert!(index.claim_wakeup(), "the overlay is full");
    assert!(!index.claim_wakeup(), "claimed already");
    // The next overlay takes twice what fills one, then writers wait.
    assert_eq!((try_put(1), try_put(2)), (Attempt::Done(true), Attempt::Done(true)));
    assert!(!index.claim_wakeup(), "claimed already");
    assert_eq!(try_put(3), Attempt::Busy);
    assert_eq!(
        index.try_write(&[(Op::Put, &key(3), 1)], Durability::Memory, None).expect("write"),
        Some(Attempt::Busy)
    );
    let route = index.try_route(&key(3), Target::Term(b"term"), Op::Put, Durability::Memory);
    assert_eq!(route.expect("route"), Attempt::Busy);
    assert!(index.get(&key(3)).expect("get").as_slice().is_empty(), "busy means not done");
    assert_eq!(index.count().expect("count"), 3);

    // While work goes on nobody else is woken; when it is done, the next burst is claimed anew.
    assert!(index.work().expect("work"));
    assert!(!index.claim_wakeup(), "still at work");
    assert_eq!(try_put(3), Attempt::Done(true));
    assert!(!index.claim_wakeup(), "still at work");
    while index.work().expect("work") {}
    assert_eq!(index.stats().expect("stats").lanes_to_flush, 0);
    assert!(!index.claim_wakeup(), "nothing is left");
    assert_eq!(try_put(4), Attempt::Done(true));
    assert!(index.claim_wakeup());
}

/// Writers that never help and never flush: should a wake-up get lost, they are busy for ever.
#[test]
fn writers_that_wait_for_the_worker_get_on() {
    not_stuck(|| {
        let index = Index::in_memory(&config(3, 2)).expect("in memory");
        let (wake, woken) = mpsc::channel();
        thread::scope(|scope| {
            for writer in 0..3 {
                let (index, wake) = (&index, wake.clone());
                scope.spawn(move || {
                    for i in 0..20_000 {
                        let key = batch_key(writer, 2, i);
                        while index.try_change(&key, 1, Op::Put, Durability::Memory).expect("put")
                            == Attempt::Busy
                        {
                            thread::yield_now();
                        }
                        if index.claim_wakeup() {
                            wake.send(()).expect("the worker listens");
                        }
                    }
                });
            }
            drop(wake);
            scope.spawn(|| work_when_woken(&index, woken));
        });
        assert_eq!(index.count().expect("count"), 60_000);
        let stats = index.stats().expect("stats");
        assert_eq!(stats.lanes_to_flush, 0, "the last burst was worked off too");
        assert_eq!(stats.stalls, 0, "nobody flushed but the worker");
    });
}

fn work_when_woken(index: &Index, woken: mpsc::Receiver<()>) {
    for () in woken {
        while index.work().expect("work") {}
    }
}

/// A put fills the overlay of the lane that the worker has just looked at, while it goes through
/// the others before it rests. Nothing but the wake-up of that very put leads to its flush.
#[test]
fn no_wake_up_is_lost() {
    const LANES: u32 = 1024;
    const ROUNDS: u32 = 20;
    not_stuck(|| {
        let index = Index::in_memory(&config(LANES, 1)).expect("in memory");
        let (hasher, slots) = (KeyHasher::new(&HASH_KEY), SlotTable::new(LANES));
        let lane_of = |key: &[u8; 8]| slots.lane(hasher.fingerprint(key));
        let key_of_lane: BTreeMap<usize, [u8; 8]> =
            (0..50_000).map(key).map(|key| (lane_of(&key), key)).collect();
        assert_eq!(key_of_lane.len(), LANES as usize);
        let (wake, woken) = mpsc::channel();
        thread::scope(|scope| {
            let index = &index;
            scope.spawn(|| work_when_woken(index, woken));
            scope.spawn(move || {
                let mut flushes = 0;
                for round in 0..ROUNDS {
                    let op = if round % 2 == 0 { Op::Put } else { Op::Delete };
                    for key in key_of_lane.values() {
                        // Busy while the worker has the lane for a last look.
                        while index.try_change(key, 1, op, Durability::Memory).expect("change")
                            == Attempt::Busy
                        {}
                        if index.claim_wakeup() {
                            wake.send(()).expect("the worker listens");
                        }
                        flushes += 1;
                        while index.stats().expect("stats").flushes < flushes {
                            std::hint::spin_loop();
                        }
                    }
                }
            });
        });
        assert_eq!(index.stats().expect("stats").flushes, u64::from(LANES * ROUNDS));
    });
}

/// A load of known keys alone makes no segment of the overlay that it froze for that.
#[test]
fn an_overlay_frozen_for_a_load_is_flushed_in_the_background() {
    let index = Index::in_memory(&config(1, 1000)).expect("index");
    index.put(&key(0), 1).expect("put");
    let mut loader = Loader::new(&index);
    loader.add(&index, &key(0), 1).expect("add");
    while loader.step(&index).expect("load") {}
    assert_eq!(index.stats().expect("stats").lanes_to_flush, 1);
    assert!(index.claim_wakeup());
}

/// Terms of some length that come and go under one key; the most that the dictionary takes.
fn churn(index: &Index, terms: u32, len: usize, durability: Durability) -> u64 {
    let mut most = 0;
    for n in 0..terms {
        let term = [&n.to_le_bytes()[..], &vec![7; len]].concat();
        for op in [Op::Put, Op::Delete] {
            assert!(index.route_with(b"k", Target::Term(&term), op, durability).expect("route"));
            if index.claim_wakeup() {
                most = most.max(index.memory().expect("memory").dictionary);
                while index.work().expect("work") {}
            }
        }
    }
    most.max(index.memory().expect("memory").dictionary)
}

/// No overlay fills up by it, but the dictionary does: the worker is woken, and gives memory and ids
/// back.
#[test]
fn terms_that_come_and_go_take_no_more_and_more() {
    let system = Simulated::new();
    let config = Config { max_log_bytes: Some(SMALLEST_LOG), ..config(1, 10_000) };
    let on_disk = || {
        let system = Arc::new(system.clone());
        Index::open_on(system, Path::new("/db"), &config).expect("open")
    };
    let in_memory = || Index::in_memory(&config).expect("in memory");
    let limit = 64 << 20;
    assert!(churn(&in_memory(), 300_000, 28, Durability::Memory) < limit / 16);
    assert!(churn(&on_disk(), 300_000, 28, Durability::Memory) < limit);
    let index = on_disk();
    assert!(churn(&index, 3_000, 65_000, Durability::Os) < limit);
    let terms = system.files()[Path::new("/db/epoch-00000001/TERMS")].len();
    assert!((terms as u64) < limit, "{terms}");
    assert_eq!(index.count().expect("count"), 0);
}

/// A round meets damage: it is told, once, and all other work goes on.
#[test]
fn a_round_that_fails_holds_up_nothing_else() {
    let system = Simulated::new();
    let open = || {
        let system = Arc::new(system.clone());
        Index::open_on(system, Path::new("/db"), &config(2, 1000)).expect("open")
    };
    let index = open();
    for n in 0..2000 {
        index.put(&key(n), 7).expect("put");
    }
    index.close().expect("close");
    let segment =
        system.files().into_keys().rfind(|path| path.extension().is_some_and(|e| e == "seg"));
    let (segment, mut bytes) =
        segment.map(|path| (path.clone(), system.files()[&path].clone())).expect("one");
    // A bit that no look-up reads.
    let at = bytes.len() - 70;
    bytes[at] ^= 1;
    system.set_file(segment, &bytes);

    let index = open();
    index.put(&key(0), 8).expect("put");
    assert!(matches!(index.compact(), Err(Error::Corrupt { .. })));
    assert!(matches!(index.compact(), Err(Error::Corrupt { .. })), "asked for, it is tried again");
    while index.work().expect("other work") {}
    let mut n = 2000;
    for _ in 0..2 {
        while index.stats().expect("stats").lanes_to_flush == 0 {
            index.put(&key(n), 1).expect("put");
            n += 1;
        }
        assert!(index.claim_wakeup(), "somebody is told of a full overlay");
        // A flush of the damaged lane may have to merge.
        while let Ok(true) = index.work() {}
    }
}

/// Keys that come and go within an overlay never fill it, and still leave something to be dropped.
#[test]
fn what_came_and_went_is_dropped_by_and_by() {
    let index = Index::in_memory(&config(1, 1_000)).expect("in memory");
    let mut wake_ups = 0;
    for n in 0..20_000 {
        index.put(&key(n), 1).expect("put");
        index.delete(&key(n), 1).expect("delete");
        if index.claim_wakeup() {
            wake_ups += 1;
            while index.work().expect("work") {}
        }
    }
    assert!((10..1_000).contains(&wake_ups), "{wake_ups} wake-ups");
    assert_eq!(index.stats().expect("stats").flushes, 0);
}

/// An overlay that could not be written, whoever tried, waits for the worker, who is told.
#[test]
fn a_flush_or_a_load_that_fails_leaves_its_work_to_the_worker() {
    type Work = fn(&Index) -> Result<(), Error>;
    let works: [Work; 3] = [
        |index| index.flush_lane(0),
        |index| index.compact_lane(0),
        |index| {
            let mut loader = Loader::new(index);
            loader.add(index, &key(1), 1)?;
            loader.step(index).map(drop)
        },
    ];
    for work in works {
        let system = Simulated::new();
        let index = Index::open_on(Arc::new(system.clone()), Path::new("/db"), &config(1, 1_000));
        let index = index.expect("open");
        index.put(&key(0), 1).expect("put");
        while index.work().expect("work") {}
        let full = FaultKind::Error(ENOSPC);
        system.inject(Fault { at: 0, kind: full, repeat: true });
        assert!(matches!(work(&index), Err(Error::Io { .. })));
        assert_eq!(index.stats().expect("stats").lanes_to_flush, 1);
        system.clear_faults();
        assert!(index.claim_wakeup(), "nobody is told");
        while index.work().expect("work") {}
        assert_eq!(index.stats().expect("stats").lanes_to_flush, 0);
        assert_eq!(index.get(&key(0)).expect("get").as_slice(), [1]);
    }
}

/// Many ids take several pins, so that what was replaced goes before all of them are put together.
#[test]
fn a_look_up_of_many_ids_holds_nothing_up_to_its_end() {
    let index = Index::in_memory(&config(1, 1_000_000)).expect("in memory");
    let listed: Vec<_> = (0..1_000).map(|id| (Op::Put, key(0), id)).collect();
    assert_eq!(index.write(&listed).expect("write"), 1_000);
    while index.work().expect("work") {}
    let (mut asked, mut told) = (0, None);
    let looks = index.get_many(&vec![key(0); 400], |_, ids| {
        assert_eq!(ids.as_slice().len(), 1_000);
        asked += 1;
        if asked == 1 {
            index.put(&key(1), 1).expect("put");
            index.flush().expect("flush");
            while index.work().expect("work") {}
        } else if told.is_none() && index.claim_wakeup() {
            told = Some(asked);
        }
    });
    looks.expect("looks");
    assert!(told.is_some_and(|asked| asked < 200), "{told:?} of {asked}");
}

/// Readers that come and go beside one that stays tell the worker of nothing.
#[test]
fn a_reader_that_stays_wakes_nobody_by_those_who_come_and_go() {
    let index = Index::in_memory(&config(1, 1_000)).expect("in memory");
    index.put(&key(0), 1).expect("put");
    while index.work().expect("work") {}
    let mut wake_ups = 0;
    let looks = index.get_many(&[key(0)], |_, _| {
        index.put(&key(1), 1).expect("put");
        index.flush().expect("flush");
        for _ in 0..1_000 {
            index.get(&key(0)).expect("get");
            if index.claim_wakeup() {
                wake_ups += 1;
                while index.work().expect("work") {}
            }
        }
    });
    looks.expect("looks");
    assert!(wake_ups < 5, "{wake_ups} wake-ups");
    assert!(index.claim_wakeup(), "it held something up");
}
