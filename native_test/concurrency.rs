//! Readers, writers, background work, loads and closing in many threads at once. Nothing here
//! depends on how fast they are; a test that is stuck for minutes has found a deadlock.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;

use lsm_index::{Attempt, Error, Index, KeyHasher, Loader, Op, SlotTable, Target};
use support::{HASH_KEY, Item, Random, config, not_stuck, targets};

/// Keys that have their own id all the time, and others that come and go.
const LASTING: usize = 300;
const PASSING: usize = 200;

fn key(n: usize) -> [u8; 8] {
    (n as u64).to_le_bytes()
}

/// The id that a lasting key never loses.
fn lasting_id(n: usize) -> u32 {
    n as u32 * 1000 + 500
}

/// The ids that key `n` ever has are these; the first key collects many.
fn passing_id(n: usize, random: &mut Random) -> u32 {
    let most = if n == 0 { 400 } else { 5 };
    n as u32 * 1000 + random.below(most) as u32
}

fn may_have(n: usize, id: u32) -> bool {
    id as usize / 1000 == n
}

fn check_ids(n: usize, ids: &[u32]) {
    assert!(ids.is_sorted_by(|a, b| a < b), "key {n}: {ids:?}");
    assert!(ids.iter().all(|&id| may_have(n, id)), "key {n} has an id never put: {ids:?}");
    assert!(n >= LASTING || ids.contains(&lasting_id(n)), "key {n} lost its id: {ids:?}");
}

/// Reads in every way until told to stop or the index is closed; how much was read.
fn read(index: &Index, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let n = random.below(LASTING + PASSING);
        let outcome = match random.below(8) {
            0 => {
                let numbers: Vec<usize> =
                    (0..50).map(|_| random.below(LASTING + PASSING)).collect();
                let keys: Vec<[u8; 8]> = numbers.iter().map(|&n| key(n)).collect();
                index.get_many(&keys, |place, ids| check_ids(numbers[place], ids.as_slice()))
            }
            1 => {
                let lasting = n % LASTING;
                let member = index.contains(&key(lasting), lasting_id(lasting));
                member.map(|member| assert!(member, "key {lasting} lost its id"))
            }
            2 => index.get_bounded(&key(n), 3).map(|ids| {
                if let Some(ids) = ids {
                    check_ids(n, ids.as_slice());
                }
            }),
            _ => index.get(&key(n)).map(|ids| check_ids(n, ids.as_slice())),
        };
        match outcome {
            Ok(()) => reads += 1,
            Err(Error::Closed) => return reads,
            Err(error) => panic!("{error:?}"),
        }
    }
    reads
}

fn put_lasting(index: &Index) {
    for n in 0..LASTING {
        assert!(index.put(&key(n), lasting_id(n)).expect("put"));
    }
}

/// One writer, so that it knows what has to be there in the end.
fn change(index: &Index, changes: usize) -> BTreeMap<usize, BTreeSet<u32>> {
    let mut model: BTreeMap<usize, BTreeSet<u32>> =
        (0..LASTING).map(|n| (n, BTreeSet::from([lasting_id(n)]))).collect();
    let mut random = Random(7);
    for _ in 0..changes {
        let n = if random.below(4) == 0 { 0 } else { random.below(LASTING + PASSING) };
        let id = passing_id(n, &mut random);
        let ids = model.entry(n).or_default();
        if random.below(5) < 3 {
            assert_eq!(index.put(&key(n), id).expect("put"), ids.insert(id));
        } else {
            assert_eq!(index.delete(&key(n), id).expect("delete"), ids.remove(&id));
        }
    }
    model
}

fn check_all(index: &Index, model: &BTreeMap<usize, BTreeSet<u32>>) {
    for n in 0..LASTING + PASSING {
        let expected: Vec<u32> = model.get(&n).into_iter().flatten().copied().collect();
        assert_eq!(index.get(&key(n)).expect("get").as_slice(), expected, "key {n}");
    }
    let live = model.values().filter(|ids| !ids.is_empty()).count();
    assert_eq!(index.count().expect("count"), live as u64);
    let all: BTreeSet<u32> = model.values().flatten().copied().collect();
    assert_eq!(index.ids().expect("ids"), all.into_iter().collect::<Vec<_>>());
}

/// Flushes, compacts and does background work in turns.
fn maintain(index: &Index, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        while index.work().expect("work") {}
        index.flush().expect("flush");
        while index.work().expect("work") {}
        index.compact().expect("compact");
        index.sync().expect("sync");
        let stats = index.stats().expect("stats");
        assert!(stats.max_segments_per_lane <= 4, "{stats:?}");
    }
}

fn readers_and_maintenance_during(index: &Index, changes: usize) {
    put_lasting(index);
    let stop = &AtomicBool::new(false);
    let model = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..3).map(|seed| scope.spawn(move || read(index, seed, stop))).collect();
        scope.spawn(|| maintain(index, stop));
        let model = change(index, changes);
        stop.store(true, Ordering::Relaxed);
        let reads: u64 = readers.into_iter().map(|r| r.join().expect("reader")).sum();
        assert!(reads > 0);
        model
    });
    check_all(index, &model);
    index.compact().expect("compact");
    check_all(index, &model);
}

#[test]
fn readers_see_what_is_there_in_memory() {
    not_stuck(|| {
        let index = Index::in_memory(&config(2, 8)).expect("in memory");
        readers_and_maintenance_during(&index, 60_000);
    });
}

#[test]
fn readers_see_what_is_there_on_disk() {
    not_stuck(|| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let index = Index::open(dir.path(), &config(2, 30)).expect("open");
        readers_and_maintenance_during(&index, 6_000);
        index.close().expect("close");
        lsm_index::verify(dir.path()).expect("sound");
    });
}

#[test]
fn readers_of_a_closing_index_find_it_whole_or_closed() {
    not_stuck(|| {
        for round in 0..30 {
            let dir = tempfile::tempdir().expect("temporary directory");
            let index = if round % 2 == 0 {
                Index::in_memory(&config(3, 20)).expect("in memory")
            } else {
                Index::open(dir.path(), &config(3, 20)).expect("open")
            };
            put_lasting(&index);
            let (never, start) = (AtomicBool::new(false), Barrier::new(4));
            thread::scope(|scope| {
                for seed in 0..3 {
                    let (index, never, start) = (&index, &never, &start);
                    scope.spawn(move || {
                        start.wait();
                        read(index, round * 3 + seed, never)
                    });
                }
                start.wait();
                for _ in 0..round % 7 {
                    thread::yield_now();
                }
                index.close().expect("close");
            });
            assert_closed(&index);
        }
    });
}

fn assert_closed(index: &Index) {
    let outcomes = [
        index.get(&key(1)).map(drop),
        index.get(b"never put").map(drop),
        index.get_many(&[key(1)], |_, _| ()),
        index.contains(&key(1), 1).map(drop),
        index.count().map(drop),
        index.ids().map(drop),
        index.put(&key(1), 1).map(drop),
        index.try_change(&key(1), 1, Op::Delete).map(drop),
        index.write(&[(Op::Put, &key(1), 1)]).map(drop),
        index.route(&key(1), Target::Term(b"term"), Op::Put).map(drop),
        index.targets(&key(1), lsm_index::Most::ALL, |_| ()).map(drop),
        index.flush(),
        index.compact(),
        index.sync(),
        index.work().map(drop),
        index.stats().map(drop),
        index.memory().map(drop),
    ];
    for (i, outcome) in outcomes.into_iter().enumerate() {
        assert!(matches!(outcome, Err(Error::Closed)), "call {i}: {outcome:?}");
    }
    index.close().expect("closing twice is harmless");
}

/// Keys that lead to terms: a look-up and what it resolves to are one.
#[test]
fn readers_of_terms_find_them_or_the_index_closed() {
    not_stuck(|| {
        for round in 0..40_u64 {
            let index = Index::in_memory(&config(2, 10)).expect("in memory");
            let lasting = |n: usize| format!("lasting {n}").into_bytes();
            for n in 0..20 {
                index.route(&key(n), Target::Term(&lasting(n)), Op::Put).expect("route");
            }
            thread::scope(|scope| {
                for seed in 0..2 {
                    let index = &index;
                    scope.spawn(move || {
                        let mut random = Random(round << 8 | seed);
                        loop {
                            let n = random.below(20);
                            match targets(index, &key(n)) {
                                Ok(found) => {
                                    assert!(found.contains(&Item::Term(lasting(n))), "{found:?}");
                                    // Terms are used again for others as soon as they are free.
                                    let own = |item: &Item| {
                                        let mine = format!("passing {n} ").into_bytes();
                                        matches!(item, Item::Term(t) if t.starts_with(&mine) || *t == lasting(n))
                                    };
                                    assert!(found.iter().all(own), "key {n}: {found:?}");
                                }
                                Err(Error::Closed) => break,
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                    });
                }
                let mut random = Random(round);
                for i in 0..300 {
                    let n = random.below(20);
                    let passing = format!("passing {n} {}", i % 3).into_bytes();
                    let op = if i % 2 == 0 { Op::Put } else { Op::Delete };
                    index.route(&key(n), Target::Term(&passing), op).expect("route");
                }
                index.close().expect("close");
            });
        }
    });
}

/// Whatever was acknowledged before or while the index closed is there when it is opened again,
/// and no batch is there in part. Batches take a while before they change anything, and then fill
/// more than an overlay, so that closing meets some that lie in two.
#[test]
fn what_was_acknowledged_survives_closing() {
    const BATCH: u32 = 400;
    const IDLE: u32 = 50_000;
    const THRESHOLD: u32 = 300;
    not_stuck(|| {
        for round in 0..30 {
            let dir = tempfile::tempdir().expect("temporary directory");
            let index = Index::open(dir.path(), &config(1, THRESHOLD)).expect("open");
            let start = Barrier::new(3);
            let acknowledged: Vec<u32> = thread::scope(|scope| {
                let writers: Vec<_> = (0..2_u32)
                    .map(|writer| {
                        let (index, start) = (&index, &start);
                        scope.spawn(move || {
                            start.wait();
                            let write = |i: &u32| write_batch(index, writer, *i, IDLE, BATCH);
                            (0..).take_while(write).count()
                        })
                    })
                    .collect();
                start.wait();
                for _ in 0..round % 11 {
                    thread::yield_now();
                }
                index.close().expect("close");
                writers.into_iter().map(|w| w.join().expect("writer") as u32).collect()
            });
            let index = Index::open(dir.path(), &config(1, THRESHOLD)).expect("reopen");
            let is_there = |writer, batch, i| {
                index.contains(&batch_key(writer, batch, i), 9).expect("contains")
            };
            let mut live = 0;
            for (writer, batches) in (0..).zip(acknowledged) {
                for batch in 0..batches + 2 {
                    let found = (0..BATCH).filter(|&i| is_there(writer, batch, i)).count() as u32;
                    let expected = if batch < batches { BATCH } else { 0 };
                    assert_eq!(found, expected, "writer {writer}, batch {batch} of {batches}");
                    live += u64::from(found);
                }
            }
            assert_eq!(index.count().expect("count"), live);
        }
    });
}

fn batch_key(writer: u32, batch: u32, i: u32) -> [u8; 12] {
    let mut key = [0; 12];
    for (bytes, number) in key.chunks_mut(4).zip([writer, batch, i]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    key
}

/// Puts `len` pairs, after `idle` changes that change nothing. False once the index is closed.
fn write_batch(index: &Index, writer: u32, batch: u32, idle: u32, len: u32) -> bool {
    let keys: Vec<[u8; 12]> = (0..len).map(|i| batch_key(writer, batch, i)).collect();
    let idle = (0..idle).map(|_| (Op::Delete, &b"never put"[..], 9));
    let puts = keys.iter().map(|key| (Op::Put, &key[..], 9));
    let batch: Vec<(Op, &[u8], u32)> = idle.chain(puts).collect();
    match index.write(&batch) {
        Ok(changed) => {
            assert_eq!(changed, len as usize);
            true
        }
        Err(Error::Closed) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Batches over the same lanes in opposite orders, beside flushes and compactions.
#[test]
fn batches_do_not_wait_for_each_other() {
    not_stuck(|| {
        let index = Index::in_memory(&config(8, 10)).expect("in memory");
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4_u32)
                .map(|writer| {
                    let index = &index;
                    scope.spawn(move || {
                        for round in 0..300 {
                            let mut keys: Vec<[u8; 8]> = (0..100).map(key).collect();
                            if writer % 2 == 0 {
                                keys.reverse();
                            }
                            let op = if round % 2 == 0 { Op::Put } else { Op::Delete };
                            let batch: Vec<(Op, &[u8], u32)> =
                                keys.iter().map(|key| (op, &key[..], writer)).collect();
                            assert_eq!(index.write(&batch).expect("write"), 100);
                        }
                    })
                })
                .collect();
            scope.spawn(|| maintain(&index, &stop));
            writers.into_iter().for_each(|writer| writer.join().expect("writer"));
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(index.count().expect("count"), 0);
    });
}

/// Each batch puts and deletes the same pairs by turns. Whatever was there before, all of its
/// changes but the first of each pair count, unless another writer comes in between.
#[test]
fn no_writer_comes_between_the_changes_of_a_batch() {
    not_stuck(|| {
        let index = Index::in_memory(&config(3, 4)).expect("in memory");
        thread::scope(|scope| {
            for writer in 0..3 {
                let index = &index;
                scope.spawn(move || {
                    let mut random = Random(writer);
                    for _ in 0..2_000 {
                        let keys = [key(random.below(5)), key(random.below(5))];
                        let batch: Vec<(Op, &[u8], u32)> = (0..5)
                            .flat_map(|_| [Op::Put, Op::Delete])
                            .flat_map(|op| keys.iter().map(move |key| (op, &key[..], 1)))
                            .collect();
                        let changed = index.write(&batch).expect("write");
                        // Of two equal pairs every second change changes nothing.
                        let most = if keys[0] == keys[1] { 10 } else { 20 };
                        assert!((most - 2..=most).contains(&changed), "{changed} of {most}");
                    }
                });
            }
        });
        assert_eq!(index.count().expect("count"), 0);
    });
}

/// A load holds lanes and asks for the dictionary, routes hold the dictionary and ask for lanes.
#[test]
fn loads_routes_and_writers_do_not_wait_for_each_other() {
    not_stuck(|| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let index = Index::open(dir.path(), &config(2, 30)).expect("open");
        let stop = AtomicBool::new(false);
        let loaded = |loader: u32, i: u32| batch_key(10 + loader, 0, i);
        thread::scope(|scope| {
            let loaders = (0..2_u32).map(|loader| {
                let index = &index;
                scope.spawn(move || {
                    for part in 0..10 {
                        let mut load = Loader::with_buffer(index, 100);
                        for i in part * 100..part * 100 + 200 {
                            load.add(index, &loaded(loader, i), i).expect("add");
                            if load.is_full() {
                                load.step(index).expect("step");
                            }
                        }
                        while load.step(index).expect("step") {}
                    }
                })
            });
            let routers = (0..2_u32).map(|router| {
                let index = &index;
                scope.spawn(move || {
                    for i in 0..600 {
                        let term = format!("term {}", i % 50);
                        let put = index.route(
                            &batch_key(router, 1, i),
                            Target::Term(term.as_bytes()),
                            Op::Put,
                        );
                        assert!(put.expect("route"));
                        if i % 3 == 0 {
                            let key = batch_key(router, 1, i);
                            let gone = index.route(&key, Target::Term(term.as_bytes()), Op::Delete);
                            assert!(gone.expect("route"));
                        }
                    }
                })
            });
            let writers: Vec<_> = loaders.chain(routers).collect();
            scope.spawn(|| maintain(&index, &stop));
            let batches = scope.spawn(|| (0..50).all(|i| write_batch(&index, 20, i, 0, 30)));
            writers.into_iter().for_each(|writer| writer.join().expect("writer"));
            assert!(batches.join().expect("batches"));
            stop.store(true, Ordering::Relaxed);
        });
        let check = |index: &Index| {
            for loader in 0..2 {
                for i in 0..1_100 {
                    let ids = index.get(&loaded(loader, i)).expect("get");
                    assert_eq!(ids.as_slice(), [i], "load {loader}");
                }
            }
            for router in 0..2 {
                for i in 0..600 {
                    let found = targets(index, &batch_key(router, 1, i)).expect("targets");
                    let term = Item::Term(format!("term {}", i % 50).into_bytes());
                    let expected =
                        if i % 3 == 0 { BTreeSet::new() } else { BTreeSet::from([term]) };
                    assert_eq!(found, expected);
                }
            }
            assert_eq!(index.count().expect("count"), 2 * 1_100 + 2 * 400 + 50 * 30);
        };
        check(&index);
        index.close().expect("close");
        check(&Index::open(dir.path(), &config(2, 30)).expect("reopen"));
    });
}

#[test]
fn a_wake_up_is_claimed_once_a_burst() {
    let index = Index::in_memory(&config(1, 1)).expect("in memory");
    assert!(!index.claim_wakeup(), "no work yet");
    assert!(!index.work().expect("work"), "no work yet");
    let try_put = |n: usize| index.try_change(&key(n), 1, Op::Put).expect("put");
    assert_eq!(try_put(0), Attempt::Done(true));
    assert!(index.claim_wakeup(), "the overlay is full");
    assert!(!index.claim_wakeup(), "claimed already");
    // The next overlay takes twice what fills one, then writers wait.
    assert_eq!((try_put(1), try_put(2)), (Attempt::Done(true), Attempt::Done(true)));
    assert!(!index.claim_wakeup(), "claimed already");
    assert_eq!(try_put(3), Attempt::Busy);
    assert_eq!(index.try_write(&[(Op::Put, &key(3), 1)]).expect("write"), Attempt::Busy);
    let route = index.try_route(&key(3), Target::Term(b"term"), Op::Put);
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
                        while index.try_change(&key, 1, Op::Put).expect("put") == Attempt::Busy {
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

/// A put fills the overlay of the lane that the worker has just looked at, while it goes through the
/// others before it rests. Nothing but the wake-up of that very put leads to its flush.
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
                        while index.try_change(key, 1, op).expect("change") == Attempt::Busy {}
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
