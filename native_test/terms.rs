//! Routes to terms over crashes: what a key leads to is the term that was put, or nothing.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use lsm_index::{Config, Index, Op, Target};
use support::{Item, resolved};

/// Every change freezes its lane's overlay, so that the steps below decide what is on disk.
fn config() -> Config {
    support::config(1, 1)
}

fn terms(index: &Index, key: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    index
        .targets(key, usize::MAX, |target| {
            if let Target::Term(term) = target {
                found.insert(term.to_vec());
            }
        })
        .expect("targets");
    found
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

#[test]
fn a_term_removed_before_its_key_was_written_is_never_another_term() {
    let dir = tempfile::tempdir().expect("temporary directory");
    forgotten_before_written(dir.path());
    let index = Index::open(dir.path(), &config()).expect("reopen");
    route(&index, b"other key", b"stranger", Op::Put);
    assert!(!terms(&index, b"key").contains(&b"stranger"[..]));
}

#[test]
fn a_term_removed_before_its_key_was_written_does_not_keep_the_index_from_opening() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let index = Index::open(dir.path(), &config()).expect("open");
    route(&index, b"lasting", b"term", Op::Put);
    index.close().expect("close");
    forgotten_before_written(dir.path());
    let index = Index::open(dir.path(), &config()).expect("reopen");
    assert_eq!(terms(&index, b"lasting"), BTreeSet::from([b"term".to_vec()]));
}
