//! The small index that inputs damage: something of everything, a log with changes that no segment
//! has included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lsm_index::fs::FileSystem;
use lsm_index::{Config, Filter, HashKey, Index, Op, SMALLEST_LOG, SlotTable, Target};

use super::super::simulated::Simulated;
use super::{MANIFESTS, ROOT};

pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

const LANES: u32 = 2;
pub(crate) const HASH_KEY: HashKey = HashKey(*b"not secret: fuzz");

pub(super) fn config() -> Config {
    Config {
        compaction_threshold: Some(64),
        max_log_bytes: Some(SMALLEST_LOG),
        filter: Filter::Fuse8,
        ..Config::default()
    }
}

pub(super) fn key(n: u32) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// Its files, the lock file left out.
pub(crate) fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let system = Simulated::new();
        make(&system);
        let mut files = system.files();
        files.retain(|path, _| !path.ends_with("LOCK"));
        files
    })
}

fn make(system: &Simulated) {
    let config = Config { num_lanes: Some(LANES), hash_key: Some(HASH_KEY), ..config() };
    let index = Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config).expect("create");
    let term = |n: u32| format!("term {n}").into_bytes();
    for n in 0..8 {
        index.put(&key(n), n).expect("put");
        index.route(&key(n % 3), Target::Term(&term(n)), Op::Put).expect("route");
    }
    for id in 100..170 {
        index.put(b"popular", id).expect("put");
    }
    index.flush().expect("flush");
    index.delete(&key(7), 7).expect("delete");
    index.put(b"popular", 99).expect("put");
    index.put(&key(20), 20).expect("put");
    index.flush().expect("flush");
    index
        .write(&[(Op::Put, &b"a"[..], 1), (Op::Put, b"b", 2), (Op::Delete, b"popular", 100)])
        .expect("write");
    index.sync().expect("sync");
    index.route(b"late", Target::Term(b"late term"), Op::Put).expect("route");
    index.route(&key(0), Target::Term(&term(0)), Op::Delete).expect("route");
    index.put(b"c", 3).expect("put");
}

/// Shared by all indexes as long as one has it: it takes longer to make than all the rest.
pub(super) fn slots() -> &'static SlotTable {
    static SLOTS: OnceLock<SlotTable> = OnceLock::new();
    SLOTS.get_or_init(|| SlotTable::new(LANES))
}

/// A machine with the index, nobody having it open.
pub(super) fn index() -> Simulated {
    slots();
    static MACHINE: OnceLock<Simulated> = OnceLock::new();
    let machine = MACHINE.get_or_init(|| {
        let system = Simulated::new();
        for dir in [
            "",
            "/epoch-00000001",
            "/epoch-00000001/lane-0000",
            "/epoch-00000001/lane-0001",
            "/wal",
        ] {
            system.create_dir(Path::new(&format!("{ROOT}{dir}"))).expect("directory");
        }
        files().iter().for_each(|(path, bytes)| system.set_file(path, bytes));
        system
    });
    machine.killed()
}

/// Removed as no operation: nothing of it comes back with a crash.
fn remove(system: &Simulated, path: &Path) {
    system.remove(path).expect("a file that is there");
    system.sync_dir(path.parent().expect("a directory")).expect("sync");
}

/// Removes the log; the number of its oldest file.
pub(super) fn remove_log(system: &Simulated) -> u64 {
    let logs = || files().keys().filter(|path| path.extension().is_some_and(|e| e == "wal"));
    logs().for_each(|path| remove(system, path));
    let oldest = logs().next().and_then(|path| path.file_stem()?.to_str()?.parse().ok());
    oldest.expect("a log has a file")
}

pub(super) fn replace_files(system: &Simulated, wanted: &Files) {
    for (path, bytes) in files() {
        match wanted.get(path) {
            None => remove(system, path),
            Some(wanted) if wanted != bytes => system.set_file(path, wanted),
            Some(_) => {}
        }
    }
}

/// Each segment's manifest, place in that, and path.
pub(super) fn segments() -> &'static [(PathBuf, usize, String)] {
    static SEGMENTS: OnceLock<Vec<(PathBuf, usize, String)>> = OnceLock::new();
    SEGMENTS.get_or_init(|| {
        let mut found = Vec::new();
        for manifest in MANIFESTS.map(Path::new) {
            let bytes = &files()[manifest];
            for place in 0..super::repair::word(bytes, 60) as usize {
                let number = super::repair::long(bytes, 64 + 28 * place);
                let path = manifest.with_file_name(format!("{number:020}.seg"));
                found.push((manifest.to_path_buf(), place, path.display().to_string()));
            }
        }
        found
    })
}
