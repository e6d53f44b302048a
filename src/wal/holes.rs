//! Holes in the log: where the next record should be and is not. Torn or damaged?
//!
//! Records that were not synced may be missing after a power failure, in any pattern; those that
//! were synced never are, and as long as the operating system has not restarted none is, but for
//! the one that was being appended. So a hole is *torn* if it can be explained that way: all from
//! there on is left out, and reported. Any other hole is *damage*, and an error, unless the caller
//! asked for salvage.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::PathBuf;

use super::format::{self, Found, HEADER, MAX_SEQUENCE};
use super::read::{LogFile, LostBytes, Scan};
use super::{EXTENSION, file_path};
use crate::error::{Error, Result};
use crate::fs::number_of;

/// A place where the next record should be and is not.
#[derive(Debug)]
pub(super) struct Hole {
    file: usize,
    at: Range<usize>,
    /// The record that belongs there.
    expected: u64,
    /// It can be an append that was cut short.
    cut_short: bool,
    /// Where the fault is, and what.
    fault: (usize, String),
}

impl Scan {
    /// Finds the whole records and the holes between them.
    pub(super) fn walk(&mut self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut expected = self.files.first().and_then(|f| f.header).map_or(1, |h| h.first);
        for (number, file) in self.files.iter_mut().enumerate() {
            let mut hole = |at, expected, cut_short, fault| {
                holes.push(Hole { file: number, at, expected, cut_short, fault });
            };
            let mut at = HEADER;
            // Behind a hole any later record goes on.
            let mut resumed = file.header.is_none_or(|header| header.first != expected);
            match file.header {
                Some(header) if header.first == expected => {}
                Some(header) => {
                    let what = format!("it begins with record {}, not {expected}", header.first);
                    hole(0..HEADER, expected, false, (0, what));
                    expected = expected.max(header.first);
                }
                None => {
                    at = format::find_later(&file.bytes, 0, &file.seed, expected..MAX_SEQUENCE)
                        .unwrap_or(file.bytes.len());
                    hole(0..at, expected, false, file.fault.clone());
                }
            }
            let mut run = at..at;
            while at < file.bytes.len() {
                let (cut_short, what) = match format::find(&file.bytes[at..], &file.seed) {
                    Found::Record(record)
                        if record.sequence == expected || resumed && record.sequence > expected =>
                    {
                        resumed = false;
                        expected = record.sequence + 1;
                        at += record.len();
                        run.end = at;
                        continue;
                    }
                    Found::Record(record) => {
                        (false, format!("record {} where {expected} belongs", record.sequence))
                    }
                    Found::Torn => (true, "a record is cut short".to_owned()),
                    Found::Damaged(what) => (false, what.to_owned()),
                };
                let next =
                    format::find_later(&file.bytes, at + 1, &file.seed, expected..MAX_SEQUENCE);
                let end = next.unwrap_or(file.bytes.len());
                hole(at..end, expected, cut_short && next.is_none(), (at, what));
                file.runs.push(std::mem::replace(&mut run, end..end));
                (at, resumed) = (end, true);
            }
            file.runs.push(run);
            file.runs.retain(|run| !run.is_empty());
            file.last = expected - 1;
        }
        holes
    }

    /// Tells torn from damaged, and leaves out what has to be.
    pub(super) fn judge(&mut self, holes: Vec<Hole>, salvage: bool) -> Result<()> {
        let Some(first) = holes.first() else { return self.check_end(salvage) };
        let claimed = self.raw_records().map(|record| record.durable).max();
        let claimed = claimed.unwrap_or(0).max(self.relied_on);
        let holed = &self.files[first.file];
        let followed = |(number, file): (usize, &LogFile)| match number.cmp(&first.file) {
            Ordering::Less => false,
            Ordering::Equal => file.runs.iter().any(|run| run.start >= first.at.end.max(HEADER)),
            Ordering::Greater => !file.runs.is_empty(),
        };
        // Where the first record is, the sector of the header was written too.
        let beheaded = |file: &LogFile| {
            file.header.is_none() && file.runs.first().is_some_and(|run| run.start == HEADER)
        };
        let wanted = self.oldest_without(first);
        let damaged = wanted.is_none()
            || claimed >= first.expected
            || self.files.iter().any(beheaded)
            || !self.restarted && self.files.iter().enumerate().any(followed)
            || !self.restarted && holes.iter().any(|hole| !hole.cut_short);
        if damaged && !salvage {
            let (offset, what) = first.fault.clone();
            return Err(Error::corrupt(&holed.path, offset, what));
        }
        let lost = |hole: &Hole| LostBytes {
            path: self.files[hole.file].path.clone(),
            offset: hole.at.start as u64,
            bytes: hole.at.len() as u64,
        };
        if damaged {
            let dropped: Vec<LostBytes> = holes.iter().map(lost).collect();
            self.dropped.extend(dropped);
            return Ok(());
        }
        // Those that a newer file said are not needed are, without that one.
        let keep = |path: &PathBuf| number_of(path, EXTENSION).is_some_and(|n| Some(n) >= wanted);
        self.obsolete.retain(|path| !keep(path));
        let mut torn = lost(first);
        let (file, at) = (first.file, first.at.start);
        torn.bytes = (self.files[file].bytes.len() - at) as u64;
        for discarded in self.files.drain(file + 1..).rev() {
            torn.bytes += discarded.bytes.len() as u64;
            self.discarded.insert(0, discarded.path);
        }
        if at == 0 {
            // It does not follow on the one before: it goes as a whole.
            self.discarded.insert(0, self.files.remove(file).path);
        } else {
            let file = &mut self.files[file];
            file.runs.retain(|run| run.start < at);
            file.bytes.truncate(at);
            file.last = first.expected - 1;
        }
        self.torn = Some(torn);
        Ok(())
    }

    /// The oldest file that is needed if all from that hole on goes; none if that cannot be: of the
    /// oldest file the header was synced before it was called that, and files that are gone were
    /// removed after all that was in the others had been synced.
    fn oldest_without(&self, hole: &Hole) -> Option<u64> {
        let left = &self.files[..hole.file + usize::from(hole.at.start > 0)];
        let oldest = left.iter().rev().find_map(|file| file.header)?.oldest;
        let is_there = |number| self.obsolete.contains(&file_path(&self.dir, number));
        (oldest..self.files.first()?.number).all(is_there).then_some(oldest)
    }

    /// Nothing of what lanes rely on may be missing at the end.
    fn check_end(&mut self, salvage: bool) -> Result<()> {
        let Some(newest) = self.files.last().filter(|_| self.last() < self.relied_on) else {
            return Ok(());
        };
        let (path, offset) = (newest.path.clone(), newest.bytes.len());
        if !salvage {
            if let Some(unreadable) = self.unreadable.take() {
                return Err(unreadable);
            }
            let what = format!(
                "it ends with record {}, a lane relies on record {}",
                newest.last, self.relied_on
            );
            return Err(Error::corrupt(&path, offset, what));
        }
        self.dropped.push(LostBytes { path, offset: offset as u64, bytes: 0 });
        Ok(())
    }
}
