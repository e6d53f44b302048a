//! Repair: what can be made anew is, what cannot goes to quarantine, and what is lost is told. The
//! dry run says the same and changes nothing.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::{Error, Index, Lost, Remedy, Result, repair_on, verify_on};
use support::simulated::{EMFILE, Fault, FaultKind, Simulated};
use support::small::{fill, key};
use support::{Item, Model, Random, config, resolved};

const ROOT: &str = "/db";
const LANE: &str = "/db/epoch-00000001/lane-0000";

fn open(system: &Simulated) -> Result<Index> {
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(1, 100))
}

/// Two segments, terms, a delta, and changes that only the log has.
fn small() -> (Simulated, Model) {
    let system = Simulated::new();
    let index = open(&system).expect("create");
    let mut model = fill(&index);
    index.flush().expect("flush");
    model.put(&index, &key(21), Item::Id(21));
    model.put(&index, &key(22), Item::Term(b"term 22".to_vec()));
    drop(index);
    (system, model)
}

fn segment(number: u64) -> PathBuf {
    Path::new(LANE).join(format!("{number:020}.seg"))
}

/// All files but the lock.
fn files(system: &Simulated) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = system.files();
    files.remove(Path::new("/db/LOCK"));
    files
}

fn damage(system: &Simulated, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = system.files()[path].clone();
    change(&mut bytes);
    system.set_file(path, &bytes);
}

/// Repairs: first dry, then in earnest. Both tell the same, and only the second changes anything.
fn repaired(system: &Simulated) -> Result<Vec<Remedy>> {
    let root = Path::new(ROOT);
    let before = files(system);
    let planned = repair_on(Arc::new(system.clone()), root, false);
    assert_eq!(files(system), before, "a dry run changed something");
    let done = repair_on(Arc::new(system.clone()), root, true);
    match (&planned, &done) {
        (Ok(planned), Ok(done)) => assert_eq!(planned, done),
        (Err(planned), Err(done)) => assert_eq!(planned.to_string(), done.to_string()),
        other => panic!("{other:?}"),
    }
    let remedies = done?;
    verify_on(Arc::new(system.clone()), root).expect("sound after the repair");
    let again = repair_on(Arc::new(system.clone()), root, true).expect("repaired");
    assert_eq!(again, [], "nothing is left to be repaired");
    for remedy in &remedies {
        // What was there is kept.
        if let Some(bytes) = before.get(&remedy.path) {
            let kept = files(system)
                .into_iter()
                .any(|(path, kept)| path.starts_with("/db/quarantine") && kept == *bytes);
            let counted_anew = remedy.fault.contains("live keys");
            assert!(kept || counted_anew, "{}", remedy.path.display());
        }
    }
    Ok(remedies)
}

fn expect(remedies: &[Remedy], path: impl AsRef<Path>, lost: Lost) {
    let [remedy] = remedies else { panic!("{remedies:?}") };
    assert_eq!((remedy.path.as_path(), remedy.lost), (path.as_ref(), lost));
    assert!(!remedy.fault.is_empty());
}

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
    damage(&system, &segment(1), |bytes| bytes[128] ^= 1);
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
            use lsm_index::fs::FileSystem as _;
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
            use lsm_index::fs::FileSystem as _;
            system.remove(&path).expect("removed");
        } else {
            damage(&system, &path, |bytes| bytes[30] ^= 1);
        }
        expect(&repaired(&system).expect("repaired"), &path, Lost::Nothing);
        model.check(&open(&system).expect("open"));
    }
}

#[test]
fn terms_that_can_be_read_are_kept() {
    let (system, model) = small();
    let path = Path::new("/db/epoch-00000001/TERMS");
    // A record of 12 bytes and "term 0"; so this is in the second one.
    damage(&system, path, |bytes| bytes[32 + 18 + 9] ^= 1);
    expect(&repaired(&system).expect("repaired"), path, Lost::Terms { terms: 1, pairs: 1 });
    let index = open(&system).expect("open");
    let lost: Vec<Vec<u8>> =
        model.0.keys().filter(|key| resolved(&index, key) != model.0[*key]).cloned().collect();
    assert_eq!(lost.len(), 1);
    let (before, after) = (&model.0[&lost[0]], resolved(&index, &lost[0]));
    assert!(after.is_subset(before) && after.len() + 1 == before.len());
}

#[test]
fn a_lost_dictionary_takes_its_pairs_along() {
    let (system, model) = small();
    let path = Path::new("/db/epoch-00000001/TERMS");
    damage(&system, path, Vec::clear);
    expect(&repaired(&system).expect("repaired"), path, Lost::Terms { terms: 12, pairs: 12 });
    let index = open(&system).expect("open");
    for (key, items) in &model.0 {
        let mut left = items.clone();
        // What only the log has brings its term along.
        left.retain(|item| matches!(item, Item::Id(_)) || key == b"key 22");
        assert_eq!(resolved(&index, key), left);
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

/// A place of the dictionary goes from one term to another. If the record of the later one is lost,
/// the former must not come back: keys would lead to what was never theirs.
#[test]
fn a_former_term_does_not_come_back() {
    let system = Simulated::new();
    let index = open(&system).expect("create");
    let term = |kind: &str, n: u32| Item::Term(format!("{kind} {n}").into_bytes());
    let mut model = Model::default();
    for n in 0..200 {
        model.put(&index, &key(n), term("old", n));
    }
    index.flush().expect("flush");
    for n in 0..200 {
        model.delete(&index, &key(n), &term("old", n));
    }
    index.flush().expect("flush");
    for n in 0..100 {
        model.put(&index, &key(n), term("new", n));
    }
    index.close().expect("close");
    damage(&system, Path::new("/db/epoch-00000001/TERMS"), |bytes| {
        let end = bytes.len();
        bytes[end - 300..].iter_mut().for_each(|byte| *byte ^= 0x55);
    });
    let remedies = repaired(&system).expect("repaired");
    assert!(matches!(remedies[..], [Remedy { lost: Lost::Terms { .. }, .. }]), "{remedies:?}");
    let index = open(&system).expect("open");
    for n in 0..100 {
        let found = resolved(&index, &key(n));
        assert!(found.is_subset(&[term("new", n)].into()), "key {n}: {found:?}");
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
    use lsm_index::fs::FileSystem as _;
    let system = Simulated::new();
    system.create_dir(Path::new(ROOT)).expect("directory");
    for apply in [false, true] {
        let refused = repair_on(Arc::new(system.clone()), Path::new(ROOT), apply);
        assert!(matches!(refused, Err(Error::Io { .. })));
        assert!(system.files().is_empty());
    }
}
