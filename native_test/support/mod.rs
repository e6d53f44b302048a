//! What the tests of the engine share.
#![allow(dead_code, unused_imports, reason = "every test uses a part of it")]

pub(crate) mod around;
pub(crate) mod namespaces;
pub(crate) mod repairs;
pub(crate) mod simulated;
pub(crate) mod small;
pub(crate) mod sweeps;
pub(crate) mod threads;
pub(crate) mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use lsm_index::{Config, HashKey, Index, KeyHasher, Op, Result, Target};

/// A fixed secret, so that a failure happens again.
pub(crate) const HASH_KEY: HashKey = HashKey(*b"not secret: test");

pub(crate) fn config(num_lanes: u32, compaction_threshold: u32) -> Config {
    Config {
        num_lanes: Some(num_lanes),
        compaction_threshold: Some(compaction_threshold),
        hash_key: Some(HASH_KEY),
        ..Config::default()
    }
}

/// Straight to standard error, which the test runner does not capture.
pub(crate) fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The seeds that a variable asks for, as `from..to`, or these.
pub(crate) fn seeds(variable: &str, usual: Range<u64>) -> Range<u64> {
    let Ok(given) = std::env::var(variable) else { return usual };
    let (from, to) = given.split_once("..").expect("from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// So many terms of one shard of the dictionary, that may get each other's ids.
pub(crate) fn terms_of_a_shard(count: usize) -> Vec<Vec<u8>> {
    // As the dictionary has them: the index's own, behind a zero.
    of_a_shard(0, "term").take(count).collect()
}

fn of_a_shard(scope: u8, what: &str) -> impl Iterator<Item = Vec<u8>> {
    let hasher = KeyHasher::new(&HASH_KEY);
    let terms = (0..).map(move |n: u32| format!("{what} {n}").into_bytes());
    terms.filter(move |term| hasher.fingerprint(&[&[scope], &term[..]].concat()).0 % 256 == 5)
}

/// Names of namespaces of the same shard.
pub(crate) fn names() -> &'static [Vec<u8>] {
    static NAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    NAMES.get_or_init(|| of_a_shard(1, "name").take(8).collect())
}

/// The n-th of a few of them.
pub(crate) fn term(n: usize) -> Vec<u8> {
    static TERMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    TERMS.get_or_init(|| terms_of_a_shard(32))[n].clone()
}

/// Does a piece of the round over all lanes, or begins one.
pub(crate) fn step_round(index: &Index) -> Result<()> {
    if index.step_round()? { Ok(()) } else { index.begin_round().map(drop) }
}

/// SplitMix64: random enough, and the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What a key leads to, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    Id(u32),
    Term(Vec<u8>),
}

impl Item {
    fn target(&self) -> Target<'_> {
        match self {
            Item::Id(id) => Target::Id(*id),
            Item::Term(term) => Target::Term(term),
        }
    }
}

/// A plain multimap that is changed along with an index.
#[derive(Default)]
pub(crate) struct Model(pub(crate) BTreeMap<Vec<u8>, BTreeSet<Item>>);

impl Model {
    pub(crate) fn put(&mut self, index: &Index, key: &[u8], item: Item) {
        let changed = index.route(key, item.target(), Op::Put).expect("put");
        assert_eq!(changed, self.0.entry(key.to_vec()).or_default().insert(item));
    }

    pub(crate) fn delete(&mut self, index: &Index, key: &[u8], item: &Item) {
        let changed = index.route(key, item.target(), Op::Delete).expect("delete");
        let ids = self.0.get_mut(key).expect("only keys that are there are deleted");
        assert_eq!(changed, ids.remove(item));
        if ids.is_empty() {
            self.0.remove(key);
        }
    }

    /// Every key of the model, and no other, leads to what the model says.
    pub(crate) fn check(&self, index: &Index) {
        for (key, items) in &self.0 {
            assert_eq!(&resolved(index, key), items, "key {:?}", String::from_utf8_lossy(key));
        }
        assert_eq!(index.count().expect("count"), self.0.len() as u64);
        let mut keys = 0;
        index.for_each_key(|_, _| keys += 1).expect("listing");
        assert_eq!(keys, self.0.len());
    }
}

/// What a key leads to, terms resolved.
pub(crate) fn resolved(index: &Index, key: &[u8]) -> BTreeSet<Item> {
    targets(index, key).expect("targets")
}

/// The same while the index may be closed by another thread.
pub(crate) fn targets(index: &Index, key: &[u8]) -> Result<BTreeSet<Item>> {
    let mut items = BTreeSet::new();
    let all = index.targets(key, lsm_index::Most::ALL, |target| {
        items.insert(match target {
            Target::Id(id) => Item::Id(id),
            Target::Term(term) => Item::Term(term.to_vec()),
        });
    })?;
    assert!(all, "no key has more targets than can be counted");
    Ok(items)
}

/// The files below a directory, as sorted paths relative to it. The lock file is nobody's data.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    fn gather(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("readable directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                gather(root, &path, found);
            } else if !path.ends_with("LOCK") {
                found.push(path.strip_prefix(root).expect("below the root").to_path_buf());
            }
        }
    }
    let mut found = Vec::new();
    gather(root, root, &mut found);
    found.sort();
    found
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("directory");
        std::fs::copy(from.join(&file), target).expect("copy");
    }
}

/// Runs `test` in a thread of its own and gives up when that takes so long that it must be stuck.
pub(crate) fn not_stuck(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match finished.recv_timeout(Duration::from_secs(300)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("stuck: a deadlock or a lost wake-up"),
        _ => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
