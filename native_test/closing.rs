//! Closing while others read and write: they finish, or find the index closed; they never find it
//! empty, and nothing that was acknowledged is lost.

mod support;

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;

use lsm_index::{Durability, Error, Index, Most, Op, Target};
use support::threads::{batch_key, key, put_lasting, read, write_batch};
use support::{Random, config, not_stuck};

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
        index.try_change(&key(1), 1, Op::Delete, Durability::Sync).map(drop),
        index.write(&[(Op::Put, &key(1), 1)]).map(drop),
        index.route(&key(1), Target::Term(b"term"), Op::Put).map(drop),
        index.targets(&key(1), Most::ALL, |_| ()).map(drop),
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

/// Reads a key's terms, and takes its time over each.
fn read_slowly(index: &Index, key: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    let all = index.targets(key, Most::ALL, |target| {
        if let Target::Term(term) = target {
            found.push(term.to_vec());
        }
        (0..50).for_each(|_| std::hint::spin_loop());
    })?;
    assert!(all);
    Ok(found)
}

/// Keys that lead to terms: a look-up and what it resolves to are one, however long that takes and
/// however soon terms take the places of others.
#[test]
fn readers_of_terms_find_them_or_the_index_closed() {
    const KEYS: usize = 4;
    const LASTING: usize = 100;
    not_stuck(|| {
        for round in 0..4_u64 {
            let index = Index::in_memory(&config(2, 1000)).expect("in memory");
            for n in 0..KEYS {
                for i in 0..LASTING {
                    let lasting = format!("of {n}: lasting {i}").into_bytes();
                    index.route(&key(n), Target::Term(&lasting), Op::Put).expect("route");
                }
            }
            thread::scope(|scope| {
                for seed in 0..2 {
                    let index = &index;
                    scope.spawn(move || {
                        let mut random = Random(round << 8 | seed);
                        loop {
                            let n = random.below(KEYS);
                            let own = format!("of {n}: ").into_bytes();
                            match read_slowly(index, &key(n)) {
                                Ok(found) => {
                                    assert!(found.len() >= LASTING, "key {n}: {found:?}");
                                    let all_own = found.iter().all(|term| term.starts_with(&own));
                                    assert!(all_own, "key {n}: {found:?}");
                                }
                                Err(Error::Closed) => break,
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                    });
                }
                let mut random = Random(round);
                for i in 0..40_000 {
                    let n = random.below(KEYS);
                    let passing = format!("of {n}: passing {i}").into_bytes();
                    for op in [Op::Put, Op::Delete] {
                        assert!(index.route(&key(n), Target::Term(&passing), op).expect("route"));
                    }
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
