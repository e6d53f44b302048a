//! What is promised of namespaces, by changes of different durability, drops among them: a promise
//! holds whatever came before it without one.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{Durability, Index, Op};
use support::namespaces::{Terms, listed, targets};
use support::simulated::{Loss, Simulated};
use support::{config, names};

const LANES: u32 = 2;

fn open(system: &Simulated) -> Index {
    let system = Arc::new(system.clone());
    Index::open_on(system, Path::new("/db"), &config(LANES, 1000)).expect("open")
}

fn route(index: &Index, name: &[u8], term: &[u8], op: Op, durability: Durability) -> bool {
    index.route_in(name, b"key", term, op, durability).expect("route").changed
}

fn put(index: &Index, name: &[u8], term: &[u8], durability: Durability) {
    assert!(route(index, name, term, Op::Put, durability));
}

fn found(index: &Index, name: &[u8]) -> Terms {
    let found = targets(index, name, b"key").expect("targets");
    assert_eq!(listed(index, index.list_in(name)).expect("listed"), found);
    found
}

/// Whoever is told that a route, or a namespace, is not there, is promised that as whoever removes
/// one: also if it had been dropped with less of a promise.
#[test]
fn a_namespace_that_is_not_there_is_promised_as_a_drop_is() {
    let asked: [fn(&Index, Durability); 2] = [
        |index, durability| assert!(!route(index, b"name", b"t", Op::Delete, durability)),
        |index, durability| assert!(!index.drop_namespace(b"name", durability).expect("drop")),
    ];
    for ask in asked {
        for (dropped, promised) in [
            (Durability::Memory, Durability::Os),
            (Durability::Memory, Durability::Sync),
            (Durability::Os, Durability::Sync),
        ] {
            let system = Simulated::new();
            let index = open(&system);
            put(&index, b"name", b"t", Durability::Sync);
            assert!(index.drop_namespace(b"name", dropped).expect("drop"));
            ask(&index, promised);
            let crashed = match promised {
                Durability::Sync => system.crash(Loss::Unsynced),
                _ => system.killed(),
            };
            assert_eq!(found(&open(&crashed), b"name"), Terms::new(), "{dropped:?}, {promised:?}");
        }
    }
}

/// A namespace was emptied without the log, and the next one of its name has nothing of it, once it
/// was promised that it is not there.
#[test]
fn what_an_emptied_namespace_had_is_not_the_next_ones() {
    let asked: [fn(&Index); 2] = [
        |index| assert!(!index.drop_namespace(b"name", Durability::Os).expect("drop")),
        |index| assert!(!route(index, b"name", b"t", Op::Delete, Durability::Os)),
    ];
    for ask in asked {
        for emptied in [Durability::Memory, Durability::Os] {
            let system = Simulated::new();
            let index = open(&system);
            put(&index, b"name", b"t", Durability::Os);
            put(&index, b"name", b"u", Durability::Os);
            assert!(route(&index, b"name", b"t", Op::Delete, Durability::Memory));
            assert!(route(&index, b"name", b"u", Op::Delete, emptied));
            ask(&index);
            put(&index, b"name", b"new", Durability::Os);
            drop(index);
            let found = found(&open(&system.killed()), b"name");
            assert_eq!(found, Terms::from([b"new".to_vec()]), "{emptied:?}");
        }
    }
}

/// A namespace went without the log, and the next one of its name has a smaller id.
#[test]
fn a_namespace_that_went_and_came_is_the_newer_one() {
    let [other, name] = [&names()[0], &names()[1]];
    for again in [Durability::Os, Durability::Sync] {
        for flushed in [false, true] {
            let system = Simulated::new();
            let index = open(&system);
            put(&index, other, b"t", Durability::Os);
            put(&index, name, b"old", Durability::Os);
            assert!(index.drop_namespace(other, Durability::Os).expect("drop"));
            while index.work().expect("work") {}
            // The other's id is to be had.
            index.compact().expect("compact");
            if !flushed {
                put(&index, name, b"older", Durability::Sync);
            }
            assert!(index.drop_namespace(name, Durability::Memory).expect("drop"));
            put(&index, name, b"new", again);
            drop(index);
            let index = open(&system.killed());
            assert_eq!(found(&index, name), Terms::from([b"new".to_vec()]), "{again:?}");
            index.take_census().expect("census");
            while index.work().expect("work") {}
            assert_eq!(index.count().expect("count"), 2, "what the former had is there still");
        }
    }
}

/// Neither the former nor the next one, which the log knew nothing of, is there after a drop that
/// was promised.
#[test]
fn a_promised_drop_of_a_namespace_that_went_and_came_is_kept() {
    let drops: [fn(&Index, Durability); 2] = [
        |index, durability| {
            assert!(index.drop_namespace(b"name", durability).expect("drop"));
        },
        |index, durability| assert!(route(index, b"name", b"t", Op::Delete, durability)),
    ];
    for drop_it in drops {
        for promised in [Durability::Os, Durability::Sync] {
            let system = Simulated::new();
            let index = open(&system);
            put(&index, b"name", b"t", Durability::Sync);
            assert!(index.drop_namespace(b"name", Durability::Memory).expect("drop"));
            put(&index, b"name", b"t", Durability::Memory);
            drop_it(&index, promised);
            drop(index);
            assert_eq!(found(&open(&system.killed()), b"name"), Terms::new(), "{promised:?}");
        }
    }
}

/// A route that is not in the next namespace was promised not to be there.
#[test]
fn a_promised_delete_in_a_namespace_that_went_and_came_is_kept() {
    for promised in [Durability::Os, Durability::Sync] {
        let system = Simulated::new();
        let index = open(&system);
        put(&index, b"name", b"t", Durability::Sync);
        assert!(index.drop_namespace(b"name", Durability::Memory).expect("drop"));
        put(&index, b"name", b"another", Durability::Memory);
        assert!(!route(&index, b"name", b"t", Op::Delete, promised));
        drop(index);
        assert!(!found(&open(&system.killed()), b"name").contains(&b"t"[..]), "{promised:?}");
    }
}

/// What a dropped one had is taken out and flushed, then the power fails: either all of it is gone,
/// or nothing.
#[test]
fn a_power_failure_leaves_all_of_a_dropped_namespace_or_nothing() {
    for lane in 0..LANES {
        let system = Simulated::new();
        let index = open(&system);
        let key = |n: u32| n.to_le_bytes();
        for n in 0..20 {
            let put = index.route_in(b"name", &key(n), b"t", Op::Put, Durability::Sync);
            assert!(put.expect("put").changed);
        }
        index.flush().expect("flush");
        assert!(index.drop_namespace(b"name", Durability::Os).expect("drop"));
        while index.work().expect("work") {}
        index.flush_lane(lane).expect("flush");
        let index = open(&system.crash(Loss::Unsynced));
        let there = |n| !targets(&index, b"name", &key(n)).expect("targets").is_empty();
        let left = (0..20).filter(|&n| there(n)).count();
        assert!(left == 0 || left == 20, "{left} of 20 are left");
    }
}
