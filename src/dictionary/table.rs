//! A hash table of places: four bytes a slot, four slots in five in use at the most.
//!
//! Open addressing with linear probing (Knuth, TAOCP 3, 6.4). A slot has a place and a few bits of
//! the hash; the rest of the hash is asked of the place when the table is built anew, which is
//! cheap because a shard's table is small.

/// A slot: the place below, bits of the hash above.
const PLACE_BITS: u32 = 22;
const PLACE: u32 = (1 << PLACE_BITS) - 1;
const TAG: u32 = !PLACE;
const EMPTY: u32 = u32::MAX;
/// A place was taken out, and others may lie behind.
const LEFT: u32 = u32::MAX - 1;
/// Places are below this, so that no slot in use looks like one that is not.
pub(super) const MAX_PLACES: u32 = PLACE - 1;

/// Slots, some of them empty.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<u32>,
    places: usize,
    left: usize,
}

/// Bits that tell places with different hashes apart. Slots are chosen by the high bits.
fn tag(hash: u32) -> u32 {
    hash << PLACE_BITS
}

impl Table {
    /// Slots for that many places with room to grow by a fifth: two in three in use.
    fn slots_for(places: usize) -> usize {
        places + places / 2 + 8
    }

    /// An empty one for that many places.
    pub(super) fn with_room(places: usize) -> Self {
        Self { slots: vec![EMPTY; Self::slots_for(places)], ..Self::default() }
    }

    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 < self.slots.len() { at + 1 } else { 0 }
    }

    /// The first place of those whose hashes are probably this that `is` it.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        // There is an empty one: at least one in five is.
        loop {
            let slot = *self.slots.get(at)?;
            if slot == EMPTY {
                return None;
            }
            if slot & TAG == tag && slot < LEFT && is(slot & PLACE) {
                return Some(slot & PLACE);
            }
            at = self.after(at);
        }
    }

    /// Puts a place in that is not in yet; `hash_of` tells the hashes of those that are.
    pub(super) fn insert(&mut self, hash: u32, place: u32, hash_of: impl Fn(u32) -> u32) {
        if (self.places + self.left + 1) * 5 > self.slots.len() * 4 {
            self.rebuild(Self::slots_for(self.places + 1), hash_of);
        }
        self.place(hash, place);
    }

    fn place(&mut self, hash: u32, place: u32) {
        let mut at = self.home(hash);
        while self.slots[at] < LEFT {
            at = self.after(at);
        }
        self.left -= usize::from(self.slots[at] == LEFT);
        self.slots[at] = tag(hash) | place;
        self.places += 1;
    }

    /// Takes a place out, if it is in.
    pub(super) fn remove(&mut self, hash: u32, place: u32) {
        let wanted = tag(hash) | place;
        let mut at = self.home(hash);
        while self.slots.get(at).is_some_and(|&slot| slot != wanted && slot != EMPTY) {
            at = self.after(at);
        }
        if self.slots.get(at) == Some(&wanted) {
            let last = self.slots[self.after(at)] == EMPTY;
            self.slots[at] = if last { EMPTY } else { LEFT };
            self.left += usize::from(!last);
            self.places -= 1;
        }
    }

    fn rebuild(&mut self, slots: usize, hash_of: impl Fn(u32) -> u32) {
        let before = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        (self.places, self.left) = (0, 0);
        for slot in before.into_iter().filter(|&slot| slot < LEFT) {
            let place = slot & PLACE;
            self.place(hash_of(place), place);
        }
    }

    /// Gives memory back if most of it is not in use.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(u32) -> u32) {
        if self.slots.len() > 2 * Self::slots_for(self.places) {
            self.rebuild(Self::slots_for(self.places), hash_of);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Few distinct hashes in few neighbourhoods, so that all of it happens.
    fn hash_of(place: u32) -> u32 {
        (place % 97).wrapping_mul(0x9e37_79b9) & 0xe000_03ff
    }

    #[test]
    fn it_holds_what_was_put_in_and_not_taken_out() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut table, mut model) = (Table::default(), BTreeSet::new());
        for step in 0..60_000 {
            // Grows, shrinks and grows again.
            let most = if step % 20_000 < 10_000 { 900 } else { 100 };
            let place = random.u32(0..most);
            if random.bool() && model.insert(place) {
                table.insert(hash_of(place), place, hash_of);
            } else if model.remove(&place) {
                table.remove(hash_of(place), place);
            }
            if step % 1_000 == 0 {
                table.shrink(hash_of);
            }
            let asked = random.u32(0..1_000);
            let found = table.find(hash_of(asked), |place| place == asked);
            assert_eq!(found.is_some(), model.contains(&asked), "step {step}, place {asked}");
        }
        table.remove(hash_of(1_001), 1_001);
        assert_eq!(table.places, model.len());
    }

    #[test]
    fn the_last_place_can_be_told_from_no_place() {
        let mut table = Table::default();
        let place = MAX_PLACES - 1;
        table.insert(u32::MAX, place, |_| u32::MAX);
        assert_eq!(table.find(u32::MAX, |_| true), Some(place));
        table.remove(u32::MAX, place);
        assert_eq!(table.find(u32::MAX, |_| true), None);
        assert!(table.is_empty());
    }

    #[test]
    fn an_entry_takes_between_five_and_six_bytes() {
        let mut table = Table::default();
        let mut random = fastrand::Rng::with_seed(2);
        let hashes: Vec<u32> = (0..20_000).map(|_| random.u32(..)).collect();
        for place in 0..20_000 {
            table.insert(hashes[place as usize], place, |place| hashes[place as usize]);
            let per_entry = table.memory() as f64 / f64::from(place + 1);
            assert!(place < 1_000 || (4.9..6.1).contains(&per_entry), "{per_entry} at {place}");
        }
    }
}
