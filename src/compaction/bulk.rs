//! Bulk loads: keys that a lane does not know go straight into a segment.

use super::merge::merge;
use super::policy::{self, BOTTOM, LEVEL_0, Merge};
use super::worker::{Output, Upkeep};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::lane::{Keeper, Lane};
use crate::layers::Layer;
use crate::sync::atomic::Ordering;

impl Lane {
    /// Writes pairs (ascending, distinct) whose keys the lane does not know straight into a
    /// segment; pairs of known keys are handed back. Writers of the lane wait meanwhile, and
    /// `begin` is called when they do.
    pub(crate) fn load_new_keys(
        &self,
        pairs: &[(Fingerprint, u32)],
        known: &mut Vec<(Fingerprint, u32)>,
        upkeep: &Upkeep<'_>,
        begin: impl FnOnce(),
    ) -> Result<()> {
        let mut keeper = self.keeper.lock();
        let gate = loop {
            self.flush_frozen_as_keeper(&mut keeper, upkeep)?;
            self.make_room(&mut keeper, pairs.len(), upkeep)?;
            let gate = self.gate();
            // Writers may have filled another one meanwhile.
            if self.state().frozen.is_none() {
                break gate;
            }
        };
        begin();
        // The overlay goes into the same segment. Left behind, its changes would be replayed over
        // the load by a recovery, although they came before it.
        self.change().freeze();
        let (frozen, version) = self.below_active();
        if self.state().closed {
            return Err(Error::Closed);
        }
        let bottom = version.segments.is_empty();
        let mut records = merge(frozen.as_ref().map(|f| &f.overlay), &[], bottom)?;
        let before = records.len();
        let overlay = frozen.iter().map(|frozen| Layer::Overlay(&frozen.overlay));
        let segments = version.segments.iter().map(|segment| Layer::of(segment));
        let layers: Vec<_> = overlay.chain(segments).collect();
        let mut ids = Vec::new();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let fingerprint = group[0].0;
            if layers.iter().any(|layer| layer.contains(fingerprint)) {
                known.extend_from_slice(group);
            } else if let [(_, id)] = group {
                records.add_one(fingerprint, *id);
            } else {
                ids.clear();
                ids.extend(group.iter().map(|&(_, id)| id));
                records.add_many(fingerprint, &ids)?;
            }
        }
        let keys = (records.len() - before) as u64;
        if keys == 0 {
            // The overlay waits for its flush as any other does.
            return Ok(());
        }
        let plan = Merge { newest: 0, level: if bottom { BOTTOM } else { LEVEL_0 } };
        let growth = frozen.as_ref().map_or(0, |f| f.growth) + keys as i64;
        let flushed = frozen.as_ref().map(|f| f.logged);
        let output = Output { records, version: &version, plan, growth, loaded: keys, flushed };
        self.publish(&mut keeper, output, upkeep)?;
        upkeep.counters.loaded_keys.fetch_add(keys, Ordering::Relaxed);
        drop(gate);
        Ok(())
    }

    /// Merges as a flush of that weight would, so that one more segment fits.
    fn make_room(&self, keeper: &mut Keeper, weight: usize, upkeep: &Upkeep<'_>) -> Result<()> {
        let (_, version) = self.below_active();
        let plan = policy::on_flush(&version.shapes(), weight);
        if plan.newest == 0 {
            return Ok(());
        }
        self.rewrite(keeper, None, &version, plan, upkeep)
    }
}
