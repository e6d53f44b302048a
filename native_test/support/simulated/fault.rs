//! Faults: operations that fail, do less than they were asked, or lie.

use std::io;

pub(crate) const EINTR: i32 = 4;
pub(crate) const EIO: i32 = 5;
pub(crate) const EMFILE: i32 = 24;
pub(crate) const ENOSPC: i32 = 28;

/// One fault to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The operation it befalls: the n-th from now, from 0. All are counted, those that only read
    /// too (mapping and the boot id are not).
    pub(crate) at: u64,
    pub(crate) kind: FaultKind,
    /// It befalls every operation from then on.
    pub(crate) repeat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nothing is done, and this error of the operating system is told. [`EINTR`] that repeats lets
    /// the append through that follows an interrupted one, or it would be tried for ever.
    Error(i32),
    /// The first append of two bytes or more, from that operation on, takes half of its bytes.
    ShortWrite,
    /// The first append from that operation on takes half of its bytes, and every later one fails
    /// with [`ENOSPC`] until the faults are cleared.
    ShortThenFull,
    /// Nothing is done, and success is told. Operations that only read are spared.
    Drop,
}

/// What an operation is, as far as faults care.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Read,
    Change,
    Append(usize),
}

/// What an operation is to do.
#[derive(Clone, Copy)]
pub(super) enum Course {
    All,
    /// Of an append, this many bytes.
    Part(usize),
    Nothing,
}

#[derive(Default)]
pub(super) struct Faults {
    pub(super) operations: u64,
    pub(super) hits: u64,
    /// The number of the first operation that took a fault since they were cleared.
    pub(super) first_hit: Option<u64>,
    /// With `at` counted from the first operation of all.
    planned: Vec<Fault>,
    full: bool,
    interrupted: bool,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.planned.push(Fault { at: self.operations + fault.at, ..fault });
    }

    pub(super) fn clear(&mut self) {
        *self = Self { operations: self.operations, hits: self.hits, ..Self::default() };
    }

    fn hit(&mut self, operation: u64) {
        self.hits += 1;
        self.first_hit.get_or_insert(operation);
    }

    /// Counts an operation and tells what becomes of it.
    pub(super) fn course(&mut self, act: Act) -> io::Result<Course> {
        let now = self.operations;
        self.operations += 1;
        let is_append = matches!(act, Act::Append(_));
        let retried = is_append && std::mem::take(&mut self.interrupted);
        if self.full && is_append {
            self.hit(now);
            return Err(os_error(ENOSPC));
        }
        let due = |fault: &Fault| {
            let here = fault.at == now || fault.repeat && fault.at < now;
            match (fault.kind, act) {
                (FaultKind::Error(EINTR), Act::Append(_)) => here && !retried,
                (FaultKind::Error(_), _) => here,
                (FaultKind::Drop, Act::Read) => false,
                (FaultKind::Drop, _) => here,
                (FaultKind::ShortWrite, Act::Append(len)) => fault.at <= now && len > 1,
                (FaultKind::ShortThenFull, Act::Append(len)) => fault.at <= now && len > 0,
                (FaultKind::ShortWrite | FaultKind::ShortThenFull, _) => false,
            }
        };
        let Some(place) = self.planned.iter().position(due) else { return Ok(Course::All) };
        let fault = self.planned[place];
        if !fault.repeat {
            self.planned.remove(place);
        }
        self.hit(now);
        match (fault.kind, act) {
            (FaultKind::Drop, _) => Ok(Course::Nothing),
            (FaultKind::ShortWrite, Act::Append(len)) => Ok(Course::Part(len / 2)),
            (FaultKind::ShortThenFull, Act::Append(len)) => {
                self.full = true;
                // No system takes none of the bytes and calls it success.
                if len > 1 { Ok(Course::Part(len / 2)) } else { Err(os_error(ENOSPC)) }
            }
            (FaultKind::Error(code), _) => {
                self.interrupted = is_append && code == EINTR;
                Err(os_error(code))
            }
            _ => unreachable!("short writes befall appends"),
        }
    }
}

fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
