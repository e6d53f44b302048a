//! What is done with an index that may be damaged.

use std::path::Path;
use std::sync::Arc;

use lsm_index::{Config, Durability, Error, Index, Most, Op, Report, Result, Target, verify_on};

use super::super::simulated::Simulated;
use super::{ROOT, base};

fn verify(system: &Simulated) -> Result<Report> {
    verify_on(Arc::new(system.clone()), Path::new(ROOT))
}

fn open(system: &Simulated, salvage: bool) -> Result<Index> {
    let config = Config { salvage, ..base::config() };
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config)
}

/// Verifies, opens, reads, writes, closes, and opens again. What was found sound may not fail,
/// unless checksums were `forged`: then they say nothing. Whether it was sound.
pub(super) fn exercise(system: &Simulated, salvage: bool, forged: bool) -> bool {
    let verified = verify(system);
    let passed = verified.is_ok();
    let sound = passed && !forged;
    if let Err(error) = &verified {
        named(error);
    }
    let index = match open(system, salvage) {
        Ok(index) => index,
        Err(error) => {
            named(&error);
            assert!(!sound, "verified, but does not open: {error}");
            return false;
        }
    };
    for outcome in [read(&index), write(&index), read(&index), index.close()] {
        if let Err(error) = outcome {
            named(&error);
            assert!(!sound, "verified, but fails in use: {error}");
        }
    }
    match open(system, salvage) {
        Ok(index) => {
            let _ = read(&index);
        }
        Err(error) => assert!(!sound, "sound, but does not open again: {error}"),
    }
    if sound {
        verify(system).expect("sound before, sound after");
    }
    passed
}

/// An error has words.
fn named(error: &Error) {
    assert!(!error.to_string().is_empty());
}

fn read(index: &Index) -> Result<()> {
    let mut keys: Vec<Vec<u8>> = (0..24).map(base::key).collect();
    keys.extend([&b"popular"[..], b"a", b"b", b"c", b"late", b"", b"absent"].map(<[u8]>::to_vec));
    // Damage met on the way does not keep the rest from being tried.
    let mut first = Ok(());
    let mut keep = |outcome: Result<()>| {
        if first.is_ok() {
            first = outcome;
        }
    };
    for key in &keys {
        keep(index.get(key).map(drop));
        keep(index.contains(key, 7).map(drop));
        keep(index.get_bounded(key, 3).map(drop));
        keep(index.targets(key, Most::ALL, |_| {}).map(drop));
    }
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    keep(index.get_many(&keys, |_, _| {}));
    keep(index.ids().map(drop));
    keep(index.count().map(drop));
    keep(index.stats().map(drop));
    keep(index.memory().map(drop));
    first
}

fn write(index: &Index) -> Result<()> {
    let mut first = Ok(());
    let mut keep = |outcome: Result<()>| {
        if first.is_ok() {
            first = outcome;
        }
    };
    keep(index.put(b"popular", 7).map(drop));
    keep(index.delete(b"popular", 110).map(drop));
    keep(index.route(&base::key(1), Target::Term(b"term 1"), Op::Delete).map(drop));
    keep(index.route(b"new", Target::Term(b"a new term"), Op::Put).map(drop));
    let batch = [(Op::Put, &b"a"[..], 9), (Op::Put, b"d", 9), (Op::Delete, b"c", 3)];
    keep(index.write_with(&batch, Durability::Sync).map(drop));
    keep(index.sync());
    keep(index.work().map(drop));
    keep(index.flush());
    keep(index.put(b"later", 8).map(drop));
    keep(index.compact());
    first
}
