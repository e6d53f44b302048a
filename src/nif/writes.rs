//! Changes. The plain ones never wait; their `_wait` twins, on a dirty scheduler, do.

use rustler::{Encoder as _, Env, Term};

use super::reads::MOST_KEY_BYTES;
use super::{IndexResource, answer, busy, large, term};
use crate::change::Op;
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

#[rustler::nif(schedule = "DirtyIo")]
fn put_wait<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>) -> Term<'a> {
    change_or_wait(env, reference, key, id, Op::Put)
}

#[rustler::nif(schedule = "DirtyIo")]
fn delete_wait<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>) -> Term<'a> {
    change_or_wait(env, reference, key, id, Op::Delete)
}

fn change<'a>(env: Env<'a>, reference: Term<'a>, key: Term<'a>, id: Term<'a>, op: Op) -> Term<'a> {
    let (key, id) = match (term::key(key), term::id(id)) {
        (Ok(key), Ok(id)) => (key, id),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| index.try_change(key, id, op))
}

fn change_or_wait<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    key: Term<'a>,
    id: Term<'a>,
    op: Op,
) -> Term<'a> {
    let (key, id) = match (term::key(key), term::id(id)) {
        (Ok(key), Ok(id)) => (key, id),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    with_wakeup(env, reference, |index| {
        let changed = match op {
            Op::Put => index.put(key, id),
            Op::Delete => index.delete(key, id),
        };
        changed.map(Attempt::Done)
    })
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
    with_wakeup(env, reference, |index| index.try_write(&batch))
}

#[rustler::nif(schedule = "DirtyIo")]
fn write_wait<'a>(env: Env<'a>, reference: Term<'a>, batch: Term<'a>) -> Term<'a> {
    let batch = match term::batch(batch, usize::MAX) {
        Ok(batch) => batch.unwrap_or_default(),
        Err(fault) => return fault,
    };
    with_wakeup(env, reference, |index| index.write(&batch).map(Attempt::Done))
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
