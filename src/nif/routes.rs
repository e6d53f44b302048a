//! Keys that lead to terms.

use rustler::{Encoder as _, Env, Term};

use super::writes::with_wakeup;
use super::{IndexResource, answer, large, term};
use crate::index::Attempt;
use crate::lane::Op;
use crate::routes::{Most, Target};

/// What a normal scheduler may decode into one answer.
const MOST: Most = Most { ids: 512, bytes: 32 * 1024 };
/// Bytes of terms that take about one timeslice (1 ms) to decode.
const BYTES_PER_TIMESLICE: usize = 200_000;

#[rustler::nif]
fn route_put<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, target: Term<'a>) -> Term<'a> {
    change(env, reference, key, target, Op::Put, false)
}

#[rustler::nif]
fn route_delete<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, key, target, Op::Delete, false)
}

#[rustler::nif(schedule = "DirtyIo")]
fn route_put_wait<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, key, target, Op::Put, true)
}

#[rustler::nif(schedule = "DirtyIo")]
fn route_delete_wait<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, key, target, Op::Delete, true)
}

fn change<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
    op: Op,
    wait: bool,
) -> Term<'a> {
    let (key, target) = match (term::key(key), term::target(target)) {
        (Ok(key), Ok(target)) => (key, target),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| {
        if wait {
            index.route(key, target, op).map(Attempt::Done)
        } else {
            index.try_route(key, target, op)
        }
    })
}

#[rustler::nif]
fn route_get<'a>(env: Env<'a>, resource: &'a IndexResource, key: Term<'a>) -> Term<'a> {
    targets_of(env, resource, key, MOST)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn route_get_dirty<'a>(env: Env<'a>, resource: &'a IndexResource, key: Term<'a>) -> Term<'a> {
    targets_of(env, resource, key, Most::ALL)
}

fn targets_of<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    key: Term<'a>,
    most: Most,
) -> Term<'a> {
    let key = match term::key(key) {
        Ok(key) => key,
        Err(fault) => return fault,
    };
    answer(env, resource, |index| {
        let (mut terms, mut bytes) = (Vec::new(), 0);
        let all = index.targets(key, most, |target| {
            bytes += if let Target::Term(term) = target { term.len() } else { 0 };
            terms.extend(encode(env, target));
        })?;
        let percent = (bytes * 100 / BYTES_PER_TIMESLICE).clamp(1, 100);
        rustler::schedule::consume_timeslice(env, percent as i32);
        Ok(if all { terms.encode(env) } else { large().encode(env) })
    })
}

/// All distinct targets of the index.
#[rustler::nif(schedule = "DirtyCpu")]
fn route_targets<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        let mut terms = Vec::new();
        index.all_targets(|target| terms.extend(encode(env, target)))?;
        Ok(terms.encode(env))
    })
}

fn encode<'a>(env: Env<'a>, target: Target<'_>) -> Option<Term<'a>> {
    match target {
        Target::Id(id) => Some(id.encode(env)),
        Target::Term(bytes) => term::decode_external(env, bytes),
    }
}
