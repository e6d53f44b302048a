//! Look-ups that may walk so many ids and no more, one by one and in batches: sets of all kinds, in one
//! segment and in several.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lsm_index::{Attempt, Config, Durability, Filter, IdSet, Index, Most, Op, Verify};
use support::{Random, config};

type Model = BTreeMap<u64, BTreeSet<u32>>;

/// Keys that are changed; those from here on are absent.
const CHANGED: u64 = 120;
const ASKED: u64 = 150;

fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

/// A round of puts and deletes: large sets, one that gets deltas, and many of up to three ids.
fn change(index: &Index, model: &mut Model, random: &mut Random, first: bool) {
    let mut pairs = BTreeMap::new();
    for _ in 0..400 {
        let n = random.below(CHANGED as usize) as u64;
        let id = random.below(if n < 5 { 1000 } else { 3 }) as u32;
        pairs.insert((n, id), if random.below(3) > 0 { Op::Put } else { Op::Delete });
    }
    if first {
        pairs.extend((2000..2500).map(|id| ((1, id), Op::Put)));
    }
    let changes: Vec<_> = pairs.iter().map(|(&(n, id), &op)| (op, key(n), id)).collect();
    index.write(&changes).expect("write");
    for ((n, id), op) in pairs {
        let set = model.entry(n).or_default();
        match op {
            Op::Put => set.insert(id),
            Op::Delete => set.remove(&id),
        };
    }
}

/// Each key alone; how many ids they take together.
fn check_singly(index: &Index, expected: &[Vec<u32>]) -> usize {
    let of_one = |(n, ids): (usize, &Vec<u32>)| {
        let key = key(n as u64);
        assert_eq!(index.get(&key).expect("get").as_slice(), ids);
        for id in 0..5 {
            assert_eq!(index.contains(&key, id).expect("contains"), ids.contains(&id));
        }
        let enough = |most: &usize| index.get_bounded(&key, *most).expect("get").is_some();
        (0..).find(enough).expect("it is a number")
    };
    expected.iter().enumerate().map(of_one).sum()
}

fn check_together(index: &Index, expected: &[Vec<u32>], total: usize) {
    let keys: Vec<_> = (0..ASKED).map(key).collect();
    for most in [0, 1, 2, total / 2, total - 1, total, total + 1] {
        let mut found = vec![None; keys.len()];
        let take = |place: usize, ids| assert_eq!(found[place].replace(ids), None, "told twice");
        let all =
            index.get_many_bounded(&keys, Most { ids: most, ..Most::ALL }, take).expect("get_many");
        assert_eq!(all, most >= total, "{most} of {total}");
        for (ids, expected) in found.iter().zip(expected) {
            let ids = ids.as_ref().map(IdSet::as_slice);
            assert!(ids.map_or(!all, |ids| ids == expected), "{ids:?}, {expected:?}");
        }
    }
}

#[test]
fn a_look_up_walks_as_many_ids_as_it_may() {
    for seed in 0..20 {
        for (filter, verify) in [(Filter::None, Verify::Full), (Filter::Fuse8, Verify::Fast)] {
            let config = Config { verify, filter, ..config(1, 100_000) };
            let index = Index::in_memory(&config).expect("in memory");
            let (mut model, mut random) = (Model::new(), Random(seed + 1));
            let rounds = 1 + seed % 5;
            for round in 0..rounds {
                change(&index, &mut model, &mut random, round == 0);
                // The last one stays in the overlay now and then.
                if round + 1 < rounds || seed % 2 == 0 {
                    index.flush().expect("flush");
                }
            }
            let expected: Vec<Vec<u32>> = (0..ASKED)
                .map(|n| model.get(&n).into_iter().flatten().copied().collect())
                .collect();
            let total = check_singly(&index, &expected);
            check_together(&index, &expected, total);
        }
    }
}

/// The first group of keys is always looked up.
#[test]
fn a_look_up_of_many_keys_ends_when_its_time_is_over() {
    let index = Index::in_memory(&config(4, 100_000)).expect("in memory");
    let keys: Vec<_> = (0..3_000).map(key).collect();
    keys.iter().for_each(|key| assert!(index.put(key, 1).expect("put")));
    let now = Instant::now();
    for (until, all) in [(now, false), (now + Duration::from_secs(3_600), true)] {
        let mut found = 0;
        let most = Most { until: Some(until), ..Most::ALL };
        let count = |_, ids: IdSet| found += ids.as_slice().len();
        assert_eq!(index.get_many_bounded(&keys, most, count).expect("get_many"), all);
        assert!(if all { found == keys.len() } else { (1..200).contains(&found) }, "{found}");
        let few = |_, ids: IdSet| assert_eq!(ids.as_slice(), [1]);
        assert!(index.get_many_bounded(&keys[..8], most, few).expect("get_many"));
    }
}

/// Nothing is done when finding out what to do takes longer than it may, as here for many changes.
#[test]
fn a_batch_that_takes_too_long_is_not_begun() {
    let index = Index::in_memory(&config(4, 1_000_000)).expect("in memory");
    let keys: Vec<_> = (0..2_000).map(key).collect();
    let batch: Vec<_> = keys.iter().map(|key| (Op::Put, key.as_slice(), 1)).collect();
    let write = |batch: &[_], within| index.try_write(batch, Durability::Memory, within);
    let no_time = Some(Duration::ZERO);
    assert_eq!(write(&batch, no_time).expect("write"), None);
    assert_eq!(index.count().expect("count"), 0);
    // Without a bound, also by who must not wait for others.
    assert_eq!(write(&batch, None).expect("write"), Some(Attempt::Done(batch.len())));
    let few = write(&batch[..8], no_time).expect("write");
    assert_eq!((few, index.count().expect("count")), (Some(Attempt::Done(0)), batch.len() as u64));
}
