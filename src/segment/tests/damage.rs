//! Damage to a segment: refused, or answered without harm.

use std::path::Path;

use super::super::format::{HEADER_LEN, Header, Layout, Section};
use super::*;
use crate::fs::Fs;
use crate::hash::ENTRY_BITS;
use crate::word::Unpacked;

fn layout_of(bytes: &[u8]) -> (Header, Layout) {
    Header::decode(Path::new("sound"), bytes, &slots()).expect("sound")
}

/// Puts right checksums over damaged sections, as a bug in a writer would.
fn seal(bytes: &mut [u8]) {
    let (mut header, layout) = layout_of(bytes);
    header.checksums = Section::ALL.map(|s| crc32fast::hash(&bytes[layout.padded(s)]));
    bytes[..HEADER_LEN].copy_from_slice(&header.encode());
}

/// Asks a damaged segment everything there is to ask. Any answer and any `Corrupt` will do.
fn ask_everything(segment: &Segment, records: &[(Fingerprint, Record)]) {
    let members = records.iter().map(|(fingerprint, _)| *fingerprint);
    let slots = slots();
    for key in members.chain(random(1 << 21).take(200).map(|f| in_lane(f, &slots, LANE))) {
        segment.table().contains(key);
        segment.table().excludes(key);
        for verify in [Verify::Full, Verify::Fast] {
            for answer in [get(segment, key, verify), staged(segment, key, verify)] {
                assert!(matches!(answer, Ok(_) | Err(Error::Corrupt { .. })), "{answer:?}");
            }
        }
    }
    for item in segment.table().iter() {
        assert!(matches!(item, Ok(_) | Err(Error::Corrupt { .. })), "{item:?}");
    }
    let structure = segment.check_structure();
    assert!(matches!(structure, Ok(()) | Err(Error::Corrupt { .. })), "{structure:?}");
}

#[test]
fn damaged_sections_are_noticed_and_never_panic() {
    // With both kinds of filters.
    for records in [records(201, 8), records(202, 8)] {
        damage_sections(&records);
    }
}

fn damage_sections(records: &[(Fingerprint, Record)]) {
    let sound = bytes_of(records);
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
            ask_everything(&segment, records);
            // The same under checksums that are right.
            seal(&mut damaged);
            let segment = in_memory(&damaged).expect("the header is sound");
            segment.check().expect("checksums are right now");
            ask_everything(&segment, records);
        }
    }
}

#[test]
fn headers_that_lie_are_refused_or_harmless() {
    let records = records(51, 9);
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
        match draw() % 16 {
            0 => header.mph.keys = value,
            1 => header.mph.buckets = value,
            2 => header.mph.slots = value,
            3 => header.mph.seed = value,
            4 => header.mph.multiplier = value,
            5 => header.values.postings = value as u32,
            6 => header.values.low_ids = value as u32,
            7 => header.values.high_ids = value as u32,
            8 => header.tombstones = value as u32,
            9 => header.deltas = value as u32,
            10 => header.num_lanes = value as u32,
            11 => header.filter.seed = value,
            12 => header.filter.blocks = value as u32,
            13 => header.filter.block_log = value as u8,
            14 => header.filter.kind = [Filter::None, Filter::Bloom][value as usize % 2],
            _ => header.origin.lane = value as u32,
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

    let packing = layout.packing;
    let entry = |bytes: &[u8], position| {
        let entry = packing.hot_bits(bytes, position).zip(packing.word(bytes, position));
        entry.expect("an entry")
    };
    let (hot_bits, word) = entry(&sound[entries.clone()], 0);
    let with_first = |hot_bits, word| {
        fault(&|bytes| {
            let section = &mut bytes[entries.clone()];
            let others: Vec<_> = (1..100).map(|position| entry(section, position)).collect();
            section.fill(0);
            packing.put(section, 0, hot_bits, word);
            for (position, (hot_bits, word)) in (1..).zip(others) {
                packing.put(section, position, hot_bits, word);
            }
        })
    };
    assert_eq!(with_first(hot_bits ^ 1, word), "an entry is not where its fingerprint leads");
    let beyond = slots().of_lane(LANE).len() as u64;
    assert_eq!(with_first(beyond << ENTRY_BITS, word), "an entry is of no slot of the lane");
    let all_ones = (1 << header.values.bits()) - 1;
    assert_eq!(with_first(hot_bits, all_ones), "an entry's value has no meaning");
    // An id in a list of others, read as the number of ids in one.
    let nowhere = header.values.pack(Unpacked::Offset(header.values.postings - 1));
    assert_eq!(with_first(hot_bits, nowhere), "an entry points at no posting list");

    // The first list holds the ids 1 and 8, after their number.
    let unsorted = fault(&|bytes| {
        let at = layout.range(Section::Postings).start;
        assert_eq!(bytes[at..at + 8], [3, 0, 0, 0, 1, 0, 0, 0]);
        bytes[at + 4] = 9;
    });
    assert_eq!(unsorted, "a list of ids is not ascending");

    // A Bloom filter without any bits lets nothing pass.
    let sifted = fault(&|bytes| bytes[layout.range(Section::Filter)].fill(0));
    assert_eq!(sifted, "the filter does not let a key pass");

    let miscounted = fault(&|bytes| {
        let header = Header { tombstones: header.tombstones + 1, ..header.clone() };
        bytes[..HEADER_LEN].copy_from_slice(&header.encode());
    });
    assert_eq!(miscounted, "the header miscounts tombstones or deltas");
}

#[test]
fn ids_have_no_more_room_than_they_take() {
    let slots = slots();
    let members = random(13).map(|f| in_lane(f, &slots, LANE));
    let records: Vec<_> = members.zip((0..50).map(Record::One)).collect();
    let sound = bytes_of(&records);
    for (low, high) in [(1, 0), (0, 1)] {
        let (mut header, _) = layout_of(&sound);
        let bits = header.values.bits();
        header.values.low_ids += low;
        header.values.high_ids += high;
        assert_eq!(header.values.bits(), bits);
        let mut damaged = sound.clone();
        damaged[..HEADER_LEN].copy_from_slice(&header.encode());
        let structure = in_memory(&damaged).expect("sound header").check_structure();
        let what = "the header gives ids more room than they take";
        assert!(matches!(structure, Err(Error::Corrupt { what: found, .. }) if found == what));
    }
}

#[test]
fn every_flipped_bit_of_a_file_is_found() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("a.seg");
    let sound = bytes_of(&records(12, 11));
    std::fs::write(&path, &sound).expect("write");
    let check = || {
        Segment::open(&Fs::disk(), &path, &slots(), LANE, NUMBER)
            .and_then(|segment| segment.check())
    };
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
        let opened = Segment::open(&Fs::disk(), &path, &slots(), LANE, NUMBER);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "cut to {len} bytes");
    }
    std::fs::write(&path, &sound).expect("write");
    for (lanes, lane, number) in
        [(LANES, LANE + 1, NUMBER), (LANES, LANE, NUMBER + 1), (LANES + 1, LANE, NUMBER)]
    {
        assert!(matches!(
            Segment::open(&Fs::disk(), &path, &SlotTable::new(lanes), lane, number),
            Err(Error::Corrupt { .. })
        ));
    }
    Segment::open(&Fs::disk(), &path, &slots(), LANE, NUMBER).expect("sound");
}
