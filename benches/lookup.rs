//! Look-ups, nanoseconds per key, places in random order: the index whole in segments, with one id a key
//! and with three, whole in overlays, and in mapped files, beside a `hashbrown::HashMap<u64, u32>` (SipHash-1-3).
//!
//! `cargo bench --no-default-features --bench lookup`, `LSM_BENCH_10M=1 cargo bench
//! --no-default-features --bench lookup` for 10 M keys too.
//!
//! `hit`, `miss`: one call of `get`. `batch of 100`: `get_many`, divided by 100. The map gives what
//! memory of that size can do; it stores 8-byte keys in 28 to 37 bytes, the index any key in 10 to 11.

mod support;

use std::hash::RandomState;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use hashbrown::HashMap;
use lsm_index::{Config, IdSet, Index, Loader};
use support::{ABSENT, in_memory, key, numbers, on_disk, sizes};

fn one_by_one(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, index: &Index, keys: u64) {
    let mut cycle = numbers(keys);
    let mut next = || key(cycle.next().unwrap_or_default());
    assert_ne!(index.get(&next()).expect("get"), IdSet::Empty);
    group.bench_function(format!("{name}/hit"), |b| b.iter(|| index.get(&next())));
    let mut cycle = numbers(keys);
    let mut next = || key(ABSENT + cycle.next().unwrap_or_default());
    assert_eq!(index.get(&next()).expect("get"), IdSet::Empty);
    group.bench_function(format!("{name}/miss"), |b| b.iter(|| index.get(&next())));
}

fn batches(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, index: &Index, keys: u64) {
    for (what, from) in [("hits", 0), ("misses", ABSENT)] {
        let mut cycle = numbers(keys);
        let mut batch = [key(0); 100];
        // One iteration of the benchmark is one key.
        group.bench_function(format!("{name}/batch of 100, {what}"), |b| {
            b.iter_custom(|keys| {
                let started = std::time::Instant::now();
                for _ in 0..keys.div_ceil(100) {
                    batch.fill_with(|| key(from + cycle.next().unwrap_or_default()));
                    index
                        .get_many(&batch, |place, ids| {
                            black_box((place, ids));
                        })
                        .expect("get_many");
                }
                started.elapsed().mul_f64(keys as f64 / (keys.div_ceil(100) * 100) as f64)
            });
        });
    }
}

fn segments(c: &mut Criterion) {
    for (size, keys) in sizes() {
        let index = in_memory(keys);
        let mut group = c.benchmark_group(format!("lookup {size}"));
        one_by_one(&mut group, "segments", &index, keys);
        batches(&mut group, "segments", &index, keys);
        group.finish();
    }
}

/// Keys of three ids each: a list takes one more place to look at.
fn lists(c: &mut Criterion) {
    let index = Index::in_memory(&Config::default()).expect("in memory");
    let mut loader = Loader::new(&index);
    for n in 0..1_000_000_u64 {
        for id in 0..3 {
            loader.add(&index, &key(n), n as u32 + id).expect("add");
        }
        if loader.is_full() {
            loader.step(&index).expect("step");
        }
    }
    while loader.step(&index).expect("step") {}
    index.compact().expect("compact");
    let mut group = c.benchmark_group("lookup 1 M");
    one_by_one(&mut group, "lists of 3", &index, 1_000_000);
    batches(&mut group, "lists of 3", &index, 1_000_000);
    group.finish();
}

fn files(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let index = on_disk(dir.path(), 1_000_000);
    let mut group = c.benchmark_group("lookup 1 M");
    one_by_one(&mut group, "mapped files", &index, 1_000_000);
    group.finish();
}

/// As many keys as overlays hold: none is flushed.
fn overlays(c: &mut Criterion) {
    let index = Index::in_memory(&Config::default()).expect("in memory");
    for n in 0..10_000 {
        index.put(&key(n), n as u32).expect("put");
    }
    assert_eq!(index.stats().expect("stats").total_segments, 0);
    let mut group = c.benchmark_group("lookup 10 K");
    one_by_one(&mut group, "overlays", &index, 10_000);
    group.finish();
}

fn map(c: &mut Criterion) {
    for (size, keys) in sizes() {
        let map: HashMap<u64, u32, RandomState> = (0..keys).map(|n| (n, n as u32)).collect();
        let mut group = c.benchmark_group(format!("lookup {size}"));
        for (what, from) in [("hit", 0), ("miss", ABSENT)] {
            let mut cycle = numbers(keys);
            group.bench_function(format!("map/{what}"), |b| {
                b.iter(|| map.get(&(from + cycle.next().unwrap_or_default())).copied());
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = segments, lists, files, overlays, map
}
criterion_main!(benches);
