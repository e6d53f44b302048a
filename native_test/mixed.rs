//! Changes of different durability on one index, and bulk loads, which go past the log: a promise
//! holds whatever came before it without one.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{Durability, Index, Loader, Op, Target};
use support::simulated::{Loss, Simulated};
use support::{config, resolved};

fn open(system: &Simulated) -> Index {
    let system = Arc::new(system.clone());
    Index::open_on(system, Path::new("/db"), &config(1, 1000)).expect("open")
}

fn ids(index: &Index, key: &[u8]) -> Vec<u32> {
    index.get(key).expect("get").as_slice().to_vec()
}

fn load(index: &Index, key: &[u8], id: u32) {
    let mut loader = Loader::new(index);
    loader.add(index, key, id).expect("add");
    while loader.step(index).expect("load") {}
}

/// A log with a delete of what was never logged: replayed, it comes to nothing.
fn delete_of_nothing() -> Simulated {
    let system = Simulated::new();
    let index = open(&system);
    index.change(b"k", 1, Op::Put, Durability::Memory).expect("put");
    index.change(b"k", 1, Op::Delete, Durability::Sync).expect("delete");
    drop(index);
    system.killed()
}

/// It must not be replayed again, over what came later and is in a segment.
#[test]
fn a_record_that_comes_to_nothing_is_replayed_once() {
    let later: [fn(&Index); 2] = [
        |index| {
            index.change(b"k", 1, Op::Put, Durability::Memory).expect("put");
            index.flush().expect("flush");
        },
        |index| load(index, b"k", 1),
    ];
    for put_again in later {
        let system = delete_of_nothing();
        drop(open(&system));
        let index = open(&system);
        put_again(&index);
        index.sync().expect("sync");
        drop(index);
        assert_eq!(ids(&open(&system.killed()), b"k"), [1]);
    }
}

/// The last pair of a term went without the log, so that the term is unknown by then.
#[test]
fn a_promised_delete_of_a_route_is_kept() {
    for promised in [Durability::Os, Durability::Sync] {
        let system = Simulated::new();
        let index = open(&system);
        let term = Target::Term(b"term");
        index.route_with(b"k", term, Op::Put, Durability::Sync).expect("put");
        index.route_with(b"k", term, Op::Delete, Durability::Memory).expect("delete");
        assert!(!index.route_with(b"k", term, Op::Delete, promised).expect("gone already"));
        drop(index);
        assert!(resolved(&open(&system.killed()), b"k").is_empty());
    }
}

/// Those of keys that were there already go the way of any change.
#[test]
fn all_pairs_of_a_load_are_on_stable_storage_when_it_returns() {
    let system = Simulated::new();
    let index = open(&system);
    index.put(b"k", 1).expect("put");
    index.flush().expect("flush");
    load(&index, b"k", 2);
    drop(index);
    assert_eq!(ids(&open(&system.crash(Loss::Unsynced)), b"k"), [1, 2]);
}

fn targets(index: &Index, key: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let all = index.targets(key, lsm_index::Most::ALL, |target| match target {
        Target::Term(term) => found.push(term.to_vec()),
        Target::Id(id) => panic!("{id}"),
    });
    assert!(all.expect("targets"));
    found
}

/// The last pair of a term went without the log, and the term came back with another id: the delete
/// that is logged names that one, and a recovery brings back the pair with the former.
#[test]
fn a_promised_delete_of_a_route_that_went_and_came_is_kept() {
    for again in [Durability::Memory, Durability::Os, Durability::Sync] {
        for promised in [Durability::Os, Durability::Sync] {
            let system = Simulated::new();
            let index = open(&system);
            let term = Target::Term(b"term");
            index.route_with(b"k", term, Op::Put, Durability::Sync).expect("put");
            index.route_with(b"k", term, Op::Delete, Durability::Memory).expect("delete");
            index.route_with(b"k", term, Op::Put, again).expect("put");
            assert!(index.route_with(b"k", term, Op::Delete, promised).expect("delete"));
            drop(index);
            assert!(targets(&open(&system.killed()), b"k").is_empty(), "{again:?} {promised:?}");
        }
    }
}

/// The same from a segment in place of the log.
#[test]
fn a_promised_delete_of_a_flushed_route_that_went_and_came_is_kept() {
    let system = Simulated::new();
    let index = open(&system);
    let term = Target::Term(b"term");
    index.route_with(b"k", term, Op::Put, Durability::Memory).expect("put");
    index.flush().expect("flush");
    index.route_with(b"k", term, Op::Delete, Durability::Memory).expect("delete");
    index.route_with(b"k", term, Op::Put, Durability::Memory).expect("put");
    assert!(index.route_with(b"k", term, Op::Delete, Durability::Sync).expect("delete"));
    drop(index);
    assert!(targets(&open(&system.killed()), b"k").is_empty());
}

/// A term has one id, also after a crash: else a key leads to it twice.
#[test]
fn no_key_leads_to_a_term_twice() {
    let system = Simulated::new();
    let index = open(&system);
    let term = Target::Term(b"term");
    index.route_with(b"k", term, Op::Put, Durability::Os).expect("put");
    index.route_with(b"k", term, Op::Delete, Durability::Memory).expect("delete");
    index.route_with(b"k", term, Op::Put, Durability::Os).expect("put");
    drop(index);
    let index = open(&system.killed());
    assert_eq!(targets(&index, b"k"), [b"term"]);
    assert!(!index.route_with(b"k", term, Op::Put, Durability::Os).expect("there already"));
}
