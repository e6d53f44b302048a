//! A small index on disk with something of everything, and what its faults have to say.

use std::io::ErrorKind;
use std::path::Path;

use lsm_index::{Error, Index};

use super::{Item, Model, config, files};

pub(crate) const LANE: &str = "epoch-00000001/lane-0000";

/// In memory where that can be had: these tests sync thousands of files.
pub(crate) fn temporary() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(root).expect("temporary directory")
}

pub(crate) fn key(n: u32) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

pub(crate) fn open(path: &Path) -> Result<Index, Error> {
    Index::open(path, &config(1, 100))
}

/// A small index of one lane with two segments, terms, and a set large enough for a delta.
pub(crate) fn small(path: &Path) -> Model {
    let index = open(path).expect("create");
    let model = fill(&index);
    index.close().expect("close");
    let segments =
        files(path).iter().filter(|file| file.extension().is_some_and(|e| e == "seg")).count();
    assert_eq!(segments, 2);
    model
}

/// Terms and a large set in a segment, and changes after it.
pub(crate) fn fill(index: &Index) -> Model {
    let mut model = Model::default();
    for n in 0..12 {
        model.put(index, &key(n), Item::Id(n));
        model.put(index, &key(n % 3), Item::Term(format!("term {n}").into_bytes()));
    }
    for id in 0..70 {
        model.put(index, b"popular", Item::Id(id));
    }
    index.flush().expect("flush");
    model.delete(index, &key(7), &Item::Id(7));
    model.delete(index, b"popular", &Item::Id(7));
    model.put(index, &key(20), Item::Id(20));
    model
}

pub(crate) fn expect_io(error: &Error, kind: ErrorKind, named: &Path) {
    match error {
        Error::Io { path, source, .. } => {
            assert_eq!((path.as_path(), source.kind()), (named, kind));
            assert!(error.to_string().contains(&named.display().to_string()));
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn expect_corrupt(error: &Error, named: &Path, says: &str) {
    match error {
        Error::Corrupt { path, what, .. } => {
            assert_eq!(path, named);
            assert!(what.contains(says), "{what}");
        }
        other => panic!("{other:?}"),
    }
}
