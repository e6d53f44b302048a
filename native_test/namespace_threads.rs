//! Namespaces in many threads at once: writers that empty and fill them, drops, readers, background
//! work and rounds. Nothing here depends on how fast they are.

mod support;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lsm_index::fs::Disk;
use lsm_index::{Attempt, Durability, Index, Most, Op, Target};
use support::around::{Act, Around, Watch};
use support::namespaces::{listed, targets};
use support::small::temporary;
use support::threads::StopOnDrop;
use support::{Random, config, names, not_stuck, report};

/// Each writer has namespaces of its own, and all share one.
const WRITERS: u64 = 3;
const KEYS: u64 = 6;
const SHARED: usize = 7;

fn key(n: u64) -> Vec<u8> {
    n.to_le_bytes()[..1 + n as usize % 3].to_vec()
}

/// That of a namespace, a key and a number: of another one it is told.
fn target(name: usize, key: u64, n: u64) -> Vec<u8> {
    [name as u64, key, n].map(|n| n as u8).to_vec()
}

fn durability(random: &mut Random) -> Durability {
    [Durability::Memory, Durability::Memory, Durability::Os][random.below(3)]
}

/// Fills, empties and drops its namespaces. Those that are left in the end.
fn write(index: &Index, writer: u64, changes: u64) -> BTreeSet<(usize, u64, u64)> {
    let mut random = Random(writer);
    let mut model = BTreeSet::new();
    for _ in 0..changes {
        let name = 2 * writer as usize + random.below(2);
        let (k, n) = (random.below(KEYS as usize) as u64, random.below(4) as u64);
        let durability = durability(&mut random);
        let is_empty = |model: &BTreeSet<(usize, u64, u64)>| model.iter().all(|t| t.0 != name);
        match random.below(20) {
            0 => {
                let dropped = index.drop_namespace(&names()[name], durability).expect("drop");
                assert_eq!(dropped, !is_empty(&model));
                model.retain(|t| t.0 != name);
            }
            1..11 => {
                let put = index
                    .route_in(&names()[name], &key(k), &target(name, k, n), Op::Put, durability)
                    .expect("put");
                assert_eq!((put.changed, put.emptied), (model.insert((name, k, n)), false));
            }
            11..15 => {
                // All of them put and delete the same few.
                let op = [Op::Put, Op::Delete][random.below(2)];
                let target = target(SHARED, 0, n % 2);
                index.route_in(&names()[SHARED], b"", &target, op, durability).expect("shared");
            }
            _ => {
                let there = model.iter().find(|t| t.0 == name).copied();
                let (_, k, n) = there.unwrap_or((name, k, n));
                let gone = index
                    .route_in(&names()[name], &key(k), &target(name, k, n), Op::Delete, durability)
                    .expect("delete");
                let changed = model.remove(&(name, k, n));
                // Whoever may wait is told for sure; others as far as they get to know.
                assert_eq!((gone.changed, gone.emptied), (changed, changed && is_empty(&model)));
            }
        }
    }
    model
}

/// Looks for what is another's.
fn read(index: &Index, seed: u64, stop: &AtomicBool, reads: &AtomicU64) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        let name = random.below(SHARED + 1);
        let own = |term: &[u8]| assert_eq!(term[0], name as u8, "another's: {term:?}");
        match random.below(4) {
            0 => {
                let mut listing = index.list_in(&names()[name]).expect("listing");
                let mut each = |target: Target<'_>| match target {
                    Target::Term(term) => own(term),
                    Target::Id(id) => panic!("a plain id: {id}"),
                };
                while listing.next_slice(index, &mut each).expect("slice") {}
            }
            1 => {
                // The changes under way may each count for one more.
                let most = KEYS * 4 + WRITERS;
                assert!(index.count_in(&names()[name]).expect("count") <= most);
            }
            2 => {
                let mut listing = index.list_namespaces().expect("listing");
                let mut each = |target: Target<'_>| match target {
                    Target::Term(term) => assert!(names().iter().any(|name| name == term)),
                    Target::Id(id) => panic!("a plain id: {id}"),
                };
                while listing.next_slice(index, &mut each).expect("slice") {}
            }
            _ => {
                let k = random.below(KEYS as usize) as u64;
                let asked = if name == SHARED { Vec::new() } else { key(k) };
                let of_key = |term: &[u8]| {
                    own(term);
                    assert!(name == SHARED || term[1] == k as u8, "another key's: {term:?}");
                };
                index.targets_in(&names()[name], &asked, Most::ALL, of_key).expect("targets");
            }
        }
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

fn maintain(index: &Index, seed: u64, stop: &AtomicBool) {
    let mut random = Random(seed);
    while !stop.load(Ordering::Relaxed) {
        match random.below(12) {
            0 => index.flush().expect("flush"),
            1 => index.compact().expect("compact"),
            2 => index.sync().expect("sync"),
            _ => drop(index.work().expect("work")),
        }
    }
}

fn check(index: &Index, model: &BTreeSet<(usize, u64, u64)>) {
    while index.work().expect("work") {}
    let (mut keys, mut there) = (0, BTreeSet::new());
    for name in 0..=SHARED {
        let of = |terms: &mut BTreeSet<Vec<u8>>, asked: &[u8]| {
            let found = targets(index, &names()[name], asked).expect("targets");
            terms.extend(found.iter().cloned());
            (u64::from(!found.is_empty()), found)
        };
        let mut members = BTreeSet::new();
        if name == SHARED {
            keys += of(&mut members, b"").0;
        } else {
            for k in 0..KEYS {
                let (any, found) = of(&mut members, &key(k));
                let own = model.iter().filter(|t| (t.0, t.1) == (name, k));
                let own: BTreeSet<_> = own.map(|&(name, k, n)| target(name, k, n)).collect();
                assert_eq!(found, own, "{name}, {k}");
                keys += any;
            }
        }
        assert_eq!(listed(index, index.list_in(&names()[name])).expect("listed"), members);
        let count = index.count_in(&names()[name]).expect("count");
        assert_eq!(count, members.len() as u64, "{name}");
        if count > 0 {
            there.insert(names()[name].clone());
            keys += 1;
        }
    }
    assert_eq!(listed(index, index.list_namespaces()).expect("listed"), there);
    assert_eq!(index.count().expect("count"), keys, "keys that nobody can reach");
}

fn all_at_once(index: &Index, changes: u64) -> BTreeSet<(usize, u64, u64)> {
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let model = thread::scope(|scope| {
        let (stop, reads) = (&stop, &reads);
        let writers: Vec<_> =
            (0..WRITERS).map(|n| scope.spawn(move || write(index, n, changes))).collect();
        (0..2).for_each(|seed| drop(scope.spawn(move || read(index, seed, stop, reads))));
        (0..2).for_each(|seed| drop(scope.spawn(move || maintain(index, seed, stop))));
        let _stop = StopOnDrop(stop);
        writers.into_iter().flat_map(|writer| writer.join().expect("writer")).collect()
    });
    report(&format!("namespaces in threads: {} reads", reads.into_inner()));
    check(index, &model);
    model
}

#[test]
fn namespaces_are_their_own_in_memory() {
    not_stuck(|| {
        let index = Index::in_memory(&config(3, 20)).expect("in memory");
        all_at_once(&index, 60_000);
    });
}

#[test]
fn namespaces_are_their_own_on_disk() {
    not_stuck(|| {
        let dir = temporary();
        let open = || Index::open(dir.path(), &config(3, 20)).expect("open");
        let index = open();
        let model = all_at_once(&index, 5_000);
        index.close().expect("close");
        lsm_index::verify(dir.path()).expect("sound");
        let index = open();
        // The census, and all else, by several.
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while index.work().expect("work") {});
            }
            scope.spawn(|| index.take_census().expect("census"));
        });
        check(&index, &model);
    });
}

/// Appends to the log wait while it is shut.
#[derive(Debug, Default)]
struct Log {
    shut: AtomicBool,
    waited_for: AtomicBool,
}

impl Watch for Log {
    fn before(&self, act: Act, path: &Path) -> io::Result<()> {
        let is_log = path.extension().is_some_and(|e| e == "wal");
        while act == Act::Append && is_log && self.shut.load(Ordering::SeqCst) {
            self.waited_for.store(true, Ordering::SeqCst);
            thread::yield_now();
        }
        Ok(())
    }
}

/// Also if the test fails: others wait for it.
struct OpenOnDrop<'l>(&'l Log);

impl Drop for OpenOnDrop<'_> {
    fn drop(&mut self) {
        self.0.shut.store(false, Ordering::SeqCst);
    }
}

/// Whoever holds the shard of a namespace's name may be at the log.
#[test]
fn a_change_that_must_not_wait_does_not_wait_for_anothers_log() {
    not_stuck(|| {
        let dir = temporary();
        let system = Around::new(Disk, Log::default());
        let log = Arc::clone(&system.watch);
        let index = Index::open_on(Arc::new(system), dir.path(), &config(64, 100)).expect("open");
        let (name, of_the_shard) = (&names()[0], support::term(0));
        let change = |key: u64, op| {
            index.try_route_in(name, &self::key(key), b"t", op, Durability::Memory).expect("change")
        };
        index.route_in(name, &key(0), b"t", Op::Put, Durability::Memory).expect("put");
        index.route(b"a", Target::Term(&of_the_shard), Op::Put).expect("put");
        index.flush().expect("flush");
        thread::scope(|scope| {
            let open = OpenOnDrop(&log);
            log.shut.store(true, Ordering::SeqCst);
            let logged = scope.spawn(|| {
                index.route_with(b"b", Target::Term(&of_the_shard), Op::Put, Durability::Os)
            });
            while !log.waited_for.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert_eq!(change(1, Op::Put), Attempt::Busy);
            assert_eq!(change(0, Op::Delete), Attempt::Busy);
            assert!(!logged.is_finished());
            drop(open);
            assert!(logged.join().expect("joined").expect("put"));
        });
        index.route_in(name, &key(0), b"t", Op::Delete, Durability::Memory).expect("delete");
        assert_eq!(index.count_in(name).expect("count"), 0);
    });
}
