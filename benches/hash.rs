//! The fixed price of every call: the keyed hash of the key, and the choice of the lane.
//!
//! `cargo bench --no-default-features --bench hash`
//!
//! `siphash/*`: SipHash-2-4 of keys of 8, 16 and 26 bytes, and of the term `{1, "user_id", n}`. `lane/*`: the table of slots that
//! look-ups use, beside the jump consistent hash it is filled from, computed each time; 64 lanes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use lsm_index::{Config, HashKey, Index, KeyHasher, SlotTable, jump_hash};

fn siphash(c: &mut Criterion) {
    let hasher = KeyHasher::new(&HashKey([7; 16]));
    let mut group = c.benchmark_group("siphash");
    for len in [8, 16, 26] {
        let keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte; len]).collect();
        let mut next = keys.iter().cycle();
        group.bench_function(format!("{len} bytes"), |b| {
            b.iter(|| next.next().map(|key| hasher.fingerprint(black_box(key))));
        });
    }
    let index = Index::in_memory(&Config::default()).expect("in memory");
    let mut n = 0;
    group.bench_function("term of three parts", |b| {
        b.iter(|| {
            n += 1;
            let mut key = index.term_key();
            key.tuple(3);
            key.integer(black_box(1));
            key.bytes(black_box(b"user_id"));
            key.integer(n);
            key.finish()
        });
    });
    group.finish();
}

fn lane(c: &mut Criterion) {
    let hasher = KeyHasher::new(&HashKey([7; 16]));
    let slots = SlotTable::new(64);
    // So many that the processor does not learn how often jump hash loops for each.
    let fingerprints: Vec<_> =
        (0..100_000_u32).map(|n| hasher.fingerprint(&n.to_le_bytes())).collect();
    let mut group = c.benchmark_group("lane");
    let mut next = fingerprints.iter().cycle();
    group.bench_function("table of slots", |b| {
        b.iter(|| next.next().map(|&fingerprint| slots.lane(fingerprint)));
    });
    let mut next = fingerprints.iter().cycle();
    group.bench_function("jump hash", |b| {
        b.iter(|| next.next().map(|fingerprint| jump_hash(fingerprint.0, 64)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = siphash, lane
}
criterion_main!(benches);
