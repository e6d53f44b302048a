//! Reconciliations: what nobody named goes, and what others put meanwhile stays.

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use lsm_index::fs::Disk;
use lsm_index::{Config, Durability, Index, Loader, Most, Op, Reconciler, Target};
use support::around::{Act, Around, Watch};
use support::small::temporary;

fn open(path: &Path, durability: Durability) -> Index {
    let config = Config { durability, ..support::config(4, 100) };
    Index::open(path, &config).expect("open")
}

/// The routes named stay, the others go, and so do namespaces without any.
#[test]
fn a_reconciliation_leaves_what_was_named() {
    let dir = temporary();
    let (name, key) = (|n: u32| format!("name {n}").into_bytes(), |n: u32| n.to_le_bytes());
    let index = open(dir.path(), Durability::Os);
    let put = |index: &Index, n: u32, k: u32, term: &[u8]| {
        index.route_in(&name(n), &key(k), term, Op::Put, Durability::Os).expect("put").changed
    };
    for k in 0..300 {
        put(&index, k % 3, k, b"kept");
        put(&index, k % 3, k, b"gone");
        put(&index, 3, k, b"gone");
        index.put(&key(k), k).expect("put");
    }
    let mut reconciler = index.begin_reconciliation(true).expect("begin");
    assert!(put(&index, 7, 1, b"added meanwhile"));
    for k in 0..310 {
        let named = reconciler.name(&index, Some(&name(k % 3)), &key(k), Target::Term(b"kept"));
        assert_eq!(named.expect("named"), k < 300);
    }
    let absent = Target::Term(b"gone");
    assert!(!reconciler.name(&index, Some(b"nowhere"), &key(1), absent).expect("named"));
    while reconciler.step(&index, Durability::Os).expect("step") {}
    assert_eq!(reconciler.removed(), 600);
    while index.work().expect("work") {}
    drop(index);

    let index = open(dir.path(), Durability::Os);
    // The name of what was emptied is dropped without log, and may be there again.
    while index.work().expect("work") {}
    for k in 0..300 {
        let targets = |n| {
            let mut found = Vec::new();
            let most = Most::ALL;
            let each = |term: &[u8]| found.push(term.to_vec());
            assert!(index.targets_in(&name(n), &key(k), most, each).expect("targets"));
            found
        };
        assert_eq!(targets(k % 3), [b"kept".to_vec()]);
        assert_eq!(targets(3), [[0; 0]; 0]);
        assert_eq!(index.get(&key(k)).expect("get").as_slice(), [k], "no namespace's");
    }
    assert_eq!(index.count_in(&name(7)).expect("count"), 1);
    // Three of 100 keys each, one with one; their names; the index's own.
    assert_eq!(index.count().expect("count"), 301 + 4 + 300);

    let mut own = index.begin_reconciliation(false).expect("begin");
    for k in 0..100 {
        assert!(own.name(&index, None, &key(k), Target::Id(k)).expect("named"));
    }
    while own.step(&index, Durability::Os).expect("step") {}
    assert_eq!(own.removed(), 200);
    assert_eq!(index.count().expect("count"), 301 + 4 + 100);
}

/// What others put meanwhile stays, whether it was there or not, and so do ids: terms that come are
/// not given those of terms that went.
#[test]
fn what_is_put_beside_a_reconciliation_stays() {
    for (dir, in_namespaces) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = dir.then(temporary);
        let index = match &dir {
            Some(dir) => open(dir.path(), Durability::Os),
            None => Index::in_memory(&support::config(4, 100)).expect("in memory"),
        };
        let (key, term) = (|n: u32| n.to_le_bytes(), |n: u32| format!("term {n}").into_bytes());
        let change = |n: u32, of: u32, op: Op| match in_namespaces {
            true => index.route_in(b"name", &key(n), &term(of), op, Durability::Os),
            false => {
                let target = Target::Term(&term(of));
                let changed = index.route_with(&key(n), target, op, Durability::Os);
                changed.map(|changed| lsm_index::Outcome { changed, emptied: false })
            }
        };
        let made = |n, of, op| change(n, of, op).expect("change").changed;
        for n in 0..1_000 {
            assert!(made(n, n, Op::Put));
        }
        let mut reconciler = index.begin_reconciliation(in_namespaces).expect("begin");
        for n in 0..600 {
            // There already; removed and added again; given to another term, by way of rounds too.
            match n % 3 {
                0 => assert!(!made(n, n, Op::Put)),
                1 => assert!(made(n, n, Op::Delete) && made(n, n, Op::Put)),
                _ => assert!(made(n, n, Op::Delete)),
            }
            if n % 150 == 0 {
                index.compact().expect("compact");
                while index.work().expect("work") {}
            }
        }
        for n in (2..600).step_by(3) {
            assert!(made(n, 5_000 + n, Op::Put));
            assert!(made(8_000 + n, 8_000 + n, Op::Put));
        }
        // Terms that came are led to by none of the keys that those that went had.
        let name = in_namespaces.then_some(&b"name"[..]);
        for n in (2..600).step_by(3) {
            for of in (8_002..8_600).step_by(3) {
                let target = term(of);
                let target = Target::Term(&target);
                assert!(!reconciler.name(&index, name, &key(n), target).expect("name"));
            }
        }
        while reconciler.step(&index, Durability::Os).expect("step") {}
        assert_eq!(reconciler.removed(), 400);
        drop(reconciler);
        for n in 0..1_000 {
            let mut found = Vec::new();
            let most = Most::ALL;
            match name {
                Some(name) => {
                    let each = |term: &[u8]| found.push(term.to_vec());
                    index.targets_in(name, &key(n), most, each).expect("targets");
                }
                None => {
                    let each = |target: Target<'_>| match target {
                        Target::Term(term) => found.push(term.to_vec()),
                        Target::Id(id) => panic!("id {id}"),
                    };
                    index.targets(&key(n), most, each).expect("targets");
                }
            }
            let expected = match n {
                600.. => vec![],
                n if n % 3 == 2 => vec![term(5_000 + n)],
                n => vec![term(n)],
            };
            assert_eq!(found, expected, "key {n}, {in_namespaces}, {}", dir.is_some());
        }
    }
}

#[test]
fn reconciliations_beside_each_other_know_only_of_their_own_time() {
    let index = Index::in_memory(&support::config(4, 100)).expect("in memory");
    let begin = |in_namespaces| index.begin_reconciliation(in_namespaces).expect("begin");
    let finish = |mut reconciler: Reconciler| {
        while reconciler.step(&index, Durability::Memory).expect("step") {}
        reconciler.removed()
    };
    let first = begin(true);
    let again = begin(false);
    index.put(b"key", 1).expect("put");
    assert_eq!(finish(again), 0, "it was put meanwhile");
    assert_eq!(finish(begin(false)), 1);
    index.put(b"key", 1).expect("put");
    // One that ends takes nothing along that another one wants to know.
    let again = begin(false);
    drop(first);
    index.put(b"key", 1).expect("put");
    assert_eq!(finish(again), 0, "it was put meanwhile, and is as it was");
    assert_eq!(finish(begin(false)), 1);
}

/// Named is named, whatever was there at the beginning.
#[test]
fn what_others_removed_and_is_named_has_to_be_added() {
    let index = Index::in_memory(&support::config(4, 100)).expect("in memory");
    let term = Target::Term(b"term");
    index.put(b"plain", 1).expect("put");
    for key in [b"one", b"two"] {
        index.route(key, term, Op::Put).expect("put");
    }
    let mut reconciler = index.begin_reconciliation(false).expect("begin");
    index.delete(b"plain", 1).expect("delete");
    index.route(b"one", term, Op::Delete).expect("delete");
    for (key, target, there) in
        [(&b"plain"[..], Target::Id(1), false), (b"one", term, false), (b"two", term, true)]
    {
        assert_eq!(reconciler.name(&index, None, key, target).expect("name"), there);
    }
}

#[test]
fn what_dropped_namespaces_had_is_not_a_reconciliations() {
    let index = Index::in_memory(&support::config(4, 1_000)).expect("in memory");
    for n in 0..100_u32 {
        let key = n.to_le_bytes();
        index.route_in(b"dropped", &key, &key, Op::Put, Durability::Memory).expect("put");
    }
    index.route_in(b"kept", b"key", b"term", Op::Put, Durability::Memory).expect("put");
    index.drop_namespace(b"dropped", Durability::Memory).expect("drop");
    let mut reconciler = index.begin_reconciliation(true).expect("begin");
    while reconciler.step(&index, Durability::Memory).expect("step") {}
    assert_eq!(reconciler.removed(), 1);
    reconciler.end(&index);
    while index.work().expect("work") {}
    assert_eq!(index.count().expect("count"), 0);
}

/// Segments wait while it is shut.
#[derive(Debug, Default)]
struct Shut {
    shut: AtomicBool,
    waiting: AtomicUsize,
}

impl Watch for Shut {
    fn before(&self, act: Act, path: &Path) -> io::Result<()> {
        let is_segment = path.to_string_lossy().contains(".seg");
        if act == Act::Create && is_segment && self.shut.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while self.shut.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        Ok(())
    }
}

/// A load that began before, and waited for a compaction since, puts what it puts afterwards.
#[test]
fn what_is_loaded_beside_a_reconciliation_stays() {
    let dir = temporary();
    let system = Around::new(Disk, Shut::default());
    let watch = Arc::clone(&system.watch);
    let index = Index::open_on(Arc::new(system), dir.path(), &support::config(1, 1_000));
    let index = index.expect("open");
    index.put(b"key", 1).expect("put");
    index.put(b"other", 2).expect("put");
    watch.shut.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let first = scope.spawn(|| index.compact_lane(0).expect("compact"));
        while watch.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // The next in line, probably: it takes the tombstone of the key out.
        let second = scope.spawn(|| index.compact_lane(0).expect("compact"));
        thread::sleep(std::time::Duration::from_millis(50));
        let load = scope.spawn(|| {
            let mut loader = Loader::new(&index);
            loader.add(&index, b"key", 1).expect("add");
            while loader.step(&index).expect("step") {}
        });
        thread::sleep(std::time::Duration::from_millis(50));
        let mut reconciler = index.begin_reconciliation(false).expect("begin");
        let deleted = index.delete(b"key", 1);
        watch.shut.store(false, Ordering::SeqCst);
        assert!(deleted.expect("delete"));
        for thread in [first, second, load] {
            thread.join().expect("joined");
        }
        assert!(index.contains(b"key", 1).expect("contains"), "loaded after the delete");
        while reconciler.step(&index, Durability::Memory).expect("step") {}
        assert_eq!(reconciler.removed(), 1);
        assert!(index.contains(b"key", 1).expect("contains"), "what was put meanwhile stays");
    });
}

#[test]
fn it_takes_16_bytes_a_route_and_large_ids_are_routes_too() {
    let index = Index::in_memory(&support::config(4, 10_000)).expect("in memory");
    for n in 0..50_000_u32 {
        index.put(&n.to_le_bytes(), n | lsm_index::TERM_ID_FLAG).expect("put");
    }
    let tables = || index.memory().expect("memory").tables;
    let before = tables();
    let mut reconciler = index.begin_reconciliation(false).expect("begin");
    assert_eq!(tables() - before, 16 * 50_000);
    while reconciler.step(&index, Durability::Memory).expect("step") {}
    assert_eq!(reconciler.removed(), 50_000);
    // The tables have room for each segment, and there are fewer.
    assert!(tables() <= before);
}
