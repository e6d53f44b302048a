//! Namespaces beside a model: random changes, listings, drops, over flushes, rounds and crashes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lsm_index::{
    Config, Durability, Error, Index, Listing, Most, Op, Outcome, Slice, Target, verify,
};
use support::small::temporary;
use support::{Random, seeds};

type Terms = BTreeSet<Vec<u8>>;
type Keys = BTreeMap<Vec<u8>, Terms>;

/// What should be there.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Keys>);

fn name(n: u64) -> Vec<u8> {
    format!("namespace {n}").into_bytes()
}

fn key(n: u64) -> Vec<u8> {
    // Some are short enough to be taken for another's, if names were not kept apart.
    if n == 0 { Vec::new() } else { n.to_le_bytes()[..1 + n as usize % 7].to_vec() }
}

fn term(n: u64) -> Vec<u8> {
    vec![n as u8; n as usize % 40]
}

fn put(index: &Index, name: &[u8], key: &[u8], term: &[u8]) -> Outcome {
    index.route_in(name, key, term, Op::Put, Durability::Os).expect("put")
}

fn delete(index: &Index, name: &[u8], key: &[u8], term: &[u8]) -> Outcome {
    index.route_in(name, key, term, Op::Delete, Durability::Os).expect("delete")
}

fn targets(index: &Index, name: &[u8], key: &[u8]) -> Terms {
    let mut terms = Terms::new();
    let all = index.targets_in(name, key, Most::ALL, |term| {
        assert!(terms.insert(term.to_vec()), "twice");
    });
    assert!(all.expect("targets"));
    terms
}

fn listed(index: &Index, listing: lsm_index::Result<Listing>) -> Terms {
    let mut listing = listing.expect("listing");
    let mut terms = Terms::new();
    let each = |target: Target<'_>| match target {
        Target::Term(term) => assert!(terms.insert(term.to_vec()), "twice"),
        Target::Id(id) => panic!("a plain id: {id}"),
    };
    let mut each = each;
    while listing.next_slice(index, &mut each).expect("slice") {}
    terms
}

impl Model {
    fn put(&mut self, name: &[u8], key: &[u8], term: &[u8]) -> bool {
        let keys = self.0.entry(name.to_vec()).or_default();
        keys.entry(key.to_vec()).or_default().insert(term.to_vec())
    }

    fn delete(&mut self, name: &[u8], key: &[u8], term: &[u8]) -> Outcome {
        let Some(keys) = self.0.get_mut(name) else { return Outcome::default() };
        let Some(terms) = keys.get_mut(key) else { return Outcome::default() };
        let changed = terms.remove(term);
        if terms.is_empty() {
            keys.remove(key);
        }
        let emptied = keys.is_empty();
        if emptied {
            self.0.remove(name);
        }
        Outcome { changed, emptied }
    }

    fn members(&self, name: &[u8]) -> Terms {
        self.0.get(name).into_iter().flat_map(|keys| keys.values().flatten().cloned()).collect()
    }

    fn check(&self, index: &Index) {
        for n in 0..NAMES {
            let name = name(n);
            for k in 0..KEYS {
                let expected = self.0.get(&name).and_then(|keys| keys.get(&key(k)));
                let found = targets(index, &name, &key(k));
                assert_eq!(Some(&found).filter(|found| !found.is_empty()), expected, "{n} {k}");
            }
            assert_eq!(listed(index, index.list_in(&name)), self.members(&name), "{n}");
            let count = index.count_in(&name).expect("count");
            assert_eq!(count, self.members(&name).len() as u64, "{n}");
        }
        let names: Terms = self.0.keys().cloned().collect();
        assert_eq!(listed(index, index.list_namespaces()), names);
    }

    /// With all background work done, nothing else is there.
    fn check_all(&self, index: &Index) {
        while index.work().expect("work") {}
        self.check(index);
        let keys: usize = self.0.values().map(|keys| keys.len() + 1).sum();
        assert_eq!(index.count().expect("count"), keys as u64);
        let mut found = 0;
        index.for_each_key(|_, _| found += 1).expect("listing");
        assert_eq!(found, keys);
    }
}

const NAMES: u64 = 5;
const KEYS: u64 = 24;
const TERMS: u64 = 60;

fn config(random: &mut Random) -> Config {
    support::config([1, 3, 16][random.below(3)], [1, 7, 1000][random.below(3)])
}

fn run(seed: u64, path: Option<&Path>) {
    let mut random = Random(seed);
    let config = config(&mut random);
    let open = || match path {
        Some(path) => Index::open(path, &config).expect("open"),
        None => Index::in_memory(&config).expect("in memory"),
    };
    let (mut index, mut model) = (open(), Model::default());
    // The index's own keys and terms are others, whatever they are called.
    index.route(&key(3), Target::Term(&term(3)), Op::Put).expect("put");
    for _ in 0..400 {
        let pick = |random: &mut Random, below: u64| random.below(below as usize) as u64;
        let name = name(pick(&mut random, NAMES));
        let key = key(pick(&mut random, KEYS));
        let term = term(pick(&mut random, TERMS));
        match random.below(100) {
            0..55 => {
                let changed = model.put(&name, &key, &term);
                assert_eq!(put(&index, &name, &key, &term), Outcome { changed, emptied: false });
            }
            55..88 => {
                // One that is there, mostly.
                let there = model.0.get(&name).and_then(|keys| keys.first_key_value());
                let (key, term) = match there.filter(|_| random.below(8) > 0) {
                    Some((key, terms)) => (key.clone(), terms.first().expect("some").clone()),
                    None => (key, term),
                };
                assert_eq!(delete(&index, &name, &key, &term), model.delete(&name, &key, &term));
            }
            88..91 => {
                let dropped = index.drop_namespace(&name, Durability::Os).expect("drop");
                assert_eq!(dropped, model.0.remove(&name).is_some());
            }
            91..94 => drop(index.work().expect("work")),
            94 => index.flush().expect("flush"),
            95 => index.compact().expect("compact"),
            96 if path.is_some() => {
                index.close().expect("close");
                drop(index);
                index = open();
            }
            97 | 98 if path.is_some() => {
                drop(index);
                index = open();
            }
            _ => model.check(&index),
        }
    }
    model.check(&index);
    index.route(&key(3), Target::Term(&term(3)), Op::Delete).expect("delete");
    model.check_all(&index);
    if let Some(path) = path {
        index.close().expect("close");
        drop(index);
        verify(path).expect("sound");
        let index = open();
        // Routes at once, before anything was counted.
        for (name, keys) in &model.0 {
            for (key, terms) in keys {
                assert_eq!(&targets(&index, name, key), terms);
            }
        }
        model.check_all(&index);
    }
}

#[test]
fn in_memory_a_namespace_holds_what_was_put_there() {
    for seed in seeds("NAMESPACE_SEEDS", 1..120) {
        run(seed, None);
    }
}

#[test]
fn on_disk_a_namespace_holds_what_was_put_there_over_crashes() {
    for seed in seeds("NAMESPACE_SEEDS", 1..60) {
        let dir = temporary();
        run(seed, Some(dir.path()));
    }
}

/// A round that ended within a pass gave the id of the pass's namespace to another, and the rest of
/// the pass took out what that had.
#[test]
fn a_pass_takes_nothing_from_the_next_namespace_of_an_id() {
    let dir = temporary();
    run(333, Some(dir.path()));
}

/// Whoever asks for a dropped namespace finds nothing, and the next one of that name is another,
/// also if a crash comes before what the first had is taken out.
#[test]
fn a_dropped_namespace_is_gone_at_once_and_for_good() {
    let dir = temporary();
    let open = || Index::open(dir.path(), &support::config(4, 10)).expect("open");
    let index = open();
    for n in 0..500 {
        put(&index, b"dropped", &key(n), &term(n));
        put(&index, b"kept", &key(n), &term(n));
    }
    index.flush().expect("flush");
    assert!(index.drop_namespace(b"dropped", Durability::Os).expect("drop"));
    assert!(!index.drop_namespace(b"dropped", Durability::Os).expect("drop"));
    assert_eq!(targets(&index, b"dropped", &key(1)), Terms::new());
    assert_eq!(index.count_in(b"dropped").expect("count"), 0);
    put(&index, b"dropped", &key(1), b"new");
    drop(index);

    let index = open();
    let new = Terms::from([b"new".to_vec()]);
    let check = |index: &Index| {
        assert_eq!(targets(index, b"dropped", &key(1)), new);
        assert_eq!(targets(index, b"dropped", &key(2)), Terms::new());
        assert_eq!(listed(index, index.list_in(b"dropped")), new);
        let kept: Terms = (0..500).map(term).collect();
        assert_eq!(listed(index, index.list_in(b"kept")), kept);
        assert_eq!(index.count_in(b"kept").expect("count"), kept.len() as u64);
    };
    check(&index);
    let before = index.count().expect("count");
    while index.work().expect("work") {}
    check(&index);
    assert!(index.count().expect("count") < before, "nothing was taken out");
}

/// A listing that is taken a slice at a time outlives its namespace, whose id, and those of its
/// targets, are others' then.
#[test]
fn a_listing_has_nothing_of_the_next_namespace_of_an_id() {
    let index = Index::in_memory(&support::config(4, 10)).expect("in memory");
    let [one, other] = [&support::names()[0], &support::names()[1]];
    let target = |of: u8, n: u16| [&[of][..], &n.to_le_bytes()].concat();
    for n in 0..1000 {
        put(&index, one, &[], &target(1, n));
    }
    let listing = index.list_in(one);
    assert!(index.drop_namespace(one, Durability::Memory).expect("drop"));
    while index.work().expect("work") {}
    for n in 0..1000 {
        put(&index, other, &[], &target(2, n));
    }
    let found = listed(&index, listing);
    assert!(found.iter().all(|target| target[0] == 1), "another namespace's");
}

#[test]
fn a_listing_is_taken_in_slices_of_any_size() {
    let index = Index::in_memory(&support::config(4, 10)).expect("in memory");
    let all: Terms = (0..150).map(|n| vec![n as u8; n * 10]).collect();
    for target in &all {
        put(&index, b"n", b"k", target);
    }
    for (ids, bytes) in [(1, 5_000), (7, usize::MAX), (64, 3_000), (usize::MAX, 400)] {
        let mut listing = index.list_in(b"n").expect("listing");
        let (mut found, mut alone) = (Terms::new(), 0);
        let mut take = |most: Most| {
            let (mut slice, mut of_slice) = (Vec::new(), 0);
            let came_to = listing.next_within(&index, most, |target| match target {
                Target::Term(term) => slice.push(term.to_vec()),
                Target::Id(id) => panic!("a plain id: {id}"),
            });
            for target in slice {
                of_slice += target.len();
                assert!(found.insert(target), "twice");
            }
            assert!(of_slice <= most.bytes, "{of_slice}");
            came_to.expect("slice")
        };
        loop {
            match take(Most { ids, bytes, ..Most::ALL }) {
                Slice::Some => {}
                Slice::End => break,
                Slice::TooLarge => {
                    alone += 1;
                    assert_eq!(take(Most { ids: 1, ..Most::ALL }), Slice::Some);
                }
            }
        }
        assert_eq!(found, all);
        // Each has its namespace before it, a byte.
        assert_eq!(alone, all.iter().filter(|target| target.len() >= bytes).count());
    }
    // Of one that is dropped, there is nothing more.
    let mut listing = index.list_in(b"n").expect("listing");
    let mut slice = || listing.next_within(&index, Most { ids: 7, ..Most::ALL }, |_| {});
    assert_eq!(slice().expect("slice"), Slice::Some);
    assert!(index.drop_namespace(b"n", Durability::Memory).expect("drop"));
    assert_eq!(slice().expect("slice"), Slice::End);
}

#[test]
fn a_name_is_as_long_as_a_key() {
    let index = Index::in_memory(&Config::default()).expect("in memory");
    let long = vec![7; lsm_index::MAX_KEY_LEN + 1];
    let refused = |result| assert!(matches!(result, Err(Error::KeyTooLong { .. })));
    refused(index.route_in(&long, b"k", b"t", Op::Put, Durability::Memory).map(drop));
    refused(index.route_in(b"n", &long, b"t", Op::Put, Durability::Memory).map(drop));
    refused(index.targets_in(&long, b"k", Most::ALL, |_| {}).map(drop));
    refused(index.targets_in(b"n", &long, Most::ALL, |_| {}).map(drop));
    refused(index.list_in(&long).map(drop));
    assert_eq!(listed(&index, index.list_namespaces()), Terms::new(), "nothing is left behind");
    put(&index, &long[1..], &long[1..], &long);
    assert_eq!(targets(&index, &long[1..], &long[1..]), Terms::from([long]));
}
