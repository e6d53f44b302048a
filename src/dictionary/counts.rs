//! What is known of places: how many keys lead there, or what a place without any is. A byte for
//! each, as nearly all have few; the many are counted aside.

use std::collections::BTreeMap;

/// The state of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Keys lead to it.
    Live(u32),
    /// None does any more, but its term is found still.
    Idle,
    /// Idle since a round over all lanes began.
    Candidate,
    /// Not found any more; files may have its id.
    Gone,
    /// Not found any more, and only readers under way may hold its id.
    Passing,
    /// Its first key is being written, which may come to nothing.
    New,
    /// Without a term.
    Free,
}

const IDLE: u8 = 0;
/// The most that a byte counts.
const MOST: u8 = 249;
const MANY: u8 = 250;
const CANDIDATE: u8 = 251;
const GONE: u8 = 252;
const PASSING: u8 = 253;
const NEW: u8 = 254;
const FREE: u8 = 255;

/// The states of all places, free ones at the end left out.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: Vec<u8>,
    many: BTreeMap<u32, u32>,
}

impl Counts {
    pub(super) fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> State {
        match self.bytes.get(place as usize).copied().unwrap_or(FREE) {
            IDLE => State::Idle,
            MANY => State::Live(self.many.get(&place).copied().unwrap_or_default()),
            CANDIDATE => State::Candidate,
            GONE => State::Gone,
            PASSING => State::Passing,
            NEW => State::New,
            FREE => State::Free,
            few => State::Live(few.into()),
        }
    }

    pub(super) fn set(&mut self, place: u32, state: State) {
        let at = place as usize;
        if at >= self.bytes.len() {
            let missing = at + 1 - self.bytes.len();
            super::terms::reserve(&mut self.bytes, missing);
            self.bytes.resize(at + 1, FREE);
        }
        let byte = match state {
            State::Live(0) | State::Idle => IDLE,
            State::Live(few) if few <= MOST.into() => few as u8,
            State::Live(many) => {
                self.many.insert(place, many);
                MANY
            }
            State::Candidate => CANDIDATE,
            State::Gone => GONE,
            State::Passing => PASSING,
            State::New => NEW,
            State::Free => FREE,
        };
        if self.bytes[at] == MANY && byte != MANY {
            self.many.remove(&place);
        }
        self.bytes[at] = byte;
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        // Nodes of the tree are half full at the least.
        self.bytes.capacity() + self.many.len() * 2 * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_what_it_was_set_to() {
        let mut counts = Counts::default();
        let live = [1, 2, 248, 249, 250, 251, 255, 256, 70_000, u32::MAX].map(State::Live);
        let others = [State::Candidate, State::Gone, State::Passing, State::New, State::Free];
        let all: Vec<State> = live.into_iter().chain(others).chain([State::Idle]).collect();
        for &before in &all {
            for &after in &all {
                counts.set(3, before);
                counts.set(3, after);
                assert_eq!(counts.get(3), after, "after {before:?}");
            }
        }
        assert_eq!(counts.get(2), State::Free, "skipped");
        assert_eq!(counts.get(9), State::Free, "beyond the end");
        assert_eq!(counts.many.len(), 0, "none is counted aside any more");
        counts.set(3, State::Live(0));
        assert_eq!(counts.get(3), State::Idle);
    }
}
