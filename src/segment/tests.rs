//! Segments as a whole: a reader finds what a writer laid out, nothing else, and damage.

use std::path::Path;

use super::format::{HEADER_LEN, Header, Layout, Section};
use super::*;
use crate::config::Verify;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::hash::Fingerprint;
use crate::mmap::{Buffer, MappedBytes};
use crate::record::{Delta, Record, RecordRef};

const LANE: u32 = 5;
const NUMBER: u64 = 77;

/// SplitMix64, as many as asked for.
fn random(salt: u64) -> impl Iterator<Item = u64> {
    (1_u64..).map(move |i| {
        let z = (salt << 32).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Records of every kind, with the fingerprints of one lane.
fn records(n: usize, salt: u64) -> Vec<(Fingerprint, Record)> {
    let record = |i: usize| {
        let id = i as u32;
        match i % 6 {
            1 => Record::Many((0..2 + id % 90).map(|k| id + 7 * k).collect()),
            2 => Record::Tombstone,
            3 => Record::Delta(Box::new(Delta {
                adds: (0..id % 40).map(|k| 3 * k).collect(),
                removes: (0..id % 7).map(|k| 3 * k + 1).collect(),
                len: 100 + id,
            })),
            4 => Record::One(crate::MAX_ID),
            _ => Record::One(id),
        }
    };
    let in_lane = |f: u64| Fingerprint((f & !0x3fff) | (f & 0xff));
    random(salt).map(in_lane).zip((0..n).map(record)).collect()
}

fn bytes_of(records: &[(Fingerprint, Record)]) -> Vec<u8> {
    let mut writer = SegmentWriter::with_capacity(records.len());
    for (fingerprint, record) in records {
        writer.add(*fingerprint, record).expect("add");
    }
    assert_eq!(writer.len(), records.len());
    writer
        .finish(Origin { lane: LANE, number: NUMBER, ..Origin::default() })
        .expect("finish")
        .to_vec()
}

fn in_memory(bytes: &[u8]) -> Result<Segment> {
    let mut buffer = Buffer::zeroed(bytes.len())?;
    buffer.copy_from_slice(bytes);
    Segment::new(MappedBytes::anonymous(buffer)?, None)
}

fn owned(record: RecordRef<'_>) -> Record {
    match record {
        RecordRef::Tombstone => Record::Tombstone,
        RecordRef::Complete(ids) if ids.len() == 1 => Record::One(ids.iter().sum()),
        RecordRef::Complete(ids) => Record::Many(ids.iter().collect()),
        RecordRef::Delta { adds, removes, len } => Record::delta(adds, removes, len),
    }
}

fn get(segment: &Segment, key: Fingerprint, verify: Verify) -> Result<Option<Record>> {
    segment.get(key, verify).map(|record| record.map(owned))
}

/// The look-up that batches do, step by step.
fn staged(segment: &Segment, key: Fingerprint, verify: Verify) -> Result<Option<Record>> {
    let mut probe = Probe::new(key);
    segment.locate(&mut probe);
    segment.approach(&mut probe);
    segment.sign(&mut probe, verify);
    segment.finish(&probe, verify).map(|record| record.map(owned))
}

fn layout_of(bytes: &[u8]) -> (Header, Layout) {
    Header::decode(Path::new("sound"), bytes).expect("sound")
}

/// Puts right checksums over damaged sections, as a bug in a writer would.
fn seal(bytes: &mut [u8]) {
    let (mut header, layout) = layout_of(bytes);
    header.checksums = Section::ALL.map(|s| crc32fast::hash(&bytes[layout.padded(s)]));
    bytes[..HEADER_LEN].copy_from_slice(&header.encode());
}

#[test]
fn every_small_size_holds_its_records_and_nothing_else() {
    for n in (1..=300).chain([1_000, 4_096, 65_536]) {
        let records = records(n, n as u64);
        let segment = in_memory(&bytes_of(&records)).expect("sound");
        segment.check().expect("checksums");
        segment.check_structure().expect("structure");
        assert_eq!((segment.keys(), segment.number()), (n, NUMBER));
        let tombstones = records.iter().filter(|(_, r)| *r == Record::Tombstone).count();
        assert_eq!(segment.tombstones(), tombstones as u64);
        assert_eq!(segment.is_plain(), n <= 2);
        for (fingerprint, record) in &records {
            for verify in [Verify::Full, Verify::Fast] {
                let found = get(&segment, *fingerprint, verify).expect("get");
                assert_eq!(found.as_ref(), Some(record), "{n} keys");
                let found = staged(&segment, *fingerprint, verify).expect("staged");
                assert_eq!(found.as_ref(), Some(record), "{n} keys");
            }
            assert!(segment.contains(*fingerprint));
        }
        let mut listed: Vec<(Fingerprint, Record)> = segment
            .iter()
            .map(|item| item.map(|(fingerprint, record)| (fingerprint, owned(record))))
            .collect::<Result<_>>()
            .expect("every entry is sound");
        let mut expected = records;
        listed.sort_by_key(|(fingerprint, _)| *fingerprint);
        expected.sort_by_key(|(fingerprint, _)| *fingerprint);
        assert_eq!(listed, expected);
    }
}

#[test]
fn absent_keys_are_not_found_at_any_size() {
    for n in (1..=300).chain([1_000, 4_096, 65_536]) {
        let segment = in_memory(&bytes_of(&records(n, n as u64))).expect("sound");
        for absent in random(1 << 20 | n as u64).take(2_000).map(Fingerprint) {
            assert_eq!(get(&segment, absent, Verify::Full).expect("get"), None, "{n} keys");
            assert_eq!(staged(&segment, absent, Verify::Full).expect("staged"), None, "{n} keys");
            assert!(!segment.contains(absent));
        }
    }
}

/// Fingerprints one bit away from a member's: whichever section holds that bit, it is compared.
#[test]
fn neighbours_of_members_are_not_found() {
    for n in [1, 2, 3, 10, 300] {
        let records = records(n, 3);
        let segment = in_memory(&bytes_of(&records)).expect("sound");
        for (Fingerprint(member), record) in &records {
            for neighbour in (0..64).map(|bit| Fingerprint(member ^ (1 << bit))) {
                assert_eq!(get(&segment, neighbour, Verify::Full).expect("get"), None);
                assert_eq!(staged(&segment, neighbour, Verify::Full).expect("staged"), None);
                // Without the cold bits a neighbour may pass, but then for this member.
                let fast = get(&segment, neighbour, Verify::Fast).expect("get");
                assert!(fast.is_none_or(|found| found == *record));
            }
        }
    }
}

#[test]
fn nothing_to_write_and_keys_given_twice_are_errors() {
    let empty = SegmentWriter::default();
    assert!(empty.is_empty());
    assert!(matches!(empty.finish(Origin::default()), Err(Error::MphConstruction { keys: 0 })));
    let mut twice = SegmentWriter::default();
    twice.add_one(Fingerprint(9), 1);
    twice.add_one(Fingerprint(9), 2);
    assert!(matches!(twice.finish(Origin::default()), Err(Error::MphConstruction { keys: 2 })));
}

/// Asks a damaged segment everything there is to ask. Any answer and any `Corrupt` will do.
fn ask_everything(segment: &Segment, records: &[(Fingerprint, Record)]) {
    let members = records.iter().map(|(fingerprint, _)| *fingerprint);
    for key in members.chain(random(1 << 21).take(200).map(Fingerprint)) {
        segment.contains(key);
        for verify in [Verify::Full, Verify::Fast] {
            for answer in [get(segment, key, verify), staged(segment, key, verify)] {
                assert!(matches!(answer, Ok(_) | Err(Error::Corrupt { .. })), "{answer:?}");
            }
        }
    }
    for item in segment.iter() {
        assert!(matches!(item, Ok(_) | Err(Error::Corrupt { .. })), "{item:?}");
    }
    let structure = segment.check_structure();
    assert!(matches!(structure, Ok(()) | Err(Error::Corrupt { .. })), "{structure:?}");
}

#[test]
fn damaged_sections_are_noticed_and_never_panic() {
    let records = records(200, 8);
    let sound = bytes_of(&records);
    let (_, layout) = layout_of(&sound);
    for section in Section::ALL {
        let range = layout.range(section);
        assert!(!range.is_empty(), "{section:?} is to be damaged");
        for round in 0..60_u64 {
            let mut damaged = sound.clone();
            let noise = random(1 << 22 | round);
            match round {
                0 => damaged[range.clone()].fill(0),
                1 => damaged[range.clone()].fill(0xff),
                // All of it, or every so many bytes.
                _ => {
                    let step = 1 + (round as usize % 20) * 3;
                    for (byte, noise) in damaged[range.clone()].iter_mut().step_by(step).zip(noise)
                    {
                        *byte = noise as u8;
                    }
                }
            }
            assert_ne!(damaged, sound);
            let segment = in_memory(&damaged).expect("the header is sound");
            let found = segment.check();
            let named = format!("{section:?}");
            assert!(matches!(found, Err(Error::Corrupt { what, .. }) if what.contains(&named)));
            ask_everything(&segment, &records);
            // The same under checksums that are right.
            seal(&mut damaged);
            let segment = in_memory(&damaged).expect("the header is sound");
            segment.check().expect("checksums are right now");
            ask_everything(&segment, &records);
        }
    }
}

#[test]
fn headers_that_lie_are_refused_or_harmless() {
    let records = records(50, 9);
    let sound = bytes_of(&records);
    let mut noise = random(1 << 23);
    let mut draw = || noise.next().unwrap_or_default();
    let mut opened = 0;
    for _ in 0..20_000 {
        let (mut header, _) = layout_of(&sound);
        let value = match draw() % 4 {
            0 => draw(),
            1 => draw() % 300,
            2 => 1 << (draw() % 64),
            _ => u64::MAX - draw() % 300,
        };
        match draw() % 7 {
            0 => header.mph.keys = value,
            1 => header.mph.buckets = value,
            2 => header.mph.slots = value,
            3 => header.mph.seed = value,
            4 => header.mph.multiplier = value,
            5 => header.postings_words = value,
            _ => header.tombstones = value,
        }
        let mut damaged = sound.clone();
        damaged[..HEADER_LEN].copy_from_slice(&header.encode());
        match in_memory(&damaged) {
            Ok(segment) => {
                opened += 1;
                if opened % 50 == 0 {
                    ask_everything(&segment, &records);
                }
            }
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error:?}"),
        }
    }
    assert!(opened > 0);
}

/// What checksums cannot see: bytes that were written wrong.
#[test]
fn the_structure_is_checked_beyond_checksums() {
    let records = records(100, 10);
    let sound = bytes_of(&records);
    let (header, layout) = layout_of(&sound);
    let entries = layout.range(Section::Entries);
    let fault = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = sound.clone();
        damage(&mut damaged);
        seal(&mut damaged);
        let segment = in_memory(&damaged).expect("sound header");
        segment.check().expect("right checksums");
        match segment.check_structure() {
            Err(Error::Corrupt { what, .. }) => what,
            other => panic!("not noticed: {other:?}"),
        }
    };

    let swapped = fault(&|bytes| {
        let (first, second) = bytes[entries.clone()].split_at_mut(8);
        first.swap_with_slice(&mut second[..8]);
    });
    assert_eq!(swapped, "an entry is not where its fingerprint leads");

    let nowhere =
        fault(&|bytes| bytes[entries.start + 4..][..4].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff]));
    assert_eq!(nowhere, "an entry points at no posting list");

    // The first list holds the ids 1 and 8, after their number.
    let unsorted = fault(&|bytes| {
        let at = layout.range(Section::Postings).start;
        assert_eq!(bytes[at..at + 8], [3, 0, 0, 0, 1, 0, 0, 0]);
        bytes[at + 4] = 9;
    });
    assert_eq!(unsorted, "a list of ids is not ascending");

    let miscounted = fault(&|bytes| {
        let header = Header { tombstones: header.tombstones + 1, ..header.clone() };
        bytes[..HEADER_LEN].copy_from_slice(&header.encode());
    });
    assert_eq!(miscounted, "the header miscounts tombstones or deltas");
}

#[test]
fn every_flipped_bit_of_a_file_is_found() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("a.seg");
    let sound = bytes_of(&records(12, 11));
    std::fs::write(&path, &sound).expect("write");
    let check =
        || Segment::open(&Fs::disk(), &path, LANE, NUMBER).and_then(|segment| segment.check());
    check().expect("sound");
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &damaged).expect("write");
        match check() {
            Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path),
            Err(Error::UnsupportedVersion { path: named, .. }) => assert_eq!(named, path),
            other => panic!("bit {bit} of {} bytes: {other:?}", sound.len()),
        }
    }
}

#[test]
fn every_other_length_and_name_is_refused_at_open() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("a.seg");
    let sound = bytes_of(&records(12, 12));
    let longer = [sound.as_slice(), &[0; 64]].concat();
    for len in (0..sound.len()).chain(sound.len() + 1..=longer.len()) {
        std::fs::write(&path, &longer[..len]).expect("write");
        let opened = Segment::open(&Fs::disk(), &path, LANE, NUMBER);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "cut to {len} bytes");
    }
    std::fs::write(&path, &sound).expect("write");
    for (lane, number) in [(LANE + 1, NUMBER), (LANE, NUMBER + 1)] {
        assert!(matches!(
            Segment::open(&Fs::disk(), &path, lane, number),
            Err(Error::Corrupt { .. })
        ));
    }
    Segment::open(&Fs::disk(), &path, LANE, NUMBER).expect("sound");
}
