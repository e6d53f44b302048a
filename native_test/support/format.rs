//! A reader of the files written from `docs/format.md` alone: it uses nothing of the library, so
//! that page, files and library hold each other.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::path::Path;

use siphasher::sip::SipHasher24;

use super::Item;

#[path = "format_segment.rs"]
mod segment;

use segment::{Record, Segment};

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The payload of a small file.
pub(crate) fn frame(bytes: &[u8], magic: &[u8; 8]) -> Vec<u8> {
    assert_eq!(&bytes[..8], magic);
    assert_eq!(u32_at(bytes, 8), 3, "version");
    let end = bytes.len() - 4;
    assert_eq!(u32_at(bytes, 12) as usize, end - 16, "length of the payload");
    assert_eq!(crc32fast::hash(&bytes[..end]), u32_at(bytes, end), "checksum");
    bytes[16..end].to_vec()
}

fn jump(mut state: u64, lanes: u32) -> u32 {
    let (mut bucket, mut next) = (0_u64, 0_u64);
    while next < u64::from(lanes) {
        bucket = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * (2_f64.powi(31) / ((state >> 33) + 1) as f64)).floor() as u64;
    }
    bucket as u32
}

fn hi(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// One lane's manifest and segments, newest first.
pub(crate) struct Lane {
    pub(crate) live_keys: u64,
    pub(crate) next_number: u64,
    /// The last record of the log it has the changes of.
    pub(crate) flushed: u64,
    /// Generation and length of TERMS.
    pub(crate) relies_on: (u64, u64),
    pub(crate) levels: Vec<u32>,
    pub(crate) segments: Vec<Segment>,
}

impl Lane {
    fn read(dir: &Path, number: u32) -> Self {
        let manifest = frame(&read(&dir.join("MANIFEST")), b"LSMI-MAN");
        assert_eq!(u32_at(&manifest, 0), number);
        let mut lane = Self {
            next_number: u64_at(&manifest, 4),
            live_keys: u64_at(&manifest, 12),
            flushed: u64_at(&manifest, 20),
            relies_on: (u64_at(&manifest, 28), u64_at(&manifest, 36)),
            levels: vec![],
            segments: vec![],
        };
        let count = u32_at(&manifest, 44) as usize;
        assert_eq!(manifest.len(), 48 + 28 * count);
        for entry in manifest[48..].chunks(28) {
            let name = format!("{:020}.seg", u64_at(entry, 0));
            let segment = Segment::new(read(&dir.join(name)));
            assert_eq!(u32_at(&segment.bytes, 12), number);
            assert_eq!(u64_at(&segment.bytes, 16), u64_at(entry, 0));
            assert_eq!(segment.keys(), u64_at(entry, 12));
            assert!(u64_at(&segment.bytes, 128) <= lane.flushed);
            assert_eq!(u32::from(segment.bytes[136]), u32_at(entry, 8));
            assert_eq!(segment.bytes.len() as u64, u64_at(entry, 20));
            lane.levels.push(u32_at(entry, 8));
            lane.segments.push(segment);
        }
        lane
    }

    fn get(&self, f: u64) -> BTreeSet<u32> {
        let mut deltas = Vec::new();
        let mut set = BTreeSet::new();
        for record in self.segments.iter().filter_map(|segment| segment.get(f)) {
            match record {
                Record::Complete(ids) => {
                    set = ids.into_iter().collect();
                    break;
                }
                Record::Delta { adds, removes, len } => deltas.push((adds, removes, len)),
            }
        }
        for (adds, removes, len) in deltas.into_iter().rev() {
            set.retain(|id| !removes.contains(id));
            set.extend(adds);
            assert_eq!(set.len(), len as usize, "size with the delta applied");
        }
        set
    }
}

/// A whole index, read.
pub(crate) struct Reader {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) hash_key: [u8; 16],
    pub(crate) terms: BTreeMap<u32, Vec<u8>>,
    /// Generation and length of TERMS.
    pub(crate) terms_extent: (u64, u64),
    /// Batches of the log that some lane has not flushed.
    pub(crate) batches: Vec<Batch>,
}

/// A record of the log: fingerprint, id and whether it is a put, for each operation.
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    pub(crate) ops: Vec<(u64, u32, bool)>,
}

impl Reader {
    pub(crate) fn open(root: &Path) -> Self {
        let current = frame(&read(&root.join("CURRENT")), b"LSMI-CUR");
        let epoch = root.join(format!("epoch-{:08}", u64_at(&current, 0)));
        let meta = frame(&read(&epoch.join("META")), b"LSMI-MET");
        assert_eq!((current.len(), meta.len()), (8, 28));
        let lanes = (0..u32_at(&meta, 0))
            .map(|number| Lane::read(&epoch.join(format!("lane-{number:04}")), number))
            .collect();
        let hash_key = meta[4..20].try_into().expect("sixteen bytes");
        let log = read(&epoch.join("TERMS"));
        let terms_extent = (u64_at(&log, 12), log.len() as u64);
        let batches = Vec::new();
        let mut reader = Self { lanes, hash_key, terms: terms(&log), terms_extent, batches };
        reader.read_wal(&root.join("wal"), u64_at(&current, 0));
        reader
    }

    fn lane_of(&self, f: u64) -> &Lane {
        &self.lanes[jump(f & 0x3fff, self.lanes.len() as u32) as usize]
    }

    /// The files from the one that the newest names as the oldest needed.
    fn read_wal(&mut self, dir: &Path, epoch: u64) {
        let names = std::fs::read_dir(dir).expect("the log").map(|e| e.expect("entry").file_name());
        let mut names: Vec<String> = names.map(|n| n.into_string().expect("digits")).collect();
        names.sort();
        let newest = read(&dir.join(names.last().expect("a file")));
        let oldest = format!("{:020}.wal", u64_at(&newest, 36));
        names.retain(|name| *name >= oldest);
        let mut next = None;
        for name in names {
            let bytes = read(&dir.join(&name));
            assert_eq!((&bytes[..8], u32_at(&bytes, 8)), (&b"LSMI-WAL"[..], 3));
            let number = u64_at(&bytes, 12);
            assert_eq!((name, u64_at(&bytes, 20)), (format!("{number:020}.wal"), epoch));
            assert_eq!(crc32fast::hash(&bytes[..60]), u32_at(&bytes, 60), "header's checksum");
            let mut sequence = u64_at(&bytes, 28);
            assert_eq!(*next.get_or_insert(sequence), sequence);
            let seed =
                self.fingerprint(&[&b"log file "[..], &number.to_le_bytes()].concat()) as u32;
            let crc = |bytes: &[u8]| {
                let mut hasher = crc32fast::Hasher::new_with_initial(seed);
                hasher.update(bytes);
                hasher.finalize()
            };
            let mut rest = &bytes[64..];
            while !rest.is_empty() {
                assert_eq!(crc(&rest[4..28]), u32_at(rest, 0), "record's header");
                let (record, after) = rest.split_at(28 + u32_at(rest, 4) as usize);
                assert_eq!(crc(&record[28..]), u32_at(record, 24), "record's payload");
                assert_eq!(u64_at(record, 8), sequence);
                assert!(u64_at(record, 16) < sequence, "what was on stable storage");
                self.read_batch(sequence, &record[28..]);
                (rest, sequence) = (after, sequence + 1);
            }
            next = Some(sequence);
        }
    }

    fn read_batch(&mut self, sequence: u64, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let mut rest = &payload[4..];
        let mut terms = Vec::new();
        for _ in 0..u32_at(payload, 0) {
            let (term, after) = rest[8..].split_at(u32_at(rest, 4) as usize);
            terms.push((u32_at(rest, 0), term.to_vec()));
            rest = after;
        }
        assert!(rest.len().is_multiple_of(12));
        let ops = rest.chunks(12).map(|op| {
            let word = u32_at(op, 8);
            (u64_at(op, 0), word & 0x7fff_ffff, word >> 31 == 0)
        });
        let ops: Vec<_> = ops.filter(|op| self.lane_of(op.0).flushed < sequence).collect();
        if !ops.is_empty() {
            self.terms.extend(terms);
            self.batches.push(Batch { sequence, ops });
        }
    }

    pub(crate) fn fingerprint(&self, key: &[u8]) -> u64 {
        sip([u64_at(&self.hash_key, 0), u64_at(&self.hash_key, 8)], &[key])
    }

    /// The ids of a term, from its encoding.
    pub(crate) fn get_term(&self, encoding: &[u8]) -> BTreeSet<u32> {
        let hash_key = [&b"term key 1"[..], b"term key 2"].map(|half| self.fingerprint(half));
        self.ids(sip(hash_key, &[encoding]))
    }

    fn scoped(&self, scope: u32, key: &[u8]) -> u64 {
        let hash_key = [&b"namespace 1"[..], b"namespace 2"].map(|half| self.fingerprint(half));
        sip(hash_key, &[&scope.to_le_bytes(), key])
    }

    fn ids(&self, f: u64) -> BTreeSet<u32> {
        let mut ids = self.lane_of(f).get(f);
        for &(of, id, put) in self.batches.iter().flat_map(|batch| &batch.ops) {
            match of == f {
                true if put => drop(ids.insert(id)),
                true => drop(ids.remove(&id)),
                false => {}
            }
        }
        ids
    }

    /// The term of a scope at a place.
    fn term(&self, scope: u32, place: u32) -> Vec<u8> {
        let (mut of, mut len, term) = (0, 0, &self.terms[&place]);
        for byte in term {
            of |= u32::from(byte & 0x7f) << (7 * len);
            len += 1;
            if *byte < 0x80 {
                break;
            }
        }
        assert_eq!(of, scope);
        term[len..].to_vec()
    }

    pub(crate) fn get(&self, key: &[u8]) -> BTreeSet<Item> {
        let item = |id: u32| match id.checked_sub(1 << 30) {
            None => Item::Id(id),
            Some(place) => Item::Term(self.term(0, place)),
        };
        self.ids(self.fingerprint(key)).into_iter().map(item).collect()
    }

    pub(crate) fn get_in(&self, name: &[u8], key: &[u8]) -> BTreeSet<Vec<u8>> {
        let places = |f: u64| self.ids(f).into_iter().map(|id| id - (1 << 30));
        let mut names = places(self.scoped(1, name));
        let (Some(place), None) = (names.next(), names.next()) else { return BTreeSet::new() };
        assert_eq!(self.term(1, place), name);
        let scope = place + 2;
        places(self.scoped(scope, key)).map(|place| self.term(scope, place)).collect()
    }
}

fn sip(hash_key: [u64; 2], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(hash_key[0], hash_key[1]);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

fn terms(bytes: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    assert_eq!(&bytes[..8], b"LSMI-TRM");
    assert_eq!(u32_at(bytes, 8), 3, "version");
    assert_eq!(crc32fast::hash(&bytes[..28]), u32_at(bytes, 28), "header's checksum");
    let (mut terms, mut rest) = (BTreeMap::new(), &bytes[32..]);
    while !rest.is_empty() {
        let end = 8 + u32_at(rest, 0) as usize;
        assert_eq!(crc32fast::hash(&rest[..end]), u32_at(rest, end), "record's checksum");
        terms.insert(u32_at(rest, 4), rest[8..end].to_vec());
        rest = &rest[end + 4..];
    }
    terms
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
