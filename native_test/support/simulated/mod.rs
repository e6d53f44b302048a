//! A file system in memory that crashes and fails at will, for tests of what the engine makes of
//! it.
//!
//! It promises what the seam asks for and nothing more: bytes are on stable storage after `sync`,
//! names after `sync_dir` of their directory, and only then.

mod bytes;
mod crash;
mod fault;
mod state;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_index::fs::{File, FileSystem, Metadata};
use parking_lot::Mutex;

pub(crate) use crash::{CrashPoint, Loss, PendingOp};
use fault::{Act, Course, Faults};
pub(crate) use fault::{EINTR, EIO, EMFILE, ENOSPC, Fault, FaultKind};
pub(crate) use state::{Inode, State};

/// A machine with a file system. Clones are the same machine.
#[derive(Clone)]
pub(crate) struct Simulated(Arc<Shared>);

struct Shared {
    machine: Mutex<Machine>,
    mark: AtomicU64,
}

struct Machine {
    state: State,
    /// The inode of every open file.
    open: BTreeMap<Handle, Inode>,
    /// Who holds which inode's lock.
    locks: BTreeMap<Inode, Handle>,
    next_handle: Handle,
    faults: Faults,
    failed_syncs: u64,
    recording: Option<Vec<CrashPoint>>,
}

type Handle = u64;

struct OpenFile {
    system: Simulated,
    inode: Inode,
    handle: Handle,
    /// The name it was opened under.
    path: PathBuf,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        Self::of(State::new())
    }

    /// A machine that was just started: nothing is open, nothing locked.
    fn of(state: State) -> Self {
        let machine = Machine {
            state,
            open: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_handle: 0,
            faults: Faults::default(),
            failed_syncs: 0,
            recording: None,
        };
        Self(Arc::new(Shared { machine: Mutex::new(machine), mark: AtomicU64::new(0) }))
    }

    /// Keeps a crash point before every operation from now on that changes anything.
    pub(crate) fn record(&self) {
        self.0.machine.lock().recording = Some(Vec::new());
    }

    /// How far the workload has got.
    pub(crate) fn set_mark(&self, mark: u64) {
        self.0.mark.store(mark, Ordering::SeqCst);
    }

    /// The crash points since [`Simulated::record`], and one after the last operation.
    pub(crate) fn take_recording(&self) -> Vec<CrashPoint> {
        let mut machine = self.0.machine.lock();
        let mut points = machine.recording.take().unwrap_or_default();
        points.push(self.crash_point("the end".into(), machine.state.clone(), PendingOp::Whole));
        points
    }

    fn crash_point(&self, operation: String, state: State, pending: PendingOp) -> CrashPoint {
        CrashPoint { mark: self.0.mark.load(Ordering::SeqCst), operation, state, pending }
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.0.machine.lock().faults.inject(fault);
    }

    /// No fault from now on, and a full disk has room again.
    pub(crate) fn clear_faults(&self) {
        self.0.machine.lock().faults.clear();
    }

    /// How many operations took a fault, ever.
    pub(crate) fn faults_hit(&self) -> u64 {
        self.0.machine.lock().faults.hits
    }

    /// The first operation that took a fault since they were cleared.
    pub(crate) fn first_hit(&self) -> Option<u64> {
        self.0.machine.lock().faults.first_hit
    }

    /// How many syncs, of files and of directories, failed, ever.
    pub(crate) fn failed_syncs(&self) -> u64 {
        self.0.machine.lock().failed_syncs
    }

    /// How many operations were asked for, ever.
    pub(crate) fn operations(&self) -> u64 {
        self.0.machine.lock().faults.operations
    }

    /// A machine in the state after a crash now, everything in it being durable. This one goes on.
    pub(crate) fn crash(&self, loss: Loss) -> Self {
        Self::of(self.0.machine.lock().state.crashed(loss))
    }

    /// The same machine started again, all that was written being there.
    pub(crate) fn restarted(&self) -> Self {
        let mut state = self.0.machine.lock().state.crashed(Loss::Nothing);
        state.reboot();
        Self::of(state)
    }

    /// A machine in the state after the process died now; what is not synced is not synced still.
    pub(crate) fn killed(&self) -> Self {
        Self::of(self.0.machine.lock().state.clone())
    }

    /// The files and their bytes at present.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.0.machine.lock().state.files()
    }

    /// Puts these bytes in the place of a file's, durably and as no operation: damage.
    pub(crate) fn set_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.0.machine.lock();
        machine.state.set_file(path.as_ref(), bytes).expect("a file in a directory that is there");
    }

    fn read_only<R>(&self, act: impl FnOnce(&State) -> io::Result<R>) -> io::Result<R> {
        let mut machine = self.0.machine.lock();
        machine.faults.course(Act::Read)?;
        act(&machine.state)
    }

    /// Does an operation as faults have it, and keeps the state before it if it made a difference.
    fn operate<R>(
        &self,
        machine: &mut Machine,
        act: Act,
        describe: impl FnOnce() -> (String, PendingOp),
        operation: impl FnOnce(&mut State, Course) -> io::Result<R>,
    ) -> io::Result<R> {
        let course = machine.faults.course(act)?;
        let before = machine.recording.is_some().then(|| machine.state.clone());
        let outcome = operation(&mut machine.state, course)?;
        if let (Some(before), Machine { state, recording: Some(points), .. }) = (before, machine)
            && !state.is_unchanged(&before)
        {
            let (operation, pending) = describe();
            points.push(self.crash_point(operation, before, pending));
        }
        Ok(outcome)
    }

    fn change(
        &self,
        name: &str,
        path: &Path,
        operation: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> io::Result<()> {
        let describe = || (format!("{name} {}", path.display()), PendingOp::Whole);
        let machine = &mut self.0.machine.lock();
        self.operate(machine, Act::Change, describe, |state, course| match course {
            Course::Nothing => Ok(()),
            Course::All | Course::Part(_) => operation(state),
        })
    }

    fn note_sync(&self, synced: io::Result<()>) -> io::Result<()> {
        self.0.machine.lock().failed_syncs += u64::from(synced.is_err());
        synced
    }

    fn opened(
        &self,
        name: &str,
        path: &Path,
        operation: impl FnOnce(&mut State) -> io::Result<Inode>,
    ) -> io::Result<Arc<dyn File>> {
        let describe = || (format!("{name} {}", path.display()), PendingOp::Whole);
        let mut machine = self.0.machine.lock();
        let inode =
            self.operate(&mut machine, Act::Change, describe, |state, course| match course {
                // Success takes a file: the one of that name as it is, or one without a name.
                Course::Nothing => match state.find(path) {
                    Ok(inode) if state.file(inode).is_ok() => Ok(inode),
                    _ => Ok(state.nameless_file()),
                },
                Course::All | Course::Part(_) => operation(state),
            })?;
        let handle = machine.next_handle;
        machine.next_handle += 1;
        machine.open.insert(handle, inode);
        Ok(Arc::new(OpenFile { system: self.clone(), inode, handle, path: path.to_path_buf() }))
    }
}

impl FileSystem for Simulated {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change("create directory", path, |state| state.create_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let synced = self.change("sync directory", path, |state| state.sync_dir(path));
        self.note_sync(synced)?;
        let mut machine = self.0.machine.lock();
        let open = machine.open.values().copied().collect();
        machine.state.forget_nameless(&open);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.read_only(|state| state.list(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened("create", path, |state| state.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.opened("open", path, |state| state.open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let name = format!("rename {} to", from.display());
        self.change(&name, to, |state| state.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, |state| state.remove(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.read_only(|state| state.metadata(path))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_only(|state| state.read(path))
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        Some(u128::from(self.0.machine.lock().state.boot()).to_le_bytes())
    }
}

impl File for OpenFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let describe = || {
            let operation = format!("append {} {} bytes", self.path.display(), bytes.len());
            (operation, PendingOp::Append { inode: self.inode, bytes: bytes.into() })
        };
        let machine = &mut self.system.0.machine.lock();
        self.system.operate(machine, Act::Append(bytes.len()), describe, |state, course| {
            let (written, told) = match course {
                Course::All => (bytes.len(), bytes.len()),
                Course::Part(len) => (len, len),
                Course::Nothing => (0, bytes.len()),
            };
            if written > 0 {
                state.append(self.inode, &bytes[..written]);
            }
            Ok(told)
        })
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.system.change("sync", &self.path, |state| {
            state.sync(self.inode);
            Ok(())
        });
        self.system.note_sync(synced)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.system.change(&format!("truncate to {len}"), &self.path, |state| {
            state.truncate(self.inode, len);
            Ok(())
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut machine = self.system.0.machine.lock();
        if let Course::Nothing = machine.faults.course(Act::Change)? {
            return Ok(true);
        }
        Ok(*machine.locks.entry(self.inode).or_insert(self.handle) == self.handle)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut machine = self.system.0.machine.lock();
        machine.open.remove(&self.handle);
        if machine.locks.get(&self.inode) == Some(&self.handle) {
            machine.locks.remove(&self.inode);
        }
    }
}

impl Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({})", self.path.display())
    }
}

impl Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.machine.lock().state.fmt(f)
    }
}
