//! A shard's places by namespace, for listing one without looking at the others.

use hashbrown::HashMap;

use super::scope::Scope;
use super::terms::reserve;

/// The places of each namespace, and of the names. The index's own terms are not listed here: its
/// plain ids would be missing.
#[derive(Debug, Default)]
pub(super) struct Members {
    of: HashMap<u32, Vec<u32>, std::hash::RandomState>,
}

impl Members {
    pub(super) fn add(&mut self, scope: Scope, place: u32) {
        if scope != Scope::INDEX {
            let places = self.of.entry(scope.number()).or_default();
            if places.capacity() == 0 {
                // Most namespaces have few.
                places.reserve_exact(1);
            }
            reserve(places, 1);
            places.push(place);
        }
    }

    pub(super) fn remove(&mut self, scope: Scope, place: u32) {
        let Some(places) = self.of.get_mut(&scope.number()) else { return };
        if let Some(at) = places.iter().position(|&other| other == place) {
            places.swap_remove(at);
        }
        if places.is_empty() {
            self.of.remove(&scope.number());
        }
    }

    /// Leaves only the places that `stays` is true of.
    pub(super) fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        self.of.retain(|_, places| {
            places.retain(|&place| stays(place));
            places.shrink_to(places.len() + places.len() / 16);
            !places.is_empty()
        });
        if self.of.len() * 4 < self.of.capacity() {
            self.of.shrink_to_fit();
        }
    }

    pub(super) fn of(&self, scope: Scope) -> &[u32] {
        self.of.get(&scope.number()).map_or(&[], Vec::as_slice)
    }

    /// Every namespace with places.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.of.iter().filter_map(|(&number, places)| {
            Some((Scope::of_number(number).namespace()?, places.as_slice()))
        })
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        // Of all places' vectors: kept as a sum would be one more thing to keep true.
        let places: usize = self.of.values().map(Vec::capacity).sum();
        places * size_of::<u32>() + self.of.allocation_size()
    }
}
