//! Changes, on an index in memory of 1 M keys.
//!
//! `cargo bench --no-default-features --bench write`
//!
//! `1 000 puts` and `1 000 deletes`: without the background work, as if a compactor on another core
//! did it. `and work`: with the flushes and merges that fall due meanwhile. `put, pair is there`:
//! the commonest put, which changes nothing. `batch of 100`: `write`, divided by 100. `load`: all
//! of 1 M pairs into an empty index, in bulk.

mod support;

use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lsm_index::{Config, Index, Op};
use support::{ABSENT, in_memory, key, load, numbers};

const KEYS: u64 = 1_000_000;
const BLOCK: u64 = 1_000;
const LONG: Duration = Duration::from_secs(4);

/// An index whose oldest keys are deleted as new ones are put, so that it stays as large as it is
/// and flushes and merges come as they do in the long run.
struct Churn {
    index: Index,
    /// It holds the keys from this one on, [`KEYS`] of them.
    oldest: u64,
}

impl Churn {
    /// Puts or deletes a block of keys, and does what work piles up; the time it takes, with that
    /// work or without.
    fn block(&self, op: Op, first: u64, with_work: bool) -> Duration {
        let mut spent = Duration::ZERO;
        let mut started = Instant::now();
        for n in first..first + BLOCK {
            let changed = match op {
                Op::Put => self.index.put(&key(n), n as u32),
                Op::Delete => self.index.delete(&key(n), n as u32),
            };
            assert!(changed.expect("change"));
            if self.index.claim_wakeup() {
                if !with_work {
                    spent += started.elapsed();
                }
                while self.index.work().expect("work") {}
                if !with_work {
                    started = Instant::now();
                }
            }
        }
        spent + started.elapsed()
    }

    /// The time of so many blocks of puts, or of deletes.
    fn run(&mut self, measured: Op, with_work: bool, blocks: u64) -> Duration {
        let mut spent = Duration::ZERO;
        for _ in 0..blocks {
            let puts = self.block(Op::Put, self.oldest + KEYS, with_work);
            let deletes = self.block(Op::Delete, self.oldest, with_work);
            self.oldest += BLOCK;
            spent += if measured == Op::Put { puts } else { deletes };
        }
        spent
    }
}

fn single(c: &mut Criterion) {
    let mut churn = Churn { index: in_memory(KEYS), oldest: 0 };
    let mut group = c.benchmark_group("write 1 M");
    // Lanes of one age are flushed and merged at the same time: each sample has to see all of it.
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(LONG);
    group.throughput(Throughput::Elements(BLOCK));
    for (name, op, with_work) in [
        ("1 000 puts, new keys", Op::Put, false),
        ("1 000 puts, new keys, and work", Op::Put, true),
        ("1 000 deletes, whole keys", Op::Delete, false),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|blocks| churn.run(op, with_work, blocks));
        });
    }
    group.finish();
}

fn unchanged(c: &mut Criterion) {
    let index = in_memory(KEYS);
    let mut group = c.benchmark_group("write 1 M");
    let mut cycle = numbers(KEYS);
    group.bench_function("put, pair is there", |b| {
        b.iter(|| {
            let n = cycle.next().unwrap_or_default();
            index.put(&key(n), n as u32)
        });
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let index = in_memory(KEYS);
    let mut group = c.benchmark_group("write 1 M");
    let mut cycle = numbers(KEYS);
    // One iteration of the benchmark is one change.
    group.bench_function("batch of 100", |b| {
        b.iter_custom(|changes| {
            let mut spent = Duration::ZERO;
            for _ in 0..changes.div_ceil(200) {
                let keys: Vec<[u8; 8]> =
                    cycle.by_ref().take(100).map(|n| key(ABSENT + n)).collect();
                for op in [Op::Put, Op::Delete] {
                    let batch: Vec<(Op, &[u8], u32)> =
                        keys.iter().map(|key| (op, &key[..], 1)).collect();
                    let started = Instant::now();
                    index.write(&batch).expect("write");
                    spent += started.elapsed();
                    while index.claim_wakeup() && index.work().expect("work") {}
                }
            }
            spent.mul_f64(changes as f64 / (changes.div_ceil(200) * 200) as f64)
        });
    });
    group.finish();
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("write 1 M");
    group.sample_size(10).throughput(Throughput::Elements(KEYS));
    group.bench_function("load", |b| {
        let empty = || Index::in_memory(&Config::default()).expect("in memory");
        let fill = |index: Index| {
            load(&index, KEYS);
            index
        };
        b.iter_batched(empty, fill, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = single, unchanged, batches, bulk
}
criterion_main!(benches);
