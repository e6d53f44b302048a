//! Keys that lead to terms.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Resource, ResourceArc, Term};

use super::writes::with_wakeup;
use super::{IndexResource, answer, large, term};
use crate::change::Op;
use crate::config::Durability;
use crate::routes::{Listing, Most, Target};
use crate::write::Attempt;

/// What a normal scheduler may decode into one answer.
const MOST: Most = Most { ids: 512, bytes: 32 * 1024 };
/// Bytes of terms that take about one timeslice (1 ms) to decode.
const BYTES_PER_TIMESLICE: usize = 200_000;

#[rustler::nif]
fn route_put<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, target: Term<'a>) -> Term<'a> {
    change(env, reference, key, target, Op::Put)
}

#[rustler::nif]
fn route_delete<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, key, target, Op::Delete)
}

/// As `change_dirty`.
#[rustler::nif(schedule = "DirtyIo")]
fn route_dirty<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    op: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
    durability: Term<'a>,
    wait: bool,
) -> Term<'a> {
    let decoded = || {
        Ok((term::op(op)?, term::key(key)?, term::target(target)?, term::durability(durability)?))
    };
    let (op, key, target, durability) = match decoded() {
        Ok(decoded) => decoded,
        Err(fault) => return fault,
    };
    with_wakeup(env, reference, |index| {
        if wait {
            index.route_with(key, target, op, durability).map(Attempt::Done)
        } else {
            index.try_route(key, target, op, durability)
        }
    })
}

fn change<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
    op: Op,
) -> Term<'a> {
    let (key, target) = match (term::key(key), term::target(target)) {
        (Ok(key), Ok(target)) => (key, target),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| index.try_route(key, target, op, Durability::Memory))
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

/// A listing of all targets, taken slice by slice: as one term they would keep a scheduler busy
/// for as long as it takes to move them to the caller's heap.
pub(crate) struct ListingResource {
    index: ResourceArc<IndexResource>,
    listing: Mutex<Listing>,
}

#[rustler::resource_impl]
impl Resource for ListingResource {}

#[rustler::nif(schedule = "DirtyCpu")]
fn list_begin<'a>(env: Env<'a>, index: ResourceArc<IndexResource>) -> Term<'a> {
    let held = index.clone();
    answer(env, &index, |index| {
        let listing = Mutex::new(index.list_targets()?);
        Ok(ResourceArc::new(ListingResource { index: held, listing }).encode(env))
    })
}

/// Some more targets; none when all were listed.
#[rustler::nif(schedule = "DirtyCpu")]
fn list_next<'a>(env: Env<'a>, listing: &'a ListingResource) -> Term<'a> {
    answer(env, &listing.index, |index| {
        let mut terms = Vec::new();
        let mut listing = listing.listing.lock();
        // Targets can be gone since: an empty slice is not the end.
        while terms.is_empty()
            && listing.next_slice(index, |target| terms.extend(encode(env, target)))?
        {}
        Ok(terms.encode(env))
    })
}

fn encode<'a>(env: Env<'a>, target: Target<'_>) -> Option<Term<'a>> {
    match target {
        Target::Id(id) => Some(id.encode(env)),
        Target::Term(bytes) => term::decode_external(env, bytes),
    }
}
