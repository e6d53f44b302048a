//! Where the bytes of segments are: in the page cache, when they are read, or in memory of our own.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::{Path, PathBuf};

use lsm_index::{Config, Error, IdSet, Index, Loader, Residency};
use rustix::fs::{Advice, fadvise};

/// Two segments of some megabytes.
const KEYS: u64 = 400_000;

fn config(residency: Residency) -> Config {
    Config { num_lanes: Some(2), residency, ..Config::default() }
}

/// In the build directory: a temporary one may be in memory anyway.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn fill(index: &Index) {
    let mut loader = Loader::new(index);
    for n in 0..KEYS {
        loader.add(index, &n.to_le_bytes(), n as u32).expect("add");
    }
    while loader.step(index).expect("step") {}
    index.compact().expect("compact");
}

fn look_up_some(index: &Index) {
    for n in (0..2 * KEYS).step_by(997) {
        let expected = if n < KEYS { IdSet::One(n as u32) } else { IdSet::Empty };
        assert_eq!(index.get(&n.to_le_bytes()).expect("get"), expected);
    }
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let dirs = [0, 1].map(|lane| root.join(format!("epoch-00000001/lane-{lane:04}")));
    let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).expect("a lane"));
    let paths = files.map(|file| file.expect("a file").path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).collect()
}

/// Bytes of mapped segments that the process has in memory.
fn resident(root: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let (mut ours, mut kilobytes) = (false, 0);
    for line in maps.lines() {
        if let Some(size) = line.strip_prefix("Rss:").filter(|_| ours) {
            kilobytes += size.trim().trim_end_matches(" kB").parse::<u64>().expect("a size");
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            ours = line.contains(&*root.to_string_lossy()) && line.ends_with(".seg");
        }
    }
    kilobytes * 1024
}

#[test]
fn answers_are_the_same_wherever_the_bytes_are() {
    for residency in [Residency::Mmap, Residency::Populate, Residency::Heap, Residency::Mlock] {
        let dir = directory();
        let config = config(residency);
        let index = match Index::open(dir.path(), &config) {
            Ok(index) => index,
            Err(e) => panic!("{residency:?}: {e}"),
        };
        fill(&index);
        for n in 0..2_000 {
            index.put(&(KEYS + n).to_le_bytes(), 7).expect("put");
            index.delete(&n.to_le_bytes(), n as u32).expect("delete");
        }
        index.flush().expect("flush");
        let check = |index: &Index| {
            for n in 0..2_000 {
                assert_eq!(index.get(&(KEYS + n).to_le_bytes()).expect("get"), IdSet::One(7));
                assert_eq!(index.get(&n.to_le_bytes()).expect("get"), IdSet::Empty);
            }
            let memory = index.memory().expect("memory");
            let stats = index.stats().expect("stats");
            let (mapped, own) = (memory.mapped_files, memory.private_segments);
            assert_eq!(mapped == 0, residency == Residency::Heap, "{mapped} mapped, {own} own");
            // Pages, and what is lost for huge ones.
            assert!(mapped + own >= stats.disk_bytes);
            assert!(mapped + own <= stats.disk_bytes * 4 / 3 + 4 * 4096);
        };
        check(&index);
        index.close().expect("close");
        match Index::open(dir.path(), &config) {
            Ok(index) => {
                check(&index);
                // Small segments are not mapped, and not locked.
                index.compact().expect("compact");
                assert_eq!(index.stats().expect("stats").unlocked_segments, 0);
            }
            // Whether memory may be locked is the machine's to say.
            Err(e) => assert!(
                residency == Residency::Mlock && matches!(e, Error::Io { op: "lock", .. }),
                "{e}"
            ),
        }
    }
}

/// Segments of that index that are mapped although their files are removed.
fn left_behind(root: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let ours = |line: &&str| line.contains(&*root.to_string_lossy());
    maps.lines().filter(ours).filter(|line| line.ends_with(".seg (deleted)")).count()
}

#[test]
fn what_is_replaced_while_somebody_reads_is_given_back() {
    let dir = directory();
    let index = Index::open(dir.path(), &config(Residency::Mmap)).expect("open");
    fill(&index);
    let keys: Vec<_> = (0..10_u64).map(u64::to_le_bytes).collect();
    index.put(b"new", 1).expect("put");
    let mut compacted = false;
    let compact_once = |_, _| {
        if !std::mem::replace(&mut compacted, true) {
            index.compact().expect("compact");
        }
    };
    index.get_many(&keys, compact_once).expect("get_many");
    assert!(left_behind(dir.path()) > 0);
    // Whoever left tells of it.
    assert!(index.claim_wakeup());
    while index.work().expect("work") {}
    assert_eq!(left_behind(dir.path()), 0);

    // After a close there is nobody to tell.
    let _closed_meanwhile = index.get_many(&keys, |_, _| index.close().expect("close"));
    assert_eq!((resident(dir.path()), left_behind(dir.path())), (0, 0));
}

#[test]
fn files_are_read_when_they_are_asked_for() {
    let dir = directory();
    let index = Index::open(dir.path(), &config(Residency::Mmap)).expect("open");
    fill(&index);
    index.close().expect("close");
    let files = segments(dir.path());
    let bytes: u64 = files.iter().map(|path| path.metadata().expect("a file").len()).sum();
    let whole = bytes..bytes + 4096 * files.len() as u64;
    for path in &files {
        fadvise(File::open(path).expect("a file"), 0, None, Advice::DontNeed).expect("dropped");
    }

    let index = Index::open(dir.path(), &config(Residency::Mmap)).expect("open");
    let opened = resident(dir.path());
    assert!(opened < bytes / 4, "{opened} of {bytes} bytes after opening");
    look_up_some(&index);
    let warmed: u64 = (0..2).map(|lane| index.warm_lane(lane).expect("warm")).sum();
    assert_eq!(warmed, bytes);
    assert!(whole.contains(&resident(dir.path())));
    look_up_some(&index);
    index.close().expect("close");
    assert!(index.warm_lane(0).is_err());

    let index = Index::open(dir.path(), &config(Residency::Populate)).expect("open");
    assert!(whole.contains(&resident(dir.path())));
    look_up_some(&index);
    index.close().expect("close");

    let index = Index::open(dir.path(), &config(Residency::Heap)).expect("open");
    assert_eq!(resident(dir.path()), 0);
    look_up_some(&index);
}
