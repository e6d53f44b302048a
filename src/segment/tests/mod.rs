//! Segments as a whole: a reader finds what a writer laid out, nothing else, and damage.

mod damage;
mod random_records;

use super::*;
use crate::config::{Filter, Verify};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::mmap::{Buffer, MappedBytes};
use crate::record::{Delta, Record, RecordRef};
use crate::residency::Residency;
use crate::slots::SlotTable;

const LANES: u32 = 64;
const LANE: u32 = 5;
const NUMBER: u64 = 77;

fn slots() -> SlotTable {
    SlotTable::new(LANES)
}

/// SplitMix64, as many as asked for.
pub(super) fn random(salt: u64) -> impl Iterator<Item = u64> {
    (1_u64..).map(move |i| {
        let z = (salt << 32).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The fingerprint with its slot replaced by one of the lane's.
fn in_lane(fingerprint: u64, slots: &SlotTable, lane: u32) -> Fingerprint {
    let of_lane = slots.of_lane(lane);
    let slot = of_lane[fingerprint as usize % of_lane.len()];
    Fingerprint((fingerprint & !0x3fff) | u64::from(slot))
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
    let slots = slots();
    random(salt).map(|f| in_lane(f, &slots, LANE)).zip((0..n).map(record)).collect()
}

fn origin(lane: u32) -> Origin {
    Origin { lane, number: NUMBER, ..Origin::default() }
}

fn written(records: &[(Fingerprint, Record)], slots: &SlotTable, lane: u32) -> Vec<u8> {
    let mut writer = SegmentWriter::with_capacity(records.len());
    for (fingerprint, record) in records {
        writer.add(*fingerprint, record).expect("add");
    }
    assert_eq!(writer.len(), records.len());
    // Now with a filter, now with the other, now without.
    let filter = [Filter::Fuse8, Filter::Bloom, Filter::None][records.len() % 3];
    let written = writer.finish_as(origin(lane), slots, filter, Residency::Mmap);
    written.expect("finish").to_vec()
}

fn bytes_of(records: &[(Fingerprint, Record)]) -> Vec<u8> {
    written(records, &slots(), LANE)
}

fn opened(bytes: &[u8], slots: &SlotTable) -> Result<Segment> {
    let mut buffer = Buffer::zeroed(bytes.len(), Residency::Mmap)?;
    buffer.copy_from_slice(bytes);
    Segment::new(MappedBytes::anonymous(buffer)?, None, slots)
}

fn in_memory(bytes: &[u8]) -> Result<Segment> {
    opened(bytes, &slots())
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
    segment.table().get(key, verify).map(|record| record.map(owned))
}

/// All records, by fingerprint.
fn listed(segment: &Segment) -> Vec<(Fingerprint, Record)> {
    let table = segment.table();
    let records = table.iter().map(|item| item.map(|(key, record)| (key, owned(record))));
    let mut listed: Vec<_> = records.collect::<Result<_>>().expect("every entry is sound");
    listed.sort_by_key(|(fingerprint, _)| *fingerprint);
    listed
}

/// The look-up that batches do, step by step.
fn staged(segment: &Segment, key: Fingerprint, verify: Verify) -> Result<Option<Record>> {
    let mut probe = Probe::new(key);
    let table = segment.table();
    table.locate(&mut probe);
    table.approach(&mut probe);
    table.sign(&mut probe, verify);
    table.finish(&probe, verify).map(|found| table.record(found).map(owned)).transpose()
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
            let table = segment.table();
            assert!(table.contains(*fingerprint) && !table.excludes(*fingerprint));
        }
        let mut expected = records;
        expected.sort_by_key(|(fingerprint, _)| *fingerprint);
        assert_eq!(listed(&segment), expected);
    }
}

#[test]
fn absent_keys_are_not_found_at_any_size() {
    for n in (1..=300).chain([1_000, 4_096, 65_536]) {
        let segment = in_memory(&bytes_of(&records(n, n as u64))).expect("sound");
        let slots = slots();
        let strangers = random(1 << 20 | n as u64).take(2_000);
        for absent in strangers.map(|f| in_lane(f, &slots, LANE)) {
            assert_eq!(get(&segment, absent, Verify::Full).expect("get"), None, "{n} keys");
            assert_eq!(staged(&segment, absent, Verify::Full).expect("staged"), None, "{n} keys");
            assert!(!segment.table().contains(absent));
        }
    }
}

/// Fingerprints one bit away from a member's, or with another slot of the lane: whichever section
/// holds what differs, it is compared.
#[test]
fn neighbours_of_members_are_not_found() {
    let slots = slots();
    for n in [1, 2, 3, 10, 300] {
        let records = records(n, 3);
        let segment = in_memory(&bytes_of(&records)).expect("sound");
        for (Fingerprint(member), record) in &records {
            let other_slots =
                slots.of_lane(LANE).iter().map(|&slot| member & !0x3fff | u64::from(slot));
            let other_bits = (14..64).map(|bit| member ^ (1 << bit));
            let others = other_slots.filter(|other| other != member);
            let neighbours: Vec<u64> = others.chain(other_bits).collect();
            assert!(neighbours.len() > 200);
            for neighbour in neighbours.into_iter().map(Fingerprint) {
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
    let slots = slots();
    assert!(matches!(empty.finish(origin(LANE), &slots), Err(Error::MphConstruction { keys: 0 })));
    let mut twice = SegmentWriter::default();
    twice.add_one(in_lane(9, &slots, LANE), 1);
    twice.add_one(in_lane(9, &slots, LANE), 2);
    assert!(matches!(twice.finish(origin(LANE), &slots), Err(Error::MphConstruction { keys: 2 })));
}
