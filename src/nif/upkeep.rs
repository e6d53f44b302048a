//! Opening, closing, background work and reports.

use std::path::Path;

use rustler::{Atom, Encoder as _, Env, LocalPid, ResourceArc, Term};

use super::{IndexResource, answer, answer_without_index, done, more, ok, ok_term, term};
use crate::index::Index;
use crate::recovery::Recovery;
use crate::wal::LostBytes;

#[rustler::nif]
fn new_memory<'a>(env: Env<'a>, options: Term<'a>) -> Term<'a> {
    let config = match term::config(options) {
        Ok(config) => config,
        Err(fault) => return fault,
    };
    answer_without_index(env, || {
        let index = Index::in_memory(&config)?;
        Ok(ResourceArc::new(IndexResource::new(index)).encode(env))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn open<'a>(env: Env<'a>, path: Term<'a>, options: Term<'a>) -> Term<'a> {
    let (path, config) = match (path_of(path), term::config(options)) {
        (Ok(path), Ok(config)) => (path, config),
        (Err(fault), _) | (_, Err(fault)) => return fault,
    };
    answer_without_index(env, || {
        let index = Index::open(path, &config)?;
        Ok((ok(), ResourceArc::new(IndexResource::new(index))).encode(env))
    })
}

fn path_of<'a>(path: Term<'a>) -> term::Decoded<'a, &'a Path> {
    match path.decode::<&'a str>() {
        Ok(path) if !path.contains('\0') => Ok(Path::new(path)),
        _ => Err(super::error::invalid_argument(path.get_env(), "the path is not a string")),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn close<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| index.close().map(|()| ok_term(env)))
}

/// All lanes in one call: with most of them flushed before, lane by lane.
#[rustler::nif(schedule = "DirtyIo")]
fn flush<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| index.flush().map(|()| ok_term(env)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn flush_lane<'a>(env: Env<'a>, resource: &'a IndexResource, lane: u32) -> Term<'a> {
    answer(env, resource, |index| index.flush_lane(lane).map(|()| ok_term(env)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn compact_lane<'a>(env: Env<'a>, resource: &'a IndexResource, lane: u32) -> Term<'a> {
    answer(env, resource, |index| index.compact_lane(lane).map(|()| ok_term(env)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn work_step<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        Ok(if index.work()? { more().encode(env) } else { done().encode(env) })
    })
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

#[rustler::nif]
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
                ("disk_bytes", stats.disk_bytes),
                ("flushes", stats.flushes),
                ("merges", stats.merges),
                ("flushed_keys", stats.flushed_keys),
                ("written_keys", stats.written_keys),
                ("written_bytes", stats.written_bytes),
                ("stalls", stats.stalls),
                ("leftovers", stats.leftovers),
                ("log_bytes", stats.log_bytes),
            ],
        );
        let recovered = recovery(env, &stats.recovery);
        Ok(counters.map_put(atom(env, "recovery"), recovered).unwrap_or(counters))
    })
}

fn recovery<'a>(env: Env<'a>, recovery: &Recovery) -> Term<'a> {
    let counts = numbers(
        env,
        &[
            ("log_bytes", recovery.log_bytes),
            ("log_files", recovery.log_files),
            ("batches", recovery.batches),
            ("changes", recovery.changes),
            ("micros", recovery.micros),
        ],
    );
    let torn = recovery.torn.as_ref().map(|torn| lost(env, torn));
    let dropped: Vec<Term<'a>> = recovery.dropped.iter().map(|bytes| lost(env, bytes)).collect();
    let with_torn = counts.map_put(atom(env, "torn"), torn).unwrap_or(counts);
    with_torn.map_put(atom(env, "dropped"), dropped).unwrap_or(with_torn)
}

fn lost<'a>(env: Env<'a>, bytes: &LostBytes) -> Term<'a> {
    let place = numbers(env, &[("offset", bytes.offset), ("bytes", bytes.bytes)]);
    let path = bytes.path.to_string_lossy().into_owned();
    place.map_put(atom(env, "path"), path).unwrap_or(place)
}

#[rustler::nif]
fn memory<'a>(env: Env<'a>, resource: &'a IndexResource) -> Term<'a> {
    answer(env, resource, |index| {
        let memory = index.memory()?;
        Ok(numbers(
            env,
            &[
                ("overlays", memory.overlays),
                ("mapped_files", memory.mapped_files),
                ("private_segments", memory.private_segments),
                ("tables", memory.tables),
                ("dictionary", memory.dictionary),
                ("total", memory.total()),
            ],
        ))
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn verify<'a>(env: Env<'a>, path: Term<'a>) -> Term<'a> {
    let path = match path_of(path) {
        Ok(path) => path,
        Err(fault) => return fault,
    };
    answer_without_index(env, || {
        let report = crate::verify::verify(path)?;
        let leftovers: Vec<String> =
            report.leftovers.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let counts = numbers(
            env,
            &[
                ("lanes", report.lanes),
                ("files", report.files),
                ("bytes", report.bytes),
                ("segments", report.segments),
                ("entries", report.entries),
                ("live_keys", report.live_keys),
                ("terms", report.terms),
                ("torn_bytes", report.torn_bytes),
                ("batches", report.batches),
            ],
        );
        let torn = report.torn.as_ref().map(|torn| lost(env, torn));
        let report = counts.map_put(atom(env, "leftovers"), leftovers).unwrap_or(counts);
        let report = report.map_put(atom(env, "torn"), torn).unwrap_or(report);
        Ok((ok(), report).encode(env))
    })
}

/// A map from atoms to numbers.
fn numbers<'a>(env: Env<'a>, pairs: &[(&str, u64)]) -> Term<'a> {
    let pairs: Vec<(Term<'a>, u64)> = pairs.iter().map(|(k, v)| (atom(env, k), *v)).collect();
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| Term::map_new(env))
}

/// Only for names fixed in this file: atoms are never freed.
fn atom<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    Atom::from_str(env, name).map_or_else(|_| name.encode(env), |atom| atom.to_term(env))
}
