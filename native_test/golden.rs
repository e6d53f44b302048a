//! The golden files: an index written once by format version 3 and committed. Whatever changes in
//! the library, it reads them; and what it writes today is, byte for byte, what is written there.
//!
//! `LSM_WRITE_FIXTURES=1 cargo test --test golden` writes them anew. That is right after a change
//! of format (with a new version and a directory of its own) and never to make a test pass.

#[path = "support/format.rs"]
mod format;
mod support;

use std::path::{Path, PathBuf};

use format::{Reader, u32_at, u64_at};
use lsm_index::{
    Config, Durability, Error, Filter, Index, KeyHasher, Op, SlotTable, Target, verify,
};
use support::{HASH_KEY, Item, Model, config, copy_dir, files, resolved};

/// Where META holds the time of creation, and its checksum.
const CREATED: std::ops::Range<usize> = 36..48;
/// Where a file of the log names the boot it was begun in, and its checksum.
const BOOT: std::ops::Range<usize> = 44..64;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("native_test/fixtures/v3")
}

fn copy_of_fixture() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    copy_dir(&fixture(), dir.path());
    dir
}

fn key(n: u32) -> Vec<u8> {
    format!("key-{n:03}").into_bytes()
}

fn term(n: u32) -> Item {
    Item::Term(format!("shape-{n}").into_bytes())
}

/// A key of the lane.
fn popular(lane: usize) -> Vec<u8> {
    let (hasher, slots) = (KeyHasher::new(&HASH_KEY), SlotTable::new(2));
    let mut keys = (0..).map(|n| format!("popular-{n}").into_bytes());
    keys.find(|key| slots.lane(hasher.fingerprint(key)) == lane).expect("half of them")
}

/// The steps that made the fixture: two lanes, each with a segment at the bottom, one at level 1
/// and two at level 0; single ids, several, large sets with deltas, tombstones, terms.
fn write(root: &Path) -> Model {
    let index = Index::open(root, &config(2, 10_000)).expect("create");
    let mut model = Model::default();
    for n in 0..240 {
        model.put(&index, &key(n), Item::Id(n * 3));
        if n % 7 == 0 {
            model.put(&index, &key(n), Item::Id(n * 3 + 1));
            model.put(&index, &key(n), Item::Id((1 << 30) - 1));
        }
        if n % 10 == 0 {
            model.put(&index, &key(n), term(n % 4));
        }
    }
    model.put(&index, b"", Item::Id(0));
    model.put(&index, &[7; 65_535], Item::Id(1));
    for id in 0..200 {
        model.put(&index, &popular(0), Item::Id(id * 5));
        model.put(&index, &popular(1), Item::Id(id * 7));
    }
    index.flush().expect("flush");
    for round in 0..5 {
        // Large sets that grow and shrink, a key that comes, one that goes, one that comes back.
        model.put(&index, &popular(0), Item::Id(1 + round));
        model.delete(&index, &popular(0), &Item::Id(round * 10));
        model.delete(&index, &popular(1), &Item::Id(round * 7));
        model.put(&index, &key(300 + round), term(round));
        model.delete(&index, &key(11 + round), &Item::Id(3 * (11 + round)));
        if round == 3 {
            model.put(&index, &key(11), Item::Id(11));
        }
        index.flush().expect("flush");
    }
    // What only the log has: the index is dropped, not closed.
    model.put(&index, &key(400), Item::Id(400));
    model.put(&index, &key(401), term(5));
    model.delete(&index, &key(22), &Item::Id(66));
    let batch = [(Op::Put, &key(402)[..], 1), (Op::Put, &key(403), 2), (Op::Delete, &key(23), 69)];
    assert_eq!(index.write(&batch).expect("write"), 3);
    model.0.insert(key(402), [Item::Id(1)].into());
    model.0.insert(key(403), [Item::Id(2)].into());
    model.0.remove(&key(23));
    model
}

/// The model without an index on disk.
fn expected() -> Model {
    let dir = tempfile::tempdir().expect("temporary directory");
    write(dir.path())
}

#[test]
fn the_fixture_is_read() {
    let copy = copy_of_fixture();
    // Lanes and hash key are the stored ones.
    let index = Index::open(copy.path(), &Config::default()).expect("open");
    assert_eq!(index.num_lanes(), 2);
    expected().check(&index);
    for n in 0..20_000 {
        assert!(resolved(&index, format!("absent-{n}").as_bytes()).is_empty());
    }
    let stats = index.stats().expect("stats");
    assert_eq!((stats.total_segments, stats.max_segments_per_lane), (8, 4));
    assert!(stats.tombstones > 0, "{stats:?}");
    let report = verify(copy.path()).expect("sound");
    assert_eq!((report.segments, report.terms, report.torn), (8, 5, None));
    // And it goes on from there.
    index.compact().expect("compact");
    expected().check(&index);
    index.close().expect("close");
    expected().check(&Index::open(copy.path(), &config(2, 5)).expect("open"));
}

#[test]
fn the_fixture_is_read_by_the_documented_format_alone() {
    let reader = Reader::open(&fixture());
    let model = expected();
    for (key, items) in &model.0 {
        assert_eq!(&reader.get(key), items, "key {:?}", String::from_utf8_lossy(key));
    }
    for n in 0..20_000 {
        assert!(reader.get(format!("absent-{n}").as_bytes()).is_empty());
    }
    let live: u64 = reader.lanes.iter().map(|lane| lane.live_keys).sum();
    // Four keys more and two less by what only the log has.
    assert_eq!(live + 2, model.0.len() as u64);
    assert_eq!(reader.batches.len(), 4);
    let mut kinds = (0, 0);
    for lane in &reader.lanes {
        assert!(lane.relies_on <= reader.terms_extent);
        assert_eq!(lane.levels, [0, 0, 1, 2]);
        // The bottom, two at level 0, the merge of these with a third, two at level 0.
        assert_eq!(lane.next_number, 7);
        for segment in &lane.segments {
            let (tombstones, deltas) = segment.tombstones_and_deltas();
            kinds = (kinds.0 + tombstones, kinds.1 + deltas);
        }
    }
    assert!(kinds.0 > 0 && kinds.1 > 0, "tombstones and deltas: {kinds:?}");
}

#[test]
fn namespaces_are_as_documented() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let index = Index::open(dir.path(), &config(2, 10_000)).expect("create");
    let name = |n: u32| format!("name {}", n % 3).into_bytes();
    let term = |n: u32| format!("shape {n}").into_bytes();
    let route = |n: u32, op| {
        index.route_in(&name(n), &key(n), &term(n), op, Durability::Os).expect("route");
    };
    // Places beyond those that one byte has.
    for n in 0..6_000 {
        index.route(b"plain", Target::Term(&term(n)), Op::Put).expect("route");
    }
    (0..300).for_each(|n| route(n, Op::Put));
    index.flush().expect("flush");
    (300..310).for_each(|n| route(n, Op::Put));
    route(0, Op::Delete);
    drop(index);
    let reader = Reader::open(dir.path());
    for n in 0..311 {
        let expected = (1..310).contains(&n).then(|| term(n)).into_iter().collect();
        assert_eq!(reader.get_in(&name(n), &key(n)), expected, "{n}");
        assert!(reader.get_in(&name(n + 1), &key(n)).is_empty(), "{n}");
    }
    assert_eq!(reader.get(b"plain").len(), 6_000);
}

#[test]
fn terms_as_keys_are_as_documented() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let index = Index::open(dir.path(), &config(2, 10_000)).expect("create");
    let user = |n: i64| {
        let mut key = index.term_key();
        key.tuple(3);
        key.atom("user");
        key.bytes(b"id");
        key.integer(n);
        assert_eq!(key.encoded_len(), if n == 0 { 14 } else { 15 });
        key.finish().expect("short")
    };
    let encoding = |n: i64| {
        let sign = if n < 0 { 2 } else { 1 };
        let magnitude = n.unsigned_abs() as u8;
        let integer = if n == 0 { vec![sign, 0] } else { vec![sign, 1, magnitude] };
        [&b"\x05\x03\x04\x04user\x03\x02id"[..], &integer].concat()
    };
    // The reader wants a dictionary.
    index.route(b"plain", Target::Term(b"shape"), Op::Put).expect("route");
    for n in -99_i64..=99 {
        index.put(&user(n), n.unsigned_abs() as u32).expect("put");
        // Of its bytes, nothing is taken for the term.
        index.put(&encoding(n), 1000).expect("put");
        if n == 0 {
            index.flush().expect("flush");
        }
    }
    let batch = [(Op::Put, user(7), 70), (Op::Delete, user(7), 7)];
    assert_eq!(index.write(&batch).expect("write"), 2);
    assert!(index.contains(&user(7), 70).expect("look up"));
    drop(index);
    let reader = Reader::open(dir.path());
    for n in -99_i64..=99 {
        let id = if n == 7 { 70 } else { n.unsigned_abs() as u32 };
        assert_eq!(reader.get_term(&encoding(n)), [id].into(), "{n}");
        assert_eq!(reader.get(&encoding(n)), [Item::Id(1000)].into(), "{n}");
    }
}

fn filtered_fixture(kind: Filter) -> PathBuf {
    fixture().with_file_name(format!("v3-{kind:?}").to_lowercase())
}

/// The steps that made the fixtures with filters.
fn write_filtered(root: &Path, filter: Filter) {
    let options = Config { filter, ..config(2, 10_000) };
    let index = Index::open(root, &options).expect("create");
    for ids in [0..240, 240..260] {
        index.flush().expect("flush");
        ids.for_each(|n| assert!(index.put(&key(n), n).expect("put")));
    }
    // The reader wants a dictionary.
    index.route(b"plain", Target::Term(b"shape"), Op::Put).expect("route");
    index.close().expect("close");
}

#[test]
fn filters_are_read_by_the_library_and_by_the_documented_format_alone() {
    for filter in [Filter::Bloom, Filter::Fuse8] {
        let (dir, fixture) = (tempfile::tempdir().expect("directory"), filtered_fixture(filter));
        if std::env::var_os("LSM_WRITE_FIXTURES").is_some() {
            std::fs::remove_dir_all(&fixture).unwrap_or_default();
            write_filtered(&fixture, filter);
        }
        copy_dir(&fixture, dir.path());
        verify(dir.path()).expect("sound");
        let index = Index::open(dir.path(), &Config { filter, ..Config::default() }).expect("open");
        let stats = index.stats().expect("stats");
        assert_eq!((stats.total_segments, stats.filtered_segments), (4, 4));
        let reader = Reader::open(dir.path());
        for n in 0..2_000 {
            let expected = (n < 260).then_some(Item::Id(n)).into_iter().collect();
            assert_eq!(resolved(&index, &key(n)), expected);
            assert_eq!(reader.get(&key(n)), expected);
        }
    }
}

#[test]
fn the_same_steps_write_the_same_bytes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    write(dir.path());
    if std::env::var_os("LSM_WRITE_FIXTURES").is_some() {
        std::fs::remove_dir_all(fixture()).expect("remove the old fixture");
        copy_dir(dir.path(), &fixture());
    }
    assert_eq!(files(dir.path()), files(&fixture()));
    for file in files(dir.path()) {
        let [mut written, mut golden] =
            [dir.path(), &fixture()].map(|root| std::fs::read(root.join(&file)).expect("read"));
        let changing = match file.extension() {
            None if file.ends_with("META") => CREATED,
            Some(extension) if extension == "wal" => BOOT,
            _ => 0..0,
        };
        written[changing.clone()].fill(0);
        golden[changing].fill(0);
        assert_eq!(written.len(), golden.len(), "{}", file.display());
        let differs = written.iter().zip(&golden).position(|(a, b)| a != b);
        assert_eq!(differs, None, "first other byte of {}", file.display());
    }
}

/// Of lane 1.
const LIVE_KEYS: u64 = 117;
const FLUSHED: u64 = 766;

/// Bytes as hexadecimal digits, for comparing with literals.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(fixture().join(file)).expect("fixture")
}

#[test]
fn small_files_hold_the_documented_bytes() {
    let current = golden("CURRENT");
    assert_eq!(&current[..8], b"LSMI-CUR");
    // Version 3, 8 bytes of payload, epoch 1, checksum.
    assert_eq!(hex(&current[8..]), "030000000800000001000000000000004fde6475");

    let meta = golden("epoch-00000001/META");
    assert_eq!((&meta[..8], meta.len()), (&b"LSMI-MET"[..], 48));
    assert_eq!(hex(&meta[8..20]), "030000001c00000002000000");
    assert_eq!(meta[20..36], HASH_KEY.0);
    // Created between 2023 and 2100.
    assert!((1_700_000_000..4_102_444_800).contains(&u64_at(&meta, 36)));

    let manifest = golden("epoch-00000001/lane-0001/MANIFEST");
    assert_eq!((&manifest[..8], manifest.len()), (&b"LSMI-MAN"[..], 180));
    // Version 3, 160 bytes of payload, lane 1, next segment 7.
    assert_eq!(hex(&manifest[8..28]), "03000000a0000000010000000700000000000000");
    assert_eq!(u64_at(&manifest, 28), LIVE_KEYS);
    // The last flush had records up to this one.
    assert_eq!(u64_at(&manifest, 36), FLUSHED);
    assert_eq!(u64_at(&manifest, 44), 1);
    assert_eq!(u64_at(&manifest, 52), golden("epoch-00000001/TERMS").len() as u64);
    assert_eq!(u32_at(&manifest, 60), 4);
    let segments: Vec<_> =
        (0..4).map(|i| (u64_at(&manifest, 64 + 28 * i), u32_at(&manifest, 72 + 28 * i))).collect();
    assert_eq!(segments, [(6, 0), (5, 0), (4, 1), (1, 2)]);

    let terms = golden("epoch-00000001/TERMS");
    assert_eq!(&terms[..8], b"LSMI-TRM");
    // Version 3, generation 1.
    assert_eq!(hex(&terms[8..20]), "030000000100000000000000");
    // Eight bytes, the first place of shard 0x84; a term of the index's own.
    assert_eq!(hex(&terms[32..40]), "0800000084000000");
    assert_eq!(&terms[40..48], b"\0shape-2");
}

#[test]
fn segments_hold_the_documented_bytes() {
    let file = "epoch-00000001/lane-0001/00000000000000000001.seg";
    let segment = golden(file);
    assert_eq!(&segment[..8], b"LSMI-SEG");
    // Version 3, lane 1, segment 1.
    assert_eq!(hex(&segment[8..24]), "03000000010000000100000000000000");
    let numbers: Vec<u64> = (24..64).step_by(8).map(|at| u64_at(&segment, at)).collect();
    // Keys, buckets, slots, seed, multiplier.
    assert_eq!(numbers, [115, 42, 117, 0x1b39_896a_51a8_749b, 0x53cb_9f0c_747e_a2eb]);
    let numbers: Vec<u32> = (64..88).step_by(4).map(|at| u32_at(&segment, at)).collect();
    // Words of postings, low ids, high ids, tombstones, deltas, lanes.
    assert_eq!(numbers, [294, 718, 0, 0, 0, 2]);
    // Flushed up to record 736 of the log, level 2.
    assert_eq!(hex(&segment[128..140]), "e00200000000000002010000");
    // 294 + 718 values take 10 bits, the slots of the larger of two lanes 14.
    let entries = (115 * (26 + 14 + 10_usize)).div_ceil(8) + 8;
    // Pilots, remap, signatures, entries, cold bits and postings, each padded to 64 bytes.
    let sections = [42, 2 * 4, 115, entries, 115 * 2, 294 * 4];
    let padded = sections.map(|length| length.next_multiple_of(64));
    assert_eq!(segment.len(), 192 + padded.iter().sum::<usize>());

    // The first segment at level 0 has a tombstone and a delta.
    let fresh = golden("epoch-00000001/lane-0001/00000000000000000006.seg");
    assert_eq!(u64_at(&fresh, 16), 6);
    assert_eq!([64, 68, 72, 76, 80].map(|at| u32_at(&fresh, at)), [4, 0, 73, 1, 1]);
}

/// What is done to a file, and the error it makes.
type Damage = (fn(&mut Vec<u8>), fn(&Error) -> bool);

#[test]
fn damaged_files_are_named_at_open() {
    let damages: [Damage; 4] = [
        (
            |bytes| bytes[0] ^= 0x20,
            |e| matches!(e, Error::Corrupt { offset: 0, what, .. } if what.contains("magic")),
        ),
        (
            |bytes| bytes[8] = 2,
            |e| matches!(e, Error::UnsupportedVersion { found: 2, supported: 3, .. }),
        ),
        (|bytes| bytes.truncate(9), |e| matches!(e, Error::Corrupt { offset: 9, .. })),
        (Vec::clear, |e| matches!(e, Error::Corrupt { offset: 0, .. })),
    ];
    for file in files(&fixture()) {
        for (i, (damage, expected)) in damages.iter().enumerate() {
            let copy = copy_of_fixture();
            let path = copy.path().join(&file);
            let mut bytes = std::fs::read(&path).expect("read");
            damage(&mut bytes);
            std::fs::write(&path, bytes).expect("write");
            let checked = verify(copy.path()).expect_err("damage");
            let opened = Index::open(copy.path(), &Config::default()).expect_err("damage");
            for error in [checked, opened] {
                assert!(expected(&error), "damage {i} of {}: {error:?}", file.display());
                let message = error.to_string();
                assert!(message.contains(&path.display().to_string()), "{message}");
                assert!(i != 1 || message.contains("version 2"), "{message}");
            }
        }
    }
}
