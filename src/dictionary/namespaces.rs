//! Names of namespaces, and the terms that belong to each.
//!
//! A name is a term. One key leads to it while the namespace is there, and every live term of the
//! namespace counts as one more reference: so a name outlives what belongs to it, and its id, which
//! is part of the terms, means nothing else meanwhile.

use super::places::State;
use super::{Address, Dictionary, Scope, TERM_ID_FLAG, claim, id_of, place_of, shard_of};
use crate::sync::atomic::Ordering;

impl Dictionary {
    /// Whether members can be counted without waiting for more than a moment: whoever changes a term
    /// of the name's shard may be at the log.
    pub(crate) fn can_count(&self, namespace: u32) -> bool {
        self.used_shard(shard_of(namespace)).is_none_or(|terms| claim(terms, false).is_some())
    }

    /// A term of the namespace has its first key.
    pub(crate) fn add_members(&self, namespace: u32, count: u32) {
        self.shard(shard_of(namespace)).write().add_references(place_of(namespace), count);
    }

    /// A term of the namespace has lost its last key; the number of those that have some.
    pub(crate) fn drop_members(&self, namespace: u32, count: u32) -> u32 {
        let Some(shard) = self.used_shard(shard_of(namespace)) else { return 0 };
        let mut terms = shard.write();
        for _ in 0..count {
            self.drop_reference(&mut terms, place_of(namespace), None);
        }
        match terms.state(place_of(namespace)) {
            // One of them is the name's own key.
            State::Live(references) => references - 1,
            _ => 0,
        }
    }

    /// How many terms of a namespace that is there have keys.
    pub(crate) fn members(&self, namespace: u32) -> u32 {
        self.members_of_name(namespace).unwrap_or_default()
    }

    /// No key leads to the term: it is not found, so that it gets another id when it comes back.
    pub(crate) fn forget(&self, term: &[u8]) {
        let Address { shard, hash } = self.address(term);
        if let Some(shard) = self.used_shard(shard) {
            let mut terms = shard.write();
            let places = terms.find_all(hash, term);
            places.into_iter().for_each(|place| terms.unlist(place, self.hash_of()));
        }
    }

    /// Ids of the terms of a scope that keys lead to.
    pub(crate) fn ids_of(&self, scope: Scope) -> Vec<u32> {
        let mut ids = Vec::new();
        for (number, shard) in self.used_shards() {
            ids.extend(shard.read().live_of(scope).map(|place| id_of(number, place)));
        }
        ids
    }

    /// What a term belongs to.
    pub(crate) fn scope_of(&self, id: u32) -> Option<Scope> {
        let shard = self.used_shard(shard_of(id)).filter(|_| id & TERM_ID_FLAG != 0)?;
        let (scope, _) = Scope::split(shard.read().bytes(place_of(id))?)?;
        Some(scope)
    }

    /// All keys have been counted: settles a shard, and hands each of its namespaces to `each` with
    /// the number of its terms there that have keys.
    pub(crate) fn settle_shard(&self, number: usize, mut each: impl FnMut(u32, u32)) {
        if let Some(shard) = self.used_shard(number) {
            shard.write().settle(self.hash_of());
            shard.read().live_members().for_each(|(namespace, live)| each(namespace, live));
        }
    }

    /// All shards are settled: takes in how many terms each namespace has. Changes are possible from
    /// now on. Answers which namespaces have terms, but no key leads to their names, and which names
    /// have a key, but no terms.
    pub(crate) fn settle(&self, members: impl Iterator<Item = (u32, u32)>) -> Unsettled {
        let names = self.ids_of(Scope::NAMES);
        let mut nameless = Vec::new();
        for (namespace, count) in members.filter(|&(_, count)| count > 0) {
            if self.members_of_name(namespace).is_none() {
                self.shard(shard_of(namespace)).write().occupy(place_of(namespace));
                nameless.push(namespace);
            }
            self.add_members(namespace, count);
        }
        let empty = names.into_iter().filter(|&name| self.members(name) == 0).collect();
        self.settled.store(true, Ordering::SeqCst);
        Unsettled { nameless, empty }
    }

    /// Whether anything of the namespace, or its name's key, is there.
    pub(crate) fn has_references(&self, namespace: u32) -> bool {
        self.members_of_name(namespace).is_some()
    }

    /// A namespace's name.
    pub(crate) fn name(&self, namespace: u32) -> Option<Vec<u8>> {
        let shard = self.used_shard(shard_of(namespace))?.read();
        let (scope, name) = Scope::split(shard.bytes(place_of(namespace))?)?;
        (scope == Scope::NAMES).then(|| name.to_vec())
    }

    /// A key does not lead to the term any more. The name of its namespace, if that is empty now.
    pub(crate) fn release(&self, id: u32) -> Option<Vec<u8>> {
        let namespace = self.scope_of(id).and_then(Scope::namespace);
        let shard = self.used_shard(shard_of(id))?;
        let last = self.drop_reference(&mut shard.write(), place_of(id), None);
        let namespace = namespace.filter(|_| last)?;
        if self.drop_members(namespace, 1) > 0 {
            return None;
        }
        self.name(namespace)
    }

    /// The ids of a term; more than one only after a crash.
    pub(crate) fn ids_of_term(&self, term: &[u8]) -> Vec<u32> {
        let Address { shard, hash } = self.address(term);
        let Some(terms) = self.used_shard(shard) else { return Vec::new() };
        let places = terms.read().find_all(hash, term);
        places.into_iter().map(|place| id_of(shard, place)).collect()
    }

    fn members_of_name(&self, name: u32) -> Option<u32> {
        match self.used_shard(shard_of(name))?.read().state(place_of(name)) {
            State::Live(references) => Some(references - 1),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

/// What a crash left of namespaces.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    pub(crate) nameless: Vec<u32>,
    pub(crate) empty: Vec<u32>,
}
