//! Stamps: how far an index has seen, in order with its changes.

mod support;

use lsm_index::{Config, Durability, Error, Index, MAX_STAMP_LEN, Op, verify};
use support::small::temporary;

fn open(path: &std::path::Path, durability: Durability) -> Index {
    let config = Config { durability, ..support::config(4, 100) };
    Index::open(path, &config).expect("open")
}

fn stamp(index: &Index) -> Option<Vec<u8>> {
    index.stamp().expect("stamp")
}

#[test]
fn a_stamp_is_what_was_put_last_and_no_key() {
    let index = Index::in_memory(&support::config(4, 2)).expect("in memory");
    assert_eq!(stamp(&index), None);
    for len in [0, 1, 8, 3, MAX_STAMP_LEN, 7, 0] {
        let put: Vec<u8> = (0..len).map(|n| (n * 31 + len) as u8).collect();
        index.put_stamp(&put, Durability::Memory).expect("put");
        assert_eq!(stamp(&index), Some(put));
        assert_eq!(index.count().expect("count"), 0);
        assert_eq!(index.ids().expect("ids"), [0; 0]);
        index.for_each_key(|_, _| panic!("a key")).expect("keys");
        while index.work().expect("work") {}
    }
    index.put(b"key", 7).expect("put");
    assert_eq!((index.count().expect("count"), index.ids().expect("ids")), (1, vec![7]));
    let long = index.put_stamp(&[7; MAX_STAMP_LEN + 1], Durability::Memory);
    assert!(matches!(long, Err(Error::TooLarge { .. })));
}

/// What the stamp speaks for is there after a crash, whatever came after it.
#[test]
fn a_stamp_never_tells_of_more_than_is_there() {
    for durability in [Durability::Memory, Durability::Os, Durability::Sync] {
        for kept in 0..30_u32 {
            let dir = temporary();
            let index = open(dir.path(), durability);
            for n in 0..30_u32 {
                index.put(&n.to_le_bytes(), n).expect("put");
                index.put_stamp(&n.to_le_bytes(), durability).expect("stamp");
                match n {
                    n if n == kept => index.sync().expect("sync"),
                    n if n % 7 == 3 => drop(index.work().expect("work")),
                    // A lane alone says nothing of the others.
                    n if n % 7 == 5 => index.flush_lane(n % 4).expect("flush"),
                    _ => {}
                }
            }
            assert_eq!(stamp(&index), Some(29_u32.to_le_bytes().to_vec()));
            drop(index);
            verify(dir.path()).expect("sound");
            let index = open(dir.path(), durability);
            let seen = stamp(&index).expect("stamped");
            let seen = u32::from_le_bytes(seen.try_into().expect("four bytes"));
            assert!(seen >= kept);
            if durability != Durability::Memory {
                assert_eq!(seen, 29);
            }
            for n in 0..=seen {
                assert_eq!(index.get(&n.to_le_bytes()).expect("get").as_slice(), [n]);
            }
        }
    }
}

#[test]
fn a_stamp_outlives_a_close_and_whatever_the_log_does() {
    for durability in [Durability::Memory, Durability::Os] {
        let dir = temporary();
        for n in 0..5_u8 {
            let index = open(dir.path(), durability);
            let before = n.checked_sub(1).map(|before| vec![before; 8]);
            assert_eq!(stamp(&index), before);
            index.put_stamp(&[n; 8], durability).expect("stamp");
            for k in 0..500_u32 {
                index.put(&k.to_le_bytes(), u32::from(n)).expect("put");
            }
            index.compact().expect("compact");
            index.close().expect("close");
            assert!(matches!(index.stamp(), Err(Error::Closed)));
            assert!(matches!(index.put_stamp(b"", durability), Err(Error::Closed)));
        }
    }
}

/// A stamp that came during the flush waits for the next one, and the one from before is written.
#[test]
fn stamps_that_come_all_the_time_last_all_the_same() {
    let dir = temporary();
    let index = open(dir.path(), Durability::Memory);
    index.put_stamp(b"first", Durability::Memory).expect("stamp");
    let pending = index.pending_stamp().expect("it waits");
    index.flush_lane(0).expect("flush");
    index.put_stamp(b"second", Durability::Memory).expect("stamp");
    for lane in 0..4 {
        index.flush_lane(lane).expect("flush");
    }
    index.write_pending_stamp(&pending).expect("write");
    assert_eq!(stamp(&index), Some(b"second".to_vec()));
    let later = index.pending_stamp().expect("the second waits");
    drop(index);
    let index = open(dir.path(), Durability::Memory);
    assert_eq!(stamp(&index), Some(b"first".to_vec()));
    // An older one never takes the place of a newer one.
    index.put_stamp(b"third", Durability::Os).expect("stamp");
    index.write_pending_stamp(&lsm_index::Pending { number: 0, ..later }).expect("write");
    assert_eq!(stamp(&index), Some(b"third".to_vec()));
    index.close().expect("close");
}

/// A record of the log makes one stamp of another; what it starts from must not be in memory alone.
#[test]
fn a_stamp_that_could_not_be_flushed_does_not_mix_with_the_next() {
    let dir = temporary();
    let config = Config { durability: Durability::Os, ..support::config(1, 100) };
    let open = || Index::open(dir.path(), &config).expect("open");
    let index = open();
    index.put_stamp(b"the first", Durability::Memory).expect("stamp");
    index.flush().expect("flush");
    index.put_stamp(b"second, which is longer", Durability::Memory).expect("stamp");
    let pending = index.pending_stamp().expect("it waits");
    let in_the_way = dir.path().join("epoch-00000001/lane-0000/MANIFEST.tmp");
    std::fs::create_dir(&in_the_way).expect("directory");
    assert!(matches!(index.write_pending_stamp(&pending), Err(Error::Io { .. })));
    assert!(matches!(index.put_stamp(b"third", Durability::Os), Err(Error::Io { .. })));
    std::fs::remove_dir(&in_the_way).expect("removed");
    index.put_stamp(b"third", Durability::Os).expect("stamp");
    drop(index);
    assert_eq!(stamp(&open()), Some(b"third".to_vec()));
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
        let named =
            reconciler.name(&index, Some(&name(k % 3)), &key(k), lsm_index::Target::Term(b"kept"));
        assert_eq!(named.expect("named"), k < 300);
    }
    let absent = lsm_index::Target::Term(b"gone");
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
            let most = lsm_index::Most::ALL;
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
        assert!(own.name(&index, None, &key(k), lsm_index::Target::Id(k)).expect("named"));
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
                let target = lsm_index::Target::Term(&term(of));
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
                let target = lsm_index::Target::Term(&target);
                assert!(!reconciler.name(&index, name, &key(n), target).expect("name"));
            }
        }
        while reconciler.step(&index, Durability::Os).expect("step") {}
        assert_eq!(reconciler.removed(), 400);
        drop(reconciler);
        for n in 0..1_000 {
            let mut found = Vec::new();
            let most = lsm_index::Most::ALL;
            match name {
                Some(name) => {
                    let each = |term: &[u8]| found.push(term.to_vec());
                    index.targets_in(name, &key(n), most, each).expect("targets");
                }
                None => {
                    let each = |target: lsm_index::Target<'_>| match target {
                        lsm_index::Target::Term(term) => found.push(term.to_vec()),
                        lsm_index::Target::Id(id) => panic!("id {id}"),
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
    let finish = |mut reconciler: lsm_index::Reconciler| {
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
    let term = lsm_index::Target::Term(b"term");
    index.put(b"plain", 1).expect("put");
    for key in [b"one", b"two"] {
        index.route(key, term, Op::Put).expect("put");
    }
    let mut reconciler = index.begin_reconciliation(false).expect("begin");
    index.delete(b"plain", 1).expect("delete");
    index.route(b"one", term, Op::Delete).expect("delete");
    for (key, target, there) in [
        (&b"plain"[..], lsm_index::Target::Id(1), false),
        (b"one", term, false),
        (b"two", term, true),
    ] {
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

/// A stamp speaks for what is lost, whichever lane had that.
#[test]
fn a_repair_that_loses_something_takes_the_stamp_away() {
    let dir = temporary();
    let index = open(dir.path(), Durability::Os);
    for n in 0..1_000_u32 {
        index.put(&n.to_le_bytes(), n).expect("put");
    }
    index.put_stamp(b"seen", Durability::Os).expect("stamp");
    index.close().expect("close");
    for lane in 0..4 {
        let copy = temporary();
        support::copy_dir(dir.path(), copy.path());
        let lane = format!("epoch-00000001/lane-{lane:04}");
        for file in support::files(copy.path()) {
            if file.starts_with(&lane) && file.extension().is_some_and(|e| e == "seg") {
                std::fs::remove_file(copy.path().join(file)).expect("removed");
            }
        }
        lsm_index::repair(copy.path(), true).expect("repair");
        verify(copy.path()).expect("sound");
        assert_eq!(stamp(&open(copy.path(), Durability::Os)), None, "{lane} was lost");
    }
    // Nothing is lost: CURRENT can be made anew.
    std::fs::remove_file(dir.path().join("CURRENT")).expect("removed");
    assert_eq!(lsm_index::repair(dir.path(), true).expect("repair").len(), 1);
    assert_eq!(stamp(&open(dir.path(), Durability::Os)), Some(b"seen".to_vec()));
}
