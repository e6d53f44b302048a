//! Runs of the model, and what its threads work on.
#[path = "../../../../native_test/support/around.rs"]
#[allow(dead_code, reason = "the tests of the engine use more of it")]
pub(crate) mod around;
#[path = "../../../../native_test/support/simulated/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the engine use more of it")]
pub(crate) mod simulated;

mod crashes;
mod turns;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_index::{Config, HashKey, Index, KeyHasher, SMALLEST_LOG, SlotTable};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config as Model, Runner};
use simulated::Simulated;

pub(crate) use crashes::Crashes;
pub(crate) use turns::{Turn, Turns};

pub(crate) const HASH_KEY: HashKey = HashKey(*b"not secret: test");
pub(crate) const ROOT: &str = "/db";

/// Of each kind of schedule, and for each scenario, unless MODEL_SCHEDULES says otherwise.
const SCHEDULES: usize = 1_000;
/// Places where one of the threads is held up that otherwise run in the order of their priority.
const DEPTH: usize = 3;
const SEED: u64 = 1;

static EXPLORED: AtomicU64 = AtomicU64::new(0);

/// Runs a scenario under many schedules: half of them random, half with few but ill-placed changes
/// of thread.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let told = std::env::var("MODEL_SCHEDULES").ok().and_then(|text| text.parse().ok());
    let schedules = told.unwrap_or(SCHEDULES);
    let scenario = Arc::new(scenario);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Model::new();
        config.stack_size = 1 << 20;
        config.silence_warnings = true;
        let scenario = Arc::clone(&scenario);
        let runs = Runner::new(scheduler, config).run(move || scenario());
        EXPLORED.fetch_add(runs as u64, Ordering::Relaxed);
    };
    // Made once: it is shared by all indexes while there is one, and takes long.
    let _slots = [1, 2].map(SlotTable::new);
    run(Box::new(RandomScheduler::new_from_seed(SEED, schedules)));
    run(Box::new(PctScheduler::new_from_seed(SEED, DEPTH, schedules)));
    // Past what captures the output of tests. The last of these lines has the sum of all.
    let explored = EXPLORED.load(Ordering::Relaxed);
    let _ = writeln!(std::io::stderr(), "schedules explored: {explored}");
}

pub(crate) fn config(lanes: u32, threshold: u32) -> Config {
    Config {
        num_lanes: Some(lanes),
        compaction_threshold: Some(threshold),
        hash_key: Some(HASH_KEY),
        max_log_bytes: Some(SMALLEST_LOG),
        ..Config::default()
    }
}

pub(crate) fn in_memory(lanes: u32, threshold: u32) -> Arc<Index> {
    Arc::new(Index::in_memory(&config(lanes, threshold)).expect("an index"))
}

pub(crate) fn turns(system: &Simulated) -> Turns {
    Turns::new(system.clone(), Turn::default())
}

/// On a file system whose operations are places for other threads to come in between.
pub(crate) fn on_disk(system: &Simulated, config: &Config) -> Arc<Index> {
    let system = Arc::new(turns(system));
    Arc::new(Index::open_on(system, Path::new(ROOT), config).expect("opens"))
}

pub(crate) fn key(n: u32) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// Keys of a lane, as many as are asked for.
pub(crate) fn keys_of(lane: usize, lanes: u32) -> impl Iterator<Item = Vec<u8>> {
    let (hasher, slots) = (KeyHasher::new(&HASH_KEY), SlotTable::new(lanes));
    (0..).map(key).filter(move |key| slots.lane(hasher.fingerprint(key)) == lane)
}

pub(crate) fn holds(index: &Index, key: &[u8], id: u32) -> bool {
    index.get(key).expect("get").as_slice().contains(&id)
}

/// Runs these as threads; returns when all are done.
pub(crate) fn together<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let handles = threads.map(|thread| shuttle::thread::spawn(thread));
    for handle in handles {
        handle.join().expect("a thread of the scenario");
    }
}

/// A thread that has an index of its own to hold.
pub(crate) fn with<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    thread: impl FnOnce(&T) + Send + 'static,
) -> Box<dyn FnOnce() + Send> {
    let shared = Arc::clone(shared);
    Box::new(move || thread(&shared))
}

/// Does all that there is to do.
pub(crate) fn upkeep(index: &Index) {
    while index.work().expect("work") {}
}
