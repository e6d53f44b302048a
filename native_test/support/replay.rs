//! The records of a log as docs/format.md has them, applied to what keys lead to.

use std::collections::BTreeMap;

use lsm_index::{KeyHasher, TERM_ID_FLAG};

use super::support::workload::{Contents, keys};
use super::support::{HASH_KEY, Item};

const RECORD_HEADER: usize = 28;
const DELETE: u32 = 1 << 31;

pub(crate) struct Replay {
    pub(crate) contents: Contents,
    terms: BTreeMap<u32, Vec<u8>>,
    keys: BTreeMap<u64, Vec<u8>>,
}

fn take_word(bytes: &mut &[u8]) -> u32 {
    let (word, rest) = bytes.split_first_chunk::<4>().expect("4 bytes");
    *bytes = rest;
    u32::from_le_bytes(*word)
}

impl Replay {
    pub(crate) fn new(contents: Contents) -> Self {
        let hasher = KeyHasher::new(&HASH_KEY);
        let keys = keys().map(|key| (hasher.fingerprint(&key).0, key)).collect();
        Self { contents, terms: BTreeMap::new(), keys }
    }

    /// Makes the changes of a whole record.
    pub(crate) fn record(&mut self, record: &[u8]) {
        let mut rest = &record[RECORD_HEADER..];
        if rest.is_empty() {
            return;
        }
        for _ in 0..take_word(&mut rest) {
            let (place, len) = (take_word(&mut rest), take_word(&mut rest) as usize);
            // The index's own terms are behind a zero.
            let term = rest[..len].strip_prefix(&[0]).expect("no namespaces here");
            self.terms.insert(place | TERM_ID_FLAG, term.to_vec());
            rest = &rest[len..];
        }
        while !rest.is_empty() {
            let (low, high, id) =
                (take_word(&mut rest), take_word(&mut rest), take_word(&mut rest));
            let key = &self.keys[&(u64::from(high) << 32 | u64::from(low))];
            let items = self.contents.entry(key.clone()).or_default();
            let item = match id & !DELETE {
                id if id < TERM_ID_FLAG => Item::Id(id),
                // A term that no record defines came before, and no record puts it.
                id => Item::Term(self.terms.get(&id).cloned().unwrap_or_default()),
            };
            if id & DELETE == 0 {
                items.insert(item)
            } else {
                items.remove(&item)
            };
            if items.is_empty() {
                self.contents.remove(key);
            }
        }
    }
}
