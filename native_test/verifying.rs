//! What a verification tells: every file, and every fault.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::fs::FileSystem as _;
use lsm_index::{Config, Error, Index, Report, Verifier, verify_on};
use support::config;
use support::repairs::{LANE, ROOT, damage, files, segment, small};
use support::simulated::Simulated;
use support::small::key;

fn verified(system: &Simulated) -> Report {
    let mut verifier =
        Verifier::begin_on(Arc::new(system.clone()), Path::new(ROOT)).expect("begin");
    while verifier.step() {}
    let progress = verifier.progress();
    assert_eq!(progress.bytes, progress.of_bytes, "that was all");
    verifier.finish()
}

/// A file that is missing is not; the lock is nothing to be read.
fn expect_all_files(system: &Simulated, report: &Report) {
    let mut listed: Vec<_> = report.checked.iter().map(|file| file.path.clone()).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), report.checked.len(), "{listed:?}");
    let all = files(system);
    let missing: Vec<_> = all.keys().filter(|path| !listed.contains(path)).collect();
    let missing: Vec<_> = missing.into_iter().filter(|p| !report.leftovers.contains(p)).collect();
    assert_eq!(missing, Vec::<&std::path::PathBuf>::new());
}

#[test]
fn every_file_of_a_sound_index_is_listed() {
    let (system, _) = small();
    let report = verified(&system);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert!(report.checked.iter().all(|file| file.sound));
    expect_all_files(&system, &report);
}

#[test]
fn a_damaged_log_hides_none_of_its_files() {
    let system = Simulated::new();
    let config = Config { max_log_bytes: Some(4096), ..config(1, 100_000) };
    let index = Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config).expect("create");
    for n in 0..60 {
        index.put(&key(n), n).expect("put");
    }
    drop(index);
    let logs: Vec<_> = system.files().into_keys().filter(|p| p.starts_with("/db/wal")).collect();
    assert!(logs.len() > 4, "{logs:?}");
    for log in [&logs[1], &logs[3]] {
        damage(&system, log, |bytes| bytes[70] ^= 1);
    }
    let report = verified(&system);
    expect_all_files(&system, &report);
    let unsound: Vec<_> = report.checked.iter().filter(|file| !file.sound).collect();
    assert_eq!(unsound.iter().map(|file| &file.path).collect::<Vec<_>>(), [&logs[1], &logs[3]]);
    assert_eq!(report.faults.len(), 2, "{:?}", report.faults);
}

#[test]
fn a_damaged_manifest_hides_none_of_its_segments() {
    let (system, _) = small();
    damage(&system, &Path::new(LANE).join("MANIFEST"), |bytes| bytes[30] ^= 1);
    damage(&system, &segment(1), |bytes| bytes[192] ^= 1);
    let report = verified(&system);
    expect_all_files(&system, &report);
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    assert!(faults.len() == 2 && faults[0].contains("MANIFEST") && faults[1].contains(".seg"));
}

/// As opening does.
#[test]
fn a_missing_current_is_damage_and_a_missing_index_is_not() {
    let (system, _) = small();
    system.remove(&Path::new(ROOT).join("CURRENT")).expect("removed");
    let verify = |system: &Simulated| verify_on(Arc::new(system.clone()), Path::new(ROOT));
    assert!(matches!(verify(&system), Err(Error::Corrupt { .. })));
    let system = Simulated::new();
    assert!(matches!(verify(&system), Err(Error::Io { .. })));
    system.create_dir(Path::new(ROOT)).expect("directory");
    assert!(matches!(verify(&system), Err(Error::Io { .. })));
}

#[test]
fn what_is_in_quarantine_is_no_part_of_the_way() {
    let (system, _) = small();
    system.create_dir(&Path::new(ROOT).join("quarantine")).expect("directory");
    system.set_file(Path::new(ROOT).join("quarantine/file"), &[7; 1 << 20]);
    verified(&system);
}
