//! Look-ups of many keys at once, in stages, so that their cache misses overlap.

use std::sync::Arc;

use crate::chain::{Chain, IdSet};
use crate::config::Verify;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::lane::Version;
use crate::record::Record;
use crate::segment::{Probe, Segment};

/// Keys in flight together: enough to keep the memory busy, few enough to stay in L1, and to be
/// bits of a `u32`.
const GROUP: usize = u32::BITS as usize;

/// A key that the overlays left open, on its way through the segments.
struct Pending {
    place: usize,
    fingerprint: Fingerprint,
    deltas: Vec<Record>,
    version: Arc<Version>,
    settled: bool,
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

    /// As [`Index::get_many`], but stops handing over once more than `most` ids had to be walked,
    /// and then answers false.
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
            ids += chain.work();
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
        pending.push(Pending { place, fingerprint, deltas, version, settled: false });
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
            let deltas = ask_level(pending, depth, self.verify, found)?;
            for (key, deltas) in deltas {
                pending[key].deltas = deltas;
            }
            pending.retain(|key| !key.settled);
            if pending.is_empty() {
                return Ok(());
            }
        }
        for key in pending.drain(..) {
            found(key.place, &Chain::of(&key.deltas));
        }
        Ok(())
    }
}

/// Asks each pending key's segment at `depth`, all keys a step before any takes the next. Keys
/// whose set is complete are handed over and marked settled; the others' deltas are returned.
fn ask_level(
    pending: &mut [Pending],
    depth: usize,
    verify: Verify,
    found: &mut impl FnMut(usize, &Chain<'_>),
) -> Result<Vec<(usize, Vec<Record>)>> {
    let mut settled = 0_u32;
    let mut deltas = Vec::new();
    {
        let mut probes: [Option<(&Segment, Probe)>; GROUP] = [None; GROUP];
        for (probe, key) in probes.iter_mut().zip(pending.iter()) {
            let segment = key.version.segments.get(depth);
            *probe = segment.map(|segment| (&**segment, segment.locate(key.fingerprint)));
        }
        for (segment, probe) in probes.iter_mut().flatten() {
            segment.approach(probe);
        }
        for slot in &mut probes {
            *slot = slot.filter(|(segment, probe)| segment.sign(probe, verify));
        }
        for (i, (slot, key)) in probes.iter().zip(pending.iter()).enumerate() {
            let Some((segment, probe)) = slot else { continue };
            let Some(record) = segment.finish(probe, verify)? else { continue };
            let mut chain = Chain::of(&key.deltas);
            if chain.push(record) {
                found(key.place, &chain);
                settled |= 1 << i;
            } else {
                deltas.push((i, chain.to_owned_deltas()));
            }
        }
    }
    for (i, key) in pending.iter_mut().enumerate() {
        key.settled = settled & (1 << i) != 0;
    }
    Ok(deltas)
}
