//! Checksums and lengths put right, so that damage is not found out by them alone.

use std::path::Path;

use lsm_index::KeyHasher;

use super::base::{self, HASH_KEY};

/// More than this is not made of a few bytes.
const LONGEST: u64 = 1 << 16;
/// Places of the dictionary above this one do take memory, 8 bytes for every place below: a file
/// may be one of a few terms that are left of many. Checksums keep damage from asking for it.
const LARGEST_PLACE: u32 = (1 << 18) - 1;
/// Of an id: it is one of the dictionary's.
const TERM: u32 = 1 << 30;

fn limit_place(bytes: &mut [u8], at: usize) {
    let place = word(bytes, at) & LARGEST_PLACE;
    set(bytes, at, &place.to_le_bytes());
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The checksum of all before it.
fn seal(bytes: &mut [u8], at: usize) {
    if let Some(before) = bytes.get(..at) {
        let crc = crc32fast::hash(before);
        set(bytes, at, &crc.to_le_bytes());
    }
}

/// CURRENT, META or MANIFEST.
pub(super) fn frame(bytes: &mut [u8]) {
    if let Some(payload) = bytes.len().checked_sub(20) {
        set(bytes, 12, &(payload as u32).to_le_bytes());
        seal(bytes, 16 + payload);
    }
}

pub(super) fn segment(bytes: &mut Vec<u8>) {
    let [keys, buckets, slots] = [24, 32, 40].map(|at| long(bytes, at));
    let [postings, low_ids, high_ids, tombstones] =
        [64, 68, 72, 76].map(|at| u64::from(word(bytes, at)));
    let blocks = u64::from(word(bytes, 116));
    let kind_and_log = bytes.get(138..140).map(|two| (two[0], u32::from(two[1] % 32)));
    let filter = match kind_and_log {
        Some((1, _)) => 64 * blocks,
        Some((2, block_log)) => (blocks + 2) << block_log,
        _ => 0,
    };
    if [keys, buckets, slots, postings, filter].iter().all(|&count| count < LONGEST) {
        let values = low_ids + high_ids + postings + u64::from(tombstones > 0);
        let word_bits = values.next_power_of_two().ilog2();
        let width = u64::from(26 + base::slots().rank_bits() + word_bits);
        let entries = (keys * width).div_ceil(8) + 8;
        let remap = 4 * slots.saturating_sub(keys);
        let lengths = [buckets, remap, keys, entries, 2 * keys, 4 * postings, filter];
        let mut start = 192;
        for (place, length) in lengths.into_iter().enumerate() {
            let end = (start + length as usize).next_multiple_of(64);
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            let crc = crc32fast::hash(&bytes[start..end]);
            set(bytes, 88 + 4 * place, &crc.to_le_bytes());
            start = end;
        }
        bytes.truncate(start);
    }
    seal(bytes, 188);
}

pub(super) fn terms(bytes: &mut [u8]) {
    seal(bytes, 28);
    let mut at = 32;
    while at + 12 <= bytes.len() {
        let end = at + 8 + word(bytes, at) as usize;
        if end + 4 > bytes.len() {
            break;
        }
        limit_place(bytes, at + 4);
        let crc = crc32fast::hash(&bytes[at..end]);
        set(bytes, end, &crc.to_le_bytes());
        at = end + 4;
    }
}

/// A file of the write-ahead log.
pub(super) fn log(bytes: &mut [u8], number: u64) {
    set(bytes, 12, &number.to_le_bytes());
    set(bytes, 20, &1_u64.to_le_bytes());
    seal(bytes, 60);
    let mut text = *b"log file ........";
    text[9..].copy_from_slice(&number.to_le_bytes());
    let seed = KeyHasher::new(&HASH_KEY).fingerprint(&text).0 as u32;
    let checksum = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        hasher.update(bytes);
        hasher.finalize().to_le_bytes()
    };
    let mut at = 64;
    while at + 28 <= bytes.len() {
        let end = at + 28 + word(bytes, at + 4) as usize;
        if let Some(payload) = bytes.get_mut(at + 28..end) {
            limit_places(payload);
            let crc = checksum(payload);
            set(bytes, at + 24, &crc);
        }
        let crc = checksum(&bytes[at + 4..at + 28]);
        set(bytes, at, &crc);
        at = end;
    }
}

/// Of a record's terms and operations.
fn limit_places(payload: &mut [u8]) {
    let mut at = 4;
    for _ in 0..word(payload, 0) {
        if at + 8 > payload.len() {
            return;
        }
        limit_place(payload, at);
        at += 8 + word(payload, at + 4) as usize;
    }
    for op in payload.get_mut(at..).unwrap_or_default().chunks_exact_mut(12) {
        let id = word(op, 8);
        if id & TERM != 0 {
            set(op, 8, &(id & (LARGEST_PLACE | TERM | 1 << 31)).to_le_bytes());
        }
    }
}

/// Whatever the name says it is.
pub(super) fn any(path: &Path, bytes: &mut Vec<u8>) {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("seg") => segment(bytes),
        Some("wal") => log(bytes, stem.parse().unwrap_or_default()),
        _ if stem == "TERMS" => terms(bytes),
        _ => frame(bytes),
    }
}

/// The manifest lists the segment as it is.
pub(super) fn agree(manifest: &mut [u8], place: usize, segment: &[u8]) {
    let entry = 64 + 28 * place;
    set(manifest, entry + 12, &long(segment, 24).to_le_bytes());
    set(manifest, entry + 20, &(segment.len() as u64).to_le_bytes());
    frame(manifest);
}

/// The lane relies on terms, but on none in particular.
pub(super) fn forget_terms(manifest: &mut [u8]) {
    set(manifest, 44, &1_u64.to_le_bytes());
    set(manifest, 52, &1_u64.to_le_bytes());
    frame(manifest);
}

/// The lane relies on no record of the log.
pub(super) fn forget_flushed(manifest: &mut [u8]) {
    set(manifest, 36, &[0; 8]);
    frame(manifest);
}
