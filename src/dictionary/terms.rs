//! One shard of the dictionary in memory: an arena of bytes, places into it, and the way back by
//! hash.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::grace::Grace;
use crate::error::{Error, Result};

/// The arena is packed anew once this many bytes, and half of it, belong to no term.
const MIN_GARBAGE: usize = 1 << 16;
/// The start of a place without a term.
const FREE: u32 = u32::MAX;
/// Bytes of the length before each term.
const LENGTH: usize = 4;

/// Terms by place, and places by term.
///
/// A place is *live* while keys lead to it; then *retired*: no longer found by its term, its bytes
/// kept for segments and readers that still hold its id; then free.
#[derive(Debug, Default)]
pub(super) struct Terms {
    table: HashTable<Slot>,
    entries: Vec<Entry>,
    /// Lengths and bytes of the terms, one after the other.
    arena: Vec<u8>,
    garbage: usize,
    free: Vec<u32>,
    /// Segments may lead to them until all lanes are flushed.
    retired: Vec<u32>,
    /// Only readers under way may hold their ids: places, and since when.
    passing: VecDeque<(u32, usize)>,
    /// Records for the log of what was interned since it was written last. A term retired
    /// meanwhile is in it all the same: a frozen overlay may still lead to it.
    pub(super) unwritten: Vec<u8>,
}

/// The hash is kept, so that growing the table touches no term.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    place: u32,
}

/// Where a term lies, and how many keys lead to it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    /// Its highest bit is set while it is among those that wait for a flush of all lanes.
    references: u32,
}

const RETIRED: u32 = 1 << 31;

impl Entry {
    const FREE: Self = Self { start: FREE, references: 0 };

    /// Keys that lead to it.
    fn references(self) -> u32 {
        self.references & !RETIRED
    }
}

/// Spreads 32 bits over the 64 that hashbrown looks at both ends of.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Terms {
    /// Room for `terms` terms of `bytes` bytes together.
    pub(super) fn reserve(&mut self, terms: usize, bytes: usize) {
        self.arena.reserve(bytes);
        self.entries.reserve(terms);
        self.table.reserve(terms, |slot| spread(slot.hash));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The term at a place that is not free.
    pub(super) fn bytes(&self, place: u32) -> Option<&[u8]> {
        let entry = self.entries.get(place as usize).filter(|e| e.start != FREE)?;
        let (len, rest) = self.arena[entry.start as usize..].split_first_chunk::<LENGTH>()?;
        rest.get(..u32::from_le_bytes(*len) as usize)
    }

    /// Places and bytes of all terms, live and retired.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.entries.len() as u32).filter_map(|place| Some((place, self.bytes(place)?)))
    }

    pub(super) fn find(&self, hash: u32, term: &[u8]) -> Option<u32> {
        let same = self.table.iter_hash(spread(hash)).map(|slot| slot.place);
        // After a crash it may be at two places: one that keys lead to, if there is one.
        let places = same.filter(|&place| self.bytes(place) == Some(term));
        places.max_by_key(|&place| self.entries[place as usize].references())
    }

    /// After a crash one term may be at two places.
    pub(super) fn find_all(&self, hash: u32, term: &[u8]) -> Vec<u32> {
        let same = self.table.iter_hash(spread(hash)).map(|slot| slot.place);
        same.filter(|&place| self.bytes(place) == Some(term)).collect()
    }

    /// Stores a new term at a free place, or at the end if that is below `limit`.
    pub(super) fn insert(&mut self, hash: u32, term: &[u8], limit: u32) -> Result<u32> {
        let place = match self.free.last() {
            Some(place) => *place,
            None if self.entries.len() < limit as usize => self.entries.len() as u32,
            None => return Err(Error::IdsExhausted),
        };
        self.insert_at(hash, place, term)?;
        self.free.pop();
        Ok(place)
    }

    /// Stores a new term at a place that has none.
    pub(super) fn insert_at(&mut self, hash: u32, place: u32, term: &[u8]) -> Result<()> {
        let too_large = || Error::TooLarge { what: "a dictionary shard", limit: FREE.into() };
        let start = u32::try_from(self.arena.len()).map_err(|_| too_large())?;
        let len = u32::try_from(term.len()).map_err(|_| too_large())?;
        self.arena.extend_from_slice(&len.to_le_bytes());
        self.arena.extend_from_slice(term);
        if self.entries.len() <= place as usize {
            self.entries.resize(place as usize + 1, Entry::FREE);
        }
        self.entries[place as usize] = Entry { start, ..Entry::FREE };
        let slot = Slot { hash, place };
        self.table.insert_unique(spread(hash), slot, |slot| spread(slot.hash));
        Ok(())
    }

    /// Counts one more key that leads to the place; false if there is no term.
    pub(super) fn add_reference(&mut self, place: u32) -> bool {
        let entry = self.entries.get_mut(place as usize).filter(|e| e.start != FREE);
        entry.map(|e| e.references += 1).is_some()
    }

    /// Counts one key less; true if it was the last one. Its place is to be
    /// [retired](Terms::retire) or [let pass](Terms::let_pass) then.
    pub(super) fn drop_reference(&mut self, place: u32) -> bool {
        let entry = &mut self.entries[place as usize];
        if entry.references() > 0 {
            entry.references -= 1;
        }
        entry.references() == 0
    }

    /// Keeps a place until segments and the log lead to it no more. Until then its term is found,
    /// and has no other place: a crash may bring a key back that leads here.
    pub(super) fn retire(&mut self, places: impl IntoIterator<Item = u32>) {
        for place in places {
            if let Some(entry) = self.entries.get_mut(place as usize)
                && entry.references & RETIRED == 0
            {
                entry.references |= RETIRED;
                self.retired.push(place);
            }
        }
    }

    pub(super) fn take_retired(&mut self) -> Vec<u32> {
        for &place in &self.retired {
            self.entries[place as usize].references &= !RETIRED;
        }
        std::mem::take(&mut self.retired)
    }

    /// Whether a place that was [taken](Terms::take_retired) is unused still, and was all the time.
    pub(super) fn is_unused(&self, place: u32) -> bool {
        let entry = self.entries.get(place as usize);
        entry.is_some_and(|e| e.start != FREE && e.references == 0)
    }

    /// How many places wait for a flush.
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// Keeps places until readers under way are done.
    pub(super) fn let_pass(&mut self, places: impl IntoIterator<Item = u32>, stamp: usize) {
        self.passing.extend(places.into_iter().map(|place| (place, stamp)));
    }

    /// Frees some of the places whose grace period is over: a bounded number, as others wait.
    pub(super) fn release_some(&mut self, grace: &Grace) {
        const MOST: usize = 256;
        for _ in 0..MOST {
            match self.passing.front() {
                Some(&(place, stamp)) if grace.is_over(stamp) => {
                    self.passing.pop_front();
                    self.release(place);
                }
                _ => break,
            }
        }
    }

    /// Whether [`Terms::release_some`] is worth calling.
    pub(super) fn has_many_passing(&self) -> bool {
        self.passing.len() >= 64
    }

    /// Its term is not found any more.
    pub(super) fn unlist(&mut self, hash: u32, place: u32) {
        if let Ok(found) = self.table.find_entry(spread(hash), |slot| slot.place == place) {
            found.remove();
        }
    }

    /// Makes a term's place free at once: nobody has seen its id.
    pub(super) fn discard(&mut self, hash: u32, place: u32) {
        self.unlist(hash, place);
        self.release(place);
    }

    /// Frees the terms that no key leads to, those at the end without a trace.
    pub(super) fn discard_unreferenced(&mut self, hash: impl Fn(&[u8]) -> u32) {
        self.free.clear();
        for place in 0..self.entries.len() as u32 {
            let unused = self.entries[place as usize].references == 0;
            let hash = self.bytes(place).filter(|_| unused).map(&hash);
            if let Some(hash) = hash {
                self.discard(hash, place);
            } else if unused {
                self.free.push(place);
            }
        }
        while self.entries.pop_if(|entry| entry.start == FREE).is_some() {}
        let len = self.entries.len() as u32;
        self.free.retain(|&place| place < len);
    }

    /// Retires the terms that no key leads to.
    pub(super) fn retire_unreferenced(&mut self, hash: impl Fn(&[u8]) -> u32) {
        self.free.clear();
        for place in 0..self.entries.len() as u32 {
            let unused = self.entries[place as usize].references() == 0;
            match self.bytes(place).map(&hash) {
                None => self.free.push(place),
                // No crash brings back a key that leads here: the log has what took it away.
                Some(hash) if unused => {
                    self.unlist(hash, place);
                    self.retire([place]);
                }
                Some(_) => {}
            }
        }
    }

    /// Whether a new term would need a new place.
    pub(super) fn has_no_free_place(&self) -> bool {
        self.free.is_empty()
    }

    fn release(&mut self, place: u32) {
        self.garbage += self.bytes(place).map_or(0, |term| LENGTH + term.len());
        // Everything may have been let go of meanwhile.
        if let Some(entry) = self.entries.get_mut(place as usize) {
            *entry = Entry::FREE;
            self.free.push(place);
        }
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.table.allocation_size()
            + (self.free.capacity() + self.retired.capacity()) * size_of::<u32>()
            + self.passing.capacity() * size_of::<(u32, usize)>()
            + self.unwritten.capacity()
    }

    /// Bytes of the terms, as they would lie in a packed arena.
    pub(super) fn used_bytes(&self) -> usize {
        self.arena.len() - self.garbage
    }

    /// Whether [`Terms::pack`] would give much memory back.
    pub(super) fn is_wasteful(&self) -> bool {
        self.garbage > MIN_GARBAGE && self.garbage * 2 > self.arena.len()
    }

    /// Packs the arena: terms only, in order of place.
    pub(super) fn pack(&mut self) {
        let mut packed = Vec::with_capacity(self.used_bytes());
        for place in 0..self.entries.len() as u32 {
            let start = packed.len() as u32;
            if let Some(term) = self.bytes(place) {
                packed.extend_from_slice(&(term.len() as u32).to_le_bytes());
                packed.extend_from_slice(term);
                self.entries[place as usize].start = start;
            }
        }
        self.arena = packed;
        self.garbage = 0;
    }
}
