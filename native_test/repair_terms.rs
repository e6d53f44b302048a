//! Repairs of an index whose keys lead to terms: an id is never taken for another term.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{
    Durability, Error, Index, KeyHasher, Lost, Op, Remedy, SlotTable, TERM_ID_FLAG, Target,
    verify_on,
};
use support::namespaces::{listed, targets};
use support::repairs::{LANE, ROOT, damage, expect, open, repaired, segment, small};
use support::simulated::{EIO, Fault, FaultKind, Loss, Simulated};
use support::small::key;
use support::{HASH_KEY, Item, Model, config, names, resolved, term, terms_of_a_shard};

const TERMS: &str = "/db/epoch-00000001/TERMS";

/// The log has the term of key 23 alone, which nothing else has.
fn small_with_short_log() -> (Simulated, Model) {
    let (system, mut model) = small();
    let index = open(&system).expect("open");
    index.compact().expect("compact");
    model.put(&index, &key(23), Item::Term(b"term 23".to_vec()));
    drop(index);
    (system, model)
}

#[test]
fn terms_that_can_be_read_are_kept() {
    let (system, model) = small_with_short_log();
    let path = Path::new(TERMS);
    // A byte of the first term.
    damage(&system, path, |bytes| bytes[32 + 9] ^= 1);
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
    let (system, model) = small_with_short_log();
    let path = Path::new(TERMS);
    damage(&system, path, Vec::clear);
    expect(&repaired(&system).expect("repaired"), path, Lost::Terms { terms: 13, pairs: 13 });
    let index = open(&system).expect("open");
    for (key, items) in &model.0 {
        let mut left = items.clone();
        // What only the log has brings its term along.
        left.retain(|item| matches!(item, Item::Id(_)) || key == b"key 23");
        assert_eq!(resolved(&index, key), left);
    }
}

/// A name that is lost leaves its namespace's routes behind. Its id goes to no other name before they
/// are taken out, or they would be that one's.
#[test]
fn a_lost_name_gives_its_targets_to_no_other_namespace() {
    let system = Simulated::new();
    let index = open(&system).expect("create");
    let [lost, next] = [&names()[0], &names()[1]];
    let put = |index: &Index, name: &[u8], key: &[u8], term: &[u8]| {
        index.route_in(name, key, term, Op::Put, Durability::Os).expect("put");
    };
    put(&index, lost, b"key", b"lost");
    index.close().expect("close");
    let path = Path::new(TERMS);
    damage(&system, path, |bytes| {
        let name = bytes.windows(lost.len()).position(|some| some == lost);
        bytes[name.expect("there")] ^= 1;
    });
    expect(&repaired(&system).expect("repaired"), path, Lost::Terms { terms: 1, pairs: 1 });

    let index = open(&system).expect("open");
    put(&index, next, b"another", b"own");
    let own = [b"own".to_vec()].into();
    assert_eq!(targets(&index, next, b"key").expect("targets"), [].into());
    assert_eq!(listed(&index, index.list_in(next)).expect("listed"), own);
    while index.work().expect("work") {}
    assert_eq!(targets(&index, next, b"another").expect("targets"), own);
    assert_eq!(index.count().expect("count"), 2, "what nobody can reach is taken out");
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
    let (system, model) = small_with_short_log();
    let mut header = b"LSMI-TRM".to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend(9_u64.to_le_bytes());
    header.extend(32_u64.to_le_bytes());
    header.extend(crc32fast::hash(&header).to_le_bytes());
    system.set_file(TERMS, &header);
    assert!(verify_on(Arc::new(system.clone()), Path::new(ROOT)).is_err());
    expect(&repaired(&system).expect("repaired"), TERMS, Lost::Terms { terms: 13, pairs: 13 });
    let index = open(&system).expect("open");
    assert_eq!(resolved(&index, &key(23)), model.0[&key(23)]);
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
    for (path, at) in [(Path::new(LANE).join("MANIFEST"), 30), (segment(1), 192)] {
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
    let (system, _) = small_with_short_log();
    damage(&system, &Path::new(LANE).join("MANIFEST"), Vec::clear);
    damage(&system, Path::new(TERMS), Vec::clear);
    repaired(&system).expect("repaired");
    let index = open(&system).expect("open");
    let refused = index.put(b"k", TERM_ID_FLAG + 1);
    assert!(matches!(refused, Err(Error::MixedIds { .. })));
    assert!(index.ids().expect("ids").iter().filter(|&&id| id >= TERM_ID_FLAG).count() <= 1);
}

fn of_lane(lane: usize, nth: usize) -> Vec<u8> {
    let (hasher, slots) = (KeyHasher::new(&HASH_KEY), SlotTable::new(2));
    let keys = (0..).map(key).filter(|key| slots.lane(hasher.fingerprint(key)) == lane);
    keys.into_iter().nth(nth).expect("endless")
}

fn open_two(system: &Simulated) -> Index {
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(2, 1000)).expect("open")
}

fn route(index: &Index, key: &[u8], term: &[u8], op: Op) {
    let changed = index.route_with(key, Target::Term(term), op, Durability::Sync);
    assert!(changed.expect("route"));
}

fn lose_manifest(system: &Simulated) {
    damage(system, &Path::new(LANE).join("MANIFEST"), |bytes| bytes[30] ^= 1);
}

/// A segment that a round replaced is gone for good before its ids are given to others: it does not
/// come back with the power, and cannot be left behind by a removal that fails.
#[test]
fn a_replaced_segment_does_not_come_back() {
    for at in 0..400 {
        let system = Simulated::new();
        let index = open_two(&system);
        let own = of_lane(0, 0);
        route(&index, &own, &term(0), Op::Put);
        index.flush().expect("flush");
        route(&index, &own, &term(0), Op::Delete);
        system.inject(Fault { at, kind: FaultKind::Error(EIO), repeat: false });
        let compacted = index.compact();
        let done = system.faults_hit() == 0;
        system.clear_faults();
        if compacted.is_err() {
            // By a poisoned index, too.
            drop(index);
            open_two(&system).compact().expect("compact");
        }
        let index = open_two(&system.killed());
        drop(index);
        let system = system.killed();
        let index = open_two(&system);
        route(&index, &of_lane(1, 0), &term(1), Op::Put);
        index.flush().expect("flush");
        let system = system.crash(Loss::Unsynced);
        lose_manifest(&system);
        repaired(&system).expect("repaired");
        let found = resolved(&open_two(&system), &own);
        assert!(found.is_subset(&[Item::Term(term(0))].into()), "fault at {at}: {found:?}");
        if done {
            return;
        }
    }
    panic!("a round of so many operations");
}

/// After a repair the id of a lost term is free: no record may name it, not even one that a newer
/// one overrides, as that may be lost another day.
#[test]
fn a_lost_term_leaves_no_trace() {
    let system = Simulated::new();
    let index = open_two(&system);
    let own = of_lane(0, 0);
    route(&index, &own, &term(0), Op::Put);
    index.put(&of_lane(0, 1), 6).expect("put");
    index.compact().expect("compact");
    // Two segments; the newer one has the tombstone.
    route(&index, &own, &term(0), Op::Delete);
    index.put(&of_lane(0, 2), 7).expect("put");
    index.close().expect("close");
    damage(&system, Path::new(TERMS), |bytes| bytes[32 + 9] ^= 1);
    // The log has it no more.
    let wal: Vec<_> = system.files().into_keys().filter(|p| p.starts_with("/db/wal")).collect();
    assert!(wal.iter().all(|path| system.files()[path].len() < 300), "{wal:?}");
    repaired(&system).expect("repaired");
    let index = open_two(&system);
    route(&index, &of_lane(1, 0), &term(1), Op::Put);
    index.close().expect("close");
    let newest = system
        .files()
        .into_keys()
        .filter(|path| path.starts_with(LANE) && path.extension().is_some_and(|e| e == "seg"));
    damage(&system, &newest.max().expect("a segment"), |bytes| {
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    });
    repaired(&system).expect("repaired");
    let found = resolved(&open_two(&system), &own);
    assert!(found.is_subset(&[Item::Term(term(0))].into()), "{found:?}");
}

/// A repair takes terms from the log; else a lane made anew would replay what contradicts TERMS.
#[test]
fn a_term_that_the_log_has_is_not_lost() {
    let system = Simulated::new();
    let index = open_two(&system);
    let own = of_lane(0, 0);
    // Lane 0 ends without a segment; the log has the records.
    route(&index, &own, &term(0), Op::Put);
    route(&index, &own, &term(0), Op::Delete);
    route(&index, &of_lane(1, 0), &term(1), Op::Put);
    index.flush().expect("flush");
    drop(index);
    for at in [32 + 9, 32 + 9 + 12 + term(0).len()] {
        damage(&system, Path::new(TERMS), |bytes| bytes[at] ^= 1);
    }
    expect(&repaired(&system).expect("repaired"), TERMS, Lost::Nothing);
    let index = open_two(&system);
    assert_eq!(resolved(&index, &of_lane(1, 0)), [Item::Term(term(1))].into());
    route(&index, &of_lane(1, 1), &term(2), Op::Put);
    index.flush().expect("flush");
    drop(index);
    lose_manifest(&system);
    repaired(&system).expect("repaired");
    assert_eq!(resolved(&open_two(&system), &of_lane(1, 1)), [Item::Term(term(2))].into());
}

/// Whoever made such a file: verification and repair see what opening sees.
#[test]
fn a_place_with_two_terms_is_damage() {
    let system = Simulated::new();
    let index = open_two(&system);
    route(&index, &of_lane(0, 0), &term(0), Op::Put);
    index.close().expect("close");
    damage(&system, Path::new(TERMS), |bytes| {
        let record = [&[3, 0, 0, 0][..], &bytes[36..40], b"new"].concat();
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
    });
    let opened = Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(2, 1000));
    assert!(matches!(opened, Err(Error::Corrupt { .. })));
    assert!(verify_on(Arc::new(system.clone()), Path::new(ROOT)).is_err());
    expect(&repaired(&system).expect("repaired"), TERMS, Lost::Terms { terms: 1, pairs: 1 });
    assert_eq!(open_two(&system).count().expect("count"), 0);
}
