//! Look-ups.

use std::time::{Duration, Instant};

use rustler::{Encoder as _, Env, NifResult, Term};

use super::quick::quick_nif;
use super::{Handle, IndexResource, answer, key, large, look_up, term};
use crate::hash::Fingerprint;
use crate::routes::Most;

/// Ids that a normal scheduler may put into one answer.
const MOST_IDS: usize = 4096;
/// Keys that a normal scheduler may look up in one call.
const MOST_KEYS: usize = 1024;
/// Bytes of keys that a normal scheduler may hash in one call.
pub(super) const MOST_KEY_BYTES: usize = 128 * 1024;
/// How long it may look keys up, which in memory takes far less: pages may have to come from a device.
pub(super) const MOST_TIME: Duration = Duration::from_micros(500);
/// Keys that take about one timeslice (1 ms) to look up.
const KEYS_PER_TIMESLICE: usize = 3000;

fn get<'a>(env: Env<'a>, [reference, key]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let handle: Handle<'a> = reference.decode()?;
    let key = match key::key(&handle.resource.index, key) {
        Ok(key) => key,
        Err(fault) => return Ok(fault),
    };
    Ok(look_up(env, handle, |index| {
        let ids = index.get_bounded(&key, MOST_IDS)?;
        Ok(ids
            .map_or_else(|| large().encode(env), |ids| term::ids(Term::list_new_empty(env), &ids)))
    }))
}

quick_nif!(get / 2);

#[rustler::nif(schedule = "DirtyCpu")]
fn get_dirty<'a>(env: Env<'a>, handle: Handle<'a>, key: Term<'a>) -> Term<'a> {
    let key = match key::key(&handle.resource.index, key) {
        Ok(key) => key,
        Err(fault) => return fault,
    };
    look_up(env, handle, |index| Ok(term::ids(Term::list_new_empty(env), &index.get(&key)?)))
}

fn get_many<'a>(env: Env<'a>, [reference, keys]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let handle: Handle<'a> = reference.decode()?;
    Ok(match key::keys(&handle.resource.index, keys, MOST_KEYS, MOST_KEY_BYTES) {
        Ok(Some(keys)) => {
            let until = Some(Instant::now() + MOST_TIME);
            lists(env, handle, &keys, Most { ids: 4 * MOST_IDS, until, ..Most::ALL })
        }
        Ok(None) => large().encode(env),
        Err(fault) => fault,
    })
}

quick_nif!(get_many / 2);

#[rustler::nif(schedule = "DirtyCpu")]
fn get_many_dirty<'a>(env: Env<'a>, handle: Handle<'a>, keys: Term<'a>) -> Term<'a> {
    match key::keys(&handle.resource.index, keys, usize::MAX, usize::MAX) {
        Ok(keys) => lists(env, handle, &keys.unwrap_or_default(), Most::ALL),
        Err(fault) => fault,
    }
}

/// A list of ids for each key, unless that is more than `most` allows.
fn lists<'a>(env: Env<'a>, handle: Handle<'a>, keys: &[Fingerprint], most: Most) -> Term<'a> {
    look_up(env, handle, |index| {
        let none = Term::list_new_empty(env);
        let mut lists = vec![none; keys.len()];
        let all = index.get_many_bounded(keys, most, |place, ids| {
            lists[place] = term::ids(none, &ids);
        })?;
        let percent = (keys.len() * 100 / KEYS_PER_TIMESLICE).clamp(1, 100);
        rustler::schedule::consume_timeslice(env, percent as i32);
        Ok(if all { lists.encode(env) } else { large().encode(env) })
    })
}

fn member<'a>(env: Env<'a>, [reference, key, id]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    let handle: Handle<'a> = reference.decode()?;
    Ok(match (key::key(&handle.resource.index, key), term::id(id)) {
        (Ok(key), Ok(id)) => {
            look_up(env, handle, |index| Ok(index.contains(&key, id)?.encode(env)))
        }
        (Err(fault), _) | (_, Err(fault)) => fault,
    })
}

quick_nif!(member / 3);

#[rustler::nif]
fn count<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| Ok(index.count()?.encode(env)))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn ids<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| Ok(index.ids()?.encode(env)))
}
