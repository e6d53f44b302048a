//! The NIF: decodes terms, calls the engine, encodes the answer. Nothing else.
//!
//! | scheduler | NIFs | why |
//! |---|---|---|
//! | normal | `get get_many member count put delete write route_put route_delete route_get text_get text_get_in text_get_many list_next stamp stamp_pending` | microseconds from memory, never waiting for others; what would take longer, as pages have to come from a device, answers `:busy` or `:large` |
//! | normal | `text_key term_key name_code set_compactor set_pace load_begin` | a term at most |
//! | dirty CPU | `get_dirty get_many_dirty ids term_key_dirty route_get_dirty text_get_many_dirty list_begin list_names list_set list_next_dirty namespace_count reconcile_begin reconcile_name reconcile_end memory stats new_memory` | long answers, long lists, many lanes |
//! | dirty I/O | `open close flush_lane warm_lane round_begin round_step work_step sync verify_* repair load_add load_drain load_step change_dirty write_dirty route_dirty namespace_drop reconcile_step put_stamp stamp_write` | files, and waiting for them |

mod code;
mod error;
mod external;
mod inspect;
mod key;
mod load;
mod questions;
mod quick;
mod reads;
mod reconcile;
mod reference;
mod routes;
mod target;
mod term;
mod text;
mod tuple;
mod upkeep;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use rustler::{Decoder, Encoder as _, Env, LocalPid, NifResult, Term};

use crate::error::{Error, Result};
use crate::index::Index;
use crate::pace::Pace;

rustler::init!("Elixir.LsmIndex.Native", load = reference::register);

rustler::atoms! {
    ok, error, nil, busy, large, more, done, wait, put, delete, full, fast, verify,
    num_lanes, compaction_threshold, hash_key, durability, max_log_bytes, recover, lsm_index_work,
    residency, mmap, populate, mlock, heap, filter, none, bloom, fuse8,
    memory, os, sync, strict, salvage, changed, unchanged, emptied,
}

/// Shared by all indexes of the VM.
static PACE: LazyLock<Arc<Pace>> = LazyLock::new(Arc::default);

/// What Elixir holds: the index, and the process to wake when a lane needs work.
pub(crate) struct IndexResource {
    index: Index,
    compactor: RwLock<Option<LocalPid>>,
    /// The compactor was sent a message because writes are refused.
    told: AtomicBool,
}

impl IndexResource {
    fn new(index: Index) -> Self {
        Self { index, compactor: RwLock::new(None), told: AtomicBool::new(false) }
    }

    /// Sends `{:lsm_index_work, reference}` if an overlay was frozen since the last time, and once
    /// when writes are refused, for the compactor to report that.
    #[inline]
    fn wake_compactor<'a>(&self, env: Env<'a>, reference: Term<'a>) {
        let wanted = if self.index.is_poisoned() {
            !self.told.swap(true, Ordering::Relaxed)
        } else {
            self.index.claim_wakeup()
        };
        if wanted && let Some(pid) = &*self.compactor.read() {
            // A compactor that is gone cannot be woken; its successor asks for work first.
            let _ = env.send(pid, (lsm_index_work(), reference));
        }
    }
}

/// Runs a call, turning errors and panics into terms. A panic may have left the index
/// half-changed, so writes are refused from then on.
fn answer<'a>(
    env: Env<'a>,
    resource: &IndexResource,
    call: impl FnOnce(&Index) -> Result<Term<'a>>,
) -> Term<'a> {
    let outcome = catch_unwind(AssertUnwindSafe(|| call(&resource.index))).unwrap_or_else(|_| {
        let reason = "a call panicked".to_owned();
        resource.index.poison(&reason);
        Err(Error::Poisoned { reason })
    });
    outcome.unwrap_or_else(|e| error::encode(env, &e))
}

/// An index as look-ups get it: with the term that stands for it, in which the compactor is told of
/// work.
#[derive(Clone, Copy)]
pub(crate) struct Handle<'a> {
    resource: &'a IndexResource,
    reference: Term<'a>,
}

impl<'a> Decoder<'a> for Handle<'a> {
    #[inline]
    fn decode(reference: Term<'a>) -> NifResult<Self> {
        Ok(Self { resource: reference.decode()?, reference })
    }
}

/// As [`answer`], for look-ups: they may have paid for a merge.
#[inline]
fn look_up<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    call: impl FnOnce(&Index) -> Result<Term<'a>>,
) -> Term<'a> {
    let found = answer(env, handle.resource, call);
    handle.resource.wake_compactor(env, handle.reference);
    found
}

/// As [`answer`], for calls that have no index yet.
fn answer_without_index<'a>(env: Env<'a>, call: impl FnOnce() -> Result<Term<'a>>) -> Term<'a> {
    let outcome = catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Error::Poisoned { reason: "a call panicked".to_owned() }));
    outcome.unwrap_or_else(|e| error::encode(env, &e))
}

fn ok_term(env: Env<'_>) -> Term<'_> {
    ok().encode(env)
}
