//! The dictionary beside look-ups, flushes and a close: every key leads to its own terms.

use std::path::Path;
use std::sync::Arc;

use crate::support::simulated::{Loss, Simulated};
use crate::support::{
    Crashes, HASH_KEY, ROOT, config, explore, in_memory, key, on_disk, together, upkeep, with,
};
use lsm_index::{Durability, Index, KeyHasher, Most, Op, Target};

/// Terms of one shard, so that they may get each other's ids.
fn terms_of_a_shard() -> [Vec<u8>; 2] {
    let hasher = KeyHasher::new(&HASH_KEY);
    let mut terms = (0..).map(|n: u32| format!("term {n}").into_bytes());
    // As the dictionary has them: the index's own, behind a zero.
    let is_of_shard = |t: &Vec<u8>| hasher.fingerprint(&[&[0], &t[..]].concat()).0 % 256 == 5;
    let mut of_shard = terms.by_ref().filter(is_of_shard);
    [(); 2].map(|()| of_shard.next().expect("a term of the shard"))
}

/// An id goes to another term only when nobody can mistake the two.
#[test]
fn a_look_up_never_finds_the_term_of_another_key() {
    explore(|| {
        let [old, new] = terms_of_a_shard();
        let index = in_memory(1, 100);
        index.route(b"old", Target::Term(&old), Op::Put).expect("route");
        let look = |key: &'static [u8], term: &[u8]| {
            let term = term.to_vec();
            with(&index, move |index| {
                let mut found = Vec::new();
                index
                    .targets(key, Most::ALL, |target| {
                        found.push(matches!(target, Target::Term(found) if *found == *term));
                    })
                    .expect("look-up");
                assert!(found.iter().all(|&right| right), "the term of another key, or none");
            })
        };
        let (gone, next) = (old.clone(), new.clone());
        together([
            look(b"old", &old),
            look(b"new", &new),
            with(&index, move |index| {
                index.route(b"old", Target::Term(&gone), Op::Delete).expect("route");
                upkeep(index);
                index.route(b"new", Target::Term(&next), Op::Put).expect("route");
            }),
            with(&index, upkeep),
        ]);
    });
}

/// Interned and dropped at the same time: a route that is there leads to its term.
#[test]
fn a_term_that_is_dropped_and_put_at_once_is_kept_if_a_key_leads_to_it() {
    explore(|| {
        let [term, _] = terms_of_a_shard();
        let index = in_memory(2, 100);
        index.route(b"a", Target::Term(&term), Op::Put).expect("route");
        let (dropped, put) = (term.clone(), term.clone());
        together([
            with(&index, move |index| {
                assert!(index.route(b"a", Target::Term(&dropped), Op::Delete).expect("route"));
            }),
            with(&index, move |index| {
                assert!(index.route(b"b", Target::Term(&put), Op::Put).expect("route"));
            }),
            with(&index, upkeep),
        ]);
        let mut found = Vec::new();
        index
            .targets(b"b", Most::ALL, |target| {
                found.push(matches!(target, Target::Term(found) if *found == *term));
            })
            .expect("look-up");
        assert_eq!(found, [true]);
    });
}

/// A flush that is under way when the index closes may not write the dictionary anew, which is
/// being cleared, nor trip over places that are gone.
#[test]
fn a_flush_beside_a_close_leaves_the_dictionary_whole() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(1, 100));
        let route = |n: u32, op| {
            let change =
                index.route_with(&key(n), Target::Term(&[n as u8]), op, Durability::Memory);
            change.expect("change");
        };
        for n in 0..6 {
            route(n, Op::Put);
        }
        for n in 0..3 {
            route(n, Op::Delete);
        }
        together([
            with(&index, |index| drop(index.flush())),
            with(&index, |index| index.close().expect("close")),
        ]);
        let opened = Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(1, 100));
        assert_eq!(opened.expect("opens").count().expect("count"), 3);
    });
}

/// Terms that go and come, with the log and without it, beside flushes and rounds, after which ids are
/// given again: whatever a crash leaves, a key leads to its own terms, and to each of them once.
#[test]
fn terms_that_go_and_come_beside_rounds_are_their_own() {
    explore(|| {
        let system = Simulated::new();
        let index = on_disk(&system, &config(2, 100));
        let crashes = Arc::new(Crashes::default());
        let [one, other] = terms_of_a_shard();
        let writer = |n: u32, term: &[u8]| {
            let (crashes, system, term) = (Arc::clone(&crashes), system.clone(), term.to_vec());
            with(&index, move |index| {
                let route = |op, durability| {
                    index.route_with(&key(n), Target::Term(&term), op, durability).expect("route");
                };
                route(Op::Put, Durability::Os);
                route(Op::Delete, Durability::Memory);
                crashes.keep(system.crash(Loss::Nothing), &[]);
                route(Op::Put, Durability::Memory);
                route(Op::Delete, Durability::Os);
                crashes.keep(system.crash(Loss::Nothing), &[]);
                route(Op::Put, Durability::Sync);
                crashes.keep(system.crash(Loss::Unsynced), &[]);
            })
        };
        let upkeep = |round: bool| {
            let (keep, machine) = (Arc::clone(&crashes), system.clone());
            with(&index, move |index| {
                for _ in 0..2 {
                    if round { index.compact() } else { index.flush() }.expect("upkeep");
                    keep.keep(machine.crash(Loss::Unsynced), &[]);
                }
            })
        };
        together([writer(0, &one), writer(16, &other), upkeep(true), upkeep(true), upkeep(false)]);
        index.close().expect("close");
        crashes.keep(system.crash(Loss::Unsynced), &[]);
        crashes.check(2, |index| {
            for (n, term) in [(0, &one), (16, &other)] {
                let mut found = 0;
                let own = |target: Target<'_>| {
                    assert_eq!(target, Target::Term(term));
                    found += 1;
                };
                index.targets(&key(n), Most::ALL, own).expect("targets");
                assert!(found < 2, "twice");
            }
        });
    });
}
