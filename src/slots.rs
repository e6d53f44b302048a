//! Which lane owns which slots of the fingerprints.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::hash::{Fingerprint, NUM_SLOTS, jump_hash};

/// Slot to lane, by jump consistent hash of the slot number, and each slot's place among those of
/// its lane; computed once per lane count.
#[derive(Clone, Debug)]
pub struct SlotTable {
    slots: Arc<Slots>,
}

#[derive(Debug)]
struct Slots {
    num_lanes: u32,
    rank_bits: u32,
    owners: Box<[Owner; NUM_SLOTS]>,
    /// The slots of lane 0 in ascending order, then those of lane 1, and so on.
    by_lane: Box<[u16]>,
    /// Where each lane's slots begin there, and where the last one's end.
    starts: Box<[u16]>,
}

/// Of one slot: both at one place, as a look-up wants both.
#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    lane: u16,
    /// How many lower slots the lane has.
    rank: u16,
}

impl Slots {
    fn new(num_lanes: u32) -> Self {
        let mut owners = Box::new([Owner::default(); NUM_SLOTS]);
        let mut owned = vec![0_u16; num_lanes.max(1) as usize];
        for (slot, owner) in (0..).zip(&mut *owners) {
            let lane = jump_hash(slot, num_lanes) as u16;
            let owned = &mut owned[usize::from(lane)];
            *owner = Owner { lane, rank: *owned };
            *owned += 1;
        }
        let mut starts = vec![0; owned.len() + 1];
        for (lane, owned) in owned.iter().enumerate() {
            starts[lane + 1] = starts[lane] + owned;
        }
        let mut by_lane = vec![0; NUM_SLOTS];
        for (slot, Owner { lane, rank }) in owners.iter().enumerate() {
            by_lane[usize::from(starts[usize::from(*lane)] + rank)] = slot as u16;
        }
        let most = u32::from(owned.into_iter().max().unwrap_or_default());
        Self {
            num_lanes,
            rank_bits: u32::BITS - most.saturating_sub(1).leading_zeros(),
            owners,
            by_lane: by_lane.into(),
            starts: starts.into(),
        }
    }
}

impl SlotTable {
    /// The table for `num_lanes` lanes (1 ..= [`NUM_SLOTS`]). It takes 100 KiB and some
    /// 100 microseconds to make, so indexes with the same number of lanes share one.
    #[must_use]
    pub fn new(num_lanes: u32) -> Self {
        static MADE: Mutex<Vec<(u32, Weak<Slots>)>> = Mutex::new(Vec::new());
        // Kept even while no index uses it.
        static DEFAULT: OnceLock<Arc<Slots>> = OnceLock::new();
        let mut made = MADE.lock();
        let shared = made.iter().find(|(lanes, _)| *lanes == num_lanes);
        if let Some(slots) = shared.and_then(|(_, table)| table.upgrade()) {
            return Self { slots };
        }
        let slots = Arc::new(Slots::new(num_lanes));
        made.retain(|(_, table)| table.strong_count() > 0);
        made.push((num_lanes, Arc::downgrade(&slots)));
        if num_lanes == crate::config::DEFAULT_LANES {
            DEFAULT.get_or_init(|| Arc::clone(&slots));
        }
        Self { slots }
    }

    /// The number of lanes it was made for.
    #[must_use]
    pub fn num_lanes(&self) -> u32 {
        self.slots.num_lanes
    }

    /// The lane that owns the fingerprint.
    #[inline]
    #[must_use]
    pub fn lane(&self, fingerprint: Fingerprint) -> usize {
        usize::from(self.slots.owners[fingerprint.slot()].lane)
    }

    /// Bits that tell the slots of one lane apart, in every lane.
    #[must_use]
    pub fn rank_bits(&self) -> u32 {
        self.slots.rank_bits
    }

    /// The place of the fingerprint's slot among those of its lane.
    #[inline]
    pub(crate) fn rank(&self, fingerprint: Fingerprint) -> u16 {
        self.slots.owners[fingerprint.slot()].rank
    }

    /// The slots of a lane, by rank; none if there is no such lane.
    pub(crate) fn of_lane(&self, lane: u32) -> &[u16] {
        let Slots { by_lane, starts, .. } = &*self.slots;
        let bounds = starts.get(lane as usize..).and_then(|starts| starts.first_chunk::<2>());
        bounds.map_or(&[], |&[start, end]| &by_lane[usize::from(start)..usize::from(end)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_evenly() {
        for lanes in [1_u32, 2, 3, 64, 100, 256] {
            let table = SlotTable::new(lanes);
            let mean = NUM_SLOTS as f64 / f64::from(lanes);
            for lane in 0..lanes {
                let n = table.of_lane(lane).len() as f64;
                assert!(
                    (n - mean).abs() <= 5.0 * mean.sqrt(),
                    "{lanes} lanes: lane {lane} has {n}"
                );
            }
        }
    }

    #[test]
    fn every_slot_is_found_again_by_lane_and_rank() {
        let bits = [(1, 14), (2, 14), (3, 13), (64, 9), (100, 8), (1024, 5), (16_384, 3)];
        for (lanes, rank_bits) in bits {
            let table = SlotTable::new(lanes);
            assert_eq!((table.num_lanes(), table.rank_bits()), (lanes, rank_bits), "{lanes} lanes");
            for slot in 0..NUM_SLOTS as u64 {
                let fingerprint = Fingerprint(slot | 0xabcd << 20);
                let slots = table.of_lane(table.lane(fingerprint) as u32);
                let rank = usize::from(table.rank(fingerprint));
                assert_eq!(slots.get(rank).copied().map(u64::from), Some(slot), "{lanes} lanes");
                assert!(rank < 1 << rank_bits);
            }
            let all: usize = (0..lanes).map(|lane| table.of_lane(lane).len()).sum();
            assert_eq!(all, NUM_SLOTS);
            assert!(table.of_lane(lanes).is_empty() && table.of_lane(u32::MAX).is_empty());
        }
    }

    #[test]
    fn tables_are_shared() {
        let [one, other] = [5, 5].map(SlotTable::new);
        assert!(Arc::ptr_eq(&one.slots, &other.slots));
    }
}
