//! Looking one key up, in what readers see of its lane: in its overlays if they may have the key, then in
//! its segments. What overlays have takes the lane's lock only for lists of ids, and while a batch is made.

use crate::chain::{Chain, IdSet};
use crate::compaction::SAMPLED;
use crate::config::Filter;
use crate::error::{Error, Result};
use crate::filtering::Filtering;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::key::Key;
use crate::lane::Lane;
use crate::rcu::Pin;
use crate::sync::atomic::Ordering;
use crate::version::Tables;
use crate::view::View;

/// Whoever looks keys up, counted once for all the views it looks at: it should not stay long.
#[derive(Debug)]
pub(crate) struct Reader<'i> {
    index: &'i Index,
    pin: Pin<'i, View>,
}

impl Index {
    /// The ids of a key, ascending.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::Closed`]; [`Error::Corrupt`] if a segment's entry points
    /// nowhere.
    #[inline]
    pub fn get<K: Key + ?Sized>(&self, key: &K) -> Result<IdSet> {
        Ok(self.get_bounded(key, usize::MAX)?.unwrap_or(IdSet::Empty))
    }

    /// The ids of a key, unless more than `most` have to be walked to put them together (those
    /// removed since the last compaction count too).
    ///
    /// # Errors
    /// As [`Index::get`].
    #[inline]
    pub fn get_bounded<K: Key + ?Sized>(&self, key: &K, most: usize) -> Result<Option<IdSet>> {
        self.check_open()?;
        self.look_up(self.fingerprint(key)?, most, |chain| chain.id_set())
    }

    /// Whether the pair is in the index.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn contains<K: Key + ?Sized>(&self, key: &K, id: u32) -> Result<bool> {
        self.check_open()?;
        self.has(self.fingerprint(key)?, id)
    }

    /// What the layers say of a key, if that is not more than `most` ids to walk.
    #[inline]
    pub(crate) fn look_up<R>(
        &self,
        key: Fingerprint,
        most: usize,
        f: impl FnOnce(&Chain<'_>) -> R,
    ) -> Result<Option<R>> {
        self.reader().look_up(self.slots.lane(key), key, most, f)
    }

    /// Whether the pair is there.
    pub(crate) fn has(&self, key: Fingerprint, id: u32) -> Result<bool> {
        self.reader().has(self.slots.lane(key), key, id)
    }

    #[inline]
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { index: self, pin: self.views.readers().pin() }
    }
}

impl Reader<'_> {
    #[inline]
    fn view(&self, lane: usize) -> &View {
        self.index.views.get(lane, &self.pin)
    }

    /// The lane's segments, if no overlay has a change of the key; none if one may.
    #[inline]
    pub(crate) fn settled(&self, lane: usize, key: Fingerprint) -> Result<Option<&Tables<'_>>> {
        self.view(lane).settled(key)
    }

    /// Hands what all layers of a lane say of a key to `f`, unless that is more than `most` ids to
    /// walk.
    #[inline]
    fn look_up<R>(
        &self,
        lane: usize,
        key: Fingerprint,
        most: usize,
        f: impl FnOnce(&Chain<'_>) -> R,
    ) -> Result<Option<R>> {
        let Some(tables) = self.settled(lane, key)? else {
            return self.look_up_in_all(lane, key, most, f);
        };
        let mut chain = Chain::default();
        self.ask(lane, tables, key, &mut chain)?;
        Ok((!chain.exceeds(most)).then(|| f(&chain)))
    }

    /// The same, the overlays included.
    pub(crate) fn look_up_in_all<R>(
        &self,
        lane: usize,
        key: Fingerprint,
        most: usize,
        f: impl FnOnce(&Chain<'_>) -> R,
    ) -> Result<Option<R>> {
        let mut chain = Chain::default();
        let Some((view, complete)) = self.recent(lane, key, &mut chain) else {
            return self.look_up_locked(lane, key, most, f);
        };
        if !complete && !chain.exceeds(most) {
            view.tables().ask(key, self.index.verify, &mut chain)?;
        }
        Ok((!chain.exceeds(most)).then(|| f(&chain)))
    }

    /// Adds what the overlays say of a key; with the view that has them, and true if nothing below
    /// matters. None if only the lane's lock lets see it: lists of ids, and a batch in the making.
    fn recent<'r>(
        &'r self,
        lane: usize,
        key: Fingerprint,
        chain: &mut Chain<'r>,
    ) -> Option<(&'r View, bool)> {
        // Before the view is looked at, which has all of a batch by the time that there is none. One that
        // begins now shows later than this look-up, whatever of it is seen here.
        if self.lane(lane).batch.load(Ordering::SeqCst) {
            return None;
        }
        let view = self.view(lane);
        view.recent(key, chain).map(|complete| (view, complete))
    }

    /// There is one, as its view says that its overlays may have something.
    fn lane(&self, lane: usize) -> &Lane {
        self.index.lane_or_new(lane)
    }

    /// Under the lane's lock, which is let go before segments are asked.
    fn look_up_locked<R>(
        &self,
        lane: usize,
        key: Fingerprint,
        most: usize,
        f: impl FnOnce(&Chain<'_>) -> R,
    ) -> Result<Option<R>> {
        let (deltas, view) = {
            let state = self.lane(lane).state();
            if state.closed {
                return Err(Error::Closed);
            }
            let mut chain = Chain::default();
            for record in state.records(key) {
                if chain.push(record) {
                    return Ok((!chain.exceeds(most)).then(|| f(&chain)));
                }
            }
            if chain.exceeds(most) {
                return Ok(None);
            }
            // Of these contents, as it is replaced before the lock for a change is let go.
            (chain.to_owned_deltas(), self.view(lane))
        };
        let mut chain = Chain::of(&deltas);
        view.tables().ask(key, self.index.verify, &mut chain)?;
        Ok((!chain.exceeds(most)).then(|| f(&chain)))
    }

    /// Whether a lane has the pair: asks the layers for this one id, and copies nothing.
    fn has(&self, lane: usize, key: Fingerprint, id: u32) -> Result<bool> {
        let mut chain = Chain::default();
        if let Some(tables) = self.settled(lane, key)? {
            self.ask(lane, tables, key, &mut chain)?;
            return Ok(chain.contains(id));
        }
        let view = if let Some((view, _)) = self.recent(lane, key, &mut chain) {
            if let Some(has) = chain.verdict(id) {
                return Ok(has);
            }
            view
        } else {
            let state = self.lane(lane).state();
            if state.closed {
                return Err(Error::Closed);
            }
            if let Some(has) = state.records(key).find_map(|record| record.verdict(id)) {
                return Ok(has);
            }
            self.view(lane)
        };
        view.tables().ask(key, self.index.verify, &mut chain)?;
        Ok(chain.contains(id))
    }

    /// Adds what the segments of a lane say of a key, which counts.
    #[inline]
    fn ask<'v>(
        &self,
        lane: usize,
        tables: &Tables<'v>,
        key: Fingerprint,
        chain: &mut Chain<'v>,
    ) -> Result<()> {
        if self.index.filter != Filter::None {
            return self.sift(lane, tables, key, chain);
        }
        let probed = tables.ask(key, self.index.verify, chain)?;
        self.pay(lane, key, probed);
        Ok(())
    }

    /// The same, by way of the filters if they pay; apart, as most indexes have none. Counts what they
    /// have spared look-ups, or would have, too.
    #[inline(never)]
    fn sift<'v>(
        &self,
        lane: usize,
        tables: &Tables<'v>,
        key: Fingerprint,
        chain: &mut Chain<'v>,
    ) -> Result<()> {
        let filtering = self.index.lane(lane).map(|lane| &lane.filtering);
        let filters = filtering.is_some_and(Filtering::pays);
        let asked = tables.sift(key, self.index.verify, filters, chain)?;
        self.pay(lane, key, asked.probed);
        if let Some(filtering) = filtering.filter(|_| key.is_sample(SAMPLED)) {
            filtering.count(asked.present, asked.absent());
        }
        Ok(())
    }

    /// Counts, for some of all look-ups, that segments of a lane were looked into which a merge would
    /// have spared them.
    #[inline]
    pub(crate) fn pay(&self, lane: usize, key: Fingerprint, segments: usize) {
        if segments > 1 && key.is_sample(SAMPLED) {
            self.take_rent(lane, segments - 1);
        }
    }

    #[cold]
    fn take_rent(&self, lane: usize, segments: usize) {
        let weight = self.view(lane).weight();
        if self.index.lane(lane).is_some_and(|lane| lane.rent.add(segments, weight)) {
            self.index.work_waits.store(true, Ordering::SeqCst);
        }
    }
}
