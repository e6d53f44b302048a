//! What a layer says about one key.

use crate::MAX_ID;

/// Sets up to this many ids are rewritten whole; larger ones get deltas on top.
pub(crate) const SMALL_SET: usize = 64;

/// Ids up to which a list is changed in place, id by id.
const FEW: usize = 16;

/// Ids in ascending order without duplicates, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids<'a> {
    One(u32),
    /// In an overlay.
    Words(&'a [u32]),
    /// In a segment: little-endian.
    Stored(&'a [[u8; 4]]),
}

impl<'a> Ids<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Ids::One(_) => 1,
            Ids::Words(words) => words.len(),
            Ids::Stored(words) => words.len(),
        }
    }

    fn at(&self, i: usize) -> u32 {
        match self {
            Ids::One(id) => *id,
            Ids::Words(words) => words[i],
            Ids::Stored(words) => u32::from_le_bytes(words[i]),
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).map(move |i| self.at(i))
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        match self {
            Ids::One(one) => *one == id,
            Ids::Words(words) => words.binary_search(&id).is_ok(),
            Ids::Stored(words) => {
                words.binary_search_by_key(&id, |w| u32::from_le_bytes(*w)).is_ok()
            }
        }
    }
}

/// A change to a large set that lies in an older layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) adds: Vec<u32>,
    pub(crate) removes: Vec<u32>,
    /// The set's size with this delta applied, so that emptiness needs no older layer.
    pub(crate) len: u32,
}

/// An overlay's record of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// The empty set: whatever lies below is gone.
    Tombstone,
    One(u32),
    Many(Vec<u32>),
    Delta(Box<Delta>),
}

/// The same, borrowed from an overlay or a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordRef<'a> {
    Tombstone,
    /// The whole set; never empty.
    Complete(Ids<'a>),
    Delta {
        adds: Ids<'a>,
        removes: Ids<'a>,
        len: u32,
    },
}

impl RecordRef<'_> {
    /// Whether `id` is in the set, if this record alone tells.
    pub(crate) fn verdict(&self, id: u32) -> Option<bool> {
        match self {
            RecordRef::Tombstone => Some(false),
            RecordRef::Complete(ids) => Some(ids.contains(id)),
            RecordRef::Delta { adds, .. } if adds.contains(id) => Some(true),
            RecordRef::Delta { removes, .. } if removes.contains(id) => Some(false),
            RecordRef::Delta { .. } => None,
        }
    }

    /// Whether all ids are such as can be.
    pub(crate) fn is_in_range(&self) -> bool {
        let sound = |ids: &Ids<'_>| ids.iter().all(|id| id <= MAX_ID);
        match self {
            RecordRef::Tombstone => true,
            RecordRef::Complete(ids) => sound(ids),
            RecordRef::Delta { adds, removes, .. } => sound(adds) && sound(removes),
        }
    }

    /// All ids that it names, those removed too.
    pub(crate) fn names(&self) -> impl Iterator<Item = u32> {
        let none = Ids::Words(&[]);
        let (one, other) = match *self {
            RecordRef::Tombstone => (none, none),
            RecordRef::Complete(ids) => (ids, none),
            RecordRef::Delta { adds, removes, .. } => (adds, removes),
        };
        one.iter().chain(other.iter())
    }

    /// The size of the set.
    pub(crate) fn cardinality(&self) -> usize {
        match self {
            RecordRef::Tombstone => 0,
            RecordRef::Complete(ids) => ids.len(),
            RecordRef::Delta { len, .. } => *len as usize,
        }
    }
}

impl Record {
    /// An owned copy of a borrowed delta.
    pub(crate) fn delta(adds: Ids<'_>, removes: Ids<'_>, len: u32) -> Self {
        let (adds, removes) = (adds.iter().collect(), removes.iter().collect());
        Record::Delta(Box::new(Delta { adds, removes, len }))
    }

    pub(crate) fn as_ref(&self) -> RecordRef<'_> {
        match self {
            Record::Tombstone => RecordRef::Tombstone,
            Record::One(id) => RecordRef::Complete(Ids::One(*id)),
            Record::Many(ids) => RecordRef::Complete(Ids::Words(ids)),
            Record::Delta(delta) => RecordRef::Delta {
                adds: Ids::Words(&delta.adds),
                removes: Ids::Words(&delta.removes),
                len: delta.len,
            },
        }
    }

    /// The record of a whole set, ascending.
    pub(crate) fn from_set(mut ids: Vec<u32>) -> Self {
        match ids.len() {
            0 => Record::Tombstone,
            1 => Record::One(ids[0]),
            _ => {
                ids.shrink_to_fit();
                Record::Many(ids)
            }
        }
    }

    /// Adds an id that the whole set does not hold yet.
    pub(crate) fn put(&mut self, id: u32) {
        match self {
            Record::Tombstone => *self = Record::One(id),
            Record::One(one) => *self = Record::Many(vec![(*one).min(id), (*one).max(id)]),
            Record::Many(ids) => insert(ids, id),
            Record::Delta(delta) => {
                if !remove(&mut delta.removes, id) {
                    insert(&mut delta.adds, id);
                }
                delta.len = delta.len.saturating_add(1);
            }
        }
    }

    /// Removes an id that the whole set holds.
    pub(crate) fn delete(&mut self, id: u32) {
        match self {
            Record::Tombstone | Record::One(_) => *self = Record::Tombstone,
            Record::Many(ids) => {
                remove(ids, id);
                if ids.len() == 1 {
                    *self = Record::One(ids[0]);
                }
            }
            Record::Delta(delta) => {
                if !remove(&mut delta.adds, id) {
                    insert(&mut delta.removes, id);
                }
                delta.len = delta.len.saturating_sub(1);
                if delta.len == 0 {
                    *self = Record::Tombstone;
                }
            }
        }
    }

    /// Adds ids that the whole set does not hold, and removes ids that it holds; both ascending,
    /// none in both.
    pub(crate) fn edit(&mut self, puts: &[u32], deletes: &[u32]) {
        // One by one costs a shift of the list each, all at once a copy of the list.
        if puts.len() + deletes.len() <= FEW {
            puts.iter().for_each(|&id| self.put(id));
            deletes.iter().for_each(|&id| self.delete(id));
            return;
        }
        *self = match std::mem::replace(self, Record::Tombstone) {
            Record::Tombstone => Record::from_set(applied(&[], puts, deletes)),
            Record::One(id) => Record::from_set(applied(&[id], puts, deletes)),
            Record::Many(ids) => Record::from_set(applied(&ids, puts, deletes)),
            Record::Delta(delta) => {
                let Delta { adds, removes, len } = *delta;
                // What was removed here before and comes back is no addition to what lies below,
                // and the other way round.
                let new_adds = applied(puts, &[], &removes);
                let new_removes = applied(deletes, &[], &adds);
                // Saturating: a damaged segment's length may be anything.
                let len =
                    len.saturating_add(puts.len() as u32).saturating_sub(deletes.len() as u32);
                let mut adds = applied(&adds, &new_adds, deletes);
                let mut removes = applied(&removes, &new_removes, puts);
                adds.shrink_to_fit();
                removes.shrink_to_fit();
                if len == 0 {
                    Record::Tombstone
                } else {
                    Record::Delta(Box::new(Delta { adds, removes, len }))
                }
            }
        };
    }

    /// Bytes allocated beside the record.
    pub(crate) fn allocated(&self) -> usize {
        let ids = |ids: &Vec<u32>| ids.capacity() * size_of::<u32>();
        match self {
            Record::Tombstone | Record::One(_) => 0,
            Record::Many(many) => ids(many),
            Record::Delta(delta) => size_of::<Delta>() + ids(&delta.adds) + ids(&delta.removes),
        }
    }

    /// Ids held beside the table's own word; what an overlay's weight counts.
    pub(crate) fn list_len(&self) -> usize {
        match self {
            Record::Tombstone | Record::One(_) => 0,
            Record::Many(ids) => ids.len(),
            Record::Delta(delta) => delta.adds.len() + delta.removes.len(),
        }
    }
}

/// (base - removes) + adds; all three ascending.
pub(crate) fn apply(base: &[u32], adds: Ids<'_>, removes: Ids<'_>) -> Vec<u32> {
    let mut out = Vec::with_capacity(base.len() + adds.len());
    let mut adds = adds.iter().peekable();
    let mut removes = removes.iter().peekable();
    for &id in base {
        while let Some(add) = adds.next_if(|&add| add < id) {
            out.push(add);
        }
        while removes.next_if(|&gone| gone < id).is_some() {}
        if adds.next_if_eq(&id).is_some() || removes.peek() != Some(&id) {
            out.push(id);
        }
    }
    out.extend(adds);
    out
}

/// [`apply`] with plain lists.
pub(crate) fn applied(base: &[u32], adds: &[u32], removes: &[u32]) -> Vec<u32> {
    apply(base, Ids::Words(adds), Ids::Words(removes))
}

fn insert(ids: &mut Vec<u32>, id: u32) {
    if let Err(at) = ids.binary_search(&id) {
        ids.insert(at, id);
    }
}

fn remove(ids: &mut Vec<u32>, id: u32) -> bool {
    ids.binary_search(&id).map(|at| ids.remove(at)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(adds: &[u32], removes: &[u32], len: u32) -> Record {
        Record::Delta(Box::new(Delta { adds: adds.to_vec(), removes: removes.to_vec(), len }))
    }

    #[test]
    fn records_change_in_place() {
        let mut record = Record::Tombstone;
        for id in [5, 1, 3] {
            record.put(id);
        }
        assert_eq!(record, Record::Many(vec![1, 3, 5]));
        record.delete(3);
        record.delete(1);
        assert_eq!(record, Record::One(5));
        record.delete(5);
        assert_eq!(record, Record::Tombstone);

        let mut large = delta(&[], &[], 100);
        large.put(7);
        large.delete(9);
        assert_eq!(large, delta(&[7], &[9], 100));
        // Added here and removed here: the layers below never heard of it.
        large.delete(7);
        large.put(9);
        assert_eq!(large, delta(&[], &[], 100));
    }

    #[test]
    fn many_changes_at_once_come_to_the_same_as_one_by_one() {
        let below: Vec<u32> = (0..200).step_by(3).collect();
        for n in [1_usize, FEW / 2, FEW, 100] {
            let start = delta(&[1, 4, 7], &[0, 3, 9], below.len() as u32);
            let puts: Vec<u32> =
                [2, 3].into_iter().chain((1..).map(|i| 3 * i + 2).take(n)).collect();
            let deletes: Vec<u32> =
                std::iter::once(4).chain(below[8..].iter().copied().take(n)).collect();
            let (mut at_once, mut singly) = (start.clone(), start);
            at_once.edit(&puts, &deletes);
            puts.iter().for_each(|&id| singly.put(id));
            deletes.iter().for_each(|&id| singly.delete(id));
            assert_eq!(at_once, singly, "{n}");

            let mut whole = Record::from_set(below.clone());
            let gone: Vec<u32> = below.iter().copied().take(n).collect();
            whole.edit(&[1, 5, 1_000], &gone);
            let mut left: Vec<u32> = below.iter().copied().skip(n).chain([1, 5, 1_000]).collect();
            left.sort_unstable();
            assert_eq!(whole, Record::from_set(left), "{n}");
        }
        let mut emptied = Record::from_set(below.clone());
        emptied.edit(&[], &below);
        assert_eq!(emptied, Record::Tombstone);
        let mut emptied = delta(&[], &[], below.len() as u32);
        emptied.edit(&[], &below);
        assert_eq!(emptied, Record::Tombstone);
    }

    #[test]
    fn a_delta_that_empties_the_set_is_a_tombstone() {
        let mut record = delta(&[], &[], 1);
        record.delete(4);
        assert_eq!(record, Record::Tombstone);
    }
}
