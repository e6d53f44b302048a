//! Calls beside each other, one of them stopped at a file operation.

mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lsm_index::fs::FileSystem;
use lsm_index::{
    Change, Config, Durability, Error, Index, Op, SMALLEST_LOG, Target, Verifier, verify_on,
};
use support::around::{Act, Around, Watch};
use support::config;
use support::simulated::Simulated;
use support::small::key;

const ROOT: &str = "/db";

/// A simulated file system that stops once, where the log is concerned.
type Stopping = Around<Simulated, Stop>;

#[derive(Debug)]
struct Stop {
    at: Act,
    armed: AtomicBool,
    reached: Sender<()>,
    go: Mutex<Receiver<()>>,
    /// The disk is full where segments are concerned.
    full: AtomicBool,
}

/// The system; what tells that it has stopped; what lets it go on.
fn stopping(system: &Simulated, at: Act) -> (Stopping, Receiver<()>, Sender<()>) {
    let ((reached, told), (go_on, go)) = (channel(), channel());
    let (armed, full) = (AtomicBool::new(false), AtomicBool::new(false));
    let stop = Stop { at, armed, reached, go: Mutex::new(go), full };
    (Around::new(system.clone(), stop), told, go_on)
}

impl Stop {
    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

impl Watch for Stop {
    fn before(&self, act: Act, path: &Path) -> io::Result<()> {
        let named = |extension| path.extension().is_some_and(|e| e == extension);
        if named("wal") && act == self.at && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.send(()).expect("somebody waits");
            self.go.lock().expect("lock").recv().expect("let go");
        }
        if named("seg") && act == Act::Create && self.full.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }
}

/// A close that cannot flush leaves everything to the log. Whoever shortens that at the moment
/// finds lanes that need nothing of it, as they were cleared.
#[test]
fn a_close_that_fails_keeps_the_log() {
    let system = Simulated::new();
    let (stopping, reached, go_on) = stopping(&system, Act::Create);
    let config = Config { max_log_bytes: Some(SMALLEST_LOG), ..config(4, 1_000_000) };
    let open = |system: Arc<dyn FileSystem>| Index::open_on(system, Path::new(ROOT), &config);
    let index = open(Arc::new(stopping.clone())).expect("open");
    // Half of what the log may have, in one file that is not sealed yet.
    let keys: Vec<Vec<u8>> = (0..(SMALLEST_LOG / 24 + 10) as u32).map(key).collect();
    let batch: Vec<Change<&[u8]>> = keys.iter().map(|key| (Op::Put, &key[..], 1)).collect();
    index.write(&batch).expect("write");
    stopping.watch.full.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        stopping.watch.arm();
        let work = scope.spawn(|| index.work());
        reached.recv().expect("it begins a file of the log");
        let close = scope.spawn(|| index.close());
        while index.get(&keys[0]).is_ok() {
            std::thread::yield_now();
        }
        // For all lanes to be cleared.
        std::thread::sleep(Duration::from_millis(100));
        go_on.send(()).expect("it waits");
        drop(work.join().expect("no panic"));
        assert!(matches!(close.join().expect("no panic"), Err(Error::Io { .. })));
    });
    drop(index);
    let index = open(Arc::new(system.killed())).expect("open");
    assert_eq!(index.count().expect("count"), keys.len() as u64);
}

/// On a normal scheduler it would keep others from running.
#[test]
fn a_route_in_memory_does_not_wait_for_the_log_of_another() {
    let system = Simulated::new();
    let (stopping, reached, go_on) = stopping(&system, Act::Append);
    let system = Arc::new(stopping.clone());
    let index = Index::open_on(system, Path::new(ROOT), &config(4, 1000)).expect("open");
    let term = Target::Term(b"term");
    index.route(&key(0), term, Op::Put).expect("put");
    std::thread::scope(|scope| {
        stopping.watch.arm();
        let writer = scope.spawn(|| index.route(&key(1), term, Op::Put));
        reached.recv().expect("it appends");
        // Another key, perhaps of another lane, and the same term.
        for op in [Op::Put, Op::Delete] {
            index.try_route(&key(2), term, op, Durability::Memory).expect("at once");
        }
        go_on.send(()).expect("it waits");
        assert!(writer.join().expect("no panic").expect("put"));
    });
}

/// Keys are read first, then the dictionary; which may be another one by then.
#[test]
fn terms_forgotten_meanwhile_are_no_damage() {
    let system = Simulated::new();
    let open = Arc::new(system.clone());
    let index = Index::open_on(open, Path::new(ROOT), &config(1, 1000)).expect("open");
    let term = |n: u32| n.to_le_bytes();
    for n in 0..64 {
        index.route(&key(n), Target::Term(&term(n)), Op::Put).expect("put");
    }
    index.flush().expect("flush");
    let mut verifier = Verifier::begin_on(Arc::new(system), Path::new(ROOT)).expect("begin");
    assert!(verifier.step(), "the lane");
    for n in 0..63 {
        index.route(&key(n), Target::Term(&term(n)), Op::Delete).expect("delete");
    }
    index.compact().expect("compact");
    while verifier.step() {}
    let report = verifier.finish();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(report.terms, 1, "it was written anew");
}

/// What a round drops between the reading of keys and that of terms, and what is added after that.
#[derive(Debug, Default)]
struct Meanwhile {
    index: Mutex<Option<Index>>,
    armed: AtomicBool,
}

impl Meanwhile {
    fn reads_terms(&self, act: Act, path: &Path) -> bool {
        act == Act::Read && path.ends_with("TERMS") && self.armed.load(Ordering::SeqCst)
    }

    fn route(&self, n: u32, op: Op) {
        let index = self.index.lock().expect("lock");
        let route = index.as_ref().map(|index| index.route(&key(n), Target::Term(&[n as u8]), op));
        assert!(route.expect("open").expect("route"));
    }

    fn with(&self, upkeep: impl FnOnce(&Index) -> Result<(), Error>) {
        let index = self.index.lock().expect("lock");
        index.as_ref().map(upkeep).expect("open").expect("upkeep");
    }
}

impl Watch for Meanwhile {
    fn before(&self, act: Act, path: &Path) -> io::Result<()> {
        if self.reads_terms(act, path) {
            self.route(0, Op::Delete);
            self.with(Index::compact);
        }
        Ok(())
    }

    fn after(&self, act: Act, path: &Path) {
        if self.reads_terms(act, path) {
            self.armed.store(false, Ordering::SeqCst);
            self.route(2, Op::Put);
            self.with(Index::flush);
        }
    }
}

#[test]
fn an_index_that_is_verified_may_do_rounds_meanwhile() {
    let system = Simulated::new();
    let index = Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(2, 1000));
    let watch = Meanwhile { index: Mutex::new(index.ok()), armed: AtomicBool::new(false) };
    watch.route(0, Op::Put);
    watch.route(1, Op::Put);
    watch.with(Index::flush);
    watch.armed.store(true, Ordering::SeqCst);
    let report = verify_on(Arc::new(Around::new(system, watch)), Path::new(ROOT));
    assert!(report.is_ok(), "{report:?}");
}
