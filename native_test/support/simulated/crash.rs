//! Crashes: the states that one may leave behind.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::sync::Arc;

use super::Simulated;
use super::state::{Inode, State};

/// At most this many of the things that are not synced are lost, or kept, one at a time.
const MOST_ONE_BY_ONE: usize = 8;

/// What a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// The process died: all that was written is there.
    Nothing,
    /// The power failed: what was not synced may be gone.
    Unsynced,
}

/// The operation that was about to be done.
#[derive(Clone)]
pub(crate) enum PendingOp {
    Append {
        inode: Inode,
        bytes: Arc<[u8]>,
    },
    /// One that is done in one step, or none.
    Whole,
}

/// A moment between two operations.
#[derive(Clone)]
pub(crate) struct CrashPoint {
    /// How far the workload had got.
    pub(crate) mark: u64,
    /// The operation about to be done, for people.
    pub(crate) operation: String,
    pub(crate) state: State,
    pub(crate) pending: PendingOp,
}

/// One difference between what is there and what is on stable storage.
#[derive(Clone)]
enum Change {
    Bytes(Inode),
    Entry { dir: Inode, name: OsString, old: Option<Inode>, new: Option<Inode> },
}

/// Differences that reach the disk together, or not at all.
struct Unsynced {
    what: String,
    changes: Vec<Change>,
}

impl Change {
    /// Whether both belong to a move of one file, which is one step.
    fn moves_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry { old, new, .. }, Self::Entry { old: old2, new: new2, .. }) => {
                new.is_some() && new == old2 || new2.is_some() && new2 == old
            }
            _ => false,
        }
    }
}

impl State {
    /// All differences between what is there and what is on stable storage, those of a move taken
    /// together.
    fn unsynced(&self) -> Vec<Unsynced> {
        let (mut all, mut entries) = (Vec::new(), Vec::<Unsynced>::new());
        for (inode, path) in self.named(true) {
            if let Ok(file) = self.file(inode) {
                if file.current != file.synced {
                    let what = format!("the bytes of {}", path.display());
                    all.push(Unsynced { what, changes: vec![Change::Bytes(inode)] });
                }
                continue;
            }
            let dir = self.dir(inode).expect("what is no file is a directory");
            let names: BTreeSet<_> = dir.current.keys().chain(dir.synced.keys()).collect();
            for name in names {
                let old = dir.synced.get(name).copied();
                let new = dir.current.get(name).copied();
                if old == new {
                    continue;
                }
                let how = match (old, new) {
                    (None, _) => "added",
                    (_, None) => "removed",
                    _ => "replaced",
                };
                let what = format!("{} {how}", path.join(name).display());
                let change = Change::Entry { dir: inode, name: name.clone(), old, new };
                let mut together = Unsynced { what, changes: vec![change] };
                let moves = |group: &mut Unsynced| {
                    group.changes.iter().any(|change| change.moves_with(&together.changes[0]))
                };
                for group in entries.extract_if(.., moves).collect::<Vec<_>>() {
                    together.what = format!("{} and {}", group.what, together.what);
                    together.changes.extend(group.changes);
                }
                entries.push(together);
            }
        }
        all.append(&mut entries);
        all
    }

    /// The state after a crash that loses these and keeps all others, the rest being durable.
    fn without<'u>(&self, lost: impl IntoIterator<Item = &'u Unsynced>) -> Self {
        let mut state = self.clone();
        for change in lost.into_iter().flat_map(|unsynced| &unsynced.changes) {
            match change {
                Change::Bytes(inode) => {
                    let file = state.file_mut(*inode);
                    file.current = file.synced.clone();
                }
                Change::Entry { dir, name, old, .. } => state.set_entry(*dir, name, *old),
            }
        }
        state.settle();
        state
    }

    pub(super) fn crashed(&self, loss: Loss) -> Self {
        match loss {
            Loss::Nothing => self.without([]),
            Loss::Unsynced => {
                let mut state = self.without(&self.unsynced());
                state.reboot();
                state
            }
        }
    }
}

/// The states of one crash point that differ.
#[derive(Default)]
struct Variants {
    seen: HashSet<(u64, Loss)>,
    all: Vec<(String, Simulated, Loss)>,
}

impl Variants {
    fn add(&mut self, name: impl Into<String>, mut state: State, loss: Loss) {
        if self.seen.insert((state.fingerprint(), loss)) {
            if loss == Loss::Unsynced {
                state.reboot();
            }
            self.all.push((name.into(), Simulated::of(state), loss));
        }
    }
}

/// Some of many, evenly spread, the first and the last among them.
fn spread<T>(all: &[T]) -> impl Iterator<Item = (usize, &T)> {
    let some = all.len().min(MOST_ONE_BY_ONE);
    (0..some).map(move |n| {
        let place = n * (all.len() - 1) / (some - 1).max(1);
        (place, &all[place])
    })
}

impl CrashPoint {
    /// The states that a crash at this moment may leave, each in a machine of its own with
    /// everything durable, no file open and no lock held.
    pub(crate) fn variants(&self) -> Vec<(String, Simulated, Loss)> {
        let state = &self.state;
        let mut variants = Variants::default();
        variants.add("everything", state.without([]), Loss::Nothing);
        if let PendingOp::Append { inode, bytes } = &self.pending {
            for len in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                if (1..bytes.len()).contains(&len) {
                    let mut torn = state.clone();
                    torn.append(*inode, &bytes[..len]);
                    let name = format!("{len} of {} bytes appended", bytes.len());
                    variants.add(name, torn.without([]), Loss::Nothing);
                }
            }
        }
        let unsynced = state.unsynced();
        variants.add("only what is synced", state.without(&unsynced), Loss::Unsynced);
        for (place, one) in spread(&unsynced) {
            variants.add(format!("lost: {}", one.what), state.without([one]), Loss::Unsynced);
            let others = unsynced.iter().enumerate().filter(|&(n, _)| n != place);
            let kept = state.without(others.map(|(_, other)| other));
            variants.add(format!("only kept: {}", one.what), kept, Loss::Unsynced);
        }
        for (name, zeroed) in self.zeroed_tails() {
            variants.add(name, zeroed.without([]), Loss::Unsynced);
        }
        variants.all
    }

    fn zeroed_tails(&self) -> Vec<(String, State)> {
        let named = self.state.named(true);
        let tails: Vec<_> = named
            .iter()
            .filter_map(|(&inode, path)| {
                let file = self.state.file(inode).ok()?;
                if file.current == file.synced {
                    return None;
                }
                Some((inode, path, file.current.with_zeroed_tail(&file.synced)?))
            })
            .collect();
        let states = spread(&tails).map(|(_, (inode, path, zeroed))| {
            let mut state = self.state.clone();
            state.file_mut(*inode).current = zeroed.clone();
            (format!("zeros for bytes of {}", path.display()), state)
        });
        states.collect()
    }

    /// The machine after the process died, what was not synced being not synced still: for a power
    /// failure that comes later.
    pub(crate) fn killed(&self) -> Simulated {
        Simulated::of(self.state.clone())
    }
}
