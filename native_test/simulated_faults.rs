//! The faults of the simulated file system: each does what it says, and nothing else.

use std::io::ErrorKind;

use lsm_index::fs::FileSystem as _;

use super::support::simulated::{EINTR, EIO, EMFILE, ENOSPC, Fault, FaultKind, Loss, Simulated};
use super::{append, expect_files, expect_kind, machine, path};

fn inject(sim: &Simulated, at: u64, kind: FaultKind, repeat: bool) {
    sim.inject(Fault { at, kind, repeat });
}

#[test]
fn a_failed_operation_changes_nothing() {
    let sim = machine(&[("/a", "a")]);
    let file = sim.open(path("/a")).expect("open");
    append(&file, "b");
    for code in [EIO, ENOSPC, EMFILE, EINTR] {
        let (before, hits) = (sim.operations(), sim.faults_hit());
        for at in 0..8 {
            inject(&sim, at, FaultKind::Error(code), false);
        }
        let failures = [
            file.append(b"c").map(drop),
            file.sync(),
            file.truncate(0),
            sim.remove(path("/a")),
            sim.create(path("/a")).map(drop),
            sim.read(path("/a")).map(drop),
            sim.sync_dir(path("/")),
            sim.rename(path("/a"), path("/b")),
        ];
        for failure in failures {
            assert_eq!(failure.expect_err("a fault").raw_os_error(), Some(code));
        }
        assert_eq!((sim.operations() - before, sim.faults_hit() - hits), (8, 8));
        expect_files(&sim, &[("/a", "ab")]);
        expect_files(&sim.crash(Loss::Unsynced), &[("/a", "a")]);
    }
    file.sync().expect("no fault any more");
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "ab")]);
}

#[test]
fn faults_come_when_they_are_due() {
    let sim = machine(&[("/a", "a")]);
    inject(&sim, 1, FaultKind::Error(EIO), true);
    sim.metadata(path("/a")).expect("the first is spared");
    assert!(sim.metadata(path("/a")).is_err() && sim.list(path("/")).is_err());
    sim.clear_faults();
    let file = sim.open(path("/a")).expect("open");
    // An interrupted append that is tried again goes on, or the engine would never come back.
    inject(&sim, 0, FaultKind::Error(EINTR), true);
    for _ in 0..3 {
        expect_kind(file.append(b"b"), ErrorKind::Interrupted);
        append(&file, "b");
    }
    expect_files(&sim, &[("/a", "abbb")]);
    assert_eq!(sim.faults_hit(), 5);
}

#[test]
fn short_writes_take_a_part() {
    let sim = machine(&[("/a", "")]);
    let file = sim.open(path("/a")).expect("open");
    inject(&sim, 0, FaultKind::ShortWrite, false);
    file.sync().expect("no append");
    append(&file, "1");
    assert_eq!(file.append(b"234").expect("a part"), 1);
    append(&file, "34");
    inject(&sim, 0, FaultKind::ShortThenFull, false);
    assert_eq!(file.append(b"5678").expect("a part"), 2);
    for _ in 0..3 {
        assert_eq!(file.append(b"78").expect_err("full").raw_os_error(), Some(ENOSPC));
        file.sync().expect("only appends take space");
    }
    expect_files(&sim, &[("/a", "123456")]);
    sim.clear_faults();
    append(&file, "78");
    expect_files(&sim, &[("/a", "12345678")]);
}

#[test]
fn dropped_operations_are_told_to_be_done() {
    let sim = machine(&[("/a", "a")]);
    let file = sim.open(path("/a")).expect("open");
    append(&file, "b");
    inject(&sim, 0, FaultKind::Drop, true);
    append(&file, "c");
    file.sync().expect("a lie");
    sim.remove(path("/a")).expect("a lie");
    append(&sim.create(path("/new")).expect("a lie"), "lost");
    drop(sim.create(path("/a")).expect("the file as it is"));
    sim.sync_dir(path("/")).expect("a lie");
    assert_eq!(sim.read(path("/a")).expect("reads are spared"), b"ab");
    expect_files(&sim, &[("/a", "ab")]);
    expect_files(&sim.crash(Loss::Unsynced), &[("/a", "a")]);
}
