//! Counting keys beside those who change them: whoever sees a key may count it.

use lsm_index::{Durability, Loader, Op};

use crate::support::{explore, holds, in_memory, key, keys_of, together, with};

/// A key that is seen before and after is counted in between, also while it is being deleted.
#[test]
fn a_key_counts_for_as_long_as_it_is_seen() {
    explore(|| {
        let index = in_memory(1, 100);
        index.put(&key(0), 1).expect("put");
        together([
            with(&index, |index| {
                index.delete(&key(0), 1).expect("delete");
            }),
            with(&index, |index| {
                let before = holds(index, &key(0), 1);
                let count = index.count().expect("count");
                let after = holds(index, &key(0), 1);
                assert!(!(before && after) || count == 1, "seen, counted {count}, seen");
            }),
        ]);
    });
}

/// The same of the keys of a batch, in one lane and in two.
#[test]
fn keys_count_for_as_long_as_they_are_seen_of_a_batch() {
    for lanes in [1, 2_usize] {
        explore(move || {
            let of_lane = |lane| keys_of(lane, lanes as u32);
            let keys: Vec<_> = (0..lanes).flat_map(|lane| of_lane(lane).take(3 - lanes)).collect();
            let more = of_lane(0).nth(2);
            let index = in_memory(lanes as u32, 100);
            keys.iter().for_each(|key| assert!(index.put(key, 1).expect("put")));
            let (gone, seen) = (keys.clone(), keys);
            together([
                with(&index, move |index| {
                    let gone = gone.iter().map(|key| (Op::Delete, key.as_slice(), 1));
                    let new = more.iter().map(|key| (Op::Put, key.as_slice(), 1));
                    let batch: Vec<_> = gone.chain(new).collect();
                    assert_eq!(index.write(&batch).expect("write"), 3);
                }),
                with(&index, move |index| {
                    let count = index.count().expect("count");
                    let after = seen.iter().filter(|key| holds(index, key, 1)).count();
                    assert!(count >= after as u64, "counted {count}, seen {after} later");
                }),
            ]);
            assert_eq!(index.count().expect("count"), 1);
        });
    }
}

/// The same of keys that are loaded, and of those beside a stamp that is on its way: it is none of them.
#[test]
fn loaded_keys_count_when_they_are_seen_and_no_stamp_counts_for_less() {
    explore(|| {
        let index = in_memory(1, 100);
        index.put(&key(0), 1).expect("put");
        together([
            with(&index, |index| {
                let mut loader = Loader::new(index);
                loader.add(index, &key(1), 1).expect("taken");
                while loader.step(index).expect("step") {}
            }),
            with(&index, |index| index.put_stamp(b"7", Durability::Memory).expect("put")),
            with(&index, |index| {
                let seen = 1 + u64::from(holds(index, &key(1), 1));
                let count = index.count().expect("count");
                assert!(count >= seen, "seen {seen}, counted {count}");
            }),
        ]);
        assert_eq!(index.count().expect("count"), 2);
    });
}
