//! Every file of an index damaged in every way: verifying finds it, or it does no harm; nothing
//! panics, and nothing asks for much more memory than the files take.

mod support;

#[path = "support/injury.rs"]
mod injury;
#[path = "support/largest.rs"]
mod largest;
#[path = "support/replay.rs"]
mod replay;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use injury::{Files, Injury, Kind, injuries, is_log, records};
use largest::largest;
use lsm_index::fs::FileSystem as _;
use lsm_index::{Config, Error, Filter, Index, Op, Report, SMALLEST_LOG, Target, verify_on};
use parking_lot::Mutex;
use replay::Replay;
use support::simulated::{EIO, Fault, FaultKind, Loss, Simulated};
use support::workload::{Contents, History, ROOT, Step, contents, looked_up, script};
use support::{config, report};

/// Most of them sleep: verifying gives an index that is written to time to finish an append.
const THREADS: usize = 24;
/// What an index takes beside what is in its files.
const SLACK: usize = 2 << 20;

/// An index that nobody has open, and how it came about.
struct Sample {
    system: Simulated,
    files: Files,
    older: Vec<Files>,
    history: History,
    /// For each step that the log has: its file, and where the record lies.
    logged: Vec<(usize, std::path::PathBuf, std::ops::Range<usize>)>,
    /// Steps that segments have.
    flushed: usize,
}

fn options(salvage: bool) -> Config {
    // What is stored is taken, whatever it is.
    Config {
        num_lanes: None,
        hash_key: None,
        max_log_bytes: Some(SMALLEST_LOG),
        salvage,
        ..config(2, 1000)
    }
}

fn open(system: &Simulated, salvage: bool) -> lsm_index::Result<Index> {
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &options(salvage))
}

fn verified(system: &Simulated) -> lsm_index::Result<Report> {
    verify_on(Arc::new(system.clone()), Path::new(ROOT))
}

fn data_files(system: &Simulated) -> Files {
    let mut files = system.files();
    files.retain(|path, _| !path.ends_with("LOCK"));
    files
}

impl Sample {
    /// Does the steps of a script that need no reopen and no load; after `flush_at` of them a
    /// flush.
    fn new(seed: u64, len: usize, flush_at: usize, close: bool) -> Self {
        let system = Simulated::new();
        let created =
            Config { max_log_bytes: Some(SMALLEST_LOG), filter: Filter::Fuse8, ..config(2, 1000) };
        let mut index =
            Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &created).expect("create");
        let mut history = History::new(Contents::new());
        let steps = script(seed, 10 * len).into_iter().filter(|step| {
            matches!(step, Step::Change(..) | Step::Route(..) | Step::Batch(..) | Step::Sync)
        });
        let mut steps: Vec<Step> = steps.take(len).collect();
        steps.insert(flush_at, Step::Flush);
        let (mut older, mut logged) = (Vec::new(), Vec::new());
        let mut before = data_files(&system);
        for (number, step) in steps.iter().enumerate() {
            history.run(&system, &mut index, from_ref(step)).expect("nothing fails");
            let after = data_files(&system);
            for (path, bytes) in after.iter().filter(|(path, _)| is_log(path)) {
                let had = before.get(path).map_or(0, Vec::len);
                let new = records(path, bytes).into_iter().filter(|&(start, _)| start >= had);
                logged.extend(new.map(|(start, end)| (number, path.clone(), start..end)));
            }
            if before != after {
                older.push(std::mem::replace(&mut before, after));
            }
        }
        if close {
            index.close().expect("close");
        }
        drop(index);
        let (system, files) = (system.killed(), data_files(&system));
        older.push(before);
        let flushed = if close { len } else { flush_at };
        Self { system, files, older, history, logged, flushed }
    }

    fn total(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    /// A machine with the damage, since restarted or not.
    fn with(&self, injury: &Injury, restarted: bool) -> Simulated {
        let system = if restarted { self.system.restarted() } else { self.system.killed() };
        match &injury.bytes {
            Some(bytes) => system.set_file(&injury.path, bytes),
            None => system.remove(&injury.path).expect("it was there"),
        }
        system
    }

    /// What segments have, changed as the intact records of the log say.
    fn salvageable(&self, injury: &Injury) -> Contents {
        let now = injury.bytes.as_deref().unwrap_or_default();
        let mut replay = Replay::new(self.history.after(self.flushed + 1));
        for (_, path, at) in self.logged.iter().filter(|(step, ..)| *step > self.flushed) {
            let sound = &self.files[path][at.clone()];
            if *path != injury.path || now.get(at.clone()) == Some(sound) {
                replay.record(sound);
            }
        }
        replay.contents
    }
}

fn path_of(error: &Error) -> &Path {
    match error {
        Error::Corrupt { path, .. }
        | Error::UnsupportedVersion { path, .. }
        | Error::Io { path, .. } => path,
        other => panic!("{other:?}"),
    }
}

/// Whatever a damaged index is asked to do, it does or refuses.
fn poke(system: &Simulated, index: &Index) {
    let _ = index.count();
    let _ = index.for_each_key(|_, _| {});
    let _ = index.ids();
    for n in 0..24 {
        let key = format!("key {n}");
        let _ = index.get(key.as_bytes());
        let _ = index.contains(key.as_bytes(), 3);
        let _ = index.delete(key.as_bytes(), 3);
        let _ = index.write(&[(Op::Put, key.as_bytes(), 100), (Op::Delete, key.as_bytes(), 5)]);
        let _ = index.route(key.as_bytes(), Target::Term(b"new"), Op::Put);
    }
    let _ = index.stats();
    let _ = index.flush();
    let _ = index.compact();
    let _ = index.close();
    let _ = open(system, false);
}

/// What became of damages.
#[derive(Default)]
struct Tally {
    found: AtomicU64,
    harmless: AtomicU64,
    torn: AtomicU64,
    salvaged: AtomicU64,
}

fn judge(sample: &Sample, injury: &Injury, restarted: bool, tally: &Tally) {
    let system = sample.with(injury, restarted);
    let most = sample.total() + SLACK;
    let (checked, size) = largest(|| verified(&system));
    assert!(size < most, "verifying took {size} bytes");
    let (opened, size) = largest(|| open(&system, false));
    assert!(size < most, "opening took {size} bytes");
    if let Err(e) = &opened {
        assert!(path_of(e).starts_with(ROOT), "{e}");
    }
    match checked {
        Ok(_) if injury.kind == Kind::Forged => {
            if let Ok(index) = opened {
                let ((), size) = largest(|| poke(&system, &index));
                assert!(size < most, "using it took {size} bytes");
            }
        }
        Ok(_) => {
            let index = opened.expect("it was verified");
            let found = contents(&index).expect("readable");
            if &found == sample.history.last() {
                tally.harmless.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // Nothing tells a log that is shorter, if no lane relies on what is gone.
            let shorter = [Kind::Cut, Kind::Removed, Kind::Older].contains(&injury.kind);
            let told = index.recovery().torn.is_some() || shorter;
            // An old manifest is an old state of its lane, and the log may go on from a later one.
            if injury.kind == Kind::Older && injury.path.ends_with("MANIFEST") {
                return assert!(sample.history.held(&found), "{found:?}");
            }
            assert!(is_log(&injury.path) && told && sample.history.knows(&found), "{found:?}");
            tally.torn.fetch_add(1, Ordering::Relaxed);
        }
        Err(e) => {
            let named = path_of(&e);
            // Where files of the log do not go together, either can be named; and so can whatever
            // relies on a file of another time, or on what another number says.
            let plain = [Kind::Flip, Kind::Zero, Kind::Append, Kind::Huge].contains(&injury.kind);
            let of_log = is_log(&injury.path) && is_log(named);
            assert!(!plain || *named == injury.path || of_log, "{e}");
            assert!(named.starts_with(ROOT), "{e}");
            tally.found.fetch_add(1, Ordering::Relaxed);
            match opened {
                Ok(index) => {
                    assert!(!is_log(&injury.path), "found by verifying, but not by opening: {e}");
                    if let Err(e) = looked_up(&index) {
                        assert!(path_of(&e).starts_with(ROOT), "{e}");
                    }
                    let ((), size) = largest(|| poke(&system, &index));
                    assert!(size < most, "using it took {size} bytes");
                }
                Err(_) if is_log(&injury.path) => salvage(sample, injury, &system, tally),
                Err(_) => {}
            }
        }
    }
}

fn salvage(sample: &Sample, injury: &Injury, system: &Simulated, tally: &Tally) {
    let in_place = [Kind::Flip, Kind::Zero, Kind::Huge, Kind::Cut].contains(&injury.kind);
    let index = match open(system, true) {
        Ok(index) => index,
        // Of another version nothing is known, not where its checksum is either.
        Err(Error::UnsupportedVersion { .. }) => return,
        Err(e) => {
            assert!(!in_place, "{e}");
            return assert!(path_of(&e).starts_with(ROOT), "{e}");
        }
    };
    let dropped = index.recovery().dropped.clone();
    assert!(!dropped.is_empty(), "nothing was reported");
    let found = contents(&index).expect("readable");
    if in_place {
        assert_eq!(found, sample.salvageable(injury));
        // What is missing at the end of a file may show only where the next one begins.
        let named = |path: &Path| path == injury.path || injury.kind == Kind::Cut && is_log(path);
        assert!(dropped.iter().any(|lost| named(&lost.path)), "{dropped:?}");
    }
    let quarantined = system.files().into_iter().any(|(path, bytes)| {
        path.starts_with("/db/quarantine") && Some(&bytes) == injury.bytes.as_ref()
    });
    assert!(quarantined || !in_place || injury.kind == Kind::Cut, "the file as it was is not kept");
    index.put(b"key 0", 77).expect("put");
    let found = contents(&index).expect("readable");
    index.close().expect("close");
    verified(system).expect("sound");
    assert_eq!(contents(&open(system, false).expect("sound")).expect("readable"), found);
    tally.salvaged.fetch_add(1, Ordering::Relaxed);
}

/// Judges every damage of the files that `which` takes.
fn judge_all(sample: &Sample, which: impl Fn(&Path) -> bool) {
    assert_eq!(
        &contents(&open(&sample.system.killed(), false).expect("sound")).expect("readable"),
        sample.history.last()
    );
    let mut all = Vec::new();
    for path in sample.files.keys().filter(|path| which(path)) {
        injuries(path, &sample.files, &sample.older, |injury| all.push(injury));
    }
    let (next, tally, failures) = (AtomicUsize::new(0), Tally::default(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(injury) = all.get(number)
                {
                    let restarted = number % 2 == 1;
                    let judge = || judge(sample, injury, restarted, &tally);
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(judge)) {
                        let Injury { path, what, .. } = injury;
                        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        let place =
                            format!("{}: {what}, restarted: {restarted}: {said}", path.display());
                        failures.lock().push(place);
                    }
                }
            });
        }
    });
    let Tally { found, harmless, torn, salvaged } = tally;
    let [found, harmless, torn, salvaged] =
        [found, harmless, torn, salvaged].map(AtomicU64::into_inner);
    report(&format!(
        "damage test: {} damaged files, {found} found, {harmless} harmless, {torn} torn, {salvaged} salvaged",
        all.len()
    ));
    let failures = failures.into_inner();
    let some: Vec<_> = failures.iter().take(40).collect();
    assert!(failures.is_empty(), "{} of {}: {some:#?}", failures.len(), all.len());
}

#[test]
fn a_closed_index() {
    judge_all(&Sample::new(1, 40, 25, true), |_| true);
}

#[test]
fn an_index_with_a_log_of_several_files() {
    let sample = Sample::new(2, 60, 15, false);
    assert!(sample.files.keys().filter(|path| is_log(path)).count() > 3);
    // Segments are those of a closed index.
    judge_all(&sample, |path| path.extension().is_none_or(|e| e != "seg"));
}

/// A salvage that fails, or that a crash ends, leaves as much for the next one.
#[test]
fn a_salvage_that_fails_loses_nothing_more() {
    let sample = Sample::new(2, 60, 15, false);
    // One that later ones say was on stable storage: not a torn end, whatever was restarted.
    let (_, path, at) =
        sample.logged.iter().find(|(step, ..)| *step > sample.flushed).expect("a record");
    let mut bytes = sample.files[path].clone();
    bytes[at.start] ^= 1;
    let (kind, what) = (Kind::Flip, "a record".to_owned());
    let injury = Injury { kind, what, path: path.clone(), bytes: Some(bytes) };
    let expected = sample.salvageable(&injury);
    let mut faults = 0;
    for repeat in [false, true] {
        for at in 0.. {
            let system = sample.with(&injury, true);
            system.inject(Fault { at, kind: FaultKind::Error(EIO), repeat });
            let opened = open(&system, true);
            if system.first_hit().is_none() {
                break;
            }
            faults += 1;
            system.clear_faults();
            if let Err(e) = &opened {
                assert!(matches!(e, Error::Io { .. } | Error::Poisoned { .. }), "{e:?}");
            }
            drop(opened);
            for again in [system.crash(Loss::Nothing), system.crash(Loss::Unsynced), system] {
                let index = open(&again, true).unwrap_or_else(|e| panic!("fault {at}: {e}"));
                assert_eq!(contents(&index).expect("readable"), expected, "fault {at}");
                index.close().expect("close");
                verified(&again).expect("sound");
                let quarantine = again.files().into_iter().any(|(path, bytes)| {
                    path.starts_with("/db/quarantine") && Some(bytes) == injury.bytes
                });
                assert!(quarantine, "fault {at}: the file as it was is not kept");
            }
        }
    }
    report(&format!("damage test: {faults} faults of a salvage"));
}
