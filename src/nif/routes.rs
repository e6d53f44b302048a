//! Keys that lead to terms, in the index itself (its name is `nil`) or in a namespace (any other
//! name). The plain calls stay in memory and never wait; their `_dirty` twins take terms of any
//! size, go into the log, and may wait for a flush.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, NifResult, Resource, ResourceArc, Term};

use super::code::Purpose;
use super::error::invalid_argument;
use super::quick::quick_nif;
use super::reference::Held;
use super::target::{self, Targets};
use super::term::{self, Decoded};
use super::writes::with_wakeup;
use super::{Handle, IndexResource, answer, changed, emptied, large, look_up, unchanged};
use crate::change::Op;
use crate::config::Durability;
use crate::error::Result;
use crate::index::Index;
use crate::listing::{Listing, Slice};
use crate::namespaces::Outcome;
use crate::routes::{Most, Target};
use crate::write::Attempt;

/// What a normal scheduler may decode into one answer.
pub(super) const MOST: Most = Most { ids: 512, bytes: 32 * 1024, until: None };
/// The same of a listing, which looks up nothing but terms, and has many to ask for.
const MOST_LISTED: Most = Most { ids: 1024, ..MOST };
/// Bytes of a term that a normal scheduler may encode.
pub(super) const MOST_BYTES: usize = 16 * 1024;
/// Bytes of terms that take about one timeslice (1 ms) to decode.
const BYTES_PER_TIMESLICE: usize = 200_000;
/// What looking an id up in the dictionary is worth.
const BYTES_PER_ID: usize = 10;

/// Where a route is: in the index itself, or in the namespace of that name.
pub(super) type Name = Option<Vec<u8>>;

/// None if it is longer than there is time for.
pub(super) fn name<'a>(name: Term<'a>, purpose: Purpose) -> Decoded<'a, Option<Name>> {
    if name == super::nil().encode(name.get_env()) {
        return Ok(Some(None));
    }
    target::name(name, purpose).map(|name| name.map(Some))
}

/// A change of routes, as it is asked for.
struct Asked<'a> {
    name: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
    op: Op,
    durability: Durability,
    wait: bool,
    most: usize,
}

#[rustler::nif]
fn route_put<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    name: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, in_memory(name, key, target, Op::Put))
}

#[rustler::nif]
fn route_delete<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    name: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
) -> Term<'a> {
    change(env, reference, in_memory(name, key, target, Op::Delete))
}

fn in_memory<'a>(name: Term<'a>, key: Term<'a>, target: Term<'a>, op: Op) -> Asked<'a> {
    let durability = Durability::Memory;
    Asked { name, key, target, op, durability, wait: false, most: MOST_BYTES }
}

/// As `change_dirty`.
#[rustler::nif(schedule = "DirtyIo")]
#[expect(clippy::too_many_arguments, reason = "those of the Elixir function")]
fn route_dirty<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    op: Term<'a>,
    name: Term<'a>,
    key: Term<'a>,
    target: Term<'a>,
    durability: Term<'a>,
    wait: bool,
) -> Term<'a> {
    match (term::op(op), term::durability(durability)) {
        (Ok(op), Ok(durability)) => {
            let most = usize::MAX;
            change(env, reference, Asked { name, key, target, op, durability, wait, most })
        }
        (Err(fault), _) | (_, Err(fault)) => fault,
    }
}

fn change<'a>(env: Env<'a>, reference: Term<'a>, asked: Asked<'a>) -> Term<'a> {
    let Asked { op, durability, wait, most, .. } = asked;
    let decode = |index: &Index| {
        // What cannot be stored is not there to be deleted.
        let lasting = op == Op::Put && index.path().is_some();
        let purpose = Purpose { lasting, most };
        let key = term::bytes(asked.key)?;
        let (name, target) = (name(asked.name, purpose)?, target::encode(asked.target, purpose)?);
        match name.zip(target) {
            Some((Some(_), target::Target::Plain(_))) => {
                Err(invalid_argument(env, "plain ids are the index's own"))
            }
            Some((name, target)) => Ok((key, name, target)),
            None => Err(large().encode(env)),
        }
    };
    with_wakeup(env, reference, decode, |index, (key, name, target)| {
        let target = match &target {
            target::Target::Plain(id) => Target::Id(*id),
            target::Target::Term(term) => Target::Term(term),
        };
        let made = match (&name, target) {
            (Some(name), Target::Term(term)) if wait => {
                index.route_in(name, key, term, op, durability).map(Attempt::Done)
            }
            (Some(name), Target::Term(term)) => index.try_route_in(name, key, term, op, durability),
            _ if wait => index.route_with(key, target, op, durability).map(done),
            _ => index.try_route(key, target, op, durability).map(|attempt| match attempt {
                Attempt::Done(changed) => done(changed),
                Attempt::Busy => Attempt::Busy,
            }),
        };
        made.map(|attempt| match attempt {
            Attempt::Done(Outcome { emptied: true, .. }) => Attempt::Done(emptied()),
            Attempt::Done(Outcome { changed: true, .. }) => Attempt::Done(changed()),
            Attempt::Done(_) => Attempt::Done(unchanged()),
            Attempt::Busy => Attempt::Busy,
        })
    })
}

fn done(changed: bool) -> Attempt<Outcome> {
    Attempt::Done(Outcome { changed, emptied: false })
}

fn route_get<'a>(env: Env<'a>, [reference, name, key]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    Ok(targets_of(env, reference.decode()?, name, key, MOST))
}

quick_nif!(route_get / 3);

#[rustler::nif(schedule = "DirtyCpu")]
fn route_get_dirty<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    name: Term<'a>,
    key: Term<'a>,
) -> Term<'a> {
    targets_of(env, handle, name, key, Most::ALL)
}

fn targets_of<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    of: Term<'a>,
    key: Term<'a>,
    most: Most,
) -> Term<'a> {
    let purpose = Purpose { lasting: false, most: most.bytes };
    let (key, name) = match (term::bytes(key), name(of, purpose)) {
        (Ok(key), Ok(Some(name))) => (key, name),
        (_, Ok(None)) => return large().encode(env),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    look_up(env, handle, |index| {
        let mut targets = Targets::new(env);
        let all = add_targets(index, name.as_deref(), key, most, &mut targets)?;
        consume(env, targets.bytes);
        Ok(if all { targets.into_term() } else { large().encode(env) })
    })
}

/// Adds the targets of a key; false if that is more than `most` allows.
pub(super) fn add_targets(
    index: &Index,
    name: Option<&[u8]>,
    key: &[u8],
    most: Most,
    targets: &mut Targets<'_>,
) -> Result<bool> {
    match name {
        Some(name) => index.targets_in(name, key, most, |term| targets.term(term)),
        None => index.targets(key, most, |target| targets.add(target)),
    }
}

/// Tells the scheduler of the time it took to decode so many bytes.
pub(super) fn consume(env: Env<'_>, bytes: usize) {
    let percent = (bytes * 100 / BYTES_PER_TIMESLICE).min(100);
    // A call alone counts for something.
    if percent > 0 {
        rustler::schedule::consume_timeslice(env, percent as i32);
    }
}

/// A listing of all targets, taken slice by slice: as one term they would keep a scheduler busy
/// for as long as it takes to move them to the caller's heap.
pub(crate) struct ListingResource {
    index: Held,
    listing: Mutex<Listing>,
}

#[rustler::resource_impl]
impl Resource for ListingResource {}

#[rustler::nif(schedule = "DirtyCpu")]
fn list_begin<'a>(env: Env<'a>, index: Held, of: Term<'a>) -> Term<'a> {
    let name = match name(of, Purpose { lasting: false, most: usize::MAX }) {
        Ok(name) => name.flatten(),
        Err(fault) => return fault,
    };
    begin_listing(env, index, |index| match &name {
        Some(name) => index.list_in(name),
        None => index.list_targets(),
    })
}

/// The names of all namespaces.
#[rustler::nif(schedule = "DirtyCpu")]
fn list_names<'a>(env: Env<'a>, index: Held) -> Term<'a> {
    begin_listing(env, index, Index::list_namespaces)
}

fn begin_listing<'a>(
    env: Env<'a>,
    index: Held,
    begin: impl FnOnce(&Index) -> Result<Listing>,
) -> Term<'a> {
    let held = index.clone();
    answer(env, &index, |index| {
        let listing = Mutex::new(begin(index)?);
        Ok(ResourceArc::new(ListingResource { index: held, listing }).encode(env))
    })
}

/// Some more targets, or none, as they can be gone since; `:done` when all were listed.
#[rustler::nif]
fn list_next<'a>(env: Env<'a>, listing: &'a ListingResource) -> Term<'a> {
    next_targets(env, listing, MOST_LISTED)
}

/// The one that a normal scheduler has no time for.
#[rustler::nif(schedule = "DirtyCpu")]
fn list_next_dirty<'a>(env: Env<'a>, listing: &'a ListingResource) -> Term<'a> {
    next_targets(env, listing, Most { ids: 1, ..Most::ALL })
}

fn next_targets<'a>(env: Env<'a>, listing: &'a ListingResource, most: Most) -> Term<'a> {
    answer(env, &listing.index, |index| {
        let mut targets = Targets::new(env);
        let mut listing = listing.listing.lock();
        let slice = listing.next_within(index, most, |target| targets.add(target))?;
        consume(env, targets.bytes + BYTES_PER_ID * most.ids);
        Ok(match slice {
            Slice::Some => targets.into_term(),
            Slice::End => super::done().encode(env),
            Slice::TooLarge => large().encode(env),
        })
    })
}

/// All targets of a namespace at once: a map with an id for each key and `[]` as its values, and the
/// others. For a set of all of them, which takes the VM far longer to make of a list.
#[rustler::nif(schedule = "DirtyCpu")]
fn list_set<'a>(env: Env<'a>, resource: &'a IndexResource, of: Term<'a>) -> Term<'a> {
    let name = match target::name(of, Purpose { lasting: false, most: usize::MAX }) {
        Ok(name) => name.unwrap_or_default(),
        Err(fault) => return fault,
    };
    answer(env, resource, |index| {
        let mut targets = Targets::new(env);
        let mut listing = index.list_in(&name)?;
        while listing.next_slice(index, |target| {
            if let Target::Term(term) = target {
                targets.term(term);
            }
        })? {}
        Ok(targets.into_set())
    })
}

/// How many distinct targets a namespace has.
#[rustler::nif(schedule = "DirtyCpu")]
fn namespace_count<'a>(env: Env<'a>, resource: &'a IndexResource, of: Term<'a>) -> Term<'a> {
    match target::name(of, Purpose { lasting: false, most: usize::MAX }) {
        Ok(name) => {
            let name = name.unwrap_or_default();
            answer(env, resource, |index| Ok(index.count_in(&name)?.encode(env)))
        }
        Err(fault) => fault,
    }
}

/// Drops a namespace; true if it was there.
#[rustler::nif(schedule = "DirtyIo")]
fn namespace_drop<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    of: Term<'a>,
    durability: Term<'a>,
) -> Term<'a> {
    let decode = |_: &Index| {
        let name = target::name(of, Purpose { lasting: false, most: usize::MAX })?;
        Ok((name.unwrap_or_default(), term::durability(durability)?))
    };
    with_wakeup(env, reference, decode, |index, (name, durability)| {
        index.drop_namespace(&name, durability).map(Attempt::Done)
    })
}
