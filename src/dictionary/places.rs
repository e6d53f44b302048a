//! What is known of places, five bytes each: how many keys lead there, or what a place without any
//! is, in a byte, as nearly all have few (the many are counted aside); and where the term starts.
//! Side by side, as a look-up wants both and each would be a cache miss.

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

/// The start of a place that has none.
const NOWHERE: [u8; 4] = [u8::MAX; 4];

/// Places this far behind the last one are known aside: a damaged file can name any.
const FAR: usize = 4096;

/// All places, free ones at the end left out.
#[derive(Debug, Default)]
pub(super) struct Places {
    entries: Vec<Entry>,
    many: BTreeMap<u32, u32>,
    /// Without terms.
    far: BTreeMap<u32, State>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: u8,
    /// Not aligned.
    start: [u8; 4],
}

impl Places {
    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The first free place behind all that have an entry.
    pub(super) fn next(&self) -> u32 {
        let taken = self.far.keys().zip(self.len()..).take_while(|(far, place)| *far == place);
        self.len() + taken.count() as u32
    }

    /// Where the term of a place that is not free starts.
    #[inline]
    pub(super) fn start(&self, place: u32) -> Option<u32> {
        let entry = self.entries.get(place as usize)?;
        (entry.state != FREE).then(|| u32::from_le_bytes(entry.start))
    }

    /// The same of one that may be free since, until another term has the place.
    pub(super) fn former_start(&self, place: u32) -> Option<u32> {
        self.entries.get(place as usize).map(|entry| u32::from_le_bytes(entry.start))
    }

    /// None for a place without a term.
    pub(super) fn set_start(&mut self, place: u32, start: Option<u32>) {
        self.grow_to(place);
        self.entries[place as usize].start = start.map_or(NOWHERE, u32::to_le_bytes);
    }

    fn grow_to(&mut self, place: u32) {
        let missing = (place as usize + 1).saturating_sub(self.entries.len());
        if missing > 0 {
            super::terms::reserve(&mut self.entries, missing);
            let none = Entry { state: FREE, start: NOWHERE };
            self.entries.resize(self.entries.len() + missing, none);
            while let Some(first) = self.far.first_entry().filter(|far| *far.key() <= place) {
                let (place, state) = first.remove_entry();
                self.set_state(place, state);
            }
        }
    }

    #[inline]
    pub(super) fn state(&self, place: u32) -> State {
        let Some(entry) = self.entries.get(place as usize) else {
            return self.far.get(&place).copied().unwrap_or(State::Free);
        };
        match entry.state {
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

    pub(super) fn set_state(&mut self, place: u32, state: State) {
        if place as usize >= self.entries.len() + FAR {
            match state {
                State::Free => self.far.remove(&place),
                State::Live(0) => self.far.insert(place, State::Idle),
                state => self.far.insert(place, state),
            };
            return;
        }
        self.grow_to(place);
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
        let entry = &mut self.entries[place as usize];
        if entry.state == MANY && byte != MANY {
            self.many.remove(&place);
        }
        entry.state = byte;
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        // Nodes of the trees are half full at the least.
        let aside =
            self.many.len() * size_of::<(u32, u32)>() + self.far.len() * size_of::<(u32, State)>();
        self.entries.capacity() * size_of::<Entry>() + 2 * aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_what_it_was_set_to() {
        let mut places = Places::default();
        let live = [1, 2, 248, 249, 250, 251, 255, 256, 70_000, u32::MAX].map(State::Live);
        let others = [State::Candidate, State::Gone, State::Passing, State::New, State::Free];
        let all: Vec<State> = live.into_iter().chain(others).chain([State::Idle]).collect();
        for &before in &all {
            for &after in &all {
                places.set_state(3, before);
                places.set_state(3, after);
                assert_eq!(places.state(3), after, "after {before:?}");
            }
        }
        assert_eq!(places.state(2), State::Free, "skipped");
        assert_eq!(places.state(9), State::Free, "beyond the end");
        assert_eq!(places.many.len(), 0, "none is counted aside any more");
        places.set_state(3, State::Live(0));
        assert_eq!(places.state(3), State::Idle);
        places.set_start(3, Some(0x0102_0304));
        places.set_start(70, Some(7));
        assert_eq!((places.start(3), places.start(70)), (Some(0x0102_0304), None));
        assert_eq!(places.former_start(70), Some(7));
        assert_eq!((places.len(), size_of::<Entry>()), (71, 5));
    }

    #[test]
    fn a_place_far_away_takes_no_memory_and_is_there_when_others_get_that_far() {
        let mut places = Places::default();
        places.set_state(3_000_000, State::Idle);
        places.set_state(3_000_000, State::Live(300));
        places.set_state(6_000, State::Idle);
        places.set_state(7_000, State::Idle);
        places.set_state(7_000, State::Free);
        assert_eq!(places.len(), 0);
        assert!(places.memory() < 1_000);
        places.set_state(6_001, State::Idle);
        for _ in 0..8_998 {
            let place = places.next();
            places.set_start(place, Some(place));
            places.set_state(place, State::Live(1));
        }
        assert_eq!((places.len(), places.far.len()), (9_000, 1));
        assert_eq!((places.state(6_000), places.state(7_000)), (State::Idle, State::Live(1)));
        assert_eq!(places.state(3_000_000), State::Live(300));
    }
}
