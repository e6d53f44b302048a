//! Look-ups of many keys at once, in stages, so that their cache misses overlap. Filters are not asked:
//! what they spare is waiting, and there is none left that would pay for them (benches/filters.rs).

use std::time::Instant;

use crate::chain::{Chain, IdSet};
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::key::Key;
use crate::lookup::Reader;
use crate::routes::Most;
use crate::segment::{Found, Probe, Table};
use crate::version::Tables;

/// Keys in flight together: enough to keep the memory busy, few enough to stay in L1.
const GROUP: usize = 32;
/// Keys that are looked up under one pin: many, as it takes as long as half a look-up; not so many
/// that what was replaced meanwhile could not be dropped for long.
const PINNED: usize = 32 * GROUP;
/// And ids that are put together under one.
const PINNED_IDS: usize = 1 << 16;

/// A key that the overlays know nothing of, on its way through the segments.
struct Pending<'p> {
    place: usize,
    probe: Probe,
    lane: usize,
    tables: &'p Tables<'p>,
    /// The one whose turn it is.
    table: Option<&'p Table<'p>>,
}

/// A key that was found, and has more than one id or none: the list is on its way.
struct Listed<'p> {
    place: usize,
    fingerprint: Fingerprint,
    lane: usize,
    table: &'p Table<'p>,
    found: Found,
}

impl<'p> Pending<'p> {
    /// Goes to the segment of the key's lane at `depth`, newest first; whether there is one.
    #[inline]
    fn go_to(&mut self, depth: usize) -> bool {
        self.table = self.tables.at(depth);
        self.table.is_some()
    }
}

/// Hands over what was found, up to a bound.
struct Answers<F> {
    /// Ids that may still be walked; none once that, or the time, was not enough.
    left: Option<usize>,
    until: Option<Instant>,
    found: F,
}

impl<F: FnMut(usize, IdSet)> Answers<F> {
    /// Gives up if it is time to; whether it has.
    fn are_over(&mut self) -> bool {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.left = None;
        }
        self.left.is_none()
    }

    /// The ids, if they are within the bound.
    #[inline]
    fn admit(&mut self, chain: &Chain<'_>) -> Option<IdSet> {
        self.left = self.left.and_then(|left| left.checked_sub(chain.work()));
        self.left.map(|_| chain.id_set())
    }

    #[inline]
    fn take(&mut self, place: usize, chain: &Chain<'_>) {
        if let Some(ids) = self.admit(chain) {
            (self.found)(place, ids);
        }
    }

    /// The same of one id, which is in a segment's entry and needs no chain.
    #[inline]
    fn take_one(&mut self, place: usize, id: u32) {
        self.left = self.left.and_then(|left| left.checked_sub(1));
        if self.left.is_some() {
            (self.found)(place, IdSet::One(id));
        }
    }
}

impl Index {
    /// The ids of many keys, handed to `found` with their place in `keys`, in any order. Each
    /// look-up is as one [`Index::get`]; together they are not a snapshot.
    ///
    /// # Errors
    /// As [`Index::get`]; some keys may have been handed over before.
    pub fn get_many<K: Key>(&self, keys: &[K], found: impl FnMut(usize, IdSet)) -> Result<()> {
        self.get_many_bounded(keys, Most::ALL, found).map(drop)
    }

    /// As [`Index::get_many`], but gives up, and answers false, once more ids would have to be walked
    /// than `most` allows, or it is not done in time.
    ///
    /// # Errors
    /// As [`Index::get_many`].
    pub fn get_many_bounded<K: Key>(
        &self,
        keys: &[K],
        most: Most,
        found: impl FnMut(usize, IdSet),
    ) -> Result<bool> {
        self.check_open()?;
        let mut answers = Answers { left: Some(most.ids), until: most.until, found };
        let mut done = 0;
        while done < keys.len() && answers.left.is_some() {
            done += self.get_pinned(&keys[done..], done, &mut answers)?;
        }
        Ok(answers.left.is_some())
    }

    /// The ids of some of the keys, the first of which has the place `start`; of how many.
    fn get_pinned<K: Key, F: FnMut(usize, IdSet)>(
        &self,
        keys: &[K],
        start: usize,
        answers: &mut Answers<F>,
    ) -> Result<usize> {
        let reader = self.reader();
        let keys = &keys[..keys.len().min(PINNED)];
        let enough = answers.left.map_or(0, |left| left.saturating_sub(PINNED_IDS));
        let mut pending = Vec::with_capacity(GROUP.min(keys.len()));
        for (i, group) in keys.chunks(GROUP).enumerate() {
            if start + i > 0 && answers.are_over() {
                return Ok(i * GROUP);
            }
            if i > 0 && answers.left < Some(enough) {
                return Ok(i * GROUP);
            }
            let mut fingerprints = [Fingerprint(0); GROUP];
            for (fingerprint, key) in fingerprints.iter_mut().zip(group) {
                *fingerprint = self.fingerprint(key)?;
            }
            for (j, &fingerprint) in fingerprints[..group.len()].iter().enumerate() {
                let place = start + i * GROUP + j;
                if let Some(key) = self.ask_overlays(&reader, place, fingerprint, answers)? {
                    pending.push(key);
                }
            }
            self.ask_segments(&reader, &mut pending, answers)?;
        }
        Ok(keys.len())
    }

    /// Settles the key from the overlays, or gives the segments to ask.
    #[inline]
    fn ask_overlays<'p, F: FnMut(usize, IdSet)>(
        &'p self,
        reader: &'p Reader<'_>,
        place: usize,
        fingerprint: Fingerprint,
        answers: &mut Answers<F>,
    ) -> Result<Option<Pending<'p>>> {
        let lane = self.slots.lane(fingerprint);
        let Some(tables) = reader.settled(lane, fingerprint)? else {
            self.ask_alone(reader, lane, place, fingerprint, answers)?;
            return Ok(None);
        };
        Ok(Some(Pending { place, probe: Probe::new(fingerprint), lane, tables, table: None }))
    }

    /// For what overlays have, and for the changes of large sets, which take several layers to add
    /// up: rare enough to do without stages.
    fn ask_alone<F: FnMut(usize, IdSet)>(
        &self,
        reader: &Reader<'_>,
        lane: usize,
        place: usize,
        fingerprint: Fingerprint,
        answers: &mut Answers<F>,
    ) -> Result<()> {
        let Some(left) = answers.left else { return Ok(()) };
        match reader.look_up_in_all(lane, fingerprint, left, |chain| answers.admit(chain))? {
            Some(Some(ids)) => (answers.found)(place, ids),
            _ => answers.left = None,
        }
        Ok(())
    }

    /// Takes the pending keys through the newest segment, then the next, until none is left: all
    /// keys a step before any takes the next.
    fn ask_segments<'p, F: FnMut(usize, IdSet)>(
        &self,
        reader: &Reader<'_>,
        pending: &mut Vec<Pending<'p>>,
        answers: &mut Answers<F>,
    ) -> Result<()> {
        let mut listed: Vec<Listed<'p>> = Vec::new();
        for depth in 0.. {
            pending.retain_mut(|key| {
                let more = key.go_to(depth);
                if !more {
                    reader.pay(key.lane, key.probe.fingerprint, depth);
                    answers.take(key.place, &Chain::default());
                }
                more
            });
            if pending.is_empty() {
                break;
            }
            for Pending { table, probe, .. } in &mut *pending {
                table.inspect(|table| table.locate(probe));
            }
            for Pending { table, probe, .. } in &mut *pending {
                table.inspect(|table| table.approach(probe));
            }
            for Pending { table, probe, .. } in &mut *pending {
                table.inspect(|table| table.sign(probe, self.verify));
            }
            pending.retain_mut(|key| {
                let Pending { place, lane, table: Some(table), ref probe, .. } = *key else {
                    return false;
                };
                let Some(found) = table.finish(probe, self.verify) else { return true };
                reader.pay(lane, probe.fingerprint, depth + 1);
                if let Some(id) = table.only_id(found) {
                    answers.take_one(place, id);
                } else {
                    table.fetch(found);
                    listed.push(Listed {
                        place,
                        fingerprint: probe.fingerprint,
                        lane,
                        table,
                        found,
                    });
                }
                false
            });
            for key in listed.drain(..) {
                self.take_listed(reader, &key, answers)?;
            }
        }
        Ok(())
    }

    fn take_listed<F: FnMut(usize, IdSet)>(
        &self,
        reader: &Reader<'_>,
        key: &Listed<'_>,
        answers: &mut Answers<F>,
    ) -> Result<()> {
        let mut chain = Chain::default();
        if !chain.push(key.table.record(key.found)?) {
            return self.ask_alone(reader, key.lane, key.place, key.fingerprint, answers);
        }
        answers.take(key.place, &chain);
        Ok(())
    }
}
