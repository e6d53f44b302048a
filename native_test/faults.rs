//! Faults of the file system, and strangers' files: nothing of ours stays behind, nothing of
//! theirs goes.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::{Config, Error, Index};
use support::simulated::{ENOSPC, Fault, FaultKind, Simulated};

const LANE: &str = "epoch-00000001/lane-0000";

fn open(root: &Path) -> Index {
    let config = Config { num_lanes: Some(1), ..Config::default() };
    Index::open(root, &config).expect("open")
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(LANE)).expect("lane");
    let paths = entries.map(|entry| entry.expect("entry").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

#[test]
fn a_flush_that_fails_leaves_no_file_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let index = open(dir.path());
    index.put(b"key", 1).expect("put");
    // A directory where the manifest's replacement is to be written: even root cannot do that.
    let in_the_way = dir.path().join(LANE).join("MANIFEST.tmp");
    fs::create_dir(&in_the_way).expect("directory");
    for _ in 0..5 {
        assert!(matches!(index.flush(), Err(Error::Io { .. })));
        assert!(segments(dir.path()).is_empty());
        assert_eq!(index.get(b"key").expect("get").as_slice(), [1]);
    }
    index.put(b"key", 2).expect("put");
    fs::remove_dir(&in_the_way).expect("removed");
    index.close().expect("close");
    assert_eq!(open(dir.path()).get(b"key").expect("get").as_slice(), [1, 2]);
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    open(dir.path()).close().expect("close");
    let lane = dir.path().join(LANE);
    let theirs = [
        dir.path().join("report.tmp"),
        dir.path().join("notes/deep/x.seg"),
        lane.join("notes.seg"),
        lane.join("folder/file"),
    ];
    for path in &theirs {
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, "theirs").expect("written");
    }
    let ours = [
        dir.path().join("CURRENT.tmp"),
        lane.join("MANIFEST.tmp"),
        lane.join("00000000000000000099.seg"),
    ];
    for path in &ours {
        fs::write(path, "left over").expect("written");
    }
    open(dir.path()).close().expect("close");
    assert!(theirs.iter().all(|path| path.exists()));
    assert!(ours.iter().all(|path| !path.exists()));
}

#[test]
fn others_directories_do_not_pass_for_an_index() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let theirs = dir.path().join("epoch/lane/00000000000000000001.seg");
    fs::create_dir_all(theirs.parent().expect("parent")).expect("directory");
    fs::write(&theirs, "theirs").expect("written");
    open(dir.path()).close().expect("close");
    assert!(theirs.exists());
}

/// A disk that is full for one operation: what could not be written whole does not keep the space.
#[test]
fn a_file_that_could_not_be_written_is_removed() {
    let (root, lane) = (Path::new("/db"), Path::new("/db").join(LANE));
    let mut failed = 0;
    for at in 0.. {
        let system = Simulated::new();
        let config = Config { num_lanes: Some(1), ..Config::default() };
        let index = Index::open_on(Arc::new(system.clone()), root, &config).expect("create");
        index.put(b"key", 1).expect("put");
        let manifest = |system: &Simulated| system.files()[&lane.join("MANIFEST")].clone();
        let before = manifest(&system);
        system.inject(Fault { at, kind: FaultKind::Error(ENOSPC), repeat: false });
        let flushed = index.flush();
        if system.faults_hit() == 0 {
            break;
        }
        // One that names the segment may be in place, though not known to be for good.
        if flushed.is_err() && manifest(&system) == before {
            failed += 1;
            let files = system.files().into_keys();
            let files: Vec<_> = files.filter(|path| path.starts_with(&lane)).collect();
            assert_eq!(files, [lane.join("MANIFEST")], "full at operation {at}");
        }
    }
    assert!(failed >= 5, "{failed}");
}
