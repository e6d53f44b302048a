//! Changes. The plain ones stay in memory and never wait; their `_dirty` twins, on a dirty
//! scheduler, go into the log, and may wait for a flush.

use rustler::{Encoder as _, Env, NifResult, Term};

use super::quick::quick_nif;
use super::reads::{MOST_KEY_BYTES, MOST_TIME};
use super::term::{self, Decoded, durability as mode};
use super::{IndexResource, answer, busy, key, large};
use crate::change::Op;
use crate::config::Durability;
use crate::error::Result;
use crate::index::Index;
use crate::write::Attempt;

/// Changes that a normal scheduler may apply in one call.
const MOST_CHANGES: usize = 256;
/// Changes of a batch that take about one timeslice (1 ms).
const CHANGES_PER_TIMESLICE: usize = 1000;

fn put<'a>(env: Env<'a>, arguments: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    Ok(change(env, arguments, Op::Put))
}

quick_nif!(put / 3);

fn delete<'a>(env: Env<'a>, arguments: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    Ok(change(env, arguments, Op::Delete))
}

quick_nif!(delete / 3);

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
    let decode = |index: &Index| {
        Ok((key::key(index, key)?, term::op(op)?, term::id(id)?, mode(durability)?))
    };
    with_wakeup(env, reference, decode, |index, (key, op, id, durability)| {
        if wait {
            index.change(&key, id, op, durability).map(Attempt::Done)
        } else {
            index.try_change(&key, id, op, durability)
        }
    })
}

fn change<'a>(env: Env<'a>, [reference, key, id]: [Term<'a>; 3], op: Op) -> Term<'a> {
    let decode = |index: &Index| Ok((key::key(index, key)?, term::id(id)?));
    with_wakeup(env, reference, decode, |index, (key, id)| {
        index.try_change(&key, id, op, Durability::Memory)
    })
}

#[rustler::nif]
fn write<'a>(env: Env<'a>, reference: Term<'a>, batch: Term<'a>) -> Term<'a> {
    let decode = |index: &Index| {
        let batch = term::batch(index, batch, MOST_CHANGES, MOST_KEY_BYTES)?;
        batch.ok_or_else(|| large().encode(env))
    };
    with_wakeup(env, reference, decode, |index, batch| {
        let percent = (batch.len() * 100 / CHANGES_PER_TIMESLICE).clamp(1, 100);
        rustler::schedule::consume_timeslice(env, percent as i32);
        Ok(match index.try_write(&batch, Durability::Memory, Some(MOST_TIME))? {
            Some(Attempt::Done(changed)) => Attempt::Done(changed.encode(env)),
            Some(Attempt::Busy) => Attempt::Busy,
            None => Attempt::Done(large().encode(env)),
        })
    })
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
    let decode = |index: &Index| {
        let batch = term::batch(index, batch, usize::MAX, usize::MAX)?;
        Ok((batch.unwrap_or_default(), mode(durability)?))
    };
    with_wakeup(env, reference, decode, |index, (batch, durability)| {
        if wait {
            index.write_with(&batch, durability).map(Attempt::Done)
        } else {
            // Without a bound there is an outcome.
            Ok(index.try_write(&batch, durability, None)?.unwrap_or(Attempt::Busy))
        }
    })
}

/// Runs a change with its arguments, and wakes the compactor if it filled an overlay.
pub(super) fn with_wakeup<'a, A, T: rustler::Encoder>(
    env: Env<'a>,
    reference: Term<'a>,
    decode: impl FnOnce(&Index) -> Decoded<'a, A>,
    change: impl FnOnce(&Index, A) -> Result<Attempt<T>>,
) -> Term<'a> {
    let Ok(resource) = reference.decode::<&IndexResource>() else {
        return super::error::invalid_argument(env, "the first argument is not an index");
    };
    let arguments = match decode(&resource.index) {
        Ok(arguments) => arguments,
        Err(fault) => return fault,
    };
    let outcome = answer(env, resource, |index| {
        Ok(match change(index, arguments)? {
            Attempt::Done(changed) => changed.encode(env),
            Attempt::Busy => busy().encode(env),
        })
    });
    resource.wake_compactor(env, reference);
    outcome
}
