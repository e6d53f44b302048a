//! Readers, writers, background work and loads in many threads at once. Nothing here depends on
//! how fast they are; a test that is stuck for minutes has found a deadlock.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lsm_index::{IdSet, Index, Loader, Op, Target};
use support::threads::{
    LASTING, PASSING, StopOnDrop, batch_key, key, lasting_id, maintain, put_lasting, read,
    write_batch,
};
use support::{Item, Random, config, not_stuck, targets};

/// The ids that key `n` ever has are these; the first key collects many.
fn passing_id(n: usize, random: &mut Random) -> u32 {
    let most = if n == 0 { 400 } else { 5 };
    n as u32 * 1000 + random.below(most) as u32
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

fn readers_and_maintenance_during(index: &Index, changes: usize) {
    put_lasting(index);
    let stop = &AtomicBool::new(false);
    let model = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..3).map(|seed| scope.spawn(move || read(index, seed, stop))).collect();
        scope.spawn(|| maintain(index, stop));
        let model = {
            let _stop = StopOnDrop(stop);
            change(index, changes)
        };
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
            let _stop = StopOnDrop(&stop);
            writers.into_iter().for_each(|writer| writer.join().expect("writer"));
        });
        assert_eq!(index.count().expect("count"), 0);
    });
}

/// Each batch moves all keys on to the next id. Whoever reads one key and then another sees exactly
/// one id of each, the second no older than the first: no part of a batch shows without the rest.
#[test]
fn readers_see_batches_whole() {
    // The larger batch is made in copies of the overlays.
    for keys in [20, 2_500] {
        not_stuck(move || {
            let index = Index::in_memory(&config(8, 100)).expect("in memory");
            let all: Vec<[u8; 8]> = (0..keys).map(key).collect();
            let stop = AtomicBool::new(false);
            let step = |id: u32| {
                let puts = all.iter().map(|key| (Op::Put, &key[..], id + 1));
                let deletes = all.iter().map(|key| (Op::Delete, &key[..], id));
                index.write(&puts.chain(deletes).collect::<Vec<_>>()).expect("write")
            };
            step(0);
            thread::scope(|scope| {
                for reader in 0..2 {
                    let (index, all, stop) = (&index, &all, &stop);
                    scope.spawn(move || {
                        let mut random = Random(reader);
                        while !stop.load(Ordering::Relaxed) {
                            let of = |key: &[u8; 8]| match index.get(key).expect("get") {
                                IdSet::One(id) => id,
                                other => panic!("{other:?}"),
                            };
                            let (first, second) = (random.below(keys), random.below(keys));
                            let first = of(&all[first]);
                            let second = of(&all[second]);
                            assert!(first <= second, "{second} after {first}");
                            assert_eq!(index.count().expect("count"), keys as u64);
                        }
                    });
                }
                scope.spawn(|| maintain(&index, &stop));
                let _stop = StopOnDrop(&stop);
                for id in 1..50_000 / keys as u32 {
                    assert_eq!(step(id), 2 * keys);
                }
            });
        });
    }
}

/// Answers are handed over without a lock of any lane: who gets them may look up and change more.
#[test]
fn an_answer_may_ask_for_more() {
    not_stuck(|| {
        let index = Index::in_memory(&config(2, 10)).expect("in memory");
        let keys: Vec<[u8; 8]> = (0..20).map(key).collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let batch: Vec<_> = keys.iter().map(|key| (Op::Put, &key[..], 1)).collect();
                while !stop.load(Ordering::Relaxed) {
                    index.write(&batch).expect("write");
                    while index.work().expect("work") {}
                }
            });
            let _stop = StopOnDrop(&stop);
            for id in 0..1_000 {
                let more = |place: usize, _ids| {
                    index.get(&keys[19 - place]).expect("get");
                    index.put(&keys[place], 2 + id % 200).expect("put");
                };
                index.get_many(&keys, more).expect("get_many");
            }
        });
    });
}

/// Each batch makes its writer's id the only one of all keys.
#[test]
fn no_writer_comes_between_the_changes_of_a_batch() {
    not_stuck(|| {
        let index = Index::in_memory(&config(3, 4)).expect("in memory");
        let keys: Vec<[u8; 8]> = (0..10).map(key).collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let (index, keys) = (&index, &keys);
                    scope.spawn(move || {
                        let op = |id| if id == writer { Op::Put } else { Op::Delete };
                        let batch: Vec<(Op, &[u8], u32)> = keys
                            .iter()
                            .flat_map(|key| (0..3).map(move |id| (op(id), &key[..], id)))
                            .collect();
                        for _ in 0..1_000 {
                            let changed = index.write(&batch).expect("write");
                            // Another's id for ours on every key; at the very first, ours alone.
                            assert!([0, 10, 20].contains(&changed), "{changed}");
                        }
                    })
                })
                .collect();
            scope.spawn(|| maintain(&index, &stop));
            let _stop = StopOnDrop(&stop);
            writers.into_iter().for_each(|writer| writer.join().expect("writer"));
        });
        let last: BTreeSet<Vec<u32>> =
            keys.iter().map(|key| index.get(key).expect("get").as_slice().to_vec()).collect();
        assert_eq!(last.len(), 1, "{last:?}");
        assert_eq!(last.first().map(Vec::len), Some(1));
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
            let _stop = StopOnDrop(&stop);
            writers.into_iter().for_each(|writer| writer.join().expect("writer"));
            assert!(batches.join().expect("batches"));
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
