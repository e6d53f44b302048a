//! Routes to terms over crashes: what a key leads to is the term that was put, or nothing.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lsm_index::{Config, Error, Index, Loader, Op, TERM_ID_FLAG, Target, verify};
use support::small::temporary;
use support::{Item, Model, Random, resolved};

/// Every change freezes its lane's overlay, so that the steps below decide what is on disk.
fn config() -> Config {
    support::config(1, 1)
}

fn only(term: &[u8]) -> BTreeSet<Item> {
    BTreeSet::from([Item::Term(term.to_vec())])
}

fn crash(index: Index) {
    drop(index);
}

fn route(index: &Index, key: &[u8], term: &[u8], op: Op) {
    assert!(index.route(key, Target::Term(term), op).expect("route"));
}

/// Leaves a segment on disk that leads to a term removed again before the segment was written.
fn forgotten_before_written(path: &Path) {
    let index = Index::open(path, &config()).expect("open");
    route(&index, b"key", b"gone", Op::Put);
    route(&index, b"key", b"gone", Op::Delete);
    assert!(index.work().expect("work"));
    crash(index);
}

/// Slices of a listing hold every target that is there throughout, once; those removed meanwhile
/// may be missing.
#[test]
fn a_listing_has_each_target_once() {
    let index = Index::in_memory(&config()).expect("in memory");
    let term = |n: u32| format!("term {n}").into_bytes();
    for n in 0..9_000_u32 {
        route(&index, &n.to_le_bytes(), &term(n), Op::Put);
        route(&index, b"all", &term(n), Op::Put);
        index.route(b"plain", Target::Id(n), Op::Put).expect("put");
    }
    let mut listing = index.list_targets().expect("begin");
    let (mut found, mut slices) = (Vec::new(), 0);
    while listing
        .next_slice(&index, |target| {
            found.push(match target {
                Target::Id(id) => Item::Id(id),
                Target::Term(bytes) => Item::Term(bytes.to_vec()),
            });
        })
        .expect("slice")
    {
        slices += 1;
        if slices == 1 {
            for n in 1_000..9_000_u32 {
                route(&index, &n.to_le_bytes(), &term(n), Op::Delete);
                route(&index, b"all", &term(n), Op::Delete);
            }
        }
    }
    let distinct: BTreeSet<Item> = found.iter().cloned().collect();
    assert_eq!(distinct.len(), found.len());
    let stays = (0..9_000).map(Item::Id).chain((0..4_000).map(|n| Item::Term(term(n))));
    assert!(stays.into_iter().all(|target| distinct.contains(&target)));
    assert!(slices > 3, "{slices}");
    index.close().expect("close");
    assert!(matches!(listing.next_slice(&index, |_| {}), Err(Error::Closed)));
}

/// Plain ids from 2^30 on and terms exclude each other; a change that fails settles nothing.
#[test]
fn a_refused_change_leaves_the_kind_of_ids_open() {
    let long = vec![7; lsm_index::MAX_KEY_LEN + 1];
    let high = TERM_ID_FLAG;
    let refused =
        |result: Result<bool, Error>| assert!(matches!(result, Err(Error::KeyTooLong { .. })));
    let index = Index::in_memory(&Config::default()).expect("in memory");
    refused(index.put(&long, high));
    refused(index.write(&[(Op::Put, &b"k"[..], high), (Op::Put, &long, 1)]).map(|_| true));
    let beyond = index.write(&[(Op::Put, b"k", high), (Op::Put, b"k", u32::MAX)]);
    assert!(matches!(beyond, Err(Error::IdOutOfRange { .. })));
    refused(Loader::new(&index).add(&index, &long, high).map(|()| true));
    assert!(index.route(b"k", Target::Term(b"term"), Op::Put).expect("route"));

    let index = Index::in_memory(&Config::default()).expect("in memory");
    refused(index.route(&long, Target::Term(b"term"), Op::Put));
    assert!(index.put(b"k", high).expect("put"));
}

#[test]
fn a_term_removed_before_its_key_was_written_is_never_another_term() {
    let dir = temporary();
    forgotten_before_written(dir.path());
    let index = Index::open(dir.path(), &config()).expect("reopen");
    route(&index, b"other key", b"stranger", Op::Put);
    assert!(!resolved(&index, b"key").contains(&Item::Term(b"stranger".to_vec())));
}

#[test]
fn a_term_removed_before_its_key_was_written_does_not_keep_the_index_from_opening() {
    let dir = temporary();
    let index = Index::open(dir.path(), &config()).expect("open");
    route(&index, b"lasting", b"term", Op::Put);
    index.close().expect("close");
    forgotten_before_written(dir.path());
    let index = Index::open(dir.path(), &config()).expect("reopen");
    assert_eq!(resolved(&index, b"lasting"), only(b"term"));
}

/// The file is written anew without dead terms by a round, and no manifest knows of it yet. Damage
/// is found all the same, before a place is given to another term.
#[test]
fn damage_of_a_log_just_written_anew_is_found() {
    let dir = temporary();
    let log = dir.path().join("epoch-00000001/TERMS");
    let key = |n: u32| format!("key {n}").into_bytes();
    let term = |n: u32| format!("term {n}").into_bytes();
    let index = Index::open(dir.path(), &config()).expect("create");
    for n in 0..30 {
        route(&index, &key(n), &term(n), Op::Put);
    }
    index.close().expect("close");
    let before = fs::metadata(&log).expect("stat").len();
    let index = Index::open(dir.path(), &config()).expect("open");
    for n in 3..30 {
        route(&index, &key(n), &term(n), Op::Delete);
    }
    index.compact().expect("compact");
    crash(index);
    let sound = fs::read(&log).expect("read");
    assert!((sound.len() as u64) < before, "written anew");

    let check = |what: &str| {
        assert!(verify(dir.path()).is_err(), "{what}: verify");
        if let Ok(index) = Index::open(dir.path(), &config()) {
            for n in 0..3 {
                assert_eq!(resolved(&index, &key(n)), only(&term(n)), "{what}");
            }
        }
    };
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&log, damaged).expect("write");
        check(&format!("bit {bit} of {} bytes", sound.len()));
    }
    for len in 0..sound.len() {
        fs::write(&log, &sound[..len]).expect("write");
        check(&format!("cut to {len} bytes of {}", sound.len()));
    }
    fs::remove_file(&log).expect("remove");
    check("no file");
}

/// An append that power loss tore in its middle: some later bytes of it are there, earlier ones are
/// not. No manifest relies on them, so the index opens.
#[test]
fn an_append_torn_in_the_middle_is_no_damage() {
    // Two records as an append lays them out, one of them never written.
    let record = [&[3, 0, 0, 0, 1, 0, 0, 0][..], b"new"].concat();
    let record = [&record[..], &crc32fast::hash(&record).to_le_bytes()].concat();
    let hole = vec![0; record.len()];
    for torn in [[&hole[..], &record[..]].concat(), [&record[..], &hole[..]].concat()] {
        let dir = temporary();
        let log = dir.path().join("epoch-00000001/TERMS");
        let index = Index::open(dir.path(), &config()).expect("create");
        route(&index, b"key", b"lasting", Op::Put);
        index.close().expect("close");
        let sound = fs::read(&log).expect("read");
        fs::write(&log, [&sound[..], &torn[..]].concat()).expect("write");
        let index = Index::open(dir.path(), &config()).expect("open");
        assert_eq!(resolved(&index, b"key"), only(b"lasting"));
        // The next append cuts it off.
        route(&index, b"other", b"next", Op::Put);
        index.close().expect("close");
        verify(dir.path()).expect("sound");
        let index = Index::open(dir.path(), &config()).expect("open");
        assert_eq!(resolved(&index, b"other"), only(b"next"));
        assert_eq!(resolved(&index, b"key"), only(b"lasting"));
    }
}

/// Terms come and go while a place's old and new term are both in the log.
#[test]
fn places_used_again_lead_to_their_new_term() {
    let dir = temporary();
    let mut model = Model::default();
    let mut random = Random(5);
    for session in 0..12_u32 {
        let index = Index::open(dir.path(), &support::config(2, 7)).expect("open");
        model.check(&index);
        for step in 0..200_u32 {
            let key = format!("key {}", random.below(40)).into_bytes();
            let held = model.0.get(&key).and_then(|items| items.first()).cloned();
            match (held, random.below(9)) {
                (_, 0) => index.flush().expect("flush"),
                (_, 1) => while index.work().expect("work") {},
                (Some(item), 2..5) => model.delete(&index, &key, &item),
                _ => {
                    let term = format!("term {session} {}", step % 20);
                    let item = Item::Term(term.into_bytes());
                    if !model.0.get(&key).is_some_and(|items| items.contains(&item)) {
                        model.put(&index, &key, item);
                    }
                }
            }
        }
        model.check(&index);
        index.close().expect("close");
        verify(dir.path()).expect("sound");
    }
}

#[test]
fn terms_and_high_ids_do_not_mix() {
    let high = lsm_index::TERM_ID_FLAG + 5;
    let refused = |outcome| matches!(outcome, Err(lsm_index::Error::MixedIds { .. }));
    let dir = temporary();

    let index = Index::open(dir.path(), &config()).expect("open");
    index.put(b"plain", high).expect("put");
    assert!(refused(index.route(b"key", Target::Term(b"term"), Op::Put)));
    index.close().expect("close");
    let index = Index::open(dir.path(), &config()).expect("reopen");
    assert!(refused(index.route(b"key", Target::Term(b"term"), Op::Put)));
    assert!(index.delete(b"plain", high).expect("delete"));
    index.close().expect("close");

    let index = Index::open(dir.path(), &config()).expect("reopen");
    assert!(index.route(b"key", Target::Term(b"term"), Op::Put).expect("route"));
    assert!(refused(index.put(b"plain", high)));
    assert!(refused(index.write(&[(Op::Put, b"plain", high)]).map(|_| true)));
    assert!(refused(index.delete(b"key", high)));
    index.put(b"plain", lsm_index::TERM_ID_FLAG - 1).expect("put");
    index.close().expect("close");
    Index::open(dir.path(), &config()).expect("reopen");
}

/// Deletions that a crash undoes: the terms that keys lead to again are still their own, however
/// many others were interned meanwhile.
#[test]
fn a_place_is_not_used_again_before_a_crash_can_no_longer_bring_its_term_back() {
    const TERMS: u32 = 4_000;
    let dir = temporary();
    let config = support::config(64, 10_000);
    let key = |age: &str, n: u32| format!("{age} key {n}").into_bytes();
    let term = |age: &str, n: u32| format!("{age} term {n}").into_bytes();
    let index = Index::open(dir.path(), &config).expect("create");
    for n in 0..TERMS {
        route(&index, &key("old", n), &term("old", n), Op::Put);
    }
    index.flush().expect("flush");
    for n in 0..TERMS {
        route(&index, &key("old", n), &term("old", n), Op::Delete);
    }
    for n in 0..TERMS {
        route(&index, &key("new", n), &term("new", n), Op::Put);
    }
    // Syncs all terms, and one lane's keys.
    index.flush_lane(0).expect("flush");
    crash(index);

    let index = Index::open(dir.path(), &config).expect("reopen");
    let mut found = 0;
    for age in ["old", "new"] {
        for n in 0..TERMS {
            let items = resolved(&index, &key(age, n));
            assert!(items.is_empty() || items == only(&term(age, n)), "{age} {n}: {items:?}");
            found += items.len();
        }
    }
    assert_eq!(found as u64, index.count().expect("count"));
    assert!(found > TERMS as usize / 2, "most deletions were undone");
}

/// A sparse file costs nothing to make, and no index needs memory for what is not there: it is an end
/// that was torn, and cut off.
#[test]
fn a_dictionary_of_a_terabyte_takes_no_memory() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("epoch-00000001/TERMS");
    let index = Index::open(dir.path(), &config()).expect("create");
    route(&index, b"key", b"term", Op::Put);
    index.close().expect("close");
    drop(index);
    let len = fs::metadata(&path).expect("stat").len();
    let file = fs::OpenOptions::new().write(true).open(&path);
    file.expect("open").set_len(1 << 40).expect("grown");
    assert!(verify(dir.path()).is_err(), "it reads every byte");
    let index = Index::open(dir.path(), &config()).expect("open");
    assert_eq!(resolved(&index, b"key"), only(b"term"));
    assert_eq!(fs::metadata(&path).expect("stat").len(), len);
}
