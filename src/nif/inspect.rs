//! Verification, a piece at a time, and repair.

use parking_lot::Mutex;
use rustler::{Encoder as _, Env, Resource, ResourceArc, Term};

use super::term::{atom, numbers};
use super::{answer_without_index, done, error, more, ok, term};
use crate::repair::{Lost, Remedy};
use crate::verify::{Progress, Report, Verifier};
use crate::wal::LostBytes;

/// A verification under way.
pub(crate) struct VerifierResource(Mutex<Option<Verifier>>);

#[rustler::resource_impl]
impl Resource for VerifierResource {}

#[rustler::nif(schedule = "DirtyIo")]
fn verify_begin<'a>(env: Env<'a>, path: Term<'a>) -> Term<'a> {
    let path = match term::path(path) {
        Ok(path) => path,
        Err(fault) => return fault,
    };
    answer_without_index(env, || {
        let verifier = Mutex::new(Some(Verifier::begin(path)?));
        Ok((ok(), ResourceArc::new(VerifierResource(verifier))).encode(env))
    })
}

/// Checks some files more: `{:more, progress}`, or `{:done, report}`.
#[rustler::nif(schedule = "DirtyIo")]
fn verify_step<'a>(env: Env<'a>, resource: &'a VerifierResource) -> Term<'a> {
    answer_without_index(env, || {
        let mut verifier = resource.0.lock();
        if let Some(verifier) = verifier.as_mut()
            && verifier.step()
        {
            let Progress { bytes, of_bytes } = verifier.progress();
            let progress = numbers(env, &[("bytes", bytes), ("of_bytes", of_bytes)]);
            return Ok((more(), progress).encode(env));
        }
        let report = verifier.take().map(Verifier::finish).unwrap_or_default();
        Ok((done(), encode(env, &report)).encode(env))
    })
}

fn encode<'a>(env: Env<'a>, report: &Report) -> Term<'a> {
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
    let leftovers: Vec<String> =
        report.leftovers.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let checked = report.checked.iter().map(|file| {
        let entry = numbers(env, &[("bytes", file.bytes)]);
        let path = file.path.to_string_lossy().into_owned();
        with(entry, [("path", path.encode(env)), ("sound", file.sound.encode(env))])
    });
    let checked: Vec<Term<'a>> = checked.collect();
    let faults: Vec<Term<'a>> = report.faults.iter().map(|e| error::parts(env, e)).collect();
    let torn = report.torn.as_ref().map(|torn| lost(env, torn));
    let entries = [
        ("leftovers", leftovers.encode(env)),
        ("torn", torn.encode(env)),
        ("checked", checked.encode(env)),
        ("faults", faults.encode(env)),
    ];
    with(counts, entries)
}

/// `{:ok, remedies}`; nothing is changed unless `apply` says so.
#[rustler::nif(schedule = "DirtyIo")]
fn repair<'a>(env: Env<'a>, path: Term<'a>, apply: bool) -> Term<'a> {
    let path = match term::path(path) {
        Ok(path) => path,
        Err(fault) => return fault,
    };
    answer_without_index(env, || {
        let remedies = crate::repair::repair(path, apply)?;
        let remedies: Vec<Term<'a>> =
            remedies.iter().map(|remedy| encode_remedy(env, remedy)).collect();
        Ok((ok(), remedies).encode(env))
    })
}

fn encode_remedy<'a>(env: Env<'a>, remedy: &Remedy) -> Term<'a> {
    let lost = match remedy.lost {
        Lost::Nothing => atom(env, "nothing"),
        Lost::Keys(keys) => (atom(env, "keys"), keys).encode(env),
        Lost::UnknownKeys => atom(env, "unknown_keys"),
        Lost::Terms { terms, pairs } => (atom(env, "terms"), terms, pairs).encode(env),
        Lost::LogBytes(bytes) => (atom(env, "log_bytes"), bytes).encode(env),
    };
    let path = remedy.path.to_string_lossy().into_owned();
    let fault = remedy.fault.encode(env);
    with(Term::map_new(env), [("path", path.encode(env)), ("fault", fault), ("lost", lost)])
}

/// Bytes that were left out, as a map.
pub(super) fn lost<'a>(env: Env<'a>, bytes: &LostBytes) -> Term<'a> {
    let place = numbers(env, &[("offset", bytes.offset), ("bytes", bytes.bytes)]);
    with(place, [("path", bytes.path.to_string_lossy().into_owned().encode(env))])
}

/// A map of ours with more entries.
pub(super) fn with<'a, const N: usize>(map: Term<'a>, entries: [(&str, Term<'a>); N]) -> Term<'a> {
    let put = |map: Term<'a>, (name, value)| map.map_put(atom(map.get_env(), name), value);
    entries.into_iter().fold(map, |map, entry| put(map, entry).unwrap_or(map))
}
