//! One shard of the dictionary in memory: an arena of bytes, places into it, and the way back by
//! hash.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::grace::Grace;
use crate::error::{Error, Result};

/// The arena is packed anew once this many bytes, and half of it, belong to no term.
const MIN_GARBAGE: usize = 1 << 16;
/// Idle bytes of a shard that are not worth telling.
const MIN_NOTICE: usize = 256 << 10;
/// Places that are looked at in one go, as others wait meanwhile; and bytes of their terms.
const SLICE: u32 = 1024;
const SLICE_BYTES: usize = 64 << 10;
/// The start of a place without a term.
const FREE: u32 = u32::MAX;
/// Bytes of the length before each term.
const LENGTH: usize = 4;

/// Terms by place, and places by term.
///
/// A place is *live* while keys lead to it, then *idle*: its term is found still, and comes to life
/// again if a key is to lead there. In an index with files it is a *candidate* from the beginning
/// of a round over all lanes on, if it was idle then and stays so, and *gone* after it: not found
/// any more. Once no reader can hold its id, it is free.
#[derive(Debug, Default)]
pub(super) struct Terms {
    table: HashTable<Slot>,
    entries: Vec<Entry>,
    /// Lengths and bytes of the terms, one after the other.
    arena: Vec<u8>,
    garbage: usize,
    free: Vec<u32>,
    /// What idle and gone places take of the arena, and from when on that is worth telling.
    idle_bytes: usize,
    notice: usize,
    /// Only readers under way may hold their ids: places, and since when.
    passing: VecDeque<(u32, usize)>,
    /// Records for the log of what was interned since it was written last. A term that went idle
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
    /// How many, or what a place without any is.
    references: u32,
}

const IDLE: u32 = 0;
/// A reader may hold its id. The first of these, none of which is a number of references.
const PASSING: u32 = u32::MAX - 3;
const GONE: u32 = u32::MAX - 2;
const CANDIDATE: u32 = u32::MAX - 1;
/// Its first key is being written, which may come to nothing.
const NEW: u32 = u32::MAX;

impl Entry {
    const FREE: Self = Self { start: FREE, references: PASSING };

    fn is_free(self) -> bool {
        self.start == FREE
    }

    /// Keys that lead to it.
    fn references(self) -> u32 {
        if self.references < PASSING { self.references } else { 0 }
    }

    /// Whether files may lead to it.
    fn is_lasting(self) -> bool {
        !self.is_free() && (self.references < PASSING || self.references == CANDIDATE)
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

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The term at a place that is not free.
    pub(super) fn bytes(&self, place: u32) -> Option<&[u8]> {
        let entry = self.entries.get(place as usize).filter(|e| !e.is_free())?;
        let (len, rest) = self.arena[entry.start as usize..].split_first_chunk::<LENGTH>()?;
        rest.get(..u32::from_le_bytes(*len) as usize)
    }

    /// Some places from `first` on with their terms, live, idle and candidates; then the first place
    /// that is left, if any is.
    pub(super) fn slice(&self, first: u32, mut each: impl FnMut(u32, &[u8])) -> Option<u32> {
        let (mut place, mut bytes) = (first, 0);
        while place - first < SLICE && bytes < SLICE_BYTES {
            let entry = self.entries.get(place as usize)?;
            if let Some(term) = self.bytes(place).filter(|_| entry.is_lasting()) {
                bytes += term.len();
                each(place, term);
            }
            place += 1;
        }
        Some(place)
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
        self.entries[place as usize] = Entry { start, references: NEW };
        let slot = Slot { hash, place };
        self.table.insert_unique(spread(hash), slot, |slot| spread(slot.hash));
        Ok(())
    }

    /// What a place takes of the arena.
    fn weight(&self, place: u32) -> usize {
        self.bytes(place).map_or(0, |term| LENGTH + term.len())
    }

    /// Counts one more key that leads to the place; false if there is no term.
    pub(super) fn add_reference(&mut self, place: u32) -> bool {
        let weight = self.weight(place);
        let Some(entry) = self.entries.get_mut(place as usize).filter(|e| !e.is_free()) else {
            return false;
        };
        if matches!(entry.references, IDLE | CANDIDATE) {
            self.idle_bytes -= weight;
        }
        entry.references = entry.references() + 1;
        true
    }

    /// Counts one key less; true if it was the last one.
    pub(super) fn drop_reference(&mut self, place: u32) -> bool {
        let weight = self.weight(place);
        let entry = &mut self.entries[place as usize];
        if entry.references() == 0 {
            return false;
        }
        entry.references -= 1;
        let last = entry.references == IDLE;
        self.idle_bytes += if last { weight } else { 0 };
        last
    }

    /// All idle places become candidates.
    pub(super) fn nominate(&mut self) {
        for entry in self.entries.iter_mut().filter(|e| !e.is_free() && e.references == IDLE) {
            entry.references = CANDIDATE;
        }
    }

    /// Candidates among some places from `first` on are gone from now on, and not found any more;
    /// how many are, and the first place that is left.
    pub(super) fn forsake(
        &mut self,
        first: u32,
        hash: impl Fn(&[u8]) -> u32,
    ) -> (usize, Option<u32>) {
        let end = self.entries.len().min(first as usize + SLICE as usize) as u32;
        let mut gone = 0;
        for place in first..end {
            let state = self.entries[place as usize].references;
            if state == CANDIDATE
                && let Some(hash) = self.bytes(place).map(&hash)
            {
                self.unlist(hash, place);
                self.entries[place as usize].references = GONE;
            }
            gone += usize::from(matches!(state, CANDIDATE | GONE));
        }
        (gone, Some(end).filter(|&end| (end as usize) < self.entries.len()))
    }

    /// Lets go of the last place of a term in an index without files, which nothing leads to.
    pub(super) fn release_idle(&mut self, hash: u32, place: u32, stamp: usize) {
        self.unlist(hash, place);
        self.idle_bytes -= self.weight(place);
        self.entries[place as usize].references = PASSING;
        self.passing.push_back((place, stamp));
    }

    /// Gone places among some from `first` on wait for readers from now on, and are free then; the
    /// first place that is left.
    pub(super) fn let_gone_pass(&mut self, first: u32, stamp: usize) -> Option<u32> {
        let end = self.entries.len().min(first as usize + SLICE as usize) as u32;
        for place in first..end {
            if self.entries[place as usize].references == GONE {
                self.idle_bytes -= self.weight(place);
                self.entries[place as usize].references = PASSING;
                self.passing.push_back((place, stamp));
            }
        }
        self.notice = 0;
        Some(end).filter(|&end| (end as usize) < self.entries.len())
    }

    /// Bytes of the arena that idle terms take.
    pub(super) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Whether idle terms have grown by much since this was true last.
    pub(super) fn has_more_idle(&mut self) -> bool {
        let more = self.idle_bytes > self.notice.max(MIN_NOTICE);
        if more {
            self.notice = self.idle_bytes + self.idle_bytes / 4;
        }
        more
    }

    /// Whether new places are about to run out, while idle ones are there.
    pub(super) fn is_scarce(&self, limit: u32) -> bool {
        self.idle_bytes > 0 && self.entries.len() >= (limit - limit / 8) as usize
    }

    /// Frees some of the places whose grace period is over: a bounded number, as others wait. True
    /// if there were any.
    pub(super) fn release_some(&mut self, grace: &Grace) -> bool {
        const MOST: usize = 256;
        let before = self.passing.len();
        for _ in 0..MOST {
            match self.passing.front() {
                Some(&(place, stamp)) if grace.is_over(stamp) => {
                    self.passing.pop_front();
                    self.release(place);
                }
                _ => break,
            }
        }
        self.passing.len() < before
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

    /// Knows which places are free and which idle, after references were counted. Idle terms are
    /// not found: no crash can bring back a key that leads there, as files agree that none does.
    pub(super) fn settle(&mut self, hash: impl Fn(&[u8]) -> u32) {
        self.free.clear();
        self.idle_bytes = 0;
        for place in 0..self.entries.len() as u32 {
            let entry = self.entries[place as usize];
            if entry.is_free() {
                self.free.push(place);
            } else if entry.references() == 0 {
                self.idle_bytes += self.weight(place);
                let hash = self.bytes(place).map(&hash);
                hash.into_iter().for_each(|hash| self.unlist(hash, place));
                self.entries[place as usize].references = IDLE;
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
            + self.free.capacity() * size_of::<u32>()
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
        self.table.shrink_to(2 * self.table.len(), |slot| spread(slot.hash));
        self.passing.shrink_to(2 * self.passing.len());
    }
}
