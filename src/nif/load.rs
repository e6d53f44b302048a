//! Bulk loading in chunks.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Resource, ResourceArc, Term};

use super::reference::Held;
use super::{answer, done, error, key, more, term};
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::load::Loader;

/// A load under way; keeps its index alive.
pub(crate) struct LoaderResource {
    index: Held,
    loader: Mutex<Loader>,
}

#[rustler::resource_impl]
impl Resource for LoaderResource {}

#[rustler::nif]
fn load_begin<'a>(env: Env<'a>, index: Held) -> Term<'a> {
    let loader = Mutex::new(Loader::new(&index.index));
    ResourceArc::new(LoaderResource { index, loader }).encode(env)
}

/// Takes a list of `{key, id}`; a fault leaves the whole chunk out. When much is held in memory,
/// writes a lane out as well.
#[rustler::nif(schedule = "DirtyIo")]
fn load_add<'a>(env: Env<'a>, loader: &'a LoaderResource, pairs: Term<'a>) -> Term<'a> {
    let pairs = match decode(&loader.index.index, pairs) {
        Ok(pairs) => pairs,
        Err(fault) => return fault,
    };
    answer(env, &loader.index, |index| {
        index.check_open()?;
        let surplus = {
            let mut held = loader.loader.lock();
            for &(ref key, id) in &pairs {
                held.add(index, key, id)?;
            }
            let mut surplus = Vec::new();
            while held.is_full() {
                surplus.extend(held.take_fullest());
            }
            surplus
        };
        surplus.into_iter().try_for_each(|lane| lane.write(index))?;
        Ok(pairs.len().encode(env))
    })
}

fn decode<'a>(index: &Index, pairs: Term<'a>) -> term::Decoded<'a, Vec<(Fingerprint, u32)>> {
    let pairs = term::elements(pairs, "the pairs are not a list", usize::MAX, |item, _place| {
        match item.decode::<(Term<'_>, Term<'_>)>() {
            Ok((key, id)) => Ok(Some((key::key(index, key)?, term::id(id)?))),
            Err(_) => Err(error::invalid_argument(item.get_env(), "it is not {key, id}")),
        }
    });
    Ok(pairs?.unwrap_or_default())
}

/// Writes one lane out. Several processes may call this at once, to use several cores; the load
/// is complete when each of them has been told it is done.
#[rustler::nif(schedule = "DirtyIo")]
fn load_step<'a>(env: Env<'a>, loader: &'a LoaderResource) -> Term<'a> {
    let outcome = answer(env, &loader.index, |index| {
        let lane = loader.loader.lock().take_fullest();
        match lane {
            Some(lane) => lane.write(index).map(|()| more().encode(env)),
            None => {
                index.finish_load()?;
                Ok((done(), loader.loader.lock().total()).encode(env))
            }
        }
    });
    // Pairs of keys that were there already went through overlays.
    loader.index.wake_compactor(env, loader.index.encode(env));
    outcome
}
