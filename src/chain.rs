//! How what several layers say of one key adds up to a set of ids.

use crate::record::{Delta, Ids, Record, RecordRef, SMALL_SET, applied, apply};

/// The records of one key, newest first, down to the first complete one.
#[derive(Debug, Default)]
pub(crate) struct Chain<'a> {
    /// Nearly always the only one, so it is kept apart from the allocation.
    newest: Option<RecordRef<'a>>,
    older: Vec<RecordRef<'a>>,
}

/// A key's ids, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdSet {
    /// The key is not in the index.
    Empty,
    /// One id.
    One(u32),
    /// Two or more, ascending.
    Many(Vec<u32>),
}

impl IdSet {
    /// The ids, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            IdSet::Empty => &[],
            IdSet::One(id) => std::slice::from_ref(id),
            IdSet::Many(ids) => ids,
        }
    }
}

impl<'a> Chain<'a> {
    /// A chain that starts with these deltas.
    #[inline]
    pub(crate) fn of(deltas: &'a [Record]) -> Self {
        let mut chain = Self::default();
        for delta in deltas {
            chain.push(delta.as_ref());
        }
        chain
    }

    /// Takes the next older record; true once no older one matters.
    #[inline]
    pub(crate) fn push(&mut self, record: RecordRef<'a>) -> bool {
        if self.newest.is_none() {
            self.newest = Some(record);
        } else {
            self.older.push(record);
        }
        !matches!(record, RecordRef::Delta { .. })
    }

    /// The deltas so far, for use after the layers they were borrowed from are let go.
    #[inline]
    pub(crate) fn to_owned_deltas(&self) -> Vec<Record> {
        if self.is_empty() {
            // Nearly always; and this is on the way of every look-up.
            return Vec::new();
        }
        let delta = |record: &RecordRef<'a>| match *record {
            RecordRef::Delta { adds, removes, len } => Some(Record::delta(adds, removes, len)),
            _ => None,
        };
        self.newest_first().filter_map(delta).collect()
    }

    /// No layer knows the key.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    fn newest_first(&self) -> impl DoubleEndedIterator<Item = &RecordRef<'a>> {
        self.newest.iter().chain(&self.older)
    }

    /// The set, as [`Chain::ids`], without an allocation for none or one id.
    #[inline]
    pub(crate) fn id_set(&self) -> IdSet {
        match &self.newest {
            None | Some(RecordRef::Tombstone) => IdSet::Empty,
            Some(RecordRef::Complete(Ids::One(id))) => IdSet::One(*id),
            Some(_) => {
                let ids = self.ids();
                if let [id] = ids[..] { IdSet::One(id) } else { IdSet::Many(ids) }
            }
        }
    }

    /// Whether a change takes nothing but ids that can be over; what it leaves where it is, as it
    /// does the ids of large sets, does not matter.
    pub(crate) fn is_in_range(&self) -> bool {
        self.work() > 4 * SMALL_SET || self.newest_first().all(RecordRef::is_in_range)
    }

    /// The size of the set.
    pub(crate) fn cardinality(&self) -> usize {
        self.newest.as_ref().map_or(0, RecordRef::cardinality)
    }

    /// Ids that have to be walked to put the set together: it may be small and still take long.
    #[inline]
    pub(crate) fn work(&self) -> usize {
        let listed = |record: &RecordRef<'a>| match record {
            RecordRef::Tombstone => 0,
            RecordRef::Complete(ids) => ids.len(),
            RecordRef::Delta { adds, removes, .. } => adds.len() + removes.len(),
        };
        self.newest_first().map(listed).sum()
    }

    /// Whether that is more than `most`. On the way of every look-up: told without the walk where
    /// that is easy, it saves a twentieth to a tenth of one.
    #[inline]
    pub(crate) fn exceeds(&self, most: usize) -> bool {
        match self.newest {
            None | Some(RecordRef::Tombstone) => false,
            Some(RecordRef::Complete(Ids::One(_))) => most == 0,
            _ => self.work() > most,
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.verdict(id).unwrap_or(false)
    }

    /// Whether the id is in the set, if these records tell.
    pub(crate) fn verdict(&self, id: u32) -> Option<bool> {
        self.newest_first().find_map(|record| record.verdict(id))
    }

    /// The set, if the chain ends in a complete record or nothing lies below it.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut set = Vec::new();
        for record in self.newest_first().rev() {
            match record {
                RecordRef::Tombstone => set.clear(),
                RecordRef::Complete(ids) => set = ids.iter().collect(),
                RecordRef::Delta { adds, removes, .. } => set = apply(&set, *adds, *removes),
            }
        }
        set
    }

    /// A record for the next change to start from: small sets whole, large ones as a delta, and
    /// also those that were large.
    pub(crate) fn to_change(&self) -> Record {
        let cardinality = self.cardinality();
        if cardinality <= SMALL_SET && self.work() <= 4 * SMALL_SET {
            Record::from_set(self.ids())
        } else {
            Record::Delta(Box::new(Delta { len: cardinality as u32, ..Delta::default() }))
        }
    }

    /// One record that says what the whole chain says. With `bottom`, nothing lies below the
    /// chain, so that deltas without a base are complete too.
    pub(crate) fn merged(&self, bottom: bool) -> Record {
        let complete =
            !matches!(self.newest_first().next_back(), None | Some(RecordRef::Delta { .. }));
        if complete || bottom {
            return Record::from_set(self.ids());
        }
        let mut merged = Delta::default();
        for record in self.newest_first().rev() {
            if let RecordRef::Delta { adds, removes, len } = *record {
                let newer_adds: Vec<u32> = adds.iter().collect();
                let newer_removes: Vec<u32> = removes.iter().collect();
                merged = Delta {
                    adds: applied(&merged.adds, &newer_adds, &newer_removes),
                    removes: applied(&merged.removes, &newer_removes, &newer_adds),
                    len,
                };
            }
        }
        Record::Delta(Box::new(merged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(adds: &[u32], removes: &[u32], len: u32) -> Record {
        Record::Delta(Box::new(Delta { adds: adds.to_vec(), removes: removes.to_vec(), len }))
    }

    fn chain(records: &[Record]) -> Chain<'_> {
        let mut chain = Chain::default();
        for record in records {
            if chain.push(record.as_ref()) {
                break;
            }
        }
        chain
    }

    #[test]
    fn deltas_apply_newest_last() {
        let layers = [delta(&[5], &[7], 3), delta(&[7], &[5, 9], 3), Record::Many(vec![1, 5, 9])];
        let chain = chain(&layers);
        assert_eq!(chain.ids(), [1, 5]);
        assert!(chain.contains(5) && !chain.contains(7) && !chain.contains(9));
    }

    #[test]
    fn merging_deltas_first_changes_nothing() {
        let newer = delta(&[2, 8], &[5], 0);
        let older = delta(&[5, 6], &[8, 9], 0);
        let base = Record::Many(vec![1, 5, 8, 9]);
        let merged = chain(&[newer.clone(), older.clone()]).merged(false);
        let direct = chain(&[newer, older, base.clone()]).ids();
        assert_eq!(chain(&[merged, base]).ids(), direct);
        assert_eq!(direct, [1, 2, 6, 8]);
    }

    #[test]
    fn a_delta_at_the_bottom_is_complete() {
        assert_eq!(chain(&[delta(&[3, 4], &[1], 2)]).merged(true), Record::Many(vec![3, 4]));
        assert_eq!(chain(&[Record::Tombstone]).merged(true), Record::Tombstone);
    }
}
