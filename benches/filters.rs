//! What filters cost and what they spare: look-ups of keys that are there and of keys that are not,
//! in lanes of one to four segments, nanoseconds per key.
//!
//! `cargo bench --no-default-features --bench filters`; `LSM_BENCH_KEYS` (1000000,10000000).
//!
//! Each figure is the median of rounds in which all indexes take turns; that of loading is of once. The
//! newer segments have a fiftieth of the keys each; keys that are there are the oldest, in the last
//! segment that is asked. Lanes that find their filters not worth it do not come to that conclusion:
//! before each timing, absent keys are looked up.

mod support;

use std::hint::black_box;
use std::time::Instant;

use lsm_index::{Config, Filter, Index, Loader};
use support::{ABSENT, key};

const LOOKUPS: u64 = 200_000;
const ROUNDS: usize = 7;
const FILTERS: [Filter; 3] = [Filter::None, Filter::Bloom, Filter::Fuse8];
/// Flushes after which lanes have so many segments.
const LOADS_FOR_SEGMENTS: [u64; 4] = [0, 1, 2, 4];

fn main() {
    let sizes = std::env::var("LSM_BENCH_KEYS").unwrap_or_else(|_| "1000000,10000000".into());
    for keys in sizes.split(',').map(|size| size.parse().expect("a number of keys")) {
        println!("\n{keys} keys, nanoseconds per key, beside those without a filter");
        println!(
            "{:8} {:>8} {:>16} {:>16} {:>8} {:>8}",
            "filter", "segments", "hit", "miss", "load", "B/key"
        );
        for loads in LOADS_FOR_SEGMENTS {
            compare(keys, loads);
        }
    }
}

fn compare(keys: u64, loads: u64) {
    let filled = FILTERS.map(|filter| filled(filter, keys, loads));
    let mut times = [const { [const { Vec::new() }; 2] }; FILTERS.len()];
    for round in 0..ROUNDS {
        for ((index, _load), times) in filled.iter().zip(&mut times) {
            for (from, times) in [0, ABSENT].into_iter().zip(times) {
                times.push(looked_up(index, keys, round as u64 * LOOKUPS, from));
            }
        }
    }
    let medians = times.map(|times| times.map(median));
    for ((filter, (index, load)), figures) in FILTERS.iter().zip(&filled).zip(medians) {
        let stats = index.stats().expect("stats");
        let segments = stats.max_segments_per_lane;
        let bytes = index.memory().expect("memory").total() as f64 / stats.live_keys as f64;
        print!("{:8} {segments:>8}", format!("{filter:?}"));
        for (time, without) in figures.iter().zip(medians[0]) {
            print!(" {time:>8.1} {:>6.2}x", time / without);
        }
        println!(" {load:>8.0} {bytes:>8.2}");
    }
}

/// Lanes of one segment, how long it took to load them, and so many loads on top of them.
fn filled(filter: Filter, keys: u64, loads: u64) -> (Index, f64) {
    let config = Config { filter, ..Config::default() };
    let index = Index::in_memory(&config).expect("in memory");
    let started = Instant::now();
    support::load(&index, keys);
    index.compact().expect("compact");
    let load = per_key(started, keys);
    for i in 0..loads {
        let mut loader = Loader::new(&index);
        for n in 0..keys / 50 {
            loader.add(&index, &key(keys + i * (keys / 50) + n), 1).expect("add");
        }
        while loader.step(&index).expect("step") {}
    }
    (index, load)
}

fn places(keys: u64, first: u64) -> impl Iterator<Item = u64> {
    // An odd step that has no factor in common with the number of keys.
    (first..first + LOOKUPS).map(move |n| n.wrapping_mul(0x9e37_79b1) % keys)
}

fn looked_up(index: &Index, keys: u64, first: u64, from: u64) -> f64 {
    for n in places(keys, first) {
        black_box(index.get(&key(ABSENT + n)).expect("get"));
    }
    let started = Instant::now();
    for n in places(keys, first) {
        black_box(index.get(&key(from + n)).expect("get"));
    }
    per_key(started, LOOKUPS)
}

fn per_key(started: Instant, keys: u64) -> f64 {
    started.elapsed().as_nanos() as f64 / keys as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
