//! What the benchmarks share: keys, and indexes full of them.
#![allow(dead_code, reason = "every benchmark uses a part of it")]

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use lsm_index::{Config, Index, Loader};

/// Short, so that all benchmarks together take minutes and not hours.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

/// 10 K and 1 M keys; 10 M too if `LSM_BENCH_10M` is set.
pub(crate) fn sizes() -> Vec<(&'static str, u64)> {
    let mut sizes = vec![("10 K", 10_000), ("1 M", 1_000_000)];
    if std::env::var_os("LSM_BENCH_10M").is_some() {
        sizes.push(("10 M", 10_000_000));
    }
    sizes
}

/// Key number `n`: 8 bytes. Numbers from [`ABSENT`] on are in no index.
pub(crate) fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

pub(crate) const ABSENT: u64 = 1 << 40;

/// The numbers `0..keys` again and again. Their hashes, and so the places that look-ups read, are
/// in no order at all.
pub(crate) fn numbers(keys: u64) -> impl Iterator<Item = u64> {
    (0..keys).cycle()
}

/// Keys `0..keys`, one id each, straight into segments.
pub(crate) fn load(index: &Index, keys: u64) {
    let mut loader = Loader::new(index);
    for n in 0..keys {
        loader.add(index, &key(n), n as u32).expect("add");
        if loader.is_full() {
            loader.step(index).expect("step");
        }
    }
    while loader.step(index).expect("step") {}
}

/// One segment per lane.
pub(crate) fn in_memory(keys: u64) -> Index {
    let index = Index::in_memory(&Config::default()).expect("in memory");
    load(&index, keys);
    index.compact().expect("compact");
    index
}

/// The same in files.
pub(crate) fn on_disk(path: &Path, keys: u64) -> Index {
    let index = Index::open(path, &Config::default()).expect("open");
    load(&index, keys);
    index.compact().expect("compact");
    index
}
