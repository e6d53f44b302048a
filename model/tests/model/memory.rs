//! Look-ups, writers and flushes in memory: the interleavings of locks and atomics.

use std::sync::Arc;

use crate::support::{explore, holds, in_memory, key, keys_of, together, upkeep, with};
use lsm_index::{Attempt, Durability, IdSet, Index, Loader, Op};

/// What was there stays there, and what was seen is seen from then on, in the order it was written,
/// while overlays are frozen, flushed and merged.
fn look_ups_beside_flushes(holds: fn(&Index, &[u8], u32) -> bool) {
    explore(move || {
        let index = in_memory(1, 2);
        index.put(&key(0), 7).expect("put");
        together([
            with(&index, |index| {
                for n in 1..5 {
                    index.put(&key(n), n).expect("put");
                }
            }),
            with(&index, |index| {
                upkeep(index);
                index.compact().expect("compact");
            }),
            with(&index, move |index| {
                let mut seen = 5;
                for _ in 0..3 {
                    assert!(holds(index, &key(0), 7));
                    let newest = (1..5).rev().find(|&n| holds(index, &key(n), n)).unwrap_or(0);
                    assert!((1..=newest).all(|n| holds(index, &key(n), n)), "written before");
                    assert!(seen == 5 || newest >= seen, "gone again");
                    seen = newest;
                }
            }),
        ]);
        assert_eq!(index.count().expect("count"), 5);
        index.flush().expect("flush");
        assert!((1..5).all(|n| holds(&index, &key(n), n)));
        assert_eq!(index.count().expect("count"), 5);
    });
}

#[test]
fn a_look_up_beside_flushes_sees_what_was_written() {
    look_ups_beside_flushes(holds);
}

/// They go another way.
#[test]
fn a_look_up_for_one_id_beside_flushes_sees_what_was_written() {
    look_ups_beside_flushes(|index, key, id| index.contains(key, id).expect("contains"));
}

/// Ids of a large set, which each layer has a few changes of, add up in the order of the changes.
#[test]
fn changes_of_a_large_set_add_up_beside_flushes() {
    explore(|| {
        let index = in_memory(1, 2);
        let all: Vec<_> = (0..100).map(|id| (Op::Put, key(0), id)).collect();
        index.write(&all).expect("write");
        index.compact().expect("compact");
        index.put(&key(0), 200).expect("put");
        together([
            with(&index, |index| {
                index.put(&key(0), 201).expect("put");
                index.delete(&key(0), 5).expect("delete");
                index.put(&key(0), 202).expect("put");
            }),
            with(&index, |index| {
                upkeep(index);
                index.compact().expect("compact");
            }),
            with(&index, |index| {
                for _ in 0..3 {
                    assert!(
                        [7, 200].iter().all(|&id| index.contains(&key(0), id).expect("contains"))
                    );
                    let mut together = Vec::new();
                    let take = |_, ids: IdSet| together = ids.as_slice().to_vec();
                    index.get_many(&[key(0)], take).expect("get_many");
                    let alone = index.get(&key(0)).expect("get").as_slice().to_vec();
                    for ids in [together, alone] {
                        let there = [5, 201, 202].map(|id| ids.contains(&id));
                        let steps = [
                            [true, false, false],
                            [true, true, false],
                            [false, true, false],
                            [false, true, true],
                        ];
                        assert!(steps.contains(&there), "{there:?}");
                        let changed = there.iter().filter(|&&is_there| is_there).count();
                        assert_eq!((ids.len(), ids.is_sorted()), (100 + changed, true));
                    }
                }
            }),
        ]);
        assert_eq!(index.get(&key(0)).expect("get").as_slice().len(), 102);
    });
}

/// Of several writers of one pair exactly one changes something, and keys are counted exactly.
#[test]
fn one_of_several_writers_makes_a_change() {
    explore(|| {
        let index = in_memory(1, 1);
        let changes = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let writer = |op| {
            let changes = Arc::clone(&changes);
            with(&index, move |index| {
                let changed = index.change(b"k", 1, op, Durability::Memory).expect("change");
                let sign = if op == Op::Put { 1 } else { -1 };
                changes.fetch_add(i64::from(changed) * sign, std::sync::atomic::Ordering::SeqCst);
            })
        };
        together([
            writer(Op::Put),
            writer(Op::Put),
            writer(Op::Delete),
            with(&index, |index| index.flush().expect("flush")),
        ]);
        let there = u64::from(holds(&index, b"k", 1));
        assert_eq!(changes.load(std::sync::atomic::Ordering::SeqCst), there as i64);
        assert_eq!(index.count().expect("count"), there);
    });
}

/// Single changes have an overlay's table made anew under its readers, who see one key's ids in order.
#[test]
fn a_table_that_is_made_anew_is_as_the_one_before() {
    explore(|| {
        let index = in_memory(1, 100);
        index.put(&key(0), 7).expect("put");
        index.put(&key(9), 1).expect("put");
        let look = |one_by_one: bool| {
            with(&index, move |index| {
                let mut last = 0;
                for _ in 0..4 {
                    assert!(holds(index, &key(0), 7));
                    let contains = |id: &u32| index.contains(&key(9), *id).expect("contains");
                    let now = if one_by_one {
                        (1..6).rev().find(contains).unwrap_or(last)
                    } else {
                        let ids = index.get(&key(9)).expect("get");
                        ids.as_slice().last().copied().expect("never empty")
                    };
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                }
            })
        };
        together([
            with(&index, |index| {
                for n in 1..5 {
                    index.put(&key(20 + n), 1).expect("put");
                    index.delete(&key(20 + n), 1).expect("delete");
                    index.put(&key(9), n + 1).expect("put");
                    index.delete(&key(9), n).expect("delete");
                }
            }),
            look(false),
            look(true),
            with(&index, |index| {
                index.flush().expect("flush");
                index.compact().expect("compact");
            }),
        ]);
        assert_eq!(index.get(&key(9)).expect("get").as_slice(), [5]);
        assert_eq!(index.count().expect("count"), 2);
    });
}

/// A batch in one lane shows at one moment, if it is small enough to be made at once: of
/// keys that are new and of one that is there; with few of them, and with so many that the overlay's table
/// has no room for them.
#[test]
fn a_batch_in_one_lane_is_seen_whole_or_not_at_all() {
    for more in [0, 4] {
        explore(move || {
            let index = in_memory(1, 100);
            index.put(b"old", 1).expect("put");
            let look = |first: &'static [u8], second: &'static [u8]| {
                with(&index, move |index| {
                    let ids = |key| index.get(key).expect("get").as_slice().to_vec();
                    let first = ids(first);
                    if first.contains(&2) {
                        assert_eq!((first, ids(second)), (vec![2], vec![2]));
                        let (ids, count) = (index.ids().expect("ids"), index.count());
                        assert_eq!((ids, count.expect("count")), (vec![2], 2 + more as u64));
                    }
                })
            };
            together([
                with(&index, move |index| {
                    let more = [&b"a"[..], b"b", b"c", b"d"].into_iter().take(more);
                    let new = more.chain([&b"new"[..]]).map(|key| (Op::Put, key, 2));
                    let replaced: [(Op, &[u8], u32); 2] =
                        [(Op::Delete, b"old", 1), (Op::Put, b"old", 2)];
                    let batch: Vec<_> = new.chain(replaced).collect();
                    assert_eq!(index.write(&batch).expect("write"), batch.len());
                }),
                look(b"old", b"new"),
                look(b"new", b"old"),
                with(&index, |index| index.flush().expect("flush")),
            ]);
        });
    }
}

/// A batch over two lanes shows at one moment, whichever lane is looked at first, and whether keys are
/// looked up, listed or counted.
#[test]
fn a_batch_over_two_lanes_is_seen_whole_or_not_at_all() {
    explore(|| {
        let [a, b] = [0, 1].map(|lane| keys_of(lane, 2).next().expect("a key of the lane"));
        let index = in_memory(2, 1);
        let look = |first: &[u8], second: &[u8]| {
            let (first, second) = (first.to_vec(), second.to_vec());
            with(&index, move |index| {
                if holds(index, &first, 1) {
                    assert!(holds(index, &second, 1), "half of a batch");
                    assert_eq!(index.ids().expect("ids"), [1, 2], "half of a batch is listed");
                    assert_eq!(index.count().expect("count"), 2, "half of a batch is counted");
                }
            })
        };
        let batch = [(Op::Put, a.clone(), 1), (Op::Put, b.clone(), 1), (Op::Put, b.clone(), 2)];
        together([
            with(&index, move |index| {
                let batch = batch.each_ref().map(|(op, key, id)| (*op, key.as_slice(), *id));
                assert_eq!(index.write(&batch).expect("write"), 3);
            }),
            look(&a, &b),
            look(&b, &a),
            with(&index, |index| index.flush().expect("flush")),
        ]);
    });
}

/// A batch that changes what the overlays have already shows at one moment too; and is all there is
/// once it returned.
#[test]
fn a_batch_that_replaces_is_seen_whole_or_not_at_all() {
    explore(|| {
        let [a, b] = [0, 1].map(|lane| keys_of(lane, 2).next().expect("a key of the lane"));
        let index = in_memory(2, 100);
        index.put(&a, 1).expect("put");
        index.put(&b, 1).expect("put");
        let look = |first: &[u8], second: &[u8]| {
            let (first, second) = (first.to_vec(), second.to_vec());
            with(&index, move |index| {
                let both = |key: &[u8]| index.get(key).expect("get").as_slice().to_vec();
                let (first, second) = (both(&first), both(&second));
                assert!(first == [1] || second.contains(&2), "{first:?}, then {second:?}");
                assert!([first, second].iter().all(|ids| ids.contains(&1) != ids.contains(&2)));
            })
        };
        let keys = [a.clone(), b.clone()];
        together([
            with(&index, move |index| {
                let replace = |key| [(Op::Delete, key, 1), (Op::Put, key, 2)];
                let batch: Vec<_> = keys.iter().flat_map(|key| replace(key.as_slice())).collect();
                assert_eq!(index.write(&batch).expect("write"), 4);
                index.put(&keys[0], 3).expect("put");
                assert!(holds(index, &keys[0], 3), "hidden by the batch");
                index.delete(&keys[0], 3).expect("delete");
            }),
            look(&a, &b),
            look(&b, &a),
            with(&index, |index| index.flush().expect("flush")),
        ]);
        assert!([&a, &b].into_iter().all(|key| holds(&index, key, 2) && !holds(&index, key, 1)));
    });
}

/// Batches over the same lanes in opposite orders wait for each other in one order only, and later
/// ones win as a whole.
#[test]
fn batches_over_the_same_lanes_do_not_mix() {
    explore(|| {
        let [a, b] = [0, 1].map(|lane| keys_of(lane, 2).next().expect("a key of the lane"));
        let index = in_memory(2, 1);
        let batch = |op, first: &[u8], second: &[u8]| {
            let (first, second) = (first.to_vec(), second.to_vec());
            with(&index, move |index| {
                index.write(&[(op, &first, 1), (op, &second, 1)]).expect("write");
            })
        };
        together([batch(Op::Put, &a, &b), batch(Op::Delete, &b, &a), with(&index, upkeep)]);
        assert_eq!(holds(&index, &a, 1), holds(&index, &b, 1));
        let count = if holds(&index, &a, 1) { 2 } else { 0 };
        assert_eq!(index.count().expect("count"), count);
    });
}

/// Whoever finds work waiting is told, or somebody is at it: nothing is left undone.
#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let index = in_memory(1, 1);
        let (wake, woken) = shuttle::sync::mpsc::channel::<()>();
        let writer = |first: u32| {
            let wake = wake.clone();
            with(&index, move |index| {
                for n in first..first + 2 {
                    let outcome = index.try_change(&key(n), 1, Op::Put, Durability::Memory);
                    let done = matches!(outcome.expect("change"), Attempt::Done(_));
                    if index.claim_wakeup() {
                        wake.send(()).expect("the compactor listens");
                    }
                    if !done {
                        break;
                    }
                }
            })
        };
        let writers = [writer(0), writer(10)];
        drop(wake);
        let [first, second] = writers;
        together([
            first,
            second,
            with(&index, move |index| {
                while let Ok(()) = woken.recv() {
                    upkeep(index);
                }
            }),
        ]);
        assert_eq!(index.stats().expect("stats").lanes_to_flush, 0, "work that nobody knows of");
    });
}

/// A bulk load beside a writer of some of its keys: each pair is there, each key counted once.
#[test]
fn a_load_beside_writers_counts_every_key_once() {
    explore(|| {
        let index = in_memory(1, 2);
        together([
            with(&index, |index| {
                let mut loader = Loader::new(index);
                (0..3).for_each(|n| loader.add(index, &key(n), 1).expect("taken"));
                while loader.step(index).expect("step") {}
            }),
            with(&index, |index| {
                for n in [2, 1, 3] {
                    index.put(&key(n), 2).expect("put");
                }
            }),
            with(&index, upkeep),
        ]);
        assert!((0..3).all(|n| holds(&index, &key(n), 1)));
        assert!((1..4).all(|n| holds(&index, &key(n), 2)));
        assert_eq!(index.count().expect("count"), 4);
        index.compact().expect("compact");
        assert_eq!(index.count().expect("count"), 4);
    });
}
