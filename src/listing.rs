//! Listings and counts of what keys lead to: all of the index, of one namespace, or the names.

use crate::chain::IdSet;
use crate::dictionary::Scope;
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::routes::{Most, Target, hand_over};

/// Ids that are resolved together when all are listed.
const SLICE: usize = 4096;

/// A listing of targets under way, taken a slice at a time, as an index can have millions.
#[derive(Debug)]
pub struct Listing {
    /// Gathered first, as that takes long: an id that is another's by the time it is resolved
    /// names a target too, if it is of the same scope.
    ids: Vec<u32>,
    listed: usize,
    scope: Scope,
    /// The namespace's name, if it is of one: the scope may be another's by and by.
    name: Option<Fingerprint>,
}

/// What a slice of a listing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// There may be more.
    Some,
    /// All were listed before.
    End,
    /// Nothing was handed over: the next target alone has more bytes.
    TooLarge,
}

impl Listing {
    pub(crate) fn of(ids: Vec<u32>, scope: Scope) -> Self {
        Self { ids, listed: 0, scope, name: None }
    }

    pub(crate) fn in_namespace(self, name: Fingerprint) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Whether the namespace it is of is there still.
    fn is_of_now(&self, index: &Index) -> Result<bool> {
        let Some(name) = self.name else { return Ok(true) };
        Ok(index.namespace(name)?.map(Scope::of_namespace) == Some(self.scope))
    }

    /// Hands the next targets to `f`, some thousands of them; false if none was left.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn next_slice(&mut self, index: &Index, f: impl FnMut(Target<'_>)) -> Result<bool> {
        let slice = self.next_within(index, Most { ids: SLICE, ..Most::ALL }, f)?;
        Ok(slice != Slice::End)
    }

    /// As [`Listing::next_slice`], as many targets as are within `most`. They may be none, as those
    /// that are gone since count too.
    ///
    /// # Errors
    /// As [`Listing::next_slice`].
    pub fn next_within(
        &mut self,
        index: &Index,
        most: Most,
        mut f: impl FnMut(Target<'_>),
    ) -> Result<Slice> {
        index.check_open()?;
        let left = &self.ids[self.listed..];
        let slice = IdSet::Many(left[..left.len().min(most.ids)].to_vec());
        if slice.as_slice().is_empty() {
            return Ok(Slice::End);
        }
        let look_up = || {
            let is_there = self.is_of_now(index)?;
            Ok((is_there, if is_there { slice } else { IdSet::Empty }))
        };
        let (mut bytes, mut taken) = (0, 0);
        let is_there = index.dictionary.resolve(look_up, |id, term| {
            bytes += term.map_or(0, <[u8]>::len);
            if bytes <= most.bytes {
                taken += 1;
                hand_over(self.scope, id, term, &mut f);
            }
        })?;
        // Terms may be missing because the index closed meanwhile.
        index.check_open()?;
        if !is_there {
            self.listed = self.ids.len();
            return Ok(Slice::End);
        }
        self.listed += taken;
        Ok(if taken > 0 { Slice::Some } else { Slice::TooLarge })
    }
}

impl Index {
    /// Begins a listing of all distinct targets. Changes made meanwhile may or may not be seen.
    ///
    /// # Errors
    /// As [`Index::ids`].
    pub fn list_targets(&self) -> Result<Listing> {
        Ok(Listing::of(self.ids()?, Scope::INDEX))
    }

    /// How many distinct targets a namespace has. Each change under way may count for one more.
    ///
    /// # Errors
    /// As [`Index::get`]; those of [`Index::take_census`].
    pub fn count_in(&self, name: &[u8]) -> Result<u64> {
        let name = self.name(name)?;
        self.take_census()?;
        self.dictionary.unmistaken(|| {
            let namespace = self.namespace(name)?;
            Ok(namespace.map_or(0, |namespace| self.dictionary.members(namespace).into()))
        })
    }

    /// Begins a listing of a namespace's distinct targets. Changes made meanwhile may or may not be
    /// seen.
    ///
    /// # Errors
    /// As [`Index::count_in`].
    pub fn list_in(&self, name: &[u8]) -> Result<Listing> {
        let name = self.name(name)?;
        self.take_census()?;
        self.dictionary.unmistaken(|| {
            Ok(match self.namespace(name)? {
                Some(namespace) => {
                    let scope = Scope::of_namespace(namespace);
                    Listing::of(self.dictionary.ids_of(scope), scope).in_namespace(name)
                }
                None => Listing::of(Vec::new(), Scope::INDEX),
            })
        })
    }

    /// Begins a listing of the names of all namespaces.
    ///
    /// # Errors
    /// As [`Index::count_in`].
    pub fn list_namespaces(&self) -> Result<Listing> {
        self.take_census()?;
        self.dictionary.unmistaken(|| self.names()).map(|names| Listing::of(names, Scope::NAMES))
    }

    /// Ids of the names of all namespaces.
    fn names(&self) -> Result<Vec<u32>> {
        let mut names = Vec::new();
        for id in self.dictionary.ids_of(Scope::NAMES) {
            // That of a dropped namespace stays until all it had is taken out, that of an empty one
            // until its lane takes changes.
            if self.dictionary.members(id) == 0 {
                continue;
            }
            if self.has_name(id)? {
                names.push(id);
            }
        }
        Ok(names)
    }
}
