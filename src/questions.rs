//! What many keys lead to, in one pass: each name is looked up once, and the keys in stages, so that
//! their cache misses overlap.

use crate::chain::IdSet;
use crate::dictionary::Scope;
use crate::error::Result;
use crate::index::Index;
use crate::routes::{Most, Target, hand_over};

/// A key that is asked about, among others.
#[derive(Clone, Copy, Debug)]
pub struct Question<'k> {
    /// The place of its namespace's name among the names.
    pub name: usize,
    /// The key.
    pub key: &'k [u8],
}

impl Index {
    /// Hands the targets of many keys to `f`, each with the question's place, in their order: as
    /// [`Index::targets`] does for the name `None`, and [`Index::targets_in`] for others. False if
    /// there is more than `most` allows, together; then those handed over are not all.
    ///
    /// # Errors
    /// As [`Index::targets`].
    ///
    /// # Panics
    /// If a question's name is none of `names`.
    pub fn targets_of_many(
        &self,
        names: &[Option<&[u8]>],
        questions: &[Question<'_>],
        most: Most,
        mut f: impl FnMut(usize, Target<'_>),
    ) -> Result<bool> {
        self.check_open()?;
        self.dictionary.unmistaken(|| {
            let scopes = names.iter().map(|name| self.scope(*name));
            let scopes = scopes.collect::<Result<Vec<Option<Scope>>>>()?;
            let mut places = Vec::with_capacity(questions.len());
            let mut keys = Vec::with_capacity(questions.len());
            for (place, &Question { name, key }) in questions.iter().enumerate() {
                Self::check_key(key)?;
                if let Some(scope) = scopes[name] {
                    places.push(place);
                    keys.push(self.key_of(scope, key)?);
                }
            }
            let mut sets = vec![IdSet::Empty; keys.len()];
            if !self.get_many_bounded(&keys, most, |at, ids| sets[at] = ids)? {
                return Ok(false);
            }
            // All ids one after the other, and whose each of them is.
            let (mut ids, mut of) = (Vec::new(), Vec::new());
            for (&place, set) in places.iter().zip(&sets) {
                ids.extend_from_slice(set.as_slice());
                of.resize(ids.len(), place);
            }
            let mut of = of.into_iter();
            self.resolve_all(
                || Ok((true, IdSet::Many(ids))),
                most,
                |id, term| {
                    let Some(place) = of.next() else { return };
                    let Some(scope) = scopes[questions[place].name] else { return };
                    hand_over(scope, id, term, &mut |target| f(place, target));
                },
            )
        })
    }
}
