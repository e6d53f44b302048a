//! Background work, and what it is for.
//!
//! `cargo bench --no-default-features --bench compaction`
//!
//! `flush`: one lane's overlay of 10 000 keys to a segment, in memory and in a file, with every
//! sync it takes. `compact`: all of 1 M keys in 64 lanes with a tenth of it changed. `reopen`:
//! opening and closing 1 M keys on disk.

mod support;

use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lsm_index::{Config, Index};
use support::{ABSENT, in_memory, key, on_disk};

const KEYS: u64 = 1_000_000;
const OVERLAY: u64 = 10_000;

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("flush a lane of 10 K");
    group.sample_size(10).throughput(Throughput::Elements(OVERLAY));
    // Filling takes far longer than flushing.
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_millis(100));
    // An overlay is flushed at 5 % of its lane; so the lane has twenty times as many keys.
    let config = Config { num_lanes: Some(1), ..Config::default() };
    let fill = |index: Index| {
        support::load(&index, 20 * OVERLAY);
        index.compact().expect("compact");
        for n in 0..OVERLAY - 1 {
            index.put(&key(ABSENT + n), n as u32).expect("put");
        }
        assert_eq!(index.stats().expect("stats").total_overlay_entries, OVERLAY - 1);
        index
    };
    let flush = |index: Index| {
        index.flush().expect("flush");
        index
    };
    group.bench_function("in memory", |b| {
        let full = || fill(Index::in_memory(&config).expect("in memory"));
        b.iter_batched(full, flush, BatchSize::PerIteration);
    });
    group.bench_function("on disk", |b| {
        let full = || {
            let dir = tempfile::tempdir().expect("temporary directory");
            (fill(Index::open(dir.path(), &config).expect("open")), dir)
        };
        b.iter_batched(full, |(index, dir)| (flush(index), dir), BatchSize::PerIteration);
    });
    group.finish();
}

fn compact(c: &mut Criterion) {
    let mut group = c.benchmark_group("compact");
    group.sample_size(10).throughput(Throughput::Elements(KEYS));
    let index = in_memory(KEYS);
    let mut id = 0;
    group.bench_function("1 M keys, a tenth changed", |b| {
        let change = || {
            id += 1;
            for n in (0..KEYS).step_by(20) {
                index.put(&key(n), (2 << 20) + id).expect("put");
                index.delete(&key(n), (2 << 20) + id - 1).expect("delete");
            }
        };
        b.iter_batched(change, |()| index.compact().expect("compact"), BatchSize::PerIteration);
    });
    group.finish();
}

fn reopen(c: &mut Criterion) {
    let mut group = c.benchmark_group("reopen");
    let dir = tempfile::tempdir().expect("temporary directory");
    on_disk(dir.path(), KEYS).close().expect("close");
    group.bench_function("1 M keys", |b| {
        b.iter(|| {
            let index = Index::open(dir.path(), &Config::default()).expect("open");
            assert_eq!(index.count().expect("count"), KEYS);
            index.close().expect("close");
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = flush, compact, reopen
}
criterion_main!(benches);
