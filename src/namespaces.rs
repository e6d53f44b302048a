//! Namespaces: parts of an index with keys and targets of their own, each of which can be listed
//! and dropped without looking at the others.
//!
//! A namespace is there while keys lead to its targets. Its name is a term that a key of the name's
//! own leads to, so that it is logged, flushed and brought back as all else is. The name's id
//! scopes the namespace's keys (`KeyHasher::scoped`) and terms (`dictionary::Scope`). Without that
//! one key nothing of the namespace is found any more: that is how it is dropped. What it had is
//! then taken out in pieces (`purge`).

use crate::chain::IdSet;
use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::Scope;
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::routes::{Most, Route};
use crate::stripes::UnderWay;
use crate::write::Attempt;

/// What a change of a namespace's routes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The route was not so already.
    pub changed: bool,
    /// It was the last one: the namespace is gone. Of several who remove the last ones at once, one
    /// is told; both of two, perhaps, that must not wait.
    pub emptied: bool,
}

/// What a change within a namespace that is there came to.
#[derive(Clone, Copy, Debug)]
struct Changed {
    changed: bool,
    /// How many targets are counted, if that may be by changes under way alone.
    left: Option<u32>,
}

impl Index {
    /// The id of the name, while the namespace is there.
    pub(crate) fn namespace(&self, name: Fingerprint) -> Result<Option<u32>> {
        let ids = self.look_up(name, usize::MAX, |chain| chain.id_set())?;
        Ok(ids.unwrap_or(IdSet::Empty).as_slice().last().copied())
    }

    /// Whether the namespace of that id is found by its name: it was not dropped.
    pub(crate) fn has_name(&self, namespace: u32) -> Result<bool> {
        let Some(name) = self.dictionary.name(namespace) else { return Ok(false) };
        Ok(self.namespace(self.name(&name)?)? == Some(namespace))
    }

    pub(crate) fn name(&self, name: &[u8]) -> Result<Fingerprint> {
        Self::check_key(name)?;
        Ok(self.hasher.scoped(Scope::NAMES.number(), name))
    }

    fn key_in(&self, namespace: u32, key: &[u8]) -> Result<Fingerprint> {
        Self::check_key(key)?;
        Ok(self.hasher.scoped(Scope::of_namespace(namespace).number(), key))
    }

    /// A key's fingerprint and the scope of its targets, in the namespace of that name or in the index
    /// itself; none if there is no such namespace.
    pub(crate) fn locate(
        &self,
        name: Option<&[u8]>,
        key: &[u8],
    ) -> Result<Option<(Fingerprint, Scope)>> {
        let of = |scope| Ok((self.key_of(scope, key)?, scope));
        self.scope(name)?.map(of).transpose()
    }

    /// The scope of a name that is there; without a name, the index itself.
    pub(crate) fn scope(&self, name: Option<&[u8]>) -> Result<Option<Scope>> {
        let Some(name) = name else { return Ok(Some(Scope::INDEX)) };
        Ok(self.namespace(self.name(name)?)?.map(Scope::of_namespace))
    }

    pub(crate) fn key_of(&self, scope: Scope, key: &[u8]) -> Result<Fingerprint> {
        match scope.namespace() {
            Some(namespace) => self.key_in(namespace, key),
            None => self.fingerprint(key),
        }
    }

    /// Adds or removes a target of a key in a namespace, as [`Index::try_route`] does in the index
    /// itself. The first target makes the namespace, with the last it is gone.
    ///
    /// # Errors
    /// As [`Index::try_route`]; names are as long as keys at the most.
    pub fn try_route_in(
        &self,
        name: &[u8],
        key: &[u8],
        target: &[u8],
        op: Op,
        durability: Durability,
    ) -> Result<Attempt<Outcome>> {
        let wait = durability != Durability::Memory;
        let name_key = self.name(name)?;
        Self::check_key(key)?;
        // Twice at the most, but for a namespace that is dropped as soon as it is made.
        loop {
            let Some(shared) = self.stripes.with_others(name_key, wait) else {
                return Ok(Attempt::Busy);
            };
            let Some(namespace) = self.namespace(name_key)? else {
                drop(shared);
                if op == Op::Delete && self.is_all_logged(durability) {
                    self.check_writable()?;
                    self.settle(durability)?;
                    return Ok(Attempt::Done(Outcome::default()));
                }
                let Some(alone) = self.stripes.alone(name_key, wait) else {
                    return Ok(Attempt::Busy);
                };
                if op == Op::Delete && self.namespace(name_key)?.is_none() {
                    self.promise_absence(name_key, name, durability)?;
                    drop(alone);
                    self.settle(durability)?;
                    return Ok(Attempt::Done(Outcome::default()));
                }
                if op == Op::Put
                    && let Attempt::Busy = self.make_namespace(name_key, name, durability)?
                {
                    return Ok(Attempt::Busy);
                }
                continue;
            };
            if !wait && !self.dictionary.can_count(namespace) {
                return Ok(Attempt::Busy);
            }
            if let Attempt::Busy = self.log_name(name_key, name, durability)? {
                return Ok(Attempt::Busy);
            }
            let route = Route {
                key: self.key_in(namespace, key)?,
                scope: Scope::of_namespace(namespace),
                term: target,
            };
            let change = self.stripes.of(name_key).begin();
            let changed = match op {
                Op::Put => self.put_in(namespace, route, durability),
                Op::Delete => self.delete_in(namespace, route, durability, &change),
            };
            // Who has to find out whether that was the last target is at it still.
            let left = matches!(changed, Ok(Attempt::Done(Changed { left: Some(_), .. })));
            let change = left.then_some(change);
            drop(shared);
            let Ok(Attempt::Done(Changed { changed, left })) = changed else {
                // It may have been made for this change alone.
                if op == Op::Put && self.dictionary.members(namespace) == 0 {
                    self.drop_empty_later(name);
                }
                return changed.map(|_| Attempt::Busy);
            };
            let emptied = match left {
                Some(left) => {
                    let emptied = self.is_emptied(name_key, name, durability, left);
                    drop(change);
                    self.note_decided();
                    emptied?
                }
                None => false,
            };
            self.settle(durability)?;
            return Ok(Attempt::Done(Outcome { changed, emptied }));
        }
    }

    /// A target is counted before it shows: whoever removes it at once does not find it missing in
    /// the count, and a namespace that counts none has none.
    fn put_in(
        &self,
        namespace: u32,
        route: Route<'_>,
        durability: Durability,
    ) -> Result<Attempt<Changed>> {
        // The census counts meanwhile.
        if !self.dictionary.is_settled() {
            return Ok(Attempt::Busy);
        }
        self.dictionary.add_members(namespace, 1);
        let routed = self.try_route_term(route, Op::Put, durability);
        if !matches!(routed, Ok(Attempt::Done((_, 1..)))) {
            self.dictionary.drop_members(namespace, 1);
        }
        Ok(match routed? {
            Attempt::Done((changed, _)) => Attempt::Done(Changed { changed, left: None }),
            Attempt::Busy => Attempt::Busy,
        })
    }

    fn delete_in(
        &self,
        namespace: u32,
        route: Route<'_>,
        durability: Durability,
        change: &UnderWay<'_>,
    ) -> Result<Attempt<Changed>> {
        let (changed, edges) = match self.try_route_term(route, Op::Delete, durability)? {
            Attempt::Done(done) => done,
            Attempt::Busy => return Ok(Attempt::Busy),
        };
        // Puts that had begun when the target went may come to nothing, and targets of deletes be
        // gone.
        let others = change.others();
        let left = (edges > 0).then(|| self.dictionary.drop_members(namespace, edges));
        let left = left.filter(|&left| left <= others);
        Ok(Attempt::Done(Changed { changed, left }))
    }

    /// Whether the namespace, which counts that many targets, has none in truth. Then it goes.
    fn is_emptied(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
        left: u32,
    ) -> Result<bool> {
        // If it counts some, that is known once others are done, which is rarely waited for.
        let wait = durability != Durability::Memory || left > 0;
        match self.drop_if_empty(key, name, durability, wait) {
            Ok(Attempt::Done(empty)) => Ok(empty),
            undecided => {
                self.drop_empty_later(name);
                undecided.map(|_| left == 0)
            }
        }
    }

    /// As [`Index::try_route_in`], waiting as [`Index::put`] does.
    ///
    /// # Errors
    /// As [`Index::route`].
    pub fn route_in(
        &self,
        name: &[u8],
        key: &[u8],
        target: &[u8],
        op: Op,
        durability: Durability,
    ) -> Result<Outcome> {
        let name_key = self.name(name)?;
        loop {
            match self.try_route_in(name, key, target, op, durability)? {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Busy => {
                    let namespace = self.namespace(name_key)?;
                    self.make_way_for_routes(name_key)?;
                    if let Some(namespace) = namespace {
                        self.make_way_for_routes(self.key_in(namespace, key)?)?;
                    }
                    drop(self.stripes.of(name_key).lock.read());
                }
            }
        }
    }

    /// Leads the name's key to its term. Nobody else makes or drops a namespace of the name.
    pub(crate) fn make_namespace(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
    ) -> Result<Attempt<()>> {
        let route = Route { key, scope: Scope::NAMES, term: name };
        Ok(match self.try_route_term(route, Op::Put, durability)? {
            Attempt::Busy => Attempt::Busy,
            Attempt::Done(_) => Attempt::Done(()),
        })
    }

    /// Takes the name's key away, at once or soon, if the namespace has no targets; whether it has
    /// none.
    fn drop_if_empty(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
        wait: bool,
    ) -> Result<Attempt<bool>> {
        let Some(_alone) = self.stripes.alone(key, wait) else { return Ok(Attempt::Busy) };
        self.drop_empty(key, name, durability).map(Attempt::Done)
    }

    /// Nobody else makes or changes a namespace of the name.
    pub(crate) fn drop_empty(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
    ) -> Result<bool> {
        let namespace = self.namespace(key)?;
        let empty = namespace.is_some_and(|namespace| self.dictionary.members(namespace) == 0);
        let route = Route { key, scope: Scope::NAMES, term: name };
        if empty && self.try_route_term(route, Op::Delete, durability)? == Attempt::Busy {
            self.drop_empty_later(name);
        }
        Ok(empty)
    }

    /// Drops a namespace with all it has, in one step whatever that is; false if there was none.
    /// Memory comes back with background work.
    ///
    /// # Errors
    /// As [`Index::route`].
    pub fn drop_namespace(&self, name: &[u8], durability: Durability) -> Result<bool> {
        let key = self.name(name)?;
        loop {
            match self.try_drop_namespace(key, name, durability)? {
                Attempt::Done(any) => return self.settle(durability).map(|()| any),
                Attempt::Busy => self.make_way_for_routes(key)?,
            }
        }
    }

    /// Not settled yet, as that is nothing others should wait for.
    fn try_drop_namespace(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
    ) -> Result<Attempt<bool>> {
        let _alone = self.stripes.of(key).lock.write();
        let Some(namespace) = self.namespace(key)? else {
            return self.promise_absence(key, name, durability).map(|()| Attempt::Done(false));
        };
        let route = Route { key, scope: Scope::NAMES, term: name };
        let any = self.dictionary.members(namespace) > 0;
        if let Attempt::Done(()) = self.log_name(key, name, durability)?
            && let Attempt::Done(_) = self.try_route_term(route, Op::Delete, durability)?
        {
            self.dictionary.forget(&Scope::NAMES.term(name));
            self.purge_namespace(namespace);
            return Ok(Attempt::Done(any));
        }
        Ok(Attempt::Busy)
    }

    /// Hands the targets of a key in a namespace to `f`, as [`Index::targets`] does of the index
    /// itself.
    ///
    /// # Errors
    /// As [`Index::targets`].
    pub fn targets_in(
        &self,
        name: &[u8],
        key: &[u8],
        most: Most,
        mut f: impl FnMut(&[u8]),
    ) -> Result<bool> {
        let name_key = self.name(name)?;
        Self::check_key(key)?;
        self.check_open()?;
        let look_up = || {
            let Some(namespace) = self.namespace(name_key)? else {
                return Ok((true, IdSet::Empty));
            };
            let key = self.key_in(namespace, key)?;
            let ids = self.look_up(key, most.ids, |chain| chain.id_set())?;
            Ok((ids.is_some(), ids.unwrap_or(IdSet::Empty)))
        };
        self.resolve_all(look_up, most, |_, term| {
            if let Some((_, bytes)) = term.and_then(Scope::split) {
                f(bytes);
            }
        })
    }
}
