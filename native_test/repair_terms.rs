//! Repairs of an index whose keys lead to terms: an id is never taken for another term.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{
    Durability, Error, Index, KeyHasher, Lost, Op, Remedy, SlotTable, TERM_ID_FLAG, Target,
    verify_on,
};
use support::repairs::{LANE, ROOT, damage, expect, open, repaired, segment, small};
use support::simulated::Simulated;
use support::small::key;
use support::{HASH_KEY, Item, Model, config, resolved, terms_of_a_shard};

const TERMS: &str = "/db/epoch-00000001/TERMS";

#[test]
fn terms_that_can_be_read_are_kept() {
    let (system, model) = small();
    let path = Path::new(TERMS);
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
    let path = Path::new(TERMS);
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

/// An id goes from one term to another. If the record of the later one is lost,
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
    index.compact().expect("compact");
    for n in 0..100 {
        model.put(&index, &key(n), term("new", n));
    }
    index.close().expect("close");
    damage(&system, Path::new(TERMS), |bytes| {
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

/// The record is whole but for its length.
#[test]
fn a_term_whose_length_is_damaged_is_not_lost() {
    let (system, model) = small();
    damage(&system, Path::new(TERMS), |bytes| bytes[32 + 18] ^= 0x40);
    expect(&repaired(&system).expect("repaired"), TERMS, Lost::Nothing);
    model.check(&open(&system).expect("open"));
}

#[test]
fn a_header_full_of_ones_costs_no_term() {
    for lowest in [0xff, 0xfe] {
        let (system, model) = small();
        damage(&system, Path::new(TERMS), |bytes| {
            bytes[12..20].fill(0xff);
            bytes[12] = lowest;
        });
        expect(&repaired(&system).expect("repaired"), TERMS, Lost::Nothing);
        let index = open(&system).expect("open");
        model.check(&index);
        // The file can be written anew after it.
        index.compact().expect("compact");
        index.close().expect("close");
        model.check(&open(&system).expect("open"));
    }
}

/// An older copy that was put back, for instance.
#[test]
fn terms_that_are_whole_but_too_few_are_told() {
    let (system, model) = small();
    let mut header = b"LSMI-TRM".to_vec();
    header.extend(1_u32.to_le_bytes());
    header.extend(9_u64.to_le_bytes());
    header.extend(32_u64.to_le_bytes());
    header.extend(crc32fast::hash(&header).to_le_bytes());
    system.set_file(TERMS, &header);
    assert!(verify_on(Arc::new(system.clone()), Path::new(ROOT)).is_err());
    expect(&repaired(&system).expect("repaired"), TERMS, Lost::Terms { terms: 12, pairs: 12 });
    let index = open(&system).expect("open");
    assert_eq!(resolved(&index, &key(22)), model.0[&key(22)]);
}

/// A lane whose changes came to nothing has no segment to say how far it was flushed. Its records,
/// replayed, must not give ids back to former terms.
#[test]
fn an_emptied_lane_without_manifest_leaves_the_others_alone() {
    let terms = terms_of_a_shard(2);
    let (hasher, slots) = (KeyHasher::new(&HASH_KEY), SlotTable::new(2));
    let of_lane = |lane| {
        (0..).map(key).find(|key| slots.lane(hasher.fingerprint(key)) == lane).expect("endless")
    };
    for compact in [false, true] {
        let system = Simulated::new();
        let open = |system: &Simulated| {
            Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(2, 1000))
        };
        let index = open(&system).expect("create");
        let route = |key: &[u8], term: &[u8], op| {
            let changed = index.route_with(key, Target::Term(term), op, Durability::Sync);
            assert!(changed.expect("route"));
        };
        route(&of_lane(0), &terms[0], Op::Put);
        route(&of_lane(0), &terms[0], Op::Delete);
        if compact { index.compact() } else { index.flush() }.expect("flush");
        route(&of_lane(1), &terms[1], Op::Put);
        index.flush().expect("flush");
        drop(index);
        damage(&system, &Path::new(LANE).join("MANIFEST"), Vec::clear);
        repaired(&system).expect("repaired");
        let index = open(&system).expect("open");
        assert_eq!(resolved(&index, &of_lane(1)), [Item::Term(terms[1].clone())].into());
    }
}

/// Without a dictionary they are ids like others; with one they are terms', for good.
#[test]
fn high_ids_are_kept_where_there_were_no_terms() {
    // The manifest; a hash function.
    for (path, at) in [(Path::new(LANE).join("MANIFEST"), 30), (segment(1), 128)] {
        let system = Simulated::new();
        let index = open(&system).expect("create");
        for n in 0..20 {
            index.put(&key(n), TERM_ID_FLAG + n).expect("put");
        }
        index.close().expect("close");
        damage(&system, &path, |bytes| bytes[at] ^= 1);
        repaired(&system).expect("repaired");
        let index = open(&system).expect("open");
        for n in 0..20 {
            assert!(index.contains(&key(n), TERM_ID_FLAG + n).expect("get"), "{path:?}, {n}");
        }
    }
    let (system, _) = small();
    damage(&system, &Path::new(LANE).join("MANIFEST"), Vec::clear);
    damage(&system, Path::new(TERMS), Vec::clear);
    repaired(&system).expect("repaired");
    let index = open(&system).expect("open");
    let refused = index.put(b"k", TERM_ID_FLAG + 1);
    assert!(matches!(refused, Err(Error::MixedIds { .. })));
    assert!(index.ids().expect("ids").iter().filter(|&&id| id >= TERM_ID_FLAG).count() <= 1);
}
