//! An index as files: creating, opening, what crashes leave behind, what is missing, damaged,
//! locked or in the way. Every fault is a typed error that names the file.

mod support;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lsm_index::{Config, Durability, Error, HashKey, IdSet, Index, Op, Target, verify};
use support::small::{LANE, expect_io, key, open, small, temporary};
use support::{HASH_KEY, Item, config, files};

#[test]
fn what_is_flushed_is_there_when_opened_again() {
    let dir = temporary();
    let path = dir.path().join("made/on/the way");
    let model = small(&path);
    for _ in 0..3 {
        let index = open(&path).expect("reopen");
        model.check(&index);
        assert_eq!(index.path(), Some(path.as_path()));
        index.close().expect("close");
    }
    let report = verify(&path).expect("sound");
    assert_eq!((report.lanes, report.segments, report.terms), (1, 2, 12));
    assert_eq!(report.live_keys, model.0.len() as u64);
    assert_eq!((report.leftovers, report.torn_bytes), (vec![], 0));
    // CURRENT, META, TERMS, MANIFEST, the segments and the log: each byte of each.
    let bytes = files(&path).into_iter().map(|f| fs::metadata(path.join(f)).expect("stat").len());
    assert_eq!((report.files, report.bytes), (7, bytes.sum()));
}

#[test]
fn without_the_log_a_crash_loses_what_was_not_synced_and_nothing_else() {
    let dir = temporary();
    let index = open(dir.path()).expect("create");
    index.change(b"synced", 1, Op::Put, Durability::Memory).expect("put");
    index.sync().expect("sync");
    index.change(b"not synced", 2, Op::Put, Durability::Memory).expect("put");
    index.change(b"synced", 1, Op::Delete, Durability::Memory).expect("delete");
    drop(index);
    let index = open(dir.path()).expect("reopen");
    assert_eq!(index.get(b"synced").expect("get").as_slice(), [1]);
    assert_eq!(index.get(b"not synced").expect("get"), IdSet::Empty);
    assert_eq!(index.count().expect("count"), 1);
}

#[test]
fn stored_options_hold_and_others_are_refused() {
    let dir = temporary();
    let hash_key = HashKey(*b"a secret of ours");
    let created = Config { num_lanes: Some(7), hash_key: Some(hash_key), ..Config::default() };
    Index::open(dir.path(), &created).expect("create").put(b"k", 1).expect("put");
    let reopened = Index::open(dir.path(), &Config::default()).expect("what is stored");
    assert_eq!(reopened.num_lanes(), 7);
    drop(reopened);

    let lanes = Config { num_lanes: Some(8), ..created.clone() };
    match Index::open(dir.path(), &lanes) {
        Err(Error::Mismatch { option: "num_lanes", stored, given, path }) => {
            assert_eq!((stored.as_str(), given.as_str(), path.as_path()), ("7", "8", dir.path()));
        }
        other => panic!("{other:?}"),
    }
    let other_key = Config { hash_key: Some(HASH_KEY), ..created };
    match Index::open(dir.path(), &other_key) {
        Err(error @ Error::Mismatch { option: "hash_key", .. }) => {
            assert!(!error.to_string().contains("a secret of ours"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for (lanes, threshold) in [(0, 1), (16_385, 1), (1, 0)] {
        let refused = Index::open(dir.path(), &config(lanes, threshold));
        assert!(matches!(refused, Err(Error::InvalidOption { .. })), "{refused:?}");
    }
}

#[test]
fn only_one_may_have_it_open() {
    let dir = temporary();
    let first = open(dir.path()).expect("create");
    let second = open(dir.path());
    match &second {
        Err(error @ Error::Locked { path, holder }) => {
            assert_eq!((path.as_path(), *holder), (dir.path(), Some(std::process::id())));
            assert!(error.to_string().contains(&std::process::id().to_string()));
        }
        other => panic!("{other:?}"),
    }
    first.put(b"still", 1).expect("the first is undisturbed");
    first.close().expect("close");
    let third = open(dir.path()).expect("free again");
    assert_eq!(third.get(b"still").expect("get").as_slice(), [1]);
    drop(third);
    // A lock file left behind blocks nobody, whatever it says.
    fs::write(dir.path().join("LOCK"), "not a number").expect("write");
    open(dir.path()).expect("nobody holds it");
}

#[test]
fn what_a_crash_leaves_is_removed_at_open() {
    let dir = temporary();
    let model = small(dir.path());
    let before = files(dir.path());
    let strays = [
        PathBuf::from("CURRENT.tmp"),
        PathBuf::from("epoch-00000001/TERMS.tmp"),
        Path::new(LANE).join("MANIFEST.tmp"),
        Path::new(LANE).join("00000000000000000999.seg"),
    ];
    for stray in &strays {
        fs::write(dir.path().join(stray), b"half wri").expect("write");
    }
    let reported = verify(dir.path()).expect("leftovers are no damage").leftovers;
    assert!(reported.contains(&dir.path().join(&strays[3])), "{reported:?}");
    let index = open(dir.path()).expect("open");
    assert_eq!(files(dir.path()), before);
    model.check(&index);
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let dir = temporary();
    drop(open(dir.path()).expect("create"));
    fs::remove_file(dir.path().join("CURRENT")).expect("CURRENT is written last");
    let index = open(dir.path()).expect("create again");
    index.put(b"k", 1).expect("put");
    index.close().expect("close");
    assert_eq!(open(dir.path()).expect("open").count().expect("count"), 1);
}

/// An index that lost CURRENT is not taken for an empty directory.
#[test]
fn a_missing_file_is_named_and_nothing_is_written_over() {
    for file in ["CURRENT", "epoch-00000001/META", "epoch-00000001/TERMS"]
        .map(PathBuf::from)
        .into_iter()
        .chain(["MANIFEST", "00000000000000000001.seg"].map(|name| Path::new(LANE).join(name)))
    {
        let dir = temporary();
        let model = small(dir.path());
        let path = dir.path().join(&file);
        let kept = fs::read(&path).expect("read");
        fs::remove_file(&path).expect("remove");
        let before = files(dir.path());
        for error in [open(dir.path()).map(drop), verify(dir.path()).map(drop)] {
            match error.expect_err("a file is missing") {
                Error::Corrupt { path: named, .. } => assert_eq!(named, path),
                error => expect_io(&error, ErrorKind::NotFound, &path),
            }
        }
        assert_eq!(files(dir.path()), before);
        fs::write(&path, kept).expect("put back");
        model.check(&open(dir.path()).expect("whole again"));
    }
}

#[test]
fn something_in_the_way_is_named() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, b"no directory").expect("write");
    expect_io(&open(&file).expect_err("a file"), ErrorKind::AlreadyExists, &file);
    let below = file.join("index");
    expect_io(&open(&below).expect_err("below a file"), ErrorKind::NotADirectory, &below);

    let lock = dir.path().join("LOCK");
    fs::create_dir(&lock).expect("directory");
    expect_io(&open(dir.path()).expect_err("no lock file"), ErrorKind::IsADirectory, &lock);
    fs::remove_dir(&lock).expect("remove");

    small(dir.path());
    for name in ["CURRENT", "epoch-00000001/META"] {
        let path = dir.path().join(name);
        let kept = fs::read(&path).expect("read");
        fs::remove_file(&path).expect("remove");
        fs::create_dir(&path).expect("directory");
        expect_io(&open(dir.path()).expect_err("a directory"), ErrorKind::IsADirectory, &path);
        fs::remove_dir(&path).expect("remove");
        fs::write(&path, kept).expect("put back");
    }
    let lane = dir.path().join(LANE);
    fs::rename(&lane, dir.path().join("aside")).expect("rename");
    fs::write(&lane, b"no directory").expect("write");
    let manifest = lane.join("MANIFEST");
    expect_io(&open(dir.path()).expect_err("no lane"), ErrorKind::NotADirectory, &manifest);
}

/// A flush that fails leaves everything as it was, and can be done again.
#[test]
fn a_failed_flush_loses_nothing() {
    let dir = temporary();
    let mut model = small(dir.path());
    let index = open(dir.path()).expect("open");
    let (lane, aside) = (dir.path().join(LANE), dir.path().join("aside"));
    for round in 0..3 {
        model.put(&index, &key(100 + round), Item::Id(round));
        model.put(&index, &key(100 + round), Item::Term(b"new term".to_vec()));
        model.delete(&index, &key(round + 3), &Item::Id(round + 3));
        fs::rename(&lane, &aside).expect("rename");
        fs::write(&lane, b"no directory").expect("write");
        index.sync().expect("the log is elsewhere");
        for failed in [index.flush(), index.compact()] {
            match failed {
                Err(Error::Io { path, source, .. }) => {
                    assert!(path.starts_with(&lane), "{}", path.display());
                    assert_eq!(source.kind(), ErrorKind::NotADirectory);
                }
                other => panic!("{other:?}"),
            }
        }
        // Reads and writes go on from memory and the files that are mapped.
        model.check(&index);
        model.put(&index, &key(200 + round), Item::Id(1));
        fs::remove_file(&lane).expect("remove");
        fs::rename(&aside, &lane).expect("rename back");
        if round == 1 {
            index.compact().expect("compact");
        } else {
            index.flush().expect("flush");
        }
        model.check(&index);
    }
    index.close().expect("close");
    verify(dir.path()).expect("sound");
    model.check(&open(dir.path()).expect("reopen"));
}

/// The error of a close is told, the index is closed and its lock free all the same.
#[test]
fn a_failed_close_closes() {
    let dir = temporary();
    let mut model = small(dir.path());
    let index = open(dir.path()).expect("open");
    model.put(&index, b"in the log", Item::Id(1));
    index.change(b"lost", 1, Op::Put, Durability::Memory).expect("put");
    let (lane, aside) = (dir.path().join(LANE), dir.path().join("aside"));
    fs::rename(&lane, &aside).expect("rename");
    assert!(matches!(index.close(), Err(Error::Io { .. })));
    assert!(matches!(index.get(b"lost"), Err(Error::Closed)));
    index.close().expect("closed already");
    fs::rename(&aside, &lane).expect("rename back");
    model.check(&open(dir.path()).expect("reopen"));
}

#[test]
fn a_poisoned_index_reads_and_refuses_writes_until_reopened() {
    let dir = temporary();
    let model = small(dir.path());
    let index = open(dir.path()).expect("open");
    index.poison("a test");
    index.poison("the first reason counts");
    let refused = [
        index.put(b"k", 1).map(drop),
        index.write(&[(Op::Put, b"k", 1)]).map(drop),
        index.route(b"k", Target::Term(b"t"), Op::Put).map(drop),
        index.flush(),
        index.compact(),
        index.work().map(drop),
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(Error::Poisoned { reason }) if reason == "a test"));
    }
    model.check(&index);
    assert!(matches!(index.close(), Err(Error::Poisoned { .. })));
    let index = open(dir.path()).expect("reopen");
    assert!(index.put(b"k", 1).expect("put"));
}
