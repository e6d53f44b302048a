//! Random operations against a plain map: whatever the engine does inside (flush, merge,
//! reopen, at any moment), the answers are the model's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use lsm_index::{Config, Durability, Filter, HashKey, Index, Loader, Op, SMALLEST_LOG, Verify};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

type Model = BTreeMap<Vec<u8>, BTreeSet<u32>>;

/// A few dozen keys of very different lengths, so that every key is changed again and again.
const KEYS: u8 = 40;

fn key(n: u8) -> Vec<u8> {
    match n % 4 {
        0 => vec![],
        1 => vec![n],
        2 => u64::from(n).to_le_bytes().to_vec(),
        _ => vec![n; usize::from(n) * 7],
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32),
    Delete(u8, u32),
    Batch(Vec<(bool, u8, u32)>),
    /// Many ids for one key, as a popular constant has.
    Hot(u8, u32, u32),
    /// The same, removed.
    Cool(u8, u32, u32),
    Load(Vec<(u8, u32)>),
    Round,
    Work,
    Flush,
    Compact,
    Reopen,
    /// A put that the log does not have.
    Unlogged(u8, u32),
    /// The end of the process, as far as the files can tell: dropped, not closed.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS;
    let id = prop_oneof![8 => 0..12_u32, 1 => Just(lsm_index::MAX_ID), 1 => any::<u32>().prop_map(|i| i >> 1)];
    let step = prop_oneof![
        24 => (key.clone(), id.clone()).prop_map(|(k, i)| Step::Put(k, i)),
        18 => (key.clone(), id.clone()).prop_map(|(k, i)| Step::Delete(k, i)),
        4 => prop::collection::vec((any::<bool>(), key.clone(), id.clone()), 0..20).prop_map(Step::Batch),
        2 => (key.clone(), 0..3000_u32, 1..300_u32).prop_map(|(k, from, n)| Step::Hot(k, from, n)),
        2 => (key.clone(), 0..3000_u32, 1..300_u32).prop_map(|(k, from, n)| Step::Cool(k, from, n)),
        2 => prop::collection::vec((key.clone(), id.clone()), 0..60).prop_map(Step::Load),
        2 => Just(Step::Round),
        4 => Just(Step::Work),
        4 => Just(Step::Flush),
        2 => Just(Step::Compact),
        2 => Just(Step::Reopen),
        2 => (key.clone(), id.clone()).prop_map(|(k, i)| Step::Unlogged(k, i)),
        3 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone, Debug)]
struct Setting {
    lanes: u32,
    threshold: u32,
    verify: Verify,
    /// Before and after each time it is opened anew.
    filters: [Filter; 2],
    on_disk: bool,
    max_log_bytes: Option<u64>,
    hash_key: [u8; 16],
}

fn settings() -> impl Strategy<Value = Setting> {
    (
        prop::sample::select(vec![1_u32, 3, 64]),
        prop::sample::select(vec![1_u32, 2, 5, 50, 10_000]),
        prop::sample::select(vec![Verify::Full, Verify::Fast]),
        prop::array::uniform2(prop::sample::select(vec![
            Filter::None,
            Filter::Bloom,
            Filter::Fuse8,
        ])),
        prop::bool::weighted(0.4),
        prop::sample::select(vec![None, Some(SMALLEST_LOG)]),
        any::<[u8; 16]>(),
    )
        .prop_map(|(lanes, threshold, verify, filters, on_disk, max_log_bytes, hash_key)| {
            Setting {
                // Every lane of an index on disk costs file operations.
                lanes: if on_disk { lanes.min(3) } else { lanes },
                threshold,
                verify,
                filters,
                on_disk,
                max_log_bytes,
                hash_key,
            }
        })
}

struct Bench {
    index: Index,
    config: Config,
    next_filter: Filter,
    dir: Option<tempfile::TempDir>,
    /// The log does not have everything.
    unlogged: bool,
}

impl Bench {
    fn new(setting: &Setting) -> Self {
        let config = Config {
            num_lanes: Some(setting.lanes),
            compaction_threshold: Some(setting.threshold),
            verify: setting.verify,
            filter: setting.filters[0],
            max_log_bytes: setting.max_log_bytes,
            hash_key: Some(HashKey(setting.hash_key)),
            ..Config::default()
        };
        // In memory where that can be had: thousands of cases sync tens of thousands of files.
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let dir = setting.on_disk.then(|| tempfile::tempdir_in(root).expect("temporary directory"));
        let index = Self::open(&config, dir.as_ref());
        Self { index, config, next_filter: setting.filters[1], dir, unlogged: false }
    }

    fn open(config: &Config, dir: Option<&tempfile::TempDir>) -> Index {
        match dir {
            Some(dir) => Index::open(dir.path(), config).expect("open"),
            None => Index::in_memory(config).expect("in memory"),
        }
    }

    fn reopen(&mut self) {
        if self.dir.is_some() {
            self.index.close().expect("close");
            self.unlogged = false;
            std::mem::swap(&mut self.config.filter, &mut self.next_filter);
            self.index = Self::open(&self.config, self.dir.as_ref());
        }
    }

    fn crash(&mut self) {
        if self.dir.is_some() {
            if std::mem::take(&mut self.unlogged) {
                self.index.sync().expect("sync");
            }
            // Drops the lock before it is asked for again.
            self.index = Index::in_memory(&Config::default()).expect("in memory");
            self.index = Self::open(&self.config, self.dir.as_ref());
        }
    }
}

fn put(model: &mut Model, key: Vec<u8>, id: u32) -> bool {
    model.entry(key).or_default().insert(id)
}

fn delete(model: &mut Model, key: &[u8], id: u32) -> bool {
    let Some(ids) = model.get_mut(key) else { return false };
    let changed = ids.remove(&id);
    if ids.is_empty() {
        model.remove(key);
    }
    changed
}

fn apply(bench: &mut Bench, model: &mut Model, step: &Step) {
    let index = &bench.index;
    match step {
        Step::Put(k, id) => {
            let changed = index.put(&key(*k), *id).expect("put");
            assert_eq!(changed, put(model, key(*k), *id));
        }
        Step::Delete(k, id) => {
            let changed = index.delete(&key(*k), *id).expect("delete");
            assert_eq!(changed, delete(model, &key(*k), *id));
        }
        Step::Batch(changes) => write(index, model, changes.iter().copied()),
        Step::Hot(k, from, n) => write(index, model, (*from..from + n).map(|id| (true, *k, id))),
        Step::Cool(k, from, n) => write(index, model, (*from..from + n).map(|id| (false, *k, id))),
        Step::Load(pairs) => {
            let mut loader = Loader::new(index);
            for (k, id) in pairs {
                loader.add(index, &key(*k), *id).expect("add");
                put(model, key(*k), *id);
            }
            while loader.step(index).expect("load") {}
        }
        Step::Round => {
            if !index.step_round().expect("round") {
                index.begin_round().expect("round");
            }
        }
        Step::Work => while index.work().expect("work") {},
        Step::Flush => index.flush().expect("flush"),
        Step::Compact => index.compact().expect("compact"),
        Step::Reopen => bench.reopen(),
        Step::Unlogged(k, id) => {
            bench.unlogged = true;
            let changed = index.change(&key(*k), *id, Op::Put, Durability::Memory).expect("put");
            assert_eq!(changed, put(model, key(*k), *id));
        }
        Step::Crash => bench.crash(),
    }
}

fn write(index: &Index, model: &mut Model, changes: impl Iterator<Item = (bool, u8, u32)>) {
    let changes: Vec<(bool, Vec<u8>, u32)> = changes.map(|(p, k, id)| (p, key(k), id)).collect();
    let batch: Vec<(Op, &[u8], u32)> = changes
        .iter()
        .map(|(p, k, id)| (if *p { Op::Put } else { Op::Delete }, k.as_slice(), *id))
        .collect();
    let changed = index.write(&batch).expect("write");
    let pairs: BTreeSet<(&Vec<u8>, u32)> = changes.iter().map(|(_, k, id)| (k, *id)).collect();
    let held = |model: &Model| -> Vec<bool> {
        pairs.iter().map(|(k, id)| model.get(*k).is_some_and(|ids| ids.contains(id))).collect()
    };
    let before = held(model);
    for (p, k, id) in &changes {
        if *p {
            put(model, k.clone(), *id)
        } else {
            delete(model, k, *id)
        };
    }
    let expected = before.iter().zip(held(model)).filter(|(was, is)| **was != *is).count();
    assert_eq!(changed, expected);
}

fn check(index: &Index, model: &Model) {
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).chain([b"never put".to_vec()]).collect();
    let mut batch = vec![None; keys.len()];
    index.get_many(&keys, |place, ids| batch[place] = Some(ids)).expect("get_many");
    for (key, from_batch) in keys.iter().zip(batch) {
        let expected: Vec<u32> =
            model.get(key).map(|ids| ids.iter().copied().collect()).unwrap_or_default();
        let ids = index.get(key).expect("get");
        assert_eq!(ids.as_slice(), expected, "key {key:?}");
        assert_eq!(from_batch.as_ref(), Some(&ids), "key {key:?} in a batch");
        for id in expected.iter().copied().take(3).chain([5, 77]) {
            let member = index.contains(key, id).expect("contains");
            assert_eq!(member, expected.contains(&id));
        }
    }
    assert_eq!(index.count().expect("count"), model.len() as u64);
    let ids: BTreeSet<u32> = model.values().flatten().copied().collect();
    assert_eq!(index.ids().expect("ids"), ids.into_iter().collect::<Vec<_>>());
    let stats = index.stats().expect("stats");
    assert!(stats.max_segments_per_lane <= 4, "{stats:?}");
}

fn run(setting: &Setting, steps: &[Step]) {
    let mut bench = Bench::new(setting);
    let mut model = Model::new();
    for (i, step) in steps.iter().enumerate() {
        apply(&mut bench, &mut model, step);
        if i % 16 == 0 {
            check(&bench.index, &model);
        }
    }
    check(&bench.index, &model);
    bench.crash();
    check(&bench.index, &model);
    bench.reopen();
    check(&bench.index, &model);
    bench.index.compact().expect("compact");
    check(&bench.index, &model);
    assert_eq!(bench.index.stats().expect("stats").tombstones, 0);
}

/// `PROPTEST_CASES` sets the number of generated cases; 2 000 by default.
#[test]
fn random_operations_agree_with_a_plain_map() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let tried = AtomicUsize::new(0);
    let config = Runs { cases, max_shrink_iters: 20_000, ..Runs::default() };
    let outcome = TestRunner::new(config).run(&(settings(), steps()), |(setting, steps)| {
        tried.fetch_add(1, Ordering::Relaxed);
        run(&setting, &steps);
        Ok(())
    });
    // Straight to standard error, which the test runner does not capture.
    let tried_cases = tried.load(Ordering::Relaxed);
    let _ = writeln!(std::io::stderr(), "model test: {tried_cases} generated cases");
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert!(tried.load(Ordering::Relaxed) >= cases as usize);
}
