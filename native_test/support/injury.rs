//! Ways to damage a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lsm_index::{KeyHasher, SlotTable};

use super::support::{HASH_KEY, Random};

/// Files above this length have one bit of each byte flipped.
const ALL_BITS: usize = 4096;
const HUGE: [u64; 4] = [1 << 31, u32::MAX as u64, 1 << 63, u64::MAX];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Flip,
    Zero,
    Append,
    /// A huge number in a place where one may be.
    Huge,
    /// The same with checksums that match it.
    Sealed,
    /// What keys lead to, and other bytes that nothing contradicts, with checksums that match.
    Forged,
    /// As an earlier or shorter file would be: of a log nothing may tell.
    Cut,
    Removed,
    Older,
    Swapped,
}

/// A file's bytes in the place of its own.
#[derive(Clone, Debug)]
pub(crate) struct Injury {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) path: PathBuf,
    /// None: the file is gone.
    pub(crate) bytes: Option<Vec<u8>>,
}

pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

fn word(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
    word.map_or(0, |word| u32::from_le_bytes(*word) as usize)
}

/// Hands every damage of one of the files to `each`. `older`: what the files were before.
pub(crate) fn injuries(path: &Path, files: &Files, older: &[Files], mut each: impl FnMut(Injury)) {
    let sound = &files[path];
    let mut hand = |kind, what: String, bytes: Option<Vec<u8>>| {
        if bytes.as_ref() != Some(sound) {
            each(Injury { kind, what, path: path.to_path_buf(), bytes });
        }
    };
    let random = &mut Random(sound.len() as u64);
    for bit in 0..sound.len() * 8 {
        let all = sound.len() <= ALL_BITS;
        if all || bit % 8 == 0 {
            let bit = if all { bit } else { bit + random.below(8) };
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            hand(Kind::Flip, format!("bit {bit}"), Some(bytes));
        }
    }
    for len in 0..sound.len() {
        hand(Kind::Cut, format!("cut to {len}"), Some(sound[..len].to_vec()));
    }
    for block in [64, 512] {
        for start in (0..sound.len()).step_by(block) {
            let mut bytes = sound.clone();
            let end = (start + block).min(bytes.len());
            bytes[start..end].fill(0);
            hand(Kind::Zero, format!("{block} bytes at {start} zeroed"), Some(bytes));
        }
    }
    for len in 1..=100 {
        let garbage: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        for more in [garbage, vec![0; len]] {
            let what = format!("{len} bytes appended, the first {}", more[0]);
            hand(Kind::Append, what, Some([&sound[..], &more].concat()));
        }
    }
    for (at, value) in numbers(path, sound).into_iter().flat_map(|at| HUGE.map(|value| (at, value)))
    {
        for width in
            [4, 8].into_iter().filter(|width| !path.ends_with("META") || at != 16 || *width == 4)
        {
            let mut bytes = sound.clone();
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            hand(Kind::Huge, format!("{width} bytes of {value} at {at}"), Some(bytes.clone()));
            seal(path, &mut bytes, sound);
            let kind =
                if is_number(path, sound, at, at + width) { Kind::Sealed } else { Kind::Forged };
            hand(kind, format!("{width} bytes of {value} at {at}, sealed"), Some(bytes));
        }
    }
    hand(Kind::Removed, "removed".into(), None);
    for (other, bytes) in files.iter().filter(|(other, _)| *other != path) {
        hand(Kind::Swapped, format!("with the bytes of {}", other.display()), Some(bytes.clone()));
    }
    for (number, older) in older.iter().enumerate() {
        if let Some(bytes) = older.get(path) {
            hand(Kind::Older, format!("as it was at {number}"), Some(bytes.clone()));
        }
    }
}

/// Where numbers may lie: at every fourth byte from the beginning of the file and of each record.
fn numbers(path: &Path, sound: &[u8]) -> Vec<usize> {
    let mut starts: Vec<usize> = records(path, sound).iter().map(|&(start, _)| start).collect();
    starts.insert(0, 0);
    starts.push(sound.len());
    let within = |pair: &[usize]| (pair[0]..pair[1]).step_by(4).collect::<Vec<_>>();
    let mut numbers: Vec<usize> = starts.windows(2).flat_map(within).collect();
    if path.ends_with("META") {
        // Another hash key and another time are as good as any.
        numbers.retain(|at| !(20..44).contains(at));
    }
    numbers
}

/// Whether there is a length, a count or a number of something, and not what somebody stored.
fn is_number(path: &Path, sound: &[u8], at: usize, end: usize) -> bool {
    let records = records(path, sound);
    let record = records.iter().find(|&&(start, end)| (start..end).contains(&at));
    match record {
        Some((start, _)) => end - start <= if is_log(path) { 32 } else { 8 },
        None => path.extension().is_none_or(|e| e != "seg") || end <= 192,
    }
}

pub(crate) fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "wal")
}

fn is_terms(path: &Path) -> bool {
    path.ends_with("TERMS")
}

/// Begin and end of the records of a log or of the dictionary.
pub(crate) fn records(path: &Path, sound: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, len_at, around) = match () {
        () if is_log(path) => (64, 4, 28),
        () if is_terms(path) => (32, 0, 12),
        () => return Vec::new(),
    };
    let mut records = Vec::new();
    while at < sound.len() {
        let end = at + around + word(sound, at + len_at);
        records.push((at, end));
        at = end;
    }
    records
}

fn put_checksum(bytes: &mut [u8], at: usize, crc: u32) {
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Makes all checksums match, where `sound` has them.
fn seal(path: &Path, bytes: &mut [u8], sound: &[u8]) {
    let crc = |bytes: &[u8]| crc32fast::hash(bytes);
    if is_log(path) {
        let number = path.file_stem().and_then(|stem| stem.to_str()).map(str::parse::<u64>);
        let number = number.and_then(Result::ok).expect("a number");
        let text = [&b"log file "[..], &number.to_le_bytes()].concat();
        let seed = KeyHasher::new(&HASH_KEY).fingerprint(&text).0 as u32;
        let seeded = |bytes: &[u8]| {
            let mut hasher = crc32fast::Hasher::new_with_initial(seed);
            hasher.update(bytes);
            hasher.finalize()
        };
        put_checksum(bytes, 60, crc(&bytes[..60]));
        for (start, end) in records(path, sound) {
            put_checksum(bytes, start + 24, seeded(&bytes[start + 28..end]));
            put_checksum(bytes, start, seeded(&bytes[start + 4..start + 28]));
        }
    } else if is_terms(path) {
        put_checksum(bytes, 28, crc(&bytes[..28]));
        for (start, end) in records(path, sound) {
            put_checksum(bytes, end - 4, crc(&bytes[start..end - 4]));
        }
    } else if path.extension().is_some_and(|e| e == "seg") {
        let [keys, buckets, slots] = [24, 32, 40].map(|at| word(sound, at));
        let [postings, low_ids, high_ids, tombstones, _, lanes] =
            [64, 68, 72, 76, 80, 84].map(|at| word(sound, at));
        let values = low_ids + high_ids + postings + usize::from(tombstones > 0);
        let word_bits = values.next_power_of_two().ilog2();
        let width = 26 + SlotTable::new(lanes as u32).rank_bits() + word_bits;
        let entries = (keys * width as usize).div_ceil(8) + 8;
        let filter = match sound[138] {
            0 => 0,
            1 => 64 * word(sound, 116),
            _ => (word(sound, 116) + 2) << sound[139],
        };
        let remap = 4 * (slots - keys);
        let sections = [buckets, remap, keys, entries, 2 * keys, 4 * postings, filter];
        let mut start = 192;
        for (number, len) in sections.into_iter().enumerate() {
            let end = (start + len).next_multiple_of(64);
            put_checksum(bytes, 88 + 4 * number, crc(&bytes[start..end]));
            start = end;
        }
        put_checksum(bytes, 188, crc(&bytes[..188]));
    } else {
        let end = bytes.len() - 4;
        put_checksum(bytes, end, crc(&bytes[..end]));
    }
}
