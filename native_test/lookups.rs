//! Look-ups in segments of every small size and some large ones: every member is found with its
//! ids, and no key that was never put is.

mod support;

use lsm_index::{Config, IdSet, Index, Loader, Verify};
use support::config;

fn member(i: u64) -> [u8; 8] {
    i.to_le_bytes()
}

/// Of the same length as a member, but never one.
fn absent(i: u64) -> [u8; 8] {
    (i | 1 << 40).to_le_bytes()
}

/// Every eighth key has several ids.
fn ids(i: u64) -> Vec<u32> {
    let id = i as u32;
    if i % 8 == 3 { vec![id, id + 1, id + 1_000_000] } else { vec![id] }
}

fn put_one_by_one(index: &Index, keys: u64) {
    for i in 0..keys {
        for id in ids(i) {
            assert!(index.put(&member(i), id).expect("put"));
        }
    }
}

fn load(index: &Index, keys: u64) {
    let mut loader = Loader::new(index);
    for i in 0..keys {
        for id in ids(i) {
            loader.add(index, &member(i), id).expect("add");
        }
    }
    while loader.step(index).expect("load") {}
}

/// An index whose `keys` keys lie in one segment (or in none).
fn index(keys: u64, verify: Verify, fill: fn(&Index, u64)) -> Index {
    let config = Config { verify, ..config(1, 10_000) };
    let index = Index::in_memory(&config).expect("in memory");
    fill(&index, keys);
    index.compact().expect("compact");
    let stats = index.stats().expect("stats");
    assert_eq!(stats.total_segments, u64::from(keys > 0));
    assert_eq!((stats.total_segment_entries, stats.total_overlay_entries), (keys, 0));
    assert_eq!(index.count().expect("count"), keys);
    index
}

fn check_members(index: &Index, keys: u64) {
    for i in 0..keys {
        assert_eq!(index.get(&member(i)).expect("get").as_slice(), ids(i), "key {i} of {keys}");
        assert!(index.contains(&member(i), ids(i)[0]).expect("contains"));
        assert!(!index.contains(&member(i), 2_000_000).expect("contains"));
    }
    let all: Vec<[u8; 8]> = (0..keys).map(member).collect();
    let mut found = vec![IdSet::Empty; all.len()];
    index.get_many(&all, |place, ids| found[place] = ids).expect("get_many");
    for (i, found) in (0..keys).zip(found) {
        assert_eq!(found.as_slice(), ids(i), "key {i} of {keys} in a batch");
    }
}

fn check_absent(index: &Index, keys: u64, looked_up: u64) {
    for i in 0..looked_up {
        assert_eq!(index.get(&absent(i)).expect("get"), IdSet::Empty, "{i}, {keys} keys");
    }
    let strangers: Vec<[u8; 8]> = (0..looked_up).map(absent).collect();
    let mut answers = 0;
    let all_empty = |_, ids| {
        answers += 1;
        assert_eq!(ids, IdSet::Empty, "in a batch, {keys} keys");
    };
    index.get_many(&strangers, all_empty).expect("get_many");
    assert_eq!(answers, strangers.len());
}

#[test]
fn segments_of_every_small_size_answer_right() {
    for keys in 0..=300 {
        let index = index(keys, Verify::Full, put_one_by_one);
        check_members(&index, keys);
        check_absent(&index, keys, 1_000);
    }
}

#[test]
fn large_segments_answer_right() {
    for keys in [512, 1_000, 4_095, 4_096, 15_000, 65_536] {
        let index = index(keys, Verify::Full, load);
        check_members(&index, keys);
        check_absent(&index, keys, 60_000);
    }
}

/// 48 bits are compared: in an index of one lane, one absent key in 2^48 passes for a member, and with
/// a fixed hash key none of these does.
#[test]
fn fast_verification_answers_right() {
    for keys in [1, 2, 3, 10, 100, 300, 10_000] {
        let index = index(keys, Verify::Fast, load);
        check_members(&index, keys);
        check_absent(&index, keys, 20_000);
    }
}

/// The same through all layers of a lane at once: what one layer lacks, another may have.
#[test]
fn many_layers_answer_as_one() {
    let index = Index::in_memory(&config(1, 1_000)).expect("in memory");
    load(&index, 20_000);
    for i in (20_000..).step_by(100).take_while(|i| *i < 26_000) {
        (i..i + 100).for_each(|i| {
            for id in ids(i) {
                index.put(&member(i), id).expect("put");
            }
        });
        index.flush().expect("flush");
    }
    index.put(&member(26_000), 26_000).expect("put");
    let stats = index.stats().expect("stats");
    assert!(stats.total_segments > 1 && stats.total_overlay_entries == 1, "{stats:?}");
    check_members(&index, 26_001);
    check_absent(&index, 26_001, 50_000);
}
