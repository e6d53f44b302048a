//! Look-ups of many keys at once, in stages, so that their cache misses overlap.

use std::sync::Arc;

use crate::chain::{Chain, IdSet};
use crate::config::Verify;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::lane::Version;
use crate::record::Record;
use crate::segment::Probe;

/// Keys in flight together: enough to keep the memory busy, few enough to stay in L1.
const GROUP: usize = 32;

/// A key that the overlays left open, on its way through the segments.
struct Pending {
    place: usize,
    fingerprint: Fingerprint,
    deltas: Vec<Record>,
    version: Arc<Version>,
    probe: Option<Probe>,
}

impl Index {
    /// The ids of many keys, handed to `found` with their place in `keys`, in any order. Each
    /// look-up is as one [`Index::get`]; together they are not a snapshot.
    ///
    /// # Errors
    /// As [`Index::get`]; some keys may have been handed over before.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        mut found: impl FnMut(usize, IdSet),
    ) -> Result<()> {
        self.for_each_chain(keys, |place, chain| found(place, chain.id_set()))
    }

    /// As [`Index::get_many`], but stops handing over once the sets hold more than `most` ids
    /// together, and then answers false.
    ///
    /// # Errors
    /// As [`Index::get_many`].
    pub fn get_many_bounded<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        most: usize,
        mut found: impl FnMut(usize, IdSet),
    ) -> Result<bool> {
        let mut ids = 0;
        self.for_each_chain(keys, |place, chain| {
            ids += chain.cardinality();
            if ids <= most {
                found(place, chain.id_set());
            }
        })?;
        Ok(ids <= most)
    }

    fn for_each_chain<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        mut found: impl FnMut(usize, &Chain<'_>),
    ) -> Result<()> {
        self.check_open()?;
        let mut pending = Vec::with_capacity(GROUP);
        for (start, group) in keys.chunks(GROUP).enumerate() {
            let mut fingerprints = [Fingerprint(0); GROUP];
            for (fingerprint, key) in fingerprints.iter_mut().zip(group) {
                *fingerprint = self.fingerprint(key.as_ref())?;
            }
            for (i, &fingerprint) in fingerprints[..group.len()].iter().enumerate() {
                self.ask_overlays(start * GROUP + i, fingerprint, &mut pending, &mut found)?;
            }
            self.ask_segments(&mut pending, &mut found)?;
        }
        Ok(())
    }

    /// Settles the key from the overlays, or leaves it pending.
    fn ask_overlays(
        &self,
        place: usize,
        fingerprint: Fingerprint,
        pending: &mut Vec<Pending>,
        found: &mut impl FnMut(usize, &Chain<'_>),
    ) -> Result<()> {
        let Some(lane) = self.lane(self.slots.lane(fingerprint)) else {
            found(place, &Chain::default());
            return Ok(());
        };
        let state = lane.state.read();
        if state.closed {
            return Err(Error::Closed);
        }
        let mut chain = Chain::default();
        for overlay in state.overlays() {
            if overlay.get(fingerprint).is_some_and(|record| chain.push(record)) {
                found(place, &chain);
                return Ok(());
            }
        }
        let deltas = chain.to_owned_deltas();
        let version = Arc::clone(&state.version);
        pending.push(Pending { place, fingerprint, deltas, version, probe: None });
        Ok(())
    }

    /// Takes the pending keys through the newest segment, then the next, until none is left.
    fn ask_segments(
        &self,
        pending: &mut Vec<Pending>,
        found: &mut impl FnMut(usize, &Chain<'_>),
    ) -> Result<()> {
        let deepest = pending.iter().map(|key| key.version.segments.len()).max().unwrap_or(0);
        for depth in 0..deepest {
            for key in pending.iter_mut() {
                let segment = key.version.segments.get(depth);
                key.probe = segment.map(|s| s.locate(key.fingerprint));
            }
            for key in pending.iter_mut() {
                if let (Some(probe), Some(segment)) =
                    (&mut key.probe, key.version.segments.get(depth))
                {
                    segment.approach(probe);
                }
            }
            for key in pending.iter_mut() {
                let segment = key.version.segments.get(depth);
                key.probe =
                    key.probe.filter(|probe| segment.is_some_and(|s| s.sign(probe, self.verify)));
            }
            let mut fault = Ok(());
            pending.retain_mut(|key| {
                let settled = key.settle(depth, self.verify, found);
                settled.map_or_else(
                    |e| {
                        fault = Err(e);
                        true
                    },
                    |settled| !settled,
                )
            });
            fault?;
        }
        for key in pending.drain(..) {
            found(key.place, &Chain::of(&key.deltas));
        }
        Ok(())
    }
}

impl Pending {
    /// Asks the segment at `depth`; true if its record completes the set.
    fn settle(
        &mut self,
        depth: usize,
        verify: Verify,
        found: &mut impl FnMut(usize, &Chain<'_>),
    ) -> Result<bool> {
        let (Some(probe), Some(segment)) = (self.probe, self.version.segments.get(depth)) else {
            return Ok(false);
        };
        let Some(record) = segment.finish(&probe, verify)? else {
            return Ok(false);
        };
        let mut chain = Chain::of(&self.deltas);
        if chain.push(record) {
            found(self.place, &chain);
            return Ok(true);
        }
        let deltas = chain.to_owned_deltas();
        self.deltas = deltas;
        Ok(false)
    }
}
