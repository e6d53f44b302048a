//! Keys that lead to terms: the index together with its dictionary.

use crate::chain::IdSet;
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

    /// Hands the targets of a key to `f`: those that were its targets at one moment. False, and
    /// none handed over, if there are more than `most`.
    ///
    /// # Errors
    /// As [`Index::get`].
    pub fn targets(&self, key: &[u8], most: usize, mut f: impl FnMut(Target<'_>)) -> Result<bool> {
        let look_up = || {
            let ids = self.get_bounded(key, most)?;
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
        self.dictionary.resolve(look_up, |id, term| hand_over(id, term, &mut f))
    }

    /// Hands all distinct targets of the index to `f`. Changes made meanwhile may or may not be
    /// seen.
    ///
    /// # Errors
    /// As [`Index::ids`].
    pub fn all_targets(&self, mut f: impl FnMut(Target<'_>)) -> Result<()> {
        // Listed first, as that takes long: an id that is another's by then names a target too.
        let ids = IdSet::Many(self.ids()?);
        self.dictionary.resolve(|| Ok(((), ids)), |id, term| hand_over(id, term, &mut f))?;
        self.check_open()
    }
}

fn hand_over(id: u32, term: Option<&[u8]>, f: &mut impl FnMut(Target<'_>)) {
    match term {
        Some(term) => f(Target::Term(term)),
        None if id < TERM_ID_FLAG => f(Target::Id(id)),
        // Forgotten between the listing and now.
        None => {}
    }
}
