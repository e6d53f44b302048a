//! Changes. The plain ones stay in memory and never wait; their `_dirty` twins, on a dirty
//! scheduler, go into the log, and may wait for a flush.

use rustler::{Encoder as _, Env, Term};

use super::reads::MOST_KEY_BYTES;
use super::term::{self, durability as mode};
use super::{IndexResource, answer, busy, large};
use crate::change::Op;
use crate::config::Durability;
use crate::write::Attempt;

/// Changes that a normal scheduler may apply in one call.
const MOST_CHANGES: usize = 256;

#[rustler::nif]
fn put<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>) -> Term<'a> {
    change(env, reference, key, id, Op::Put)
}

#[rustler::nif]
fn delete<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>) -> Term<'a> {
    change(env, reference, key, id, Op::Delete)
}

/// Takes part in the log if `durability` asks for it, so that it may wait for a file. Answers
/// `busy` where the change would have to wait for a flush, unless `wait` says it may.
#[rustler::nif(schedule = "DirtyIo")]
fn change_dirty<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    op: Term<'a>,
    key: Term<'a>,
    id: Term<'a>,
    durability: Term<'a>,
    wait: bool,
) -> Term<'a> {
    let decoded = || Ok((term::op(op)?, term::key(key)?, term::id(id)?, mode(durability)?));
    let (op, key, id, durability) = match decoded() {
        Ok(decoded) => decoded,
        Err(fault) => return fault,
    };
    with_wakeup(env, reference, |index| {
        if wait {
            index.change(key, id, op, durability).map(Attempt::Done)
        } else {
            index.try_change(key, id, op, durability)
        }
    })
}

fn change<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>, op: Op) -> Term<'a> {
    let (key, id) = match (term::key(key), term::id(id)) {
        (Ok(key), Ok(id)) => (key, id),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| index.try_change(key, id, op, Durability::Memory))
}

#[rustler::nif]
fn write<'a>(env: Env<'a>, reference: Term<'a>, batch: Term<'a>) -> Term<'a> {
    let batch = match term::batch(batch, MOST_CHANGES) {
        Ok(Some(batch)) => batch,
        Ok(None) => return large().encode(env),
        Err(fault) => return fault,
    };
    if batch.iter().map(|(_, key, _)| key.len()).sum::<usize>() > MOST_KEY_BYTES {
        return large().encode(env);
    }
    with_wakeup(env, reference, |index| index.try_write(&batch, Durability::Memory))
}

/// As [`change_dirty`].
#[rustler::nif(schedule = "DirtyIo")]
fn write_dirty<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    batch: Term<'a>,
    durability: Term<'a>,
    wait: bool,
) -> Term<'a> {
    let (batch, durability) = match (term::batch(batch, usize::MAX), mode(durability)) {
        (Ok(batch), Ok(durability)) => (batch.unwrap_or_default(), durability),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| {
        if wait {
            index.write_with(&batch, durability).map(Attempt::Done)
        } else {
            index.try_write(&batch, durability)
        }
    })
}

/// Runs a change and wakes the compactor if it filled an overlay.
pub(super) fn with_wakeup<'a, T: rustler::Encoder>(
    env: Env<'a>,
    reference: Term<'a>,
    change: impl FnOnce(&crate::index::Index) -> crate::error::Result<Attempt<T>>,
) -> Term<'a> {
    let Some(resource) = reference.try_get_resource::<IndexResource>() else {
        return super::error::invalid_argument(env, "the first argument is not an index");
    };
    let outcome = answer(env, resource, |index| {
        Ok(match change(index)? {
            Attempt::Done(changed) => changed.encode(env),
            Attempt::Busy => busy().encode(env),
        })
    });
    resource.wake_compactor(env, reference);
    outcome
}
