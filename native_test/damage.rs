//! Damage: flipped bits, cuts, files in each other's places. `verify` finds it, opening names it or
//! lets it pass without harm, and nothing panics.

mod support;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use lsm_index::{Config, Error, Index, Op, Target, verify};
use support::small::{LANE, expect_corrupt, expect_io, key, open, small, temporary};
use support::{Model, Random, config, copy_dir, files, targets};

/// Opens a damaged index: an error that names a file, or an index that never panics, whatever it
/// answers. True if it opened and answered right.
fn opens_right(path: &Path, model: &Model) -> bool {
    match Index::open(path, &Config::default()) {
        Ok(index) => {
            let answers = model.0.iter().all(|(key, items)| match targets(&index, key) {
                Ok(found) => found == *items,
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
                    false
                }
            });
            let strangers = (0..50).all(|n| {
                index
                    .get(format!("absent {n}").as_bytes())
                    .is_ok_and(|ids| ids.as_slice().is_empty())
            });
            answers && strangers && index.count().expect("count") == model.0.len() as u64
        }
        Err(Error::Corrupt { path: named, .. } | Error::UnsupportedVersion { path: named, .. }) => {
            assert!(named.starts_with(path), "{}", named.display());
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let sound = temporary();
    let model = small(sound.path());
    let work = temporary();
    copy_dir(sound.path(), work.path());
    let mut tried = 0;
    for file in files(sound.path()) {
        let path = work.path().join(&file);
        let bytes = fs::read(&path).expect("read");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).expect("write");
            match verify(work.path()) {
                Err(Error::Corrupt { .. } | Error::UnsupportedVersion { .. }) => {}
                Err(Error::Io { path: named, .. }) => assert!(named.starts_with(work.path())),
                other => panic!("bit {bit} of {}: {other:?}", file.display()),
            }
            tried += 1;
        }
        fs::write(&path, &bytes).expect("write");
    }
    verify(work.path()).expect("all put right");
    println!("flipped bits found: {tried}");
    model.check(&open(work.path()).expect("open"));
}

/// Opening checks less than `verify`, so that it is quick. What it lets pass may hide keys, but
/// never makes one up, and never panics.
#[test]
fn damaged_files_open_with_an_error_or_without_harm() {
    let sound = temporary();
    let model = small(sound.path());
    let mut random = Random(3);
    let (mut refused, mut right) = (0, 0);
    for file in files(sound.path()) {
        let bytes = fs::read(sound.path().join(&file)).expect("read");
        for byte in 0..bytes.len() {
            let work = temporary();
            copy_dir(sound.path(), work.path());
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1 << random.below(8);
            fs::write(work.path().join(&file), &damaged).expect("write");
            if opens_right(work.path(), &model) {
                right += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(refused > right, "{refused} refused, {right} right");
}

#[test]
fn every_cut_is_found_or_harmless() {
    let sound = temporary();
    let model = small(sound.path());
    for file in files(sound.path()) {
        let bytes = fs::read(sound.path().join(&file)).expect("read");
        let work = temporary();
        copy_dir(sound.path(), work.path());
        let path = work.path().join(&file);
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).expect("write");
            let checked = verify(work.path());
            assert!(checked.is_err(), "{} cut to {len}: {checked:?}", file.display());
            assert!(!opens_right(work.path(), &model), "{} cut to {len}", file.display());
        }
        // More than there should be: refused, but for the logs, where it is a torn append.
        fs::write(&path, [&bytes[..], &[9; 5]].concat()).expect("write");
        let is_log = file.ends_with("TERMS") || file.starts_with("wal");
        let torn = verify(work.path()).map(|r| r.torn_bytes + r.torn.map_or(0, |torn| torn.bytes));
        assert_eq!(torn.ok(), is_log.then_some(5), "{}", file.display());
        assert_eq!(opens_right(work.path(), &model), is_log, "{}", file.display());
    }
}

/// Any file in the place of any other.
#[test]
fn files_that_changed_places_are_found() {
    let sound = temporary();
    small(sound.path());
    let all = files(sound.path());
    for (to, from) in all.iter().flat_map(|to| all.iter().map(move |from| (to, from))) {
        if to == from {
            continue;
        }
        let work = temporary();
        copy_dir(sound.path(), work.path());
        fs::copy(sound.path().join(from), work.path().join(to)).expect("copy");
        for error in [verify(work.path()).map(drop), open(work.path()).map(drop)] {
            match error.expect_err("the wrong file") {
                Error::Corrupt { path, .. } => assert_eq!(path, work.path().join(to)),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Opening does not look at entries; a batch that comes upon a broken one makes none of its
/// changes.
#[test]
fn a_batch_that_meets_damage_changes_nothing() {
    let dir = temporary();
    let index = Index::open(dir.path(), &config(1, 1_000)).expect("open");
    let changes = |op| (0..100).map(move |n| (op, n)).collect::<Vec<(Op, u32)>>();
    let write = |index: &Index, changes: &[(Op, u32)]| {
        let keys: Vec<Vec<u8>> = changes.iter().map(|(_, n)| key(*n)).collect();
        let pairs = changes.iter().zip(&keys).map(|((op, n), key)| (*op, &key[..], n + 1_000));
        index.write(&pairs.collect::<Vec<_>>())
    };
    assert_eq!(write(&index, &changes(Op::Put)).expect("write"), 100);
    index.close().expect("close");

    let segment = dir.path().join(LANE).join("00000000000000000001.seg");
    let mut bytes = fs::read(&segment).expect("read");
    let at =
        |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize;
    let (keys, buckets, slots) = (at(24), at(32), at(40));
    let up = |n: usize| n.next_multiple_of(64);
    let entries = 192 + up(buckets) + up(4 * (slots - keys)) + up(keys);
    // The value of one key in the middle: ids below 1100 take 11 bits, behind 26 and, as there is
    // one lane, 14 of the fingerprint.
    for bit in (0..11).map(|bit| 50 * (26 + 14 + 11) + 26 + 14 + bit) {
        bytes[entries + bit / 8] |= 1 << (bit % 8);
    }
    fs::write(&segment, bytes).expect("write");

    let index = Index::open(dir.path(), &config(1, 1_000)).expect("open");
    expect_corrupt(&write(&index, &changes(Op::Delete)).expect_err("damaged"), &segment, "entry");
    let intact =
        (0..100).filter(|n| index.get(&key(*n)).is_ok_and(|ids| ids.as_slice() == [n + 1_000]));
    assert_eq!(intact.count(), 99);
    assert_eq!(index.count().expect("count"), 100);
    assert_eq!(index.stats().expect("stats").total_overlay_entries, 0);
}

/// Nor are lists checked; but a change does not take ids over that are beyond the largest there is.
#[test]
fn an_id_out_of_range_in_a_segment_is_not_taken_over() {
    let dir = temporary();
    let index = Index::open(dir.path(), &config(1, 1_000)).expect("open");
    index.write(&[(Op::Put, b"a", 5), (Op::Put, b"a", 6)]).expect("write");
    index.close().expect("close");
    let segment = dir.path().join(LANE).join("00000000000000000001.seg");
    let mut bytes = fs::read(&segment).expect("read");
    let list = [2_u32, 5, 6].map(u32::to_le_bytes).concat();
    let at = bytes.windows(12).position(|window| window == list).expect("the list");
    bytes[at + 11] = 0x80;
    fs::write(&segment, bytes).expect("write");
    expect_corrupt(&verify(dir.path()).expect_err("damaged"), &segment, "Postings");

    let index = Index::open(dir.path(), &config(1, 1_000)).expect("open");
    for change in [index.delete(b"a", 5).map(drop), index.put(b"a", 7).map(drop)] {
        expect_corrupt(&change.expect_err("damaged"), &segment, "out of range");
    }
    assert_eq!(index.stats().expect("stats").total_overlay_entries, 0);
}

#[test]
fn an_old_manifest_with_its_segments_gone_is_found() {
    let dir = temporary();
    small(dir.path());
    let manifest = dir.path().join(LANE).join("MANIFEST");
    let old = fs::read(&manifest).expect("read");
    let index = open(dir.path()).expect("open");
    index.compact().expect("compact");
    index.close().expect("close");
    fs::write(&manifest, old).expect("write");
    let newest = dir.path().join(LANE).join("00000000000000000002.seg");
    expect_io(&open(dir.path()).expect_err("gone"), ErrorKind::NotFound, &newest);
    expect_io(&verify(dir.path()).expect_err("gone"), ErrorKind::NotFound, &newest);
}

#[test]
fn a_manifest_that_miscounts_is_found() {
    let dir = temporary();
    small(dir.path());
    let manifest = dir.path().join(LANE).join("MANIFEST");
    let sound = fs::read(&manifest).expect("read");
    // Live keys; keys and bytes of the first segment.
    for (at, says) in [(28, "live keys"), (76, "keys"), (84, "bytes")] {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        fs::write(&manifest, bytes).expect("write");
        let newest = dir.path().join(LANE).join("00000000000000000002.seg");
        let named = if at == 28 { &manifest } else { &newest };
        expect_corrupt(&verify(dir.path()).expect_err("miscounted"), named, says);
    }
}

/// `verify` needs no lock and reports no damage of an index that is written to and merged.
#[test]
fn an_open_index_can_be_verified() {
    let dir = temporary();
    let index = Index::open(dir.path(), &config(3, 20)).expect("open");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random(1);
            for round in 0..150_u32 {
                for _ in 0..30 {
                    let n = random.below(300) as u32;
                    let term = format!("term {round}");
                    index.route(&key(n), Target::Id(round), Op::Put).expect("put");
                    index.route(&key(n), Target::Term(term.as_bytes()), Op::Put).expect("route");
                    index.route(&key(n), Target::Id(round / 2), Op::Delete).expect("delete");
                }
                while index.work().expect("work") {}
                if round % 4 == 0 {
                    index.compact().expect("compact");
                }
            }
        });
        while !writer.is_finished() {
            verify(dir.path()).expect("sound");
        }
    });
    index.close().expect("close");
    let live = verify(dir.path()).expect("sound").live_keys;
    assert_eq!(
        live,
        Index::open(dir.path(), &config(3, 20)).expect("open").count().expect("count")
    );
}
