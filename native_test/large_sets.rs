//! Keys with very many ids: what a change writes, what a batch makes of them, and that bounded
//! look-ups stop at their bound.

mod support;

use lsm_index::{IdSet, Index, Most, Op};
use support::config;

const HOT: &[u8] = b"hot";

/// A lane with a hot key, and others beside it.
fn index() -> Index {
    let index = Index::in_memory(&config(1, 10_000)).expect("in memory");
    for n in 0..2_000_u32 {
        index.put(&n.to_le_bytes(), n).expect("put");
    }
    index
}

fn put_batch(index: &Index, ids: impl Iterator<Item = u32>) -> usize {
    index.write(&ids.map(|id| (Op::Put, HOT, id)).collect::<Vec<_>>()).expect("write")
}

/// What a merge writes grows with the set, so merges must get rarer: the bytes for each added id
/// grow as the levels do, and not as the set does.
#[test]
fn an_id_more_costs_a_large_set_little() {
    let index = index();
    let written = || index.stats().expect("stats").written_bytes;
    let mut per_id = Vec::new();
    for round in 0..4_u32 {
        let before = written();
        for id in round * 50_000..(round + 1) * 50_000 {
            assert!(index.put(HOT, id).expect("put"));
            while index.work().expect("work") {}
        }
        per_id.push((written() - before) / 50_000);
    }
    assert!(per_id.iter().all(|&bytes| bytes < 150), "bytes written per id: {per_id:?}");
    assert_eq!(index.get(HOT).expect("get").as_slice(), (0..200_000).collect::<Vec<_>>());
}

#[test]
fn a_batch_takes_ids_in_any_order_and_counts_what_changed() {
    for in_segment in [false, true] {
        let index = index();
        assert_eq!(put_batch(&index, (0..30_000).filter(|id| id % 3 == 0)), 10_000);
        if in_segment {
            index.compact().expect("compact");
        }
        assert_eq!(put_batch(&index, (0..30_000).rev()), 20_000);
        assert_eq!(index.count().expect("count"), 2_001);
        // Put, deleted and put again: the last one counts.
        let thrice = (0..30_000).flat_map(|id| {
            let last = if id % 2 == 0 { Op::Put } else { Op::Delete };
            [(Op::Delete, HOT, id), (Op::Put, HOT, id), (last, HOT, id)]
        });
        assert_eq!(index.write(&thrice.collect::<Vec<_>>()).expect("write"), 15_000);
        let even: Vec<u32> = (0..30_000).step_by(2).collect();
        assert_eq!(index.get(HOT).expect("get").as_slice(), even);
        let gone: Vec<_> = even.iter().map(|&id| (Op::Delete, HOT, id)).collect();
        assert_eq!(index.write(&gone).expect("write"), 15_000);
        assert_eq!(index.get(HOT).expect("get"), IdSet::Empty);
        assert_eq!(index.count().expect("count"), 2_000);
        index.compact().expect("compact");
        assert_eq!(index.count().expect("count"), 2_000);
    }
}

#[test]
fn bounded_look_ups_stop_at_their_bound() {
    let index = index();
    put_batch(&index, 0..1_000);
    index.compact().expect("compact");
    // A delta of 500 ids over a set of 1 000.
    put_batch(&index, 1_000..1_500);
    for (most, found) in [(0, false), (499, false), (1_499, false), (1_500, true)] {
        let ids = index.get_bounded(HOT, most).expect("get");
        assert_eq!(ids.is_some(), found, "{most}");
    }
    for id in [0, 999, 1_000, 1_499] {
        assert!(index.contains(HOT, id).expect("contains"));
    }
    assert!(!index.contains(HOT, 1_500).expect("contains"));

    let keys = [HOT; 100];
    for (most, whole) in [(1_499, 0), (1_500, 1), (4_600, 3), (149_999, 99)] {
        let mut handed = 0;
        let all = index.get_many_bounded(&keys, Most { ids: most, ..Most::ALL }, |_, ids| {
            handed += ids.as_slice().len();
        });
        assert!(!all.expect("get_many"), "{most}");
        assert_eq!(handed, whole * 1_500, "{most}");
    }
    let mut handed = 0;
    let all = index.get_many_bounded(&keys, Most { ids: 150_000, ..Most::ALL }, |_, ids| {
        handed += ids.as_slice().len();
    });
    assert!(all.expect("get_many"));
    assert_eq!(handed, 150_000);
}
