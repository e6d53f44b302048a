//! What is measured of a peer, in a process of its own for each stage.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::footprint::{Memory, disk_bytes};
use crate::peers::{Peer, Reader};
use crate::workload::{ABSENT, Key, NEW, id, key, pairs};

/// Look-ups in one figure, and figures in one round.
const LOOKUPS: u64 = 200_000;
const PASSES: usize = 5;
/// Keys of a batch, of look-ups and of writes.
const BATCH: usize = 100;
/// Keys put one by one, and as many in batches.
const PUTS: u64 = 50_000;

/// Values by what they are of; the report knows their names. Maps of several rounds add up.
pub(crate) type Figures = BTreeMap<String, Vec<f64>>;

/// One of the two processes of a round.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// Into an empty directory.
    Load,
    /// Opening it again, look-ups, writes.
    Use,
}

/// Measures one stage.
pub(crate) fn run<P: Peer>(stage: Stage, dir: &Path, keys: u64) -> Result<Figures> {
    match stage {
        Stage::Load => load::<P>(dir, keys),
        Stage::Use => put_to_use::<P>(dir, keys),
    }
}

fn load<P: Peer>(dir: &Path, keys: u64) -> Result<Figures> {
    let mut figures = Figures::new();
    let mut pairs = pairs(keys);
    if P::SORTED {
        let started = Instant::now();
        pairs.sort_unstable();
        note(&mut figures, "sort_ns", nanos_each(started, keys));
    }
    let started = Instant::now();
    P::load(dir, &pairs)?;
    note(&mut figures, "load_ns", nanos_each(started, keys));
    if P::PERSISTENT {
        note(&mut figures, "disk_bytes", disk_bytes(dir)? as f64 / keys as f64);
    }
    Ok(figures)
}

fn put_to_use<P: Peer>(dir: &Path, keys: u64) -> Result<Figures> {
    let mut figures = Figures::new();
    let before = Memory::now()?;
    let started = Instant::now();
    let mut peer = P::open(dir, keys)?;
    let first = peer.reader()?.get(&key(0))?;
    note(&mut figures, "open_ms", started.elapsed().as_secs_f64() * 1e3);
    expect(0, first, Some(id(0)))?;

    // So caches are warm afterwards, too.
    check(&peer, 0..keys, |n| Some(id(n)))?;
    check(&peer, ABSENT..ABSENT + LOOKUPS, |_| None)?;
    look_up(&peer, keys, &mut figures)?;
    let taken = Memory::now()?.growth_since(before);
    note(&mut figures, "resident_bytes", taken.resident as f64 / keys as f64);
    note(&mut figures, "private_bytes", taken.private as f64 / keys as f64);

    put(&mut peer, &mut figures)?;
    check(&peer, NEW..NEW + 2 * PUTS, |n| Some(id(n)))?;
    check(&peer, 0..keys.min(LOOKUPS), |n| Some(id(n)))?;
    peer.close()?;
    Ok(figures)
}

/// Each of these keys leads where it should, alone and in a batch.
fn check<P: Peer>(peer: &P, numbers: Range<u64>, right: impl Fn(u64) -> Option<u32>) -> Result<()> {
    let reader = peer.reader()?;
    let mut batch = Batch::default();
    for start in numbers.clone().step_by(BATCH) {
        let end = numbers.end.min(start + BATCH as u64);
        batch.keys.clear();
        batch.keys.extend((start..end).map(key));
        batch.look_up(&reader)?;
        for (n, &found) in (start..end).zip(&batch.found) {
            expect(n, found, right(n))?;
            expect(n, reader.get(&key(n))?, right(n))?;
        }
    }
    Ok(())
}

fn expect(n: u64, found: Option<u32>, right: Option<u32>) -> Result<()> {
    match found == right {
        true => Ok(()),
        false => Err(format!("key {n} leads to {found:?} instead of {right:?}").into()),
    }
}

fn look_up<P: Peer>(peer: &P, keys: u64, figures: &mut Figures) -> Result<()> {
    let mut hits = (0..keys).cycle().map(key);
    let mut misses = (ABSENT..).map(key);
    for _ in 0..PASSES {
        let fresh = each(&mut hits, |key| peer.reader()?.get(&key))?;
        note(figures, "fresh_hit_ns", fresh);
        // Not before: LMDB wants no two transactions in one thread.
        let reader = peer.reader()?;
        let hit = each(&mut hits, |key| reader.get(&key))?;
        note(figures, "hit_ns", hit);
        let miss = each(&mut misses, |key| reader.get(&key))?;
        note(figures, "miss_ns", miss);
        note(figures, "batch_ns", in_batches(&mut hits, &reader)?);
    }
    Ok(())
}

/// Nanoseconds that it takes to look one key up.
fn each(
    keys: &mut impl Iterator<Item = Key>,
    look_up: impl Fn(Key) -> Result<Option<u32>>,
) -> Result<f64> {
    let started = Instant::now();
    for key in keys.take(LOOKUPS as usize) {
        black_box(look_up(key)?);
    }
    Ok(nanos_each(started, LOOKUPS))
}

/// The same, of keys that are looked up together.
fn in_batches(keys: &mut impl Iterator<Item = Key>, reader: &impl Reader) -> Result<f64> {
    let mut batch = Batch::default();
    let started = Instant::now();
    for _ in 0..LOOKUPS / BATCH as u64 {
        batch.keys.clear();
        batch.keys.extend(keys.take(BATCH));
        batch.look_up(reader)?;
        black_box(&batch.found);
    }
    Ok(nanos_each(started, LOOKUPS))
}

fn put<P: Peer>(peer: &mut P, figures: &mut Figures) -> Result<()> {
    let started = Instant::now();
    for n in NEW..NEW + PUTS {
        peer.put(key(n), id(n))?;
    }
    note(figures, "put_ns", nanos_each(started, PUTS));

    let started = Instant::now();
    let mut batch = Vec::with_capacity(BATCH);
    for start in (NEW + PUTS..NEW + 2 * PUTS).step_by(BATCH) {
        batch.clear();
        batch.extend((start..start + BATCH as u64).map(|n| (key(n), id(n))));
        peer.put_all(&batch)?;
    }
    note(figures, "put_batch_ns", nanos_each(started, PUTS));
    Ok(())
}

/// Keys that are looked up together, and room for what they lead to.
#[derive(Default)]
struct Batch {
    keys: Vec<Key>,
    found: Vec<Option<u32>>,
}

impl Batch {
    fn look_up(&mut self, reader: &impl Reader) -> Result<()> {
        self.found.clear();
        self.found.resize(self.keys.len(), None);
        reader.get_many(&self.keys, &mut self.found)
    }
}

fn note(figures: &mut Figures, what: &str, value: f64) {
    figures.entry(what.to_owned()).or_default().push(value);
}

fn nanos_each(started: Instant, count: u64) -> f64 {
    started.elapsed().as_nanos() as f64 / count as f64
}
