//! One shard of the dictionary in memory: an arena of bytes, places into it, and the way back by
//! hash. Beyond its bytes and their length, a term takes some ten bytes: where it starts, what is
//! known of it, a slot of the table.

mod lifetimes;

use std::collections::VecDeque;

use super::arena::{Arena, weight};
use super::members::Members;
use super::places::{Places, State};
use super::scope::Scope;
use super::table::{MAX_PLACES, Table};
use crate::error::{Error, Result};

/// The arena is packed anew once this many bytes, and an eighth of it, belong to no term.
const MIN_GARBAGE: usize = 1 << 12;
/// Places that are looked at in one go, as others wait meanwhile; and bytes of their terms.
const SLICE: u32 = 1024;
const SLICE_BYTES: usize = 64 << 10;

/// Terms by place, and places by term.
///
/// A place is *live* while keys lead to it, then *idle*: its term is found still, and comes to life
/// again if a key is to lead there. In an index with files it is a *candidate* from the beginning
/// of a round over all lanes on, if it was idle then and stays so, and *gone* after it: not found
/// any more. Once no reader can hold its id, it is free.
#[derive(Debug, Default)]
pub(super) struct Terms {
    table: Table,
    arena: Arena,
    places: Places,
    members: Members,
    /// Bytes of the arena that are a term's, and those that are not any more.
    used: usize,
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

/// Room for `more` elements, and little beyond.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 16).max(8));
    }
}

impl Terms {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Places, free ones among them.
    pub(super) fn places(&self) -> u32 {
        self.places.len()
    }

    #[inline]
    pub(super) fn state(&self, place: u32) -> State {
        self.places.state(place)
    }

    /// The term at a place that is not free.
    #[inline]
    pub(super) fn bytes(&self, place: u32) -> Option<&[u8]> {
        self.arena.get(self.places.start(place)?)
    }

    /// Some places from `first` on with their terms, live, idle and candidates; then the first place
    /// that is left, if any is.
    pub(super) fn slice(&self, first: u32, mut each: impl FnMut(u32, &[u8])) -> Option<u32> {
        let (mut place, mut bytes) = (first, 0);
        while place - first < SLICE && bytes < SLICE_BYTES {
            if place == self.places() {
                return None;
            }
            let lasting =
                matches!(self.state(place), State::Live(_) | State::Idle | State::Candidate);
            if let Some(term) = self.bytes(place).filter(|_| lasting) {
                bytes += term.len();
                each(place, term);
            }
            place += 1;
        }
        Some(place)
    }

    /// Places that have the term. After a crash that may be two.
    pub(super) fn find_all(&self, hash: u32, term: &[u8]) -> Vec<u32> {
        let mut places = Vec::new();
        self.table.find(hash, |place| {
            if self.bytes(place) == Some(term) {
                places.push(place);
            }
            false
        });
        places
    }

    /// The place that has the term: one that keys lead to, if there is one.
    pub(super) fn find(&self, hash: u32, term: &[u8]) -> Option<u32> {
        let mut best = None;
        self.table.find(hash, |place| {
            if self.bytes(place) == Some(term) {
                let keys = match self.state(place) {
                    State::Live(keys) => keys,
                    _ => 0,
                };
                best = best.max(Some((keys, place)));
            }
            false
        });
        best.map(|(_, place)| place)
    }

    /// Stores a new term at a free place, or at the end, for [`Terms::find`] to find.
    pub(super) fn insert(
        &mut self,
        hash: u32,
        term: &[u8],
        hash_of: impl Fn(&[u8]) -> u32,
    ) -> Result<u32> {
        let place = match self.free.last() {
            Some(place) => *place,
            None if self.places.next() < MAX_PLACES => self.places.next(),
            None => return Err(Error::IdsExhausted),
        };
        // Who had the place before is still listed as its namespace's, which a term of the same
        // namespace makes true again.
        let start = self.places.former_start(place);
        let before = start.and_then(|start| Scope::split(self.arena.get(start)?));
        let (before, scope) = (before.map(|(scope, _)| scope), Scope::split(term));
        self.insert_at(place, term)?;
        self.free.pop();
        self.list(hash, place, hash_of);
        if let Some((scope, _)) = scope.filter(|(scope, _)| before != Some(*scope)) {
            before.into_iter().for_each(|before| self.members.remove(before, place));
            self.members.add(scope, place);
        }
        Ok(place)
    }

    /// Stores a new term at a place that has none. It is not found yet.
    pub(super) fn insert_at(&mut self, place: u32, term: &[u8]) -> Result<()> {
        if place >= MAX_PLACES {
            return Err(Error::IdsExhausted);
        }
        let start = self.arena.push(term)?;
        self.places.set_start(place, Some(start));
        self.places.set_state(place, State::New);
        self.used += weight(term);
        Ok(())
    }

    /// Lets a place be found.
    fn list(&mut self, hash: u32, place: u32, hash_of: impl Fn(&[u8]) -> u32) {
        let Self { table, arena, places, .. } = self;
        let term = |place| arena.get(places.start(place)?);
        let hash_at = |place: u32| term(place).map_or(0, &hash_of);
        table.insert(hash, place, hash_at);
    }

    /// What a place takes of the arena.
    fn weight(&self, place: u32) -> usize {
        self.bytes(place).map_or(0, weight)
    }

    /// Its term is not found any more.
    pub(super) fn unlist(&mut self, place: u32, hash_of: impl Fn(&[u8]) -> u32) {
        if let Some(hash) = self.bytes(place).map(hash_of) {
            self.table.remove(hash, place);
        }
    }

    /// The places of a scope that keys lead to.
    pub(super) fn live_of(&self, scope: Scope) -> impl Iterator<Item = u32> {
        self.members.of(scope).iter().copied().filter(|&place| self.is_live(place))
    }

    /// How many places of each namespace keys lead to.
    pub(super) fn live_members(&self) -> impl Iterator<Item = (u32, u32)> {
        self.members.namespaces().map(|(namespace, places)| {
            let live = places.iter().filter(|&&place| self.is_live(place)).count();
            (namespace, live as u32)
        })
    }

    fn is_live(&self, place: u32) -> bool {
        matches!(self.state(place), State::Live(_))
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.arena.memory()
            + self.places.memory()
            + self.members.memory()
            + self.table.memory()
            + self.free.capacity() * size_of::<u32>()
            + self.passing.capacity() * size_of::<(u32, usize)>()
            + self.unwritten.capacity()
    }

    /// Bytes of the terms, as they would lie in a packed arena.
    pub(super) fn used_bytes(&self) -> usize {
        self.used
    }

    /// Whether there may be something to release or to pack.
    pub(super) fn has_waste(&self) -> bool {
        !self.passing.is_empty() || self.is_wasteful()
    }

    /// Whether [`Terms::pack`] would give much memory back.
    pub(super) fn is_wasteful(&self) -> bool {
        self.garbage > MIN_GARBAGE && self.garbage * 8 > self.used
    }

    /// Packs the arena: terms only, in order of place.
    pub(super) fn pack(&mut self, hash_of: impl Fn(&[u8]) -> u32) -> Result<()> {
        let (mut packed, mut starts) = (Arena::default(), Vec::new());
        for place in 0..self.places() {
            starts.push(self.bytes(place).map(|term| packed.push(term)).transpose()?);
        }
        for (place, start) in (0..).zip(starts) {
            self.places.set_start(place, start);
        }
        (self.arena, self.garbage) = (packed, 0);
        let Self { table, arena, places, members, .. } = self;
        members.retain(|place| places.state(place) != State::Free);
        let term = |place| arena.get(places.start(place)?);
        table.shrink(|place| term(place).map_or(0, &hash_of));
        self.passing.shrink_to(2 * self.passing.len());
        Ok(())
    }
}
