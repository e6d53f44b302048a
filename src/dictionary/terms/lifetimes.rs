//! How places come to life and go: counted, idle, a round's candidates, passing, free.

use super::{SLICE, Terms};
use crate::dictionary::members::Members;
use crate::dictionary::places::State;
use crate::dictionary::scope::Scope;
use crate::dictionary::table::{MAX_PLACES, Table};
use crate::grace::Grace;

/// Idle bytes of a shard that are not worth telling.
const MIN_NOTICE: usize = 32 << 10;
/// Passing places that are not worth looking at.
const FEW: usize = 16;

impl Terms {
    /// Counts one more key that leads to the place; whether it is the first one, none if there is no
    /// term.
    pub(in crate::dictionary) fn add_reference(&mut self, place: u32) -> Option<bool> {
        self.add_references(place, 1)
    }

    pub(in crate::dictionary) fn add_references(&mut self, place: u32, count: u32) -> Option<bool> {
        let keys = match self.state(place) {
            State::Free => return None,
            State::Live(keys) => keys,
            State::Idle | State::Candidate => {
                self.idle_bytes -= self.weight(place);
                0
            }
            State::New | State::Gone | State::Passing => 0,
        };
        self.places.set_state(place, State::Live(keys.saturating_add(count)));
        Some(keys == 0)
    }

    /// Counts one key less; true if it was the last one.
    pub(in crate::dictionary) fn drop_reference(&mut self, place: u32) -> bool {
        let State::Live(keys) = self.state(place) else { return false };
        self.places.set_state(place, State::Live(keys - 1));
        if keys == 1 {
            self.idle_bytes += self.weight(place);
        }
        keys == 1
    }

    /// All idle places become candidates.
    pub(in crate::dictionary) fn nominate(&mut self) {
        for place in 0..self.places() {
            if self.state(place) == State::Idle {
                self.places.set_state(place, State::Candidate);
            }
        }
    }

    /// Candidates among some places from `first` on are gone from now on, and not found any more;
    /// how many are, and the first place that is left.
    pub(in crate::dictionary) fn forsake(
        &mut self,
        first: u32,
        hash_of: impl Fn(&[u8]) -> u32,
    ) -> (usize, Option<u32>) {
        let (end, mut gone) = (self.places().min(first + SLICE), 0);
        for place in first..end {
            if self.state(place) == State::Candidate {
                self.unlist(place, &hash_of);
                self.places.set_state(place, State::Gone);
            }
            gone += usize::from(self.state(place) == State::Gone);
        }
        (gone, Some(end).filter(|&end| end < self.places()))
    }

    /// Lets go of the last place of a term in an index without files, which nothing leads to.
    pub(in crate::dictionary) fn release_idle(&mut self, place: u32, hash: u32, stamp: usize) {
        self.table.remove(hash, place);
        self.let_pass(place, stamp);
    }

    fn let_pass(&mut self, place: u32, stamp: usize) {
        self.idle_bytes -= self.weight(place);
        self.places.set_state(place, State::Passing);
        self.passing.push_back((place, stamp));
    }

    /// Gone places among some from `first` on wait for readers from now on, and are free then; the
    /// first place that is left.
    pub(in crate::dictionary) fn let_gone_pass(&mut self, first: u32, stamp: usize) -> Option<u32> {
        let end = self.places().min(first + SLICE);
        for place in first..end {
            if self.state(place) == State::Gone {
                self.let_pass(place, stamp);
            }
        }
        self.notice = 0;
        Some(end).filter(|&end| end < self.places())
    }

    /// Bytes of the arena that idle terms take.
    pub(in crate::dictionary) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Whether there is much more to have back than when this was true last.
    pub(in crate::dictionary) fn has_more_to_release(&mut self) -> bool {
        let more = self.idle_bytes > self.notice.max(MIN_NOTICE);
        if more {
            self.notice = self.idle_bytes + self.idle_bytes / 4;
        }
        let passing = self.passing.len();
        more || self.is_wasteful() || (passing > FEW && passing * 8 > self.places() as usize)
    }

    /// Whether new places are about to run out, while idle ones are there.
    pub(in crate::dictionary) fn is_scarce(&self) -> bool {
        self.idle_bytes > 0 && self.places() >= MAX_PLACES - MAX_PLACES / 8
    }

    /// Frees some of the places whose grace period is over: a bounded number, as others wait. True
    /// if there were any.
    pub(in crate::dictionary) fn release_some(&mut self, grace: &Grace) -> bool {
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

    /// Whether a new term would need a new place, and [`Terms::release_some`] may be worth calling.
    pub(in crate::dictionary) fn needs_places(&self) -> bool {
        self.free.is_empty() && self.passing.len() >= FEW
    }

    /// Makes a term's place free at once: nobody has seen its id.
    pub(in crate::dictionary) fn discard(&mut self, place: u32, hash_of: impl Fn(&[u8]) -> u32) {
        self.unlist(place, hash_of);
        self.release(place);
    }

    /// Lets terms be found, and places of none be used, after references were counted. Idle terms are
    /// not found: no crash can bring back a key that leads there, as files agree that none does.
    pub(in crate::dictionary) fn settle(&mut self, hash_of: impl Fn(&[u8]) -> u32) {
        self.free.clear();
        self.idle_bytes = 0;
        self.members = Members::default();
        let live = (0..self.places()).filter(|&place| self.is_live(place)).count();
        self.table = Table::with_room(live);
        for place in 0..self.places() {
            if let Some((scope, _)) = self.bytes(place).and_then(Scope::split) {
                self.members.add(scope, place);
            }
            match self.state(place) {
                State::Free => self.free.push(place),
                State::Live(_) => {
                    let hash = self.bytes(place).map_or(0, &hash_of);
                    self.list(hash, place, &hash_of);
                }
                _ => {
                    self.idle_bytes += self.weight(place);
                    self.places.set_state(place, State::Idle);
                }
            }
        }
    }

    /// Keeps a place from being given to a term, if it has none: damage has taken its term, but others
    /// belong to it.
    pub(in crate::dictionary) fn occupy(&mut self, place: u32) {
        if self.state(place) == State::Free && place < MAX_PLACES {
            self.free.retain(|&other| other != place);
            self.places.set_state(place, State::Idle);
        }
    }

    fn release(&mut self, place: u32) {
        let weight = self.weight(place);
        // Everything may have been let go of meanwhile.
        if weight > 0 {
            (self.used, self.garbage) = (self.used - weight, self.garbage + weight);
            self.places.set_state(place, State::Free);
            self.free.push(place);
        }
    }
}
