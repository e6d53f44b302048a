//! Bulk loading in chunks.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Resource, ResourceArc, Term};

use super::{IndexResource, answer, done, error, more, term};
use crate::load::Loader;

/// A load under way; keeps its index alive.
pub(crate) struct LoaderResource {
    index: ResourceArc<IndexResource>,
    loader: Mutex<Loader>,
}

#[rustler::resource_impl]
impl Resource for LoaderResource {}

#[rustler::nif]
fn load_begin<'a>(env: Env<'a>, index: ResourceArc<IndexResource>) -> Term<'a> {
    let loader = Mutex::new(Loader::new(&index.index));
    ResourceArc::new(LoaderResource { index, loader }).encode(env)
}

/// Takes a list of `{key, id}`; a fault leaves the whole chunk out. When much is held in memory,
/// writes a lane out as well.
#[rustler::nif(schedule = "DirtyCpu")]
fn load_add<'a>(env: Env<'a>, loader: &'a LoaderResource, pairs: Term<'a>) -> Term<'a> {
    let pairs = match decode(pairs) {
        Ok(pairs) => pairs,
        Err(fault) => return fault,
    };
    answer(env, &loader.index, |index| {
        index.check_open()?;
        let mut held = loader.loader.lock();
        for &(key, _) in &pairs {
            index.fingerprint(key)?;
        }
        for &(key, id) in &pairs {
            held.add(index, key, id)?;
        }
        if held.is_full() {
            held.step(index)?;
        }
        Ok(pairs.len().encode(env))
    })
}

fn decode(pairs: Term<'_>) -> term::Decoded<'_, Vec<(&[u8], u32)>> {
    let (items, len) = term::list(pairs, "the pairs are not a list")?;
    let mut out = Vec::with_capacity(len);
    for item in items {
        let Ok((key, id)) = item.decode::<(Term<'_>, Term<'_>)>() else {
            let what = format!("{item:?} is not {{key, id}}");
            return Err(error::invalid_argument(item.get_env(), &what));
        };
        out.push((term::key(key)?, term::id(id)?));
    }
    Ok(out)
}

#[rustler::nif(schedule = "DirtyIo")]
fn load_step<'a>(env: Env<'a>, loader: &'a LoaderResource) -> Term<'a> {
    answer(env, &loader.index, |index| {
        let mut held = loader.loader.lock();
        Ok(if held.step(index)? { more().encode(env) } else { (done(), held.total()).encode(env) })
    })
}
