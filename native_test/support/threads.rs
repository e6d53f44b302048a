//! An index that many threads use at once: keys that are always there, readers that check them,
//! batches, and background work.

use std::sync::atomic::{AtomicBool, Ordering};

use lsm_index::{Error, Index, Op};

use super::Random;

/// Keys that have their own id all the time, and others that come and go.
pub(crate) const LASTING: usize = 300;
pub(crate) const PASSING: usize = 200;

pub(crate) fn key(n: usize) -> [u8; 8] {
    (n as u64).to_le_bytes()
}

/// The id that a lasting key never loses.
pub(crate) fn lasting_id(n: usize) -> u32 {
    n as u32 * 1000 + 500
}

pub(crate) fn may_have(n: usize, id: u32) -> bool {
    id as usize / 1000 == n
}

pub(crate) fn check_ids(n: usize, ids: &[u32]) {
    assert!(ids.is_sorted_by(|a, b| a < b), "key {n}: {ids:?}");
    assert!(ids.iter().all(|&id| may_have(n, id)), "key {n} has an id never put: {ids:?}");
    assert!(n >= LASTING || ids.contains(&lasting_id(n)), "key {n} lost its id: {ids:?}");
}

/// Reads in every way until told to stop or the index is closed; how much was read.
pub(crate) fn read(index: &Index, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let n = random.below(LASTING + PASSING);
        let outcome = match random.below(8) {
            0 => {
                let numbers: Vec<usize> =
                    (0..50).map(|_| random.below(LASTING + PASSING)).collect();
                let keys: Vec<[u8; 8]> = numbers.iter().map(|&n| key(n)).collect();
                index.get_many(&keys, |place, ids| check_ids(numbers[place], ids.as_slice()))
            }
            1 => {
                let lasting = n % LASTING;
                let member = index.contains(&key(lasting), lasting_id(lasting));
                member.map(|member| assert!(member, "key {lasting} lost its id"))
            }
            2 => index.get_bounded(&key(n), 3).map(|ids| {
                if let Some(ids) = ids {
                    check_ids(n, ids.as_slice());
                }
            }),
            _ => index.get(&key(n)).map(|ids| check_ids(n, ids.as_slice())),
        };
        match outcome {
            Ok(()) => reads += 1,
            Err(Error::Closed) => return reads,
            Err(error) => panic!("{error:?}"),
        }
    }
    reads
}

pub(crate) fn put_lasting(index: &Index) {
    for n in 0..LASTING {
        assert!(index.put(&key(n), lasting_id(n)).expect("put"));
    }
}

/// Flushes, compacts and does background work in turns.
pub(crate) fn maintain(index: &Index, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        while index.work().expect("work") {}
        index.flush().expect("flush");
        while index.work().expect("work") {}
        index.compact().expect("compact");
        index.sync().expect("sync");
        let stats = index.stats().expect("stats");
        assert!(stats.max_segments_per_lane <= 4, "{stats:?}");
    }
}

pub(crate) fn batch_key(writer: u32, batch: u32, i: u32) -> [u8; 12] {
    let mut key = [0; 12];
    for (bytes, number) in key.chunks_mut(4).zip([writer, batch, i]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    key
}

/// Puts `len` pairs, after `idle` changes that change nothing. False once the index is closed.
pub(crate) fn write_batch(index: &Index, writer: u32, batch: u32, idle: u32, len: u32) -> bool {
    let keys: Vec<[u8; 12]> = (0..len).map(|i| batch_key(writer, batch, i)).collect();
    let idle = (0..idle).map(|_| (Op::Delete, &b"never put"[..], 9));
    let puts = keys.iter().map(|key| (Op::Put, &key[..], 9));
    let batch: Vec<(Op, &[u8], u32)> = idle.chain(puts).collect();
    match index.write(&batch) {
        Ok(changed) => {
            assert_eq!(changed, len as usize);
            true
        }
        Err(Error::Closed) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Tells the other threads to stop, also when the test fails.
pub(crate) struct StopOnDrop<'s>(pub(crate) &'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
