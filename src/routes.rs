//! Keys that lead to terms: the index together with its dictionary.

use crate::dictionary::{Routed, TERM_ID_FLAG};
use crate::error::{Error, Result};
use crate::index::{Attempt, Index};
use crate::lane::Op;

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A number below [`TERM_ID_FLAG`], stored as it is.
    Id(u32),
    /// Bytes, stored once in the dictionary however many keys lead to them.
    Term(&'a [u8]),
}

impl Index {
    /// Adds or removes one target of a key without waiting; true if that changed anything.
    ///
    /// # Errors
    /// As [`Index::put`]; [`Error::IdOutOfRange`] for a number the dictionary's ids start below;
    /// [`Error::IdsExhausted`].
    pub fn try_route(&self, key: &[u8], target: Target<'_>, op: Op) -> Result<Attempt<bool>> {
        let term = match target {
            Target::Id(id) if id < TERM_ID_FLAG => return self.try_change(key, id, op),
            Target::Id(id) => return Err(Error::IdOutOfRange { id: id.into() }),
            Target::Term(term) => term,
        };
        // Never waiting for the lane while the dictionary is locked: a bulk load holds the lane
        // and asks for the dictionary.
        let change = |id| match self.try_change(key, id, op) {
            Ok(Attempt::Done(true)) => Routed::Changed,
            Ok(Attempt::Done(false)) => Routed::Unchanged,
            Ok(Attempt::Busy) => Routed::Failed(Ok(Attempt::Busy)),
            Err(e) => Routed::Failed(Err(e)),
        };
        let routed = match op {
            Op::Put => self.dictionary.with_interned(term, change)?,
            Op::Delete => self.dictionary.with_known(term, change),
        };
        match routed {
            Routed::Changed => Ok(Attempt::Done(true)),
            Routed::Unchanged => self.check_writable().map(|()| Attempt::Done(false)),
            Routed::Failed(failure) => failure,
        }
    }

    /// As [`Index::try_route`], waiting as [`Index::put`] does.
    ///
    /// # Errors
    /// As [`Index::try_route`], and those of a flush.
    pub fn route(&self, key: &[u8], target: Target<'_>, op: Op) -> Result<bool> {
        loop {
            match self.try_route(key, target, op)? {
                Attempt::Done(changed) => return Ok(changed),
                Attempt::Busy => self.make_way(key)?,
            }
        }
    }

    /// Hands the targets with these ids to `f`; those removed meanwhile are left out.
    pub fn resolve(&self, ids: &[u32], mut f: impl FnMut(Target<'_>)) {
        let own = ids.partition_point(|&id| id < TERM_ID_FLAG);
        for &id in &ids[..own] {
            f(Target::Id(id));
        }
        if own < ids.len() {
            self.dictionary.resolve(&ids[own..], |term| {
                if let Some(term) = term {
                    f(Target::Term(term));
                }
            });
        }
    }
}
