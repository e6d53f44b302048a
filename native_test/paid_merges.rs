//! Merges that look-ups have paid for: when they come, and that they stay within their bounds.

use std::path::PathBuf;

use lsm_index::{Config, Error, IdSet, Index, Loader};

const KEYS: u64 = 1_000;

fn in_memory() -> Index {
    let config = Config {
        num_lanes: Some(1),
        compaction_threshold: Some(50),
        hash_key: Some(lsm_index::HashKey([1; 16])),
        ..Config::default()
    };
    Index::in_memory(&config).expect("in memory")
}

fn load(index: &Index, from: u64) {
    let mut loader = Loader::new(index);
    for n in from..from + KEYS {
        loader.add(index, &n.to_le_bytes(), n as u32).expect("add");
    }
    while loader.step(index).expect("step") {}
}

fn segments(index: &Index) -> u64 {
    index.stats().expect("stats").total_segments
}

fn work(index: &Index) -> usize {
    (0..).take_while(|_| index.work().expect("work")).count()
}

fn look_up_one_by_one(index: &Index, keys: &[[u8; 8]]) {
    for key in keys {
        let n = u64::from_le_bytes(*key);
        assert_eq!(index.get(key).expect("get"), IdSet::One(n as u32));
    }
}

fn look_up_together(index: &Index, keys: &[[u8; 8]]) {
    let mut found = 0;
    index.get_many(keys, |_, ids| found += ids.as_slice().len()).expect("get_many");
    assert_eq!(found, keys.len());
}

fn ask_whether_there(index: &Index, keys: &[[u8; 8]]) {
    for key in keys {
        assert!(index.contains(key, u64::from_le_bytes(*key) as u32).expect("contains"));
    }
}

#[test]
fn a_lane_that_is_read_and_not_written_is_merged_once_that_pays() {
    for look_up in [look_up_one_by_one, look_up_together, ask_whether_there] {
        let index = in_memory();
        // The oldest are in the last segment that is asked.
        (0..3).for_each(|i| load(&index, i * KEYS));
        assert_eq!((segments(&index), work(&index)), (3, 0));
        let oldest: Vec<[u8; 8]> = (0..KEYS).map(u64::to_le_bytes).collect();
        // Each pays for two segments: 3000 keys cost as much as 36 000 of them, and one look-up of
        // 64 counts for all.
        let mut rounds = 0;
        while !index.claim_wakeup() {
            assert_eq!(segments(&index), 3);
            look_up(&index, &oldest);
            rounds += 1;
        }
        assert!((12..27).contains(&rounds), "{rounds} rounds");
        assert_eq!((work(&index), segments(&index)), (1, 1));
        // Nothing is left to pay for.
        (0..40).for_each(|_| look_up(&index, &oldest));
        assert_eq!((index.claim_wakeup(), work(&index)), (false, 0));
        look_up(&index, &oldest);
    }
}

#[test]
fn what_look_ups_pay_in_churn_stays_within_the_bound() {
    let index = in_memory();
    load(&index, 0);
    let (mut merges, mut before) = (0, index.stats().expect("stats"));
    for first in 0..20 * KEYS {
        index.put(&(first + KEYS).to_le_bytes(), (first + KEYS) as u32).expect("put");
        index.delete(&first.to_le_bytes(), first as u32).expect("delete");
        if first % 2 == 0 {
            let newest: Vec<_> = (first + 1..first + KEYS).map(u64::to_le_bytes).collect();
            look_up_together(&index, &newest);
        }
        let flushed = index.stats().expect("stats").flushes;
        let pieces = work(&index) as u64;
        merges += pieces - (index.stats().expect("stats").flushes - flushed);
        if first == 5 * KEYS {
            before = index.stats().expect("stats");
        }
    }
    assert!(merges > 20, "look-ups paid for {merges} merges only");
    let later = index.stats().expect("stats");
    let written = (later.written_keys - before.written_keys) as f64;
    let amplification = written / (later.flushed_keys - before.flushed_keys) as f64;
    assert!((8.0..12.0).contains(&amplification), "{amplification:.1}");
}

/// A damaged lane, whose merge fails, is tried again more and more seldom, and the others are merged.
#[test]
fn a_merge_that_fails_is_paid_for_anew_and_holds_no_other_up() {
    let dir = tempfile::tempdir().expect("temporary directory");
    // Look-ups of one key in 64 are counted: with some hash keys, of none of a lane's 250 oldest.
    let hash_key = Some(lsm_index::HashKey([1; 16]));
    let config = Config { num_lanes: Some(4), hash_key, ..Config::default() };
    let index = Index::open(dir.path(), &config).expect("open");
    (0..3).for_each(|i| load(&index, i * KEYS));
    assert_eq!(segments(&index), 4 * 3);
    index.close().expect("close");
    let files = std::fs::read_dir(dir.path().join("epoch-00000001/lane-0000")).expect("a lane");
    let paths = files.map(|file| file.expect("a file").path());
    let mut segments_of_lane: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).collect();
    segments_of_lane.sort();
    // A cold bit: look-ups that compare it miss one key.
    let mut bytes = std::fs::read(&segments_of_lane[0]).expect("read");
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(&segments_of_lane[0], bytes).expect("written");

    let index = Index::open(dir.path(), &config).expect("open");
    let (mut failed, mut look_ups) = (0, 0);
    for _ in 0..300 {
        for n in 0..KEYS {
            index.get(&n.to_le_bytes()).expect("get");
            look_ups += 1;
            while index.claim_wakeup() {
                match (0..).map(|_| index.work()).find(|done| !matches!(done, Ok(true))) {
                    Some(Err(Error::Corrupt { .. })) => failed += 1,
                    Some(Err(e)) => panic!("{e}"),
                    _ => {}
                }
            }
        }
    }
    assert!((2..20).contains(&failed), "{failed} failures in {look_ups} look-ups");
    let stats = index.stats().expect("stats");
    assert_eq!((stats.total_segments, stats.max_segments_per_lane), (3 + 3, 3));
}
