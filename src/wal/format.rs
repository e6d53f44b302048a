//! Bytes of the write-ahead log.
//!
//! ```text
//! 0  8  magic "LSMI-WAL"
//! 8  4  format version
//! 12 8  number of the file, as in its name
//! 20 8  number of the epoch
//! 28 8  sequence number of its first record
//! 36 8  the oldest file that was needed when this one was begun
//! 44 16 the boot it was begun in; 0 if unknown
//! 60 4  CRC32 of the 60 bytes before
//! then, for each batch:
//! 0  4  CRC32 of the 24 bytes that follow
//! 4  4  length of the payload, bytes
//! 8  8  sequence number: one more than the record's before
//! 16 8  every record up to this one was on stable storage when this one was written
//! 24 4  CRC32 of the payload
//! 28 …  payload
//! ```
//!
//! The payload is empty (a mark: only what it says of stable storage counts), or holds first the
//! terms that its operations lead to, then the operations:
//!
//! ```text
//! 4  number of terms, and for each
//!    4  place in the dictionary (the id without its flag)
//!    4  length, bytes
//!    …  the term
//! then 12 bytes an operation: the key's fingerprint, 8; the id, 4, with the highest bit for a delete
//! ```
//!
//! The checksums of records begin with a seed that is secret and another one for every file, so
//! that no bytes that somebody stored pass for a record.

use std::path::Path;

use crate::change::Op;
use crate::error::{Error, Result};
use crate::frame::{FORMAT_VERSION, check_version, long, word};
use crate::hash::{Fingerprint, KeyHasher};

pub(super) const MAGIC: &[u8; 8] = b"LSMI-WAL";
pub(super) const HEADER: usize = 64;
const HEADER_CRC: usize = 60;
pub(super) const RECORD_HEADER: usize = 28;
/// Records are counted one by one: no number comes near this.
pub(super) const MAX_SEQUENCE: u64 = 1 << 62;
const DELETE: u32 = 1 << 31;
const OP_LEN: usize = 12;

/// How a file of the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// Sequence number of the first record.
    pub(super) first: u64,
    /// The oldest file that was needed when this one was begun; older ones may be gone.
    pub(super) oldest: u64,
    pub(super) boot: [u8; 16],
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        for field in [self.number, self.epoch, self.first, self.oldest] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Err(Error::corrupt(path, bytes.len(), "the file ends within its header"));
        };
        if &header[..8] != MAGIC {
            return Err(Error::corrupt(path, 0, "not a write-ahead log (wrong magic)"));
        }
        check_version(path, word(&header[8..]))?;
        if crc32fast::hash(&header[..HEADER_CRC]) != word(&header[HEADER_CRC..]) {
            return Err(Error::corrupt(path, HEADER_CRC, "the header's checksum does not match"));
        }
        let mut boot = [0; 16];
        boot.copy_from_slice(&header[44..60]);
        let header = Self {
            number: long(&header[12..]),
            epoch: long(&header[20..]),
            first: long(&header[28..]),
            oldest: long(&header[36..]),
            boot,
        };
        if !(1..MAX_SEQUENCE).contains(&header.first) {
            let what = format!("its first record cannot have number {}", header.first);
            return Err(Error::corrupt(path, 28, what));
        }
        // By an oldest file that comes later all records would pass for such that nobody needs.
        if !(1..=header.number).contains(&header.oldest) {
            let what = format!("the oldest file that it needs cannot be {}", header.oldest);
            return Err(Error::corrupt(path, 36, what));
        }
        Ok(header)
    }
}

/// Begins the checksums of one file's records.
#[derive(Clone, Debug)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(hasher: &KeyHasher, number: u64) -> Self {
        let mut text = *b"log file ........";
        text[9..].copy_from_slice(&number.to_le_bytes());
        Self(hasher.fingerprint(&text).0 as u32)
    }

    fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// What a batch writes into the log.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    terms: u32,
    term_bytes: Vec<u8>,
    ops: Vec<u8>,
}

impl Payload {
    /// Adds the term at a place of the dictionary, for operations that lead to it.
    pub(crate) fn term(&mut self, place: u32, term: &[u8]) {
        self.terms += 1;
        self.term_bytes.extend_from_slice(&place.to_le_bytes());
        self.term_bytes.extend_from_slice(&(term.len() as u32).to_le_bytes());
        self.term_bytes.extend_from_slice(term);
    }

    pub(crate) fn ops(&mut self, fingerprint: Fingerprint, wanted: &[(u32, Op)]) {
        self.ops.reserve(wanted.len() * OP_LEN);
        for &(id, op) in wanted {
            let word = if op == Op::Delete { id | DELETE } else { id };
            self.ops.extend_from_slice(&fingerprint.0.to_le_bytes());
            self.ops.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// A record with room for its header, which [`seal`] fills in.
    pub(super) fn into_record(self) -> Result<Vec<u8>> {
        let len = 4 + self.term_bytes.len() + self.ops.len();
        if u32::try_from(len).is_err() {
            return Err(Error::TooLarge { what: "a batch in the log", limit: u32::MAX.into() });
        }
        let mut out = Vec::with_capacity(RECORD_HEADER + len);
        out.resize(RECORD_HEADER, 0);
        out.extend_from_slice(&self.terms.to_le_bytes());
        out.extend_from_slice(&self.term_bytes);
        out.extend_from_slice(&self.ops);
        Ok(out)
    }
}

/// A record without operations.
pub(super) fn mark() -> Vec<u8> {
    vec![0; RECORD_HEADER]
}

/// Fills in the header of a record that is laid out.
pub(super) fn seal(record: &mut [u8], seed: &Seed, sequence: u64, durable: u64) {
    let (header, payload) = record.split_at_mut(RECORD_HEADER);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..24].copy_from_slice(&durable.to_le_bytes());
    header[24..].copy_from_slice(&seed.checksum(payload).to_le_bytes());
    let crc = seed.checksum(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
}

/// A record as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) payload: &'a [u8],
}

/// What lies at the beginning of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Record(RawRecord<'a>),
    /// The beginning of a record, as far as the bytes go.
    Torn,
    /// No record.
    Damaged(&'static str),
}

impl RawRecord<'_> {
    pub(super) fn len(&self) -> usize {
        RECORD_HEADER + self.payload.len()
    }
}

pub(super) fn find<'a>(bytes: &'a [u8], seed: &Seed) -> Found<'a> {
    let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Found::Torn;
    };
    if seed.checksum(&header[4..]) != word(header) {
        return Found::Damaged("the checksum of a record's header does not match");
    }
    let Some(payload) = rest.get(..word(&header[4..]) as usize) else { return Found::Torn };
    if seed.checksum(payload) != word(&header[24..]) {
        return Found::Damaged("the checksum of a record does not match");
    }
    let sequence = long(&header[8..]);
    if sequence >= MAX_SEQUENCE {
        return Found::Damaged("a record's number is out of range");
    }
    Found::Record(RawRecord { sequence, durable: long(&header[16..]), payload })
}

/// The place of the first record at or behind `from`, looked for byte by byte, whose sequence
/// number is within `plausible`.
pub(super) fn find_later(
    bytes: &[u8],
    from: usize,
    seed: &Seed,
    plausible: std::ops::Range<u64>,
) -> Option<usize> {
    (from..bytes.len().saturating_sub(RECORD_HEADER - 1)).find(|&at| {
        plausible.contains(&long(&bytes[at + 8..]))
            && matches!(find(&bytes[at..], seed), Found::Record(_))
    })
}

/// One operation of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoggedOp {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: u32,
    pub(crate) op: Op,
}

/// A record's terms, by place, and its operations.
pub(super) type Content<'a> = (Vec<(u32, &'a [u8])>, Vec<LoggedOp>);

/// Takes a payload apart; none if it does not add up.
pub(super) fn content(payload: &[u8]) -> Option<Content<'_>> {
    if payload.is_empty() {
        return Some((Vec::new(), Vec::new()));
    }
    let (count, mut rest) = payload.split_first_chunk::<4>()?;
    let mut terms = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (fixed, after) = rest.split_first_chunk::<8>()?;
        let (term, after) = after.split_at_checked(word(&fixed[4..]) as usize)?;
        terms.push((word(fixed), term));
        rest = after;
    }
    let (ops, []) = rest.as_chunks::<OP_LEN>() else { return None };
    let ops = ops.iter().map(|op| {
        let word = word(&op[8..]);
        let kind = if word & DELETE == 0 { Op::Put } else { Op::Delete };
        LoggedOp { fingerprint: Fingerprint(long(op)), id: word & !DELETE, op: kind }
    });
    Some((terms, ops.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;

    fn seed(number: u64) -> Seed {
        Seed::new(&KeyHasher::new(&HashKey([3; 16])), number)
    }

    fn sample() -> Vec<u8> {
        let mut payload = Payload::default();
        payload.term(9, b"a term");
        payload.ops(Fingerprint(1 << 60), &[(9, Op::Put), (crate::MAX_ID, Op::Delete)]);
        let mut record = payload.into_record().expect("small");
        seal(&mut record, &seed(1), 7, 5);
        record
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = [sample(), b"more".to_vec()].concat();
        let Found::Record(record) = find(&bytes, &seed(1)) else { panic!("a record") };
        assert_eq!((record.sequence, record.durable, record.len()), (7, 5, bytes.len() - 4));
        let (terms, ops) = content(record.payload).expect("sound");
        assert_eq!(terms, [(9, &b"a term"[..])]);
        let op = |id, op| LoggedOp { fingerprint: Fingerprint(1 << 60), id, op };
        assert_eq!(ops, [op(9, Op::Put), op(crate::MAX_ID, Op::Delete)]);
    }

    #[test]
    fn a_cut_is_told_from_a_flipped_bit() {
        let sound = sample();
        for len in 0..sound.len() {
            assert!(matches!(find(&sound[..len], &seed(1)), Found::Torn), "cut to {len}");
        }
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(find(&damaged, &seed(1)), Found::Damaged(_)), "bit {bit}");
        }
        assert!(matches!(find(&sound, &seed(2)), Found::Damaged(_)), "another file's");
    }

    #[test]
    fn later_records_are_found_behind_damage() {
        let bytes = [vec![0xee; 100], sample()].concat();
        assert_eq!(find_later(&bytes, 0, &seed(1), 1..100), Some(100));
        assert_eq!(find_later(&bytes, 101, &seed(1), 1..100), None);
        assert_eq!(find_later(&bytes, 0, &seed(1), 8..100), None);
    }

    #[test]
    fn payloads_that_do_not_add_up_are_refused() {
        let whole = sample().split_off(RECORD_HEADER);
        for len in 1..whole.len() {
            let cut = content(&whole[..len]).is_none();
            // A cut between two operations leaves a payload of fewer.
            assert!(cut || (whole.len() - len).is_multiple_of(OP_LEN), "cut to {len}");
        }
        assert!(content(&u32::MAX.to_le_bytes()).is_none());
    }

    #[test]
    fn a_header_survives_a_round_trip() {
        let header = Header { number: 3, epoch: 1, first: 99, oldest: 2, boot: [8; 16] };
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Header::decode(Path::new("x"), &bytes).expect("sound"), header);
        for bit in 0..HEADER * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(Path::new("x"), &damaged).is_err(), "bit {bit}");
        }
    }
    #[test]
    fn a_header_with_numbers_that_cannot_be_is_refused() {
        let sound = Header { number: 3, epoch: 1, first: 99, oldest: 3, boot: [8; 16] };
        for header in [
            Header { first: 0, ..sound },
            Header { first: u64::MAX, ..sound },
            Header { oldest: 0, ..sound },
            Header { oldest: 4, ..sound },
        ] {
            assert!(Header::decode(Path::new("x"), &header.encode()).is_err(), "{header:?}");
        }
        assert!(Header::decode(Path::new("x"), &sound.encode()).is_ok());
    }
}
