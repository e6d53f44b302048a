//! Filters of segments: that they are asked, by whom, and for how long.

mod support;

use std::path::{Path, PathBuf};

use lsm_index::{Config, Error, Filter, IdSet, Index, Loader, Lost, repair, verify};
use support::config;

const KEYS: u32 = 2_000;
const KINDS: [Filter; 2] = [Filter::Bloom, Filter::Fuse8];

fn with(filter: Filter) -> Config {
    Config { filter, ..config(1, 10_000) }
}

fn load(index: &Index, from: u32) {
    let mut loader = Loader::new(index);
    for n in from..from + KEYS {
        loader.add(index, &n.to_le_bytes(), n).expect("add");
    }
    while loader.step(index).expect("step") {}
}

/// Filters of segments, and lanes that ask them.
fn filters(index: &Index) -> (u64, u64) {
    let stats = index.stats().expect("stats");
    (stats.filtered_segments, stats.filtering_lanes)
}

fn filter_bytes(index: &Index) -> u64 {
    index.memory().expect("memory").sections.filters
}

fn get(index: &Index, n: u32) -> IdSet {
    index.get(&n.to_le_bytes()).expect("get")
}

fn assert_all_there(index: &Index, keys: u32) {
    for n in 0..keys {
        assert_eq!(get(index, n), IdSet::One(n));
        assert_eq!(get(index, n + (1 << 20)), IdSet::Empty);
    }
}

#[test]
fn each_segment_has_the_filter_it_was_written_with() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let open = |filter| Index::open(dir.path(), &with(filter)).expect("open");
    let index = open(Filter::Fuse8);
    load(&index, 0);
    assert_eq!(filters(&index), (1, 1));
    let fuse8 = filter_bytes(&index);
    assert!((u64::from(KEYS)..u64::from(KEYS) * 3 / 2).contains(&fuse8));
    index.close().expect("close");

    let index = open(Filter::None);
    load(&index, KEYS);
    assert_eq!((filters(&index), filter_bytes(&index)), ((1, 0), fuse8));
    assert_all_there(&index, 2 * KEYS);
    index.close().expect("close");

    let index = open(Filter::Bloom);
    load(&index, 2 * KEYS);
    assert_eq!(filters(&index), (2, 1));
    let bloom = filter_bytes(&index) - fuse8;
    assert!((u64::from(KEYS) * 10 / 8..u64::from(KEYS) * 3 / 2).contains(&bloom));
    assert_all_there(&index, 3 * KEYS);
    index.close().expect("close");
    verify(dir.path()).expect("sound");
    let index = open(Filter::None);
    index.compact().expect("compact");
    assert_eq!((filters(&index), filter_bytes(&index)), ((0, 0), 0));
    assert_all_there(&index, 3 * KEYS);
}

#[test]
fn a_lane_asks_and_writes_them_as_long_as_keys_are_absent() {
    for filter in KINDS {
        let index = Index::in_memory(&with(filter)).expect("in memory");
        load(&index, 0);
        let look_up = |from: u32| {
            // One in 64 is counted, and 128 of them settle it.
            (0..10).for_each(|_| (from..from + KEYS).for_each(|n| drop(get(&index, n))));
        };
        // Until it is known what is asked for; batches do not count, as they do not ask them.
        let keys: Vec<_> = (0..KEYS).map(u32::to_le_bytes).collect();
        (0..10).for_each(|_| index.get_many(&keys, |_, _| ()).expect("get_many"));
        assert_eq!(filters(&index), (1, 1));
        look_up(0);
        assert_eq!(filters(&index), (1, 0));
        look_up(1 << 20);
        assert_eq!(filters(&index), (1, 1));
        look_up(0);
        load(&index, KEYS);
        index.compact().expect("compact");
        assert_eq!((filters(&index), filter_bytes(&index)), ((0, 0), 0));
        look_up(1 << 20);
        assert_eq!(filters(&index), (0, 0), "there are none to ask");
        load(&index, 2 * KEYS);
        index.compact().expect("compact");
        assert_eq!(filters(&index), (1, 1));
        assert_all_there(&index, 3 * KEYS);
    }
}

fn the_segment(root: &Path) -> PathBuf {
    let files = std::fs::read_dir(root.join("epoch-00000001/lane-0000")).expect("a lane");
    let mut paths = files.map(|file| file.expect("a file").path());
    paths.find(|path| path.extension().is_some_and(|kind| kind == "seg")).expect("a segment")
}

/// A Bloom filter without any bits lets nothing pass, so what is not found was not looked for.
#[test]
fn only_single_look_ups_ask_them_and_only_where_they_are_wanted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let open = |filter| Index::open(dir.path(), &with(filter)).expect("open");
    let index = open(Filter::Bloom);
    load(&index, 0);
    let bytes = filter_bytes(&index) as usize;
    index.close().expect("close");
    let segment = the_segment(dir.path());
    let mut file = std::fs::read(&segment).expect("read");
    // It is the last of the sections.
    let at = file.len() - bytes;
    file[at..].fill(0);
    std::fs::write(&segment, &file).expect("written");

    assert!(matches!(verify(dir.path()), Err(Error::Corrupt { .. })));
    let index = open(Filter::Bloom);
    assert_eq!(get(&index, 7), IdSet::Empty);
    assert!(!index.contains(&7_u32.to_le_bytes(), 7).expect("contains"));
    let mut found = Vec::new();
    let keys = [7_u32, 8, 1 << 20].map(u32::to_le_bytes);
    index.get_many(&keys, |place, ids| found.push((place, ids))).expect("get_many");
    found.sort_by_key(|(place, _)| *place);
    assert_eq!(found, [(0, IdSet::One(7)), (1, IdSet::One(8)), (2, IdSet::Empty)]);
    // Whoever changes a key looks for what there is.
    assert!(!index.put(&7_u32.to_le_bytes(), 7).expect("put"));
    index.close().expect("close");
    let index = open(Filter::None);
    assert_all_there(&index, KEYS);
    index.close().expect("close");

    // It can be done without.
    let remedies = repair(dir.path(), true).expect("repaired");
    assert_eq!(remedies.iter().map(|remedy| &remedy.lost).collect::<Vec<_>>(), [&Lost::Nothing]);
    let index = open(Filter::Bloom);
    assert_eq!(filters(&index), (0, 0));
    assert_all_there(&index, KEYS);
    index.close().expect("close");
    verify(dir.path()).expect("sound");
}
