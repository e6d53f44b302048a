//! The table of terms in memory: an arena of bytes, places into it, and the way back by hash.

use hashbrown::HashTable;

use super::TERM_ID_FLAG;
use crate::error::{Error, Result};
use crate::hash::KeyHasher;

/// The arena is packed anew once this many bytes, and half of it, belong to no term.
const MIN_GARBAGE: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Places in `entries`, by the hash of the term.
    pub(super) table: HashTable<u32>,
    pub(super) entries: Vec<Entry>,
    /// Lengths and bytes of the terms, one after the other.
    pub(super) arena: Vec<u8>,
    pub(super) garbage: usize,
    /// Places that may be used again.
    pub(super) free: Vec<u32>,
    /// Places of forgotten terms that keys on disk may still lead to.
    pub(super) freed: Vec<u32>,
    /// Records for the log of what was interned since it was written last. A term forgotten
    /// meanwhile is in it all the same: a frozen overlay may still lead to it.
    pub(super) unwritten: Vec<u8>,
}

/// Where a term lies, and how many keys lead to it. A free place has no start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) references: u32,
}

/// The start of a place without a term.
const FREE: u32 = u32::MAX;
const LENGTH: usize = 4;

impl Terms {
    pub(super) fn bytes(&self, place: u32) -> Option<&[u8]> {
        let entry = self.entries.get(place as usize).filter(|e| e.start != FREE)?;
        let (len, rest) = self.arena[entry.start as usize..].split_first_chunk::<LENGTH>()?;
        rest.get(..u32::from_le_bytes(*len) as usize)
    }

    pub(super) fn find(&self, hasher: &KeyHasher, term: &[u8]) -> Option<u32> {
        let hash = hasher.fingerprint(term).0;
        self.table.find(hash, |&place| self.bytes(place) == Some(term)).copied()
    }

    pub(super) fn find_all(&self, hasher: &KeyHasher, term: &[u8]) -> Vec<u32> {
        let same = self.table.iter_hash(hasher.fingerprint(term).0).copied();
        same.filter(|&place| self.bytes(place) == Some(term)).collect()
    }

    pub(super) fn insert(&mut self, hasher: &KeyHasher, term: &[u8]) -> Result<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => u32::try_from(self.entries.len())
                .ok()
                .filter(|&place| place < TERM_ID_FLAG)
                .ok_or(Error::IdsExhausted)?,
        };
        self.insert_at(hasher, place, term)?;
        Ok(place)
    }

    pub(super) fn insert_at(&mut self, hasher: &KeyHasher, place: u32, term: &[u8]) -> Result<()> {
        let too_large = || Error::TooLarge { what: "the dictionary", limit: FREE.into() };
        let start = u32::try_from(self.arena.len()).map_err(|_| too_large())?;
        let len = u32::try_from(term.len()).map_err(|_| too_large())?;
        self.arena.extend_from_slice(&len.to_le_bytes());
        self.arena.extend_from_slice(term);
        if self.entries.len() <= place as usize {
            self.entries.resize(place as usize + 1, Entry { start: FREE, references: 0 });
        }
        self.entries[place as usize] = Entry { start, references: 0 };
        let Self { table, entries, arena, .. } = self;
        table.insert_unique(hasher.fingerprint(term).0, place, |&place| {
            hasher.fingerprint(stored(entries, arena, place)).0
        });
        Ok(())
    }

    /// Forgets a term; its place stays empty.
    pub(super) fn forget(&mut self, hasher: &KeyHasher, place: u32) {
        let Some(term) = self.bytes(place) else { return };
        let (hash, len) = (hasher.fingerprint(term).0, term.len());
        if let Ok(found) = self.table.find_entry(hash, |&p| p == place) {
            found.remove();
        }
        self.garbage += LENGTH + len;
        self.entries[place as usize] = Entry { start: FREE, references: 0 };
    }

    /// Counts one more key that leads to the place; false if there is no term.
    pub(super) fn count_reference(&mut self, place: u32) -> bool {
        let entry = self.entries.get_mut(place as usize).filter(|e| e.start != FREE);
        entry.map(|e| e.references += 1).is_some()
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.allocation_size()
            + (self.free.capacity() + self.freed.capacity()) * size_of::<u32>()
            + self.unwritten.capacity()
    }

    pub(super) fn is_wasteful(&self) -> bool {
        self.garbage > MIN_GARBAGE && self.garbage * 2 > self.arena.len()
    }

    /// Packs the arena: terms only, in order of place.
    pub(super) fn pack(&mut self) {
        let mut packed = Vec::with_capacity(self.arena.len() - self.garbage);
        for place in 0..self.entries.len() as u32 {
            if self.entries[place as usize].start != FREE {
                let start = packed.len() as u32;
                let term = stored(&self.entries, &self.arena, place);
                packed.extend_from_slice(&(term.len() as u32).to_le_bytes());
                packed.extend_from_slice(term);
                self.entries[place as usize].start = start;
            }
        }
        self.arena = packed;
        self.garbage = 0;
    }
}

fn stored<'a>(entries: &[Entry], arena: &'a [u8], place: u32) -> &'a [u8] {
    let start = entries[place as usize].start as usize;
    let (len, rest) = arena[start..].split_at(LENGTH);
    let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]);
    &rest[..len as usize]
}
