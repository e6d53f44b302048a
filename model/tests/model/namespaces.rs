//! Namespaces that come, empty and go beside look-ups, other writers and background work: each has
//! its own targets and no others, and they are counted right.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::simulated::{Loss, Simulated};
use crate::support::{
    Crashes, HASH_KEY, ROOT, config, explore, in_memory, on_disk, together, turns, upkeep, with,
};
use lsm_index::{Durability, Index, KeyHasher, Most, Op, Outcome, Target};

type Terms = BTreeSet<Vec<u8>>;

/// Names of one shard, so that they may get each other's ids.
fn names() -> [Vec<u8>; 2] {
    let hasher = KeyHasher::new(&HASH_KEY);
    let names = (0..).map(|n: u32| format!("name {n}").into_bytes());
    // As the dictionary has them: behind the scope of names.
    let is_of_shard = |n: &Vec<u8>| hasher.fingerprint(&[&[1], &n[..]].concat()).0 % 256 == 5;
    let mut of_shard = names.filter(is_of_shard);
    [(); 2].map(|()| of_shard.next().expect("a name of the shard"))
}

fn route(index: &Index, name: &[u8], key: &[u8], term: &[u8], op: Op) -> Outcome {
    index.route_in(name, key, term, op, Durability::Memory).expect("route")
}

fn put(index: &Index, name: &[u8], key: &[u8], term: &[u8]) -> Outcome {
    route(index, name, key, term, Op::Put)
}

fn delete(index: &Index, name: &[u8], key: &[u8], term: &[u8]) -> Outcome {
    route(index, name, key, term, Op::Delete)
}

fn drop_namespace(index: &Index, name: &[u8]) -> bool {
    index.drop_namespace(name, Durability::Memory).expect("drop")
}

fn found(index: &Index, name: &[u8], key: &[u8]) -> Terms {
    let mut terms = Terms::new();
    let each = |term: &[u8]| assert!(terms.insert(term.to_vec()), "twice");
    index.targets_in(name, key, Most::ALL, each).expect("targets");
    terms
}

fn listed(index: &Index, name: Option<&[u8]>) -> Terms {
    let listing = name.map_or_else(|| index.list_namespaces(), |name| index.list_in(name));
    let (mut listing, mut terms) = (listing.expect("listing"), Terms::new());
    let mut each = |target: Target<'_>| match target {
        Target::Term(term) => assert!(terms.insert(term.to_vec()), "twice"),
        Target::Id(id) => panic!("a plain id: {id}"),
    };
    while listing.next_slice(index, &mut each).expect("slice") {}
    terms
}

/// With all work done, the namespaces hold what look-ups of these keys give, and nothing else is
/// there.
fn check(index: &Index, names: &[&[u8]], keys: &[&[u8]]) {
    index.take_census().expect("census");
    upkeep(index);
    let (mut there, mut count) = (Terms::new(), 0);
    for name in names {
        let mut members = Terms::new();
        for key in keys {
            let terms = found(index, name, key);
            count += u64::from(!terms.is_empty());
            members.extend(terms);
        }
        assert_eq!(listed(index, Some(name)), members);
        assert_eq!(index.count_in(name).expect("count"), members.len() as u64);
        if !members.is_empty() {
            there.insert(name.to_vec());
            count += 1;
        }
    }
    assert_eq!(listed(index, None), there);
    assert_eq!(index.count().expect("count"), count, "keys that nobody can reach");
}

/// A namespace that two fill and others empty is gone if it is empty, and counts what it has.
#[test]
fn a_namespace_that_several_fill_and_empty_is_counted_right() {
    explore(|| {
        let index = in_memory(2, 100);
        let writer = |key: &'static [u8], term: &'static [u8], ops: &'static [Op]| {
            with(&index, move |index| {
                for &op in ops {
                    route(index, b"n", key, term, op);
                }
            })
        };
        together([
            writer(b"1", b"t", &[Op::Put]),
            writer(b"2", b"u", &[Op::Put, Op::Delete]),
            writer(b"1", b"t", &[Op::Delete, Op::Put, Op::Delete]),
            with(&index, upkeep),
        ]);
        check(&index, &[b"n"], &[b"1", b"2"]);
        // Its id is no other's.
        put(&index, b"m", b"1", b"v");
        delete(&index, b"n", b"1", b"t");
        check(&index, &[b"n", b"m"], &[b"1", b"2"]);
        assert_eq!(found(&index, b"m", b"1"), Terms::from([b"v".to_vec()]));
        assert_eq!(listed(&index, Some(b"n")), Terms::new());
    });
}

/// Nobody is told that a namespace is gone that has had a target all the while.
#[test]
fn a_namespace_that_lasts_is_never_told_to_be_gone() {
    explore(|| {
        let index = in_memory(2, 100);
        put(&index, b"n", b"lasting", b"t");
        let writer = |ops: &'static [Op]| {
            with(&index, move |index| {
                for &op in ops {
                    assert!(!route(index, b"n", b"k", b"u", op).emptied, "it has a target");
                }
            })
        };
        together([
            writer(&[Op::Put, Op::Put]),
            writer(&[Op::Delete, Op::Delete]),
            with(&index, |index| {
                for _ in 0..2 {
                    // Changes under way may be counted.
                    assert!((1..=4).contains(&index.count_in(b"n").expect("count")));
                    assert!(listed(index, Some(b"n")).contains(&b"t"[..]));
                    assert_eq!(listed(index, None), Terms::from([b"n".to_vec()]));
                }
            }),
        ]);
        check(&index, &[b"n"], &[b"k", b"lasting"]);
    });
}

/// Of those who take a namespace's targets out one is told that it is gone, also beside one who puts
/// what is there already.
#[test]
fn one_of_those_who_empty_a_namespace_is_told() {
    explore(|| {
        let index = in_memory(2, 100);
        put(&index, b"n", b"1", b"t");
        put(&index, b"n", b"2", b"u");
        let told = Arc::new(AtomicUsize::new(0));
        let made = Arc::new(AtomicUsize::new(1));
        let writer = |key: &'static [u8], term: &'static [u8], op| {
            let (told, made) = (Arc::clone(&told), Arc::clone(&made));
            with(&index, move |index| {
                let outcome = route(index, b"n", key, term, op);
                told.fetch_add(usize::from(outcome.emptied), Ordering::SeqCst);
                made.fetch_add(usize::from(outcome.changed && op == Op::Put), Ordering::SeqCst);
            })
        };
        together([
            writer(b"1", b"t", Op::Delete),
            writer(b"2", b"u", Op::Delete),
            writer(b"1", b"t", Op::Put),
            with(&index, upkeep),
        ]);
        let there = !found(&index, b"n", b"1").is_empty();
        let (told, made) = (told.load(Ordering::SeqCst), made.load(Ordering::SeqCst));
        // Put again, it may have been gone in between. Both may be told if neither can wait.
        assert!(there || told > 0, "nobody was told");
        assert!(told <= if there { made - 1 } else { 2 }, "{told}");
        check(&index, &[b"n"], &[b"1", b"2"]);
    });
}

/// A writer beside a drop: what is there afterwards was put after it, or is counted and listed.
#[test]
fn a_writer_beside_a_drop_is_before_or_after_it() {
    explore(|| {
        let index = in_memory(2, 100);
        put(&index, b"n", b"1", b"old");
        together([
            with(&index, |index| {
                put(index, b"n", b"1", b"new");
                put(index, b"n", b"2", b"new");
                delete(index, b"n", b"2", b"new");
            }),
            with(&index, |index| {
                drop_namespace(index, b"n");
                assert!(!found(index, b"n", b"1").contains(&b"old"[..]), "it was dropped");
            }),
            with(&index, upkeep),
        ]);
        let left = found(&index, b"n", b"1");
        assert!(!left.contains(&b"old"[..]));
        check(&index, &[b"n"], &[b"1", b"2"]);
    });
}

/// A look-up, a count and a listing in a namespace that is dropped, while the next one gets its id
/// and those of its terms.
fn read_beside_a_drop(index: &Arc<Index>, drop_all: impl Fn(&Index) + Send + 'static) {
    let [one, other] = names();
    let (first, second) = (one.clone(), other.clone());
    put(index, &one, b"k", b"own");
    let reader = |name: &[u8], own: &'static [u8], most: u64| {
        let name = name.to_vec();
        with(index, move |index| {
            let right = |terms: Terms| assert!(terms.iter().all(|term| term == own), "{terms:?}");
            right(found(index, &name, b"k"));
            right(listed(index, Some(&name)));
            assert!(index.count_in(&name).expect("count") <= most);
        })
    };
    together([
        reader(&one, b"own", 1),
        reader(&other, b"another", 2),
        with(index, move |index| {
            drop_namespace(index, &first);
            drop_all(index);
            put(index, &second, b"k", b"another");
            put(index, &second, b"l", b"another");
        }),
        with(index, upkeep),
    ]);
    assert_eq!(found(index, &other, b"k"), Terms::from([b"another".to_vec()]));
    check(index, &[&one, &other], &[b"k", b"l"]);
}

#[test]
fn no_reader_in_memory_finds_what_is_another_namespaces() {
    explore(|| read_beside_a_drop(&in_memory(1, 100), upkeep));
}

#[test]
fn no_reader_on_disk_finds_what_is_another_namespaces() {
    explore(|| {
        let system = Simulated::new();
        read_beside_a_drop(&on_disk(&system, &config(1, 100)), |index| {
            upkeep(index);
            index.compact().expect("compact");
        });
    });
}

/// Two count what keys lead to, and others read and write meanwhile.
#[test]
fn a_census_that_two_take_counts_each_key_once() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 100));
        for key in [b"1", b"2"] {
            put(&index, b"n", key, b"t");
            put(&index, b"dropped", key, b"t");
        }
        index.flush().expect("flush");
        drop_namespace(&index, b"dropped");
        index.flush().expect("flush");
        drop(index);
        let index = on_disk(&system.killed(), &config(2, 100));
        together([
            with(&index, |index| index.take_census().expect("census")),
            with(&index, upkeep),
            with(&index, |index| {
                assert_eq!(found(index, b"n", b"1"), Terms::from([b"t".to_vec()]));
                assert_eq!(index.count_in(b"n").expect("count"), 1);
                assert_eq!(listed(index, Some(b"dropped")), Terms::new());
            }),
            with(&index, |index| {
                assert!(!delete(index, b"n", b"2", b"t").emptied);
                assert!(!delete(index, b"dropped", b"1", b"t").changed);
            }),
        ]);
        check(&index, &[b"n", b"dropped"], &[b"1", b"2"]);
        assert!(delete(&index, b"n", b"1", b"t").emptied);
        check(&index, &[b"n", b"dropped"], &[b"1", b"2"]);
    });
}

/// Two do background work while namespaces are dropped, made again and dropped.
#[test]
fn background_work_of_two_takes_out_what_was_dropped_and_no_more() {
    explore(|| {
        let [one, other] = names();
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 100));
        let crashes = Arc::new(Crashes::default());
        for key in [b"1", b"2"] {
            put(&index, &one, key, b"t");
            put(&index, &other, key, b"t");
        }
        let work = || {
            let (keep, machine) = (Arc::clone(&crashes), system.clone());
            with(&index, move |index| {
                upkeep(index);
                keep.keep(machine.crash(Loss::Nothing), &[]);
            })
        };
        let (first, second) = (one.clone(), other.clone());
        together([
            work(),
            work(),
            with(&index, |index| index.compact().expect("compact")),
            with(&index, move |index| {
                drop_namespace(index, &first);
                index.route_in(&first, b"1", b"u", Op::Put, Durability::Os).expect("put");
                drop_namespace(index, &second);
                index.drop_namespace(&first, Durability::Os).expect("drop");
                index.route_in(&first, b"2", b"v", Op::Put, Durability::Os).expect("put");
            }),
        ]);
        let all: [&[u8]; 2] = [b"1", b"2"];
        assert_eq!(found(&index, &one, b"2"), Terms::from([b"v".to_vec()]));
        check(&index, &[&one, &other], &all);
        crashes.keep(system.crash(Loss::Nothing), &[]);
        crashes.check(2, |index| check(index, &[&one, &other], &all));
        index.close().expect("close");
        let system = Arc::new(turns(&system.crash(Loss::Unsynced)));
        let index = Index::open_on(system, Path::new(ROOT), &config(2, 100)).expect("opens");
        assert_eq!(found(&index, &one, b"2"), Terms::from([b"v".to_vec()]));
        check(&index, &[&one, &other], &all);
    });
}

/// Nobody else empties it, though background work looks at names that changes left.
#[test]
fn the_only_writer_of_a_namespace_is_told_that_it_is_gone() {
    explore(|| {
        let index = in_memory(1, 1);
        let writer = |name: Vec<u8>| {
            with(&index, move |index| {
                for _ in 0..3 {
                    assert!(put(index, &name, b"k", b"t").changed);
                    let emptied = Outcome { changed: true, emptied: true };
                    assert_eq!(delete(index, &name, b"k", b"t"), emptied);
                }
            })
        };
        let [one, other] = names();
        together([
            writer(one.clone()),
            writer(other.clone()),
            with(&index, upkeep),
            with(&index, upkeep),
        ]);
        check(&index, &[&one, &other], &[b"k"]);
    });
}
