//! Repair: what can be made anew is, what cannot goes to quarantine, and what is lost is told. The
//! dry run says the same and changes nothing.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::fs::FileSystem as _;
use lsm_index::{Config, Error, Index, Lost, Remedy, repair, repair_on};
use support::repairs::{LANE, ROOT, damage, expect, files, open, repaired, segment, small};
use support::simulated::{EMFILE, ENOSPC, Fault, FaultKind, Simulated};
use support::small::key;
use support::{Item, Random, config, resolved};

#[test]
fn a_sound_index_needs_nothing() {
    let (system, model) = small();
    let before = files(&system);
    assert_eq!(repaired(&system).expect("sound"), []);
    assert_eq!(files(&system), before);
    model.check(&open(&system).expect("open"));
}

#[test]
fn a_hash_function_is_made_anew_and_nothing_is_lost() {
    let (system, model) = small();
    // Pilots come first behind the header.
    damage(&system, &segment(1), |bytes| bytes[192] ^= 1);
    assert!(matches!(open(&system), Err(Error::Corrupt { .. })));
    expect(&repaired(&system).expect("repaired"), segment(1), Lost::Nothing);
    model.check(&open(&system).expect("open"));
}

#[test]
fn a_segment_that_cannot_be_read_is_lost_and_the_others_are_not() {
    for gone in [false, true] {
        let (system, model) = small();
        let newest = segment(2);
        if gone {
            system.remove(&newest).expect("removed");
        } else {
            // The last byte of a list.
            damage(&system, &newest, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        }
        // Key 7, key 20 and the popular one.
        expect(&repaired(&system).expect("repaired"), &newest, Lost::Keys(3));
        let index = open(&system).expect("open");
        // Their sets are those of before.
        assert_eq!(resolved(&index, &key(7)), [Item::Id(7)].into());
        assert!(resolved(&index, &key(20)).is_empty());
        assert_eq!(resolved(&index, b"popular").len(), 70);
        for n in (0..7).chain(8..12).chain(21..23) {
            assert_eq!(resolved(&index, &key(n)), model.0[&key(n)], "key {n}");
        }
    }
}

/// A copy of another one is no help.
#[test]
fn a_segment_in_the_place_of_another_is_not_taken_for_it() {
    let (system, model) = small();
    let oldest = system.files()[&segment(1)].clone();
    system.set_file(segment(2), &oldest);
    expect(&repaired(&system).expect("repaired"), segment(2), Lost::Keys(3));
    let index = open(&system).expect("open");
    assert!(resolved(&index, &key(20)).is_empty());
    assert_eq!(resolved(&index, &key(8)), model.0[&key(8)]);
}

/// A delta above a lost segment is nothing that counts could be taken from.
#[test]
fn what_stood_on_a_lost_segment_is_made_whole() {
    let (system, model) = small();
    let oldest = segment(1);
    damage(&system, &oldest, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    expect(&repaired(&system).expect("repaired"), &oldest, Lost::Keys(13));
    let index = open(&system).expect("open");
    assert_eq!(resolved(&index, &key(20)), [Item::Id(20)].into());
    assert_eq!(resolved(&index, &key(21)), model.0[&key(21)]);
    assert!(resolved(&index, b"popular").is_empty());
    assert_eq!(index.count().expect("count"), 3);
}

#[test]
fn a_manifest_is_made_anew_of_its_segments() {
    for gone in [false, true] {
        let (system, model) = small();
        let path = Path::new(LANE).join("MANIFEST");
        let obsolete = system.files()[&segment(1)].clone();
        let index = open(&system).expect("open");
        index.compact().expect("compact");
        drop(index);
        // What was about to be removed, and would bring key 7 back.
        system.set_file(segment(1), &obsolete);
        if gone {
            system.remove(&path).expect("removed");
        } else {
            damage(&system, &path, |bytes| bytes[30] ^= 1);
        }
        expect(&repaired(&system).expect("repaired"), &path, Lost::Nothing);
        model.check(&open(&system).expect("open"));
    }
}

#[test]
fn current_is_found_again_and_the_hash_key_is_not() {
    let (system, model) = small();
    let current = Path::new("/db/CURRENT");
    damage(&system, current, |bytes| bytes[20] ^= 1);
    expect(&repaired(&system).expect("repaired"), current, Lost::Nothing);
    model.check(&open(&system).expect("open"));

    let meta = Path::new("/db/epoch-00000001/META");
    damage(&system, meta, |bytes| bytes[25] ^= 1);
    let error = repaired(&system).expect_err("the hash key is lost");
    assert!(matches!(error, Error::Corrupt { path, .. } if path == meta));
}

#[test]
fn of_a_damaged_log_the_whole_records_are_kept() {
    let (system, model) = small();
    let newest = system.files().into_keys().rfind(|path| path.starts_with("/db/wal"));
    let newest = newest.expect("a log");
    // The last two records are those of key 21 and key 22.
    damage(&system, &newest, |bytes| {
        let at = bytes.len() - 80;
        bytes[at] ^= 1;
    });
    let remedies = repaired(&system).expect("repaired");
    let [Remedy { path, lost: Lost::LogBytes(44), .. }] = &remedies[..] else {
        panic!("{remedies:?}");
    };
    assert_eq!(path, &newest);
    let index = open(&system).expect("open");
    assert!(resolved(&index, &key(21)).is_empty());
    assert_eq!(resolved(&index, &key(22)), model.0[&key(22)]);
    assert_eq!(index.count().expect("count"), model.0.len() as u64 - 1);
}

#[test]
fn an_open_index_is_not_repaired() {
    let (system, _) = small();
    let _open = open(&system).expect("open");
    let refused = repair_on(Arc::new(system.clone()), Path::new(ROOT), true);
    assert!(matches!(refused, Err(Error::Locked { .. })));
    let nowhere = repair_on(Arc::new(system), Path::new("/nowhere"), false);
    assert!(matches!(nowhere, Err(Error::Io { .. })));
}

/// Whatever byte it is, of whatever file.
#[test]
fn any_flipped_bit_can_be_repaired() {
    let (sound, _) = small();
    let mut random = Random(5);
    for (path, bytes) in files(&sound) {
        for at in 0..bytes.len() {
            let (system, _) = small();
            damage(&system, &path, |bytes| bytes[at] ^= 1 << random.below(8));
            let place = format!("byte {at} of {}", path.display());
            match repaired(&system) {
                Ok(_) => drop(open(&system).unwrap_or_else(|e| panic!("{place}: {e}"))),
                Err(Error::UnsupportedVersion { .. }) => assert!((8..12).contains(&at), "{place}"),
                Err(e) => assert!(path.ends_with("META"), "{place}: {e}"),
            }
        }
    }
}

/// What cannot be read now may be read later.
#[test]
fn a_passing_fault_is_no_damage() {
    let mut hit = 0;
    for at in 0.. {
        let (system, model) = small();
        for at in [at, at + 1] {
            system.inject(Fault { at, kind: FaultKind::Error(EMFILE), repeat: false });
        }
        let outcome = repair_on(Arc::new(system.clone()), Path::new(ROOT), true);
        if system.faults_hit() == 0 {
            break;
        }
        hit += 1;
        system.clear_faults();
        assert!(outcome.as_ref().map_or(true, |remedies| remedies.is_empty()), "{outcome:?}");
        model.check(&open(&system).expect("open"));
    }
    assert!(hit > 5, "{hit}");
}

#[test]
fn a_name_with_the_largest_number_is_not_ours() {
    let (system, _) = small();
    damage(&system, &segment(2), Vec::clear);
    let theirs = Path::new(LANE).join("18446744073709551615.seg");
    system.set_file(&theirs, b"theirs");
    damage(&system, &Path::new(LANE).join("MANIFEST"), Vec::clear);
    repaired(&system).expect("repaired");
    open(&system).expect("open");
    assert_eq!(system.files()[&theirs], b"theirs");
}

#[test]
fn nothing_is_made_where_there_is_no_index() {
    let system = Simulated::new();
    system.create_dir(Path::new(ROOT)).expect("directory");
    for apply in [false, true] {
        let refused = repair_on(Arc::new(system.clone()), Path::new(ROOT), apply);
        assert!(matches!(refused, Err(Error::Io { .. })));
        assert!(system.files().is_empty());
    }
}

#[test]
fn a_dry_run_tells_of_a_missing_directory_what_the_repair_does() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let root = dir.path().join("db");
    let index = Index::open(&root, &config(2, 100)).expect("create");
    for n in 0..50 {
        index.put(&key(n), n).expect("put");
    }
    index.close().expect("close");
    std::fs::remove_dir_all(root.join("epoch-00000001/lane-0001")).expect("removed");
    let planned = repair(&root, false).expect("planned");
    assert_eq!(repair(&root, true).expect("repaired"), planned);
    Index::open(&root, &config(2, 100)).expect("open");
}

/// A supervisor tries again and again: that must not fill the disk with copies.
#[test]
fn salvages_that_fail_keep_one_copy() {
    let (system, _) = small();
    let newest = system.files().into_keys().rfind(|path| path.starts_with("/db/wal"));
    damage(&system, &newest.expect("a log"), |bytes| {
        let at = bytes.len() - 80;
        bytes[at] ^= 1;
    });
    let salvage = Config { salvage: true, ..config(1, 100) };
    let mut failed = 0;
    for at in 0..200 {
        let copy = system.killed();
        for _ in 0..5 {
            copy.inject(Fault { at, kind: FaultKind::Error(ENOSPC), repeat: true });
            let opened = Index::open_on(Arc::new(copy.clone()), Path::new(ROOT), &salvage);
            failed += u32::from(opened.is_err());
            copy.clear_faults();
        }
        let kept = copy.files().into_keys().filter(|path| path.starts_with("/db/quarantine"));
        assert!(kept.count() <= 1);
    }
    assert!(failed > 5);
}
