//! Opening, closing, background work and reports.

use std::time::Duration;

use rustler::{Encoder as _, Env, LocalPid, Term};

use super::inspect::{lost, with};
use super::reference::Held;
use super::term::numbers;
use super::{
    IndexResource, PACE, answer, answer_without_index, done, more, ok, ok_term, term, wait,
};
use crate::index::Index;
use crate::recovery::Recovery;

/// After which the pace is looked at again: it may have been changed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[rustler::nif(schedule = "DirtyCpu")]
fn new_memory<'a>(env: Env<'a>, options: Term<'a>) -> Term<'a> {
    let config = match term::config(options) {
        Ok(config) => config,
        Err(fault) => return fault,
    };
    answer_without_index(env, || {
        let index = Index::in_memory(&config)?;
        Ok(Held::new(IndexResource::new(index)).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn open<'a>(env: Env<'a>, path: Term<'a>, options: Term<'a>) -> Term<'a> {
    let (path, config) = match (term::path(path), term::config(options)) {
        (Ok(path), Ok(config)) => (path, config),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    answer_without_index(env, || {
        let index = Index::open(path, &config)?;
        Ok((ok(), Held::new(IndexResource::new(index))).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn close<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| index.close().map(|()| ok_term(env)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn flush_lane<'a>(env: Env<'a>, resource: &'a IndexResource, lane: u32) -> Term<'a> {
    answer(env, resource, |index| index.flush_lane(lane).map(|()| ok_term(env)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn warm_lane<'a>(env: Env<'a>, resource: &'a IndexResource, lane: u32) -> Term<'a> {
    answer(env, resource, |index| index.warm_lane(lane).map(|bytes| bytes.encode(env)))
}

/// Waits for the piece of a round that is being done.
#[rustler::nif(schedule = "DirtyIo")]
fn round_begin<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| index.begin_round().map(|number| number.encode(env)))
}

/// A piece of that round; it is begun again if another's piece has failed.
#[rustler::nif(schedule = "DirtyIo")]
fn round_step<'a>(env: Env<'a>, resource: &'a IndexResource, number: u64) -> Term<'a> {
    answer(env, resource, |index| {
        if index.is_round_done(number) {
            return Ok(done().encode(env));
        }
        if !index.step_round()? {
            index.begin_round()?;
        }
        Ok(more().encode(env))
    })
}

/// A piece of background work; `{:wait, milliseconds}` if it is not its time yet.
#[rustler::nif(schedule = "DirtyIo")]
fn work_step<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        index.check_open()?;
        let pause = PACE.wait();
        if !pause.is_zero() {
            // What readers do not see any more takes memory meanwhile.
            index.reclaim();
            let millis = pause.min(LONGEST_PAUSE).as_millis() as u64;
            return Ok((wait(), millis.max(1)).encode(env));
        }
        Ok(if index.work()? { more().encode(env) } else { done().encode(env) })
    })
}

/// Bytes a second; 0 for no bound.
#[rustler::nif]
fn set_pace<'a>(env: Env<'a>, bytes_per_second: u64) -> Term<'a> {
    PACE.set(Some(bytes_per_second).filter(|bytes| *bytes > 0));
    ok_term(env)
}

#[rustler::nif(schedule = "DirtyIo")]
fn sync<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| index.sync().map(|()| ok_term(env)))
}

#[rustler::nif]
fn set_compactor<'a>(env: Env<'a>, resource: &'a IndexResource, pid: LocalPid) -> Term<'a> {
    *resource.compactor.write() = Some(pid);
    ok_term(env)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn stats<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        let stats = index.stats()?;
        let counters = numbers(
            env,
            &[
                ("num_lanes", stats.num_lanes),
                ("live_keys", stats.live_keys),
                ("total_overlay_entries", stats.total_overlay_entries),
                ("total_segment_entries", stats.total_segment_entries),
                ("total_entries", stats.total_entries),
                ("total_segments", stats.total_segments),
                ("max_segments_per_lane", stats.max_segments_per_lane),
                ("tombstones", stats.tombstones),
                ("lanes_to_flush", stats.lanes_to_flush),
                ("unlocked_segments", stats.unlocked_segments),
                ("filtered_segments", stats.filtered_segments),
                ("filtering_lanes", stats.filtering_lanes),
                ("disk_bytes", stats.disk_bytes),
                ("flushes", stats.flushes),
                ("merges", stats.merges),
                ("flushed_keys", stats.flushed_keys),
                ("loaded_keys", stats.loaded_keys),
                ("written_keys", stats.written_keys),
                ("written_bytes", stats.written_bytes),
                ("stalls", stats.stalls),
                ("leftovers", stats.leftovers),
                ("log_bytes", stats.log_bytes),
            ],
        );
        let poisoned = stats.poisoned.as_deref().encode(env);
        let entries = [
            ("poisoned", poisoned),
            ("recovery", recovery(env, &stats.recovery)),
            ("write_amplification", stats.write_amplification().encode(env)),
            ("space_amplification", stats.space_amplification().encode(env)),
        ];
        Ok(with(counters, entries))
    })
}

/// Gaps that are listed; a salvage of a log in tatters can have thousands.
const MOST_DROPPED: usize = 100;

fn recovery<'a>(env: Env<'a>, recovery: &Recovery) -> Term<'a> {
    let counts = numbers(
        env,
        &[
            ("log_bytes", recovery.log_bytes),
            ("log_files", recovery.log_files),
            ("batches", recovery.batches),
            ("changes", recovery.changes),
            ("micros", recovery.micros),
            ("dropped_total", recovery.dropped.len() as u64),
        ],
    );
    let torn = recovery.torn.as_ref().map(|torn| lost(env, torn));
    let dropped: Vec<Term<'a>> =
        recovery.dropped.iter().take(MOST_DROPPED).map(|bytes| lost(env, bytes)).collect();
    with(counts, [("torn", torn.encode(env)), ("dropped", dropped.encode(env))])
}

#[rustler::nif(schedule = "DirtyCpu")]
fn memory<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        let memory = index.memory()?;
        let sections = memory.sections;
        let sections = numbers(
            env,
            &[
                ("headers", sections.headers),
                ("pilots", sections.pilots),
                ("remap", sections.remap),
                ("signatures", sections.signatures),
                ("entries", sections.entries),
                ("cold", sections.cold),
                ("postings", sections.postings),
                ("filters", sections.filters),
            ],
        );
        let parts = numbers(
            env,
            &[
                ("overlays", memory.overlays),
                ("mapped_files", memory.mapped_files),
                ("private_segments", memory.private_segments),
                ("tables", memory.tables),
                ("dictionary", memory.dictionary),
                ("total", memory.total()),
            ],
        );
        Ok(with(parts, [("sections", sections)]))
    })
}
