//! Keys that lead to terms: the index together with its dictionary.

use std::time::Instant;

use crate::chain::IdSet;
use crate::change::Op;
use crate::config::Durability;
use crate::dictionary::{Routed, Scope, TERM_ID_FLAG};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::write::{Attempt, Wanted};

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A number below [`TERM_ID_FLAG`], stored as it is.
    Id(u32),
    /// Bytes, stored once in the dictionary however many keys lead to them.
    Term(&'a [u8]),
}

/// A key, and a term that it is to lead to or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'t> {
    pub(crate) key: Fingerprint,
    pub(crate) scope: Scope,
    pub(crate) term: &'t [u8],
}

impl Index {
    /// Adds or removes one target of a key without waiting for more than a moment, but for the log
    /// if the durability asks for it; true if that changed anything.
    ///
    /// # Errors
    /// As [`Index::put`]; [`Error::IdOutOfRange`] for a number the dictionary's ids start below;
    /// [`Error::IdsExhausted`].
    pub fn try_route(
        &self,
        key: &[u8],
        target: Target<'_>,
        op: Op,
        durability: Durability,
    ) -> Result<Attempt<bool>> {
        let term = match target {
            Target::Id(id) if id < TERM_ID_FLAG => {
                return self.try_change(key, id, op, durability);
            }
            Target::Id(id) => return Err(Error::IdOutOfRange { id: id.into() }),
            Target::Term(term) => term,
        };
        let route = Route { key: self.fingerprint(key)?, scope: Scope::INDEX, term };
        match self.try_route_term(route, op, durability)? {
            Attempt::Busy => Ok(Attempt::Busy),
            Attempt::Done((changed, _)) => self.settle(durability).map(|()| Attempt::Done(changed)),
        }
    }

    /// Whether that changed anything, and the number of terms that got their first key or lost their
    /// last. Nothing is synced yet.
    pub(crate) fn try_route_term(
        &self,
        route: Route<'_>,
        op: Op,
        durability: Durability,
    ) -> Result<Attempt<(bool, u32)>> {
        if op == Op::Put && !self.high_ids.allow_terms()? {
            return Ok(Attempt::Busy);
        }
        let term = route.scope.term(route.term);
        // Never waiting for the lane while the dictionary is locked: a bulk load holds the lane
        // and asks for the dictionary.
        let wanted =
            |id| Wanted { id, op, durability, term: (op == Op::Put).then_some(term.as_slice()) };
        let change = |id| match self.attempt(route.key, wanted(id), false) {
            Ok(Attempt::Done(changed)) => Ok(changed),
            Ok(Attempt::Busy) => Err(Ok(Attempt::Busy)),
            Err(e) => Err(Err(e)),
        };
        let wait = durability != Durability::Memory;
        let routed = match op {
            Op::Put => self.dictionary.with_interned(&term, wait, change)?,
            Op::Delete => self.dictionary.with_known(&term, wait, change),
        };
        if self.dictionary.claim_upkeep() {
            self.work_waits.store(true, Ordering::SeqCst);
        }
        let Some(routed) = routed else { return Ok(Attempt::Busy) };
        match routed {
            Routed::Changed(edges) => Ok(Attempt::Done((true, edges))),
            Routed::Unchanged => self.check_writable().map(|()| Attempt::Done((false, 0))),
            Routed::Failed(failure) => failure,
        }
    }

    /// As [`Index::try_route`], waiting as [`Index::put`] does.
    ///
    /// # Errors
    /// As [`Index::try_route`], and those of a flush.
    pub fn route(&self, key: &[u8], target: Target<'_>, op: Op) -> Result<bool> {
        self.route_with(key, target, op, self.durability)
    }

    /// As [`Index::route`], with a durability of its own.
    ///
    /// # Errors
    /// As [`Index::route`].
    pub fn route_with(
        &self,
        key: &[u8],
        target: Target<'_>,
        op: Op,
        durability: Durability,
    ) -> Result<bool> {
        loop {
            match self.try_route(key, target, op, durability)? {
                Attempt::Done(changed) => return Ok(changed),
                Attempt::Busy => {
                    self.make_way_for_routes(self.fingerprint(key)?)?;
                }
            }
        }
    }

    /// Hands the targets of a key to `f`: those that were its targets at one moment. False if
    /// there is more than `most` allows; then those handed over are not all.
    ///
    /// # Errors
    /// As [`Index::get`]; [`Error::Corrupt`] if the key leads to a term that is not there.
    pub fn targets(&self, key: &[u8], most: Most, mut f: impl FnMut(Target<'_>)) -> Result<bool> {
        let look_up = || {
            let ids = self.get_bounded(key, most.ids)?;
            Ok((ids.is_some(), ids.unwrap_or(IdSet::Empty)))
        };
        // Plain ids have nothing to be held together with, and need no lock that readers share.
        if !self.dictionary.is_in_use() {
            let (all, ids) = look_up()?;
            let plain = ids.as_slice().last().is_none_or(|&id| id < TERM_ID_FLAG);
            // The first term may have come this moment.
            if plain {
                ids.as_slice().iter().for_each(|&id| f(Target::Id(id)));
                return Ok(all);
            }
        }
        self.resolve_all(look_up, most, |id, term| hand_over(Scope::INDEX, id, term, &mut f))
    }

    /// Looks ids up and hands them to `f`, with their terms. False if that is more than `most` allows.
    pub(crate) fn resolve_all(
        &self,
        look_up: impl FnOnce() -> Result<(bool, IdSet)>,
        most: Most,
        mut f: impl FnMut(u32, Option<&[u8]>),
    ) -> Result<bool> {
        let (mut bytes, mut missing) = (0, None);
        let all = self.dictionary.resolve(look_up, |id, term| {
            bytes += term.map_or(0, <[u8]>::len);
            if term.is_none() && id >= TERM_ID_FLAG {
                missing = Some(id);
            }
            if bytes <= most.bytes {
                f(id, term);
            }
        })?;
        // Terms may be missing because the index closed meanwhile.
        self.check_open()?;
        if let Some(id) = missing.filter(|_| self.dictionary.is_in_use()) {
            return Err(self.dictionary.lacks(id));
        }
        Ok(all && bytes <= most.bytes)
    }

    /// Waits until what keeps a change of routes from being made is out of its way.
    pub(crate) fn make_way_for_routes(&self, key: Fingerprint) -> Result<()> {
        self.high_ids.find_out(self)?;
        self.take_census()?;
        self.make_way(key)
    }
}

/// How much of an answer to put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Ids walked.
    pub ids: usize,
    /// Bytes of terms.
    pub bytes: usize,
    /// Keys of many are looked up until then, at least a group of them: where pages have to come from a
    /// device, that takes longer than anything else.
    pub until: Option<Instant>,
}

impl Most {
    /// Whatever there is.
    pub const ALL: Most = Most { ids: usize::MAX, bytes: usize::MAX, until: None };
}

/// Hands a target over, if it belongs to the scope. One without a term was forgotten since it was
/// listed.
pub(crate) fn hand_over(
    scope: Scope,
    id: u32,
    term: Option<&[u8]>,
    f: &mut impl FnMut(Target<'_>),
) {
    match term.and_then(Scope::split) {
        Some((of, bytes)) if of == scope => f(Target::Term(bytes)),
        None if id < TERM_ID_FLAG && scope == Scope::INDEX => f(Target::Id(id)),
        _ => {}
    }
}

/// Which ids of 2^30 and above an index holds: the caller's own, or terms'. Never both, as one
/// would be mistaken for the other.
#[derive(Debug)]
pub(crate) struct HighIds(AtomicU8);

/// Opened from disk without terms, and not looked through yet.
const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const PLAIN: u8 = 2;
const TERMS: u8 = 3;

impl HighIds {
    pub(crate) fn none() -> Self {
        Self(AtomicU8::new(NONE))
    }

    pub(crate) fn unknown() -> Self {
        Self(AtomicU8::new(UNKNOWN))
    }

    pub(crate) fn terms() -> Self {
        Self(AtomicU8::new(TERMS))
    }

    /// Goes from one of two states to another; the state it is in then.
    fn advance(&self, from: [u8; 2], to: u8) -> u8 {
        let step = |state| from.contains(&state).then_some(to);
        let stepped = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        stepped.map_or_else(|state| state, |_| to)
    }

    /// A plain high id is about to be put or deleted.
    pub(crate) fn allow_plain(&self, op: Op) -> Result<()> {
        let state = match op {
            Op::Put => self.advance([NONE, UNKNOWN], PLAIN),
            Op::Delete => self.0.load(Ordering::SeqCst),
        };
        if state == TERMS {
            return Err(Error::MixedIds { what: "the id is 2^30 or above" });
        }
        Ok(())
    }

    /// A term is about to be interned; false if it has to be found out first whether it may.
    fn allow_terms(&self) -> Result<bool> {
        match self.advance([NONE, TERMS], TERMS) {
            PLAIN => Err(Error::MixedIds { what: "the target is a term" }),
            state => Ok(state == TERMS),
        }
    }

    /// Looks through the index, once.
    fn find_out(&self, index: &Index) -> Result<()> {
        if self.0.load(Ordering::SeqCst) == UNKNOWN {
            let mut highest = 0;
            index.for_each_key(|_, ids| highest = highest.max(ids.last().copied().unwrap_or(0)))?;
            let found = if highest < TERM_ID_FLAG { NONE } else { PLAIN };
            self.advance([UNKNOWN, UNKNOWN], found);
        }
        Ok(())
    }
}
