//! Bulk loading in chunks.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Resource, ResourceArc, Term};

use super::reference::Held;
use super::{answer, done, error, full, key, more, term};
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::load::{LanePairs, Loader};

/// A load under way; keeps its index alive.
pub(crate) struct LoaderResource {
    index: Held,
    loader: Mutex<Loader>,
}

#[rustler::resource_impl]
impl Resource for LoaderResource {}

/// Holds about so many pairs in memory.
#[rustler::nif]
fn load_begin<'a>(env: Env<'a>, index: Held, most: u32) -> Term<'a> {
    let loader = Mutex::new(Loader::with_buffer(&index.index, most as usize));
    ResourceArc::new(LoaderResource { index, loader }).encode(env)
}

/// Takes a list of `{key, id}`, and none of it if one is no such thing. `full` if it is time for
/// [`load_drain`] then, else how many they are.
#[rustler::nif(schedule = "DirtyIo")]
fn load_add<'a>(env: Env<'a>, loader: &'a LoaderResource, pairs: Term<'a>) -> Term<'a> {
    let pairs = match decode(&loader.index.index, pairs) {
        Ok(pairs) => pairs,
        Err(fault) => return fault,
    };
    answer(env, &loader.index, |index| {
        index.check_open()?;
        let mut held = loader.loader.lock();
        for &(ref key, id) in &pairs {
            held.add(index, key, id)?;
        }
        Ok(if held.is_full() { full().encode(env) } else { pairs.len().encode(env) })
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

/// Writes one lane out if there is too much in memory. Several processes may call this at once, as
/// [`load_step`].
#[rustler::nif(schedule = "DirtyIo")]
fn load_drain<'a>(env: Env<'a>, loader: &'a LoaderResource) -> Term<'a> {
    write(env, loader, Loader::take_surplus, |_index| Ok(()))
}

/// Writes one lane out. Several processes may call this at once, to use several cores; the load
/// is complete when each of them has been told it is done.
#[rustler::nif(schedule = "DirtyIo")]
fn load_step<'a>(env: Env<'a>, loader: &'a LoaderResource) -> Term<'a> {
    write(env, loader, Loader::take_fullest, Index::finish_load)
}

/// Writes out what it takes of the loader, or ends if that is nothing.
fn write<'a>(
    env: Env<'a>,
    loader: &'a LoaderResource,
    take: fn(&mut Loader) -> Option<LanePairs>,
    end: fn(&Index) -> Result<()>,
) -> Term<'a> {
    let outcome = answer(env, &loader.index, |index| {
        let lane = take(&mut loader.loader.lock());
        match lane {
            Some(lane) => lane.write(index).map(|()| more().encode(env)),
            None => {
                end(index)?;
                Ok((done(), loader.loader.lock().total()).encode(env))
            }
        }
    });
    // Pairs of keys that were there already went through overlays.
    loader.index.wake_compactor(env, loader.index.encode(env));
    outcome
}
