//! The segments of a lane as they are between two flushes, and asking them.

use std::sync::Arc;

use self_cell::self_cell;

use crate::chain::Chain;
use crate::config::Verify;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::record::{Ids, RecordRef};
use crate::segment::{Segment, Table};

/// The lane's segments, newest first, with their levels.
#[derive(Debug, Default)]
pub(crate) struct Version {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) levels: Vec<u8>,
    /// Keys and listed ids of all segments together: what the limits of overlays refer to.
    pub(crate) weight: usize,
}

impl Version {
    pub(crate) fn new(segments: Vec<(u8, Arc<Segment>)>) -> Self {
        let weight = segments.iter().map(|(_, s)| s.weight()).sum();
        let (levels, segments) = segments.into_iter().unzip();
        Self { segments, levels, weight }
    }
}

/// What look-ups ask of a version, newest first.
#[derive(Debug)]
pub(crate) struct Tables<'v> {
    /// Most often the only one, so it is kept where it is found at once.
    newest: Option<Table<'v>>,
    older: Vec<Table<'v>>,
}

self_cell!(
    /// A version's tables, with the version.
    pub(crate) struct Opened {
        owner: Arc<Version>,
        #[covariant]
        dependent: Tables,
    }

    impl {Debug}
);

impl Opened {
    pub(crate) fn of(version: Arc<Version>) -> Self {
        Self::new(version, |version| {
            let mut tables = version.segments.iter().map(|segment| segment.table());
            Tables { newest: tables.next(), older: tables.collect() }
        })
    }

    pub(crate) fn version(&self) -> &Arc<Version> {
        self.borrow_owner()
    }

    /// Bytes that the tables take, with what holds them together.
    pub(crate) fn memory(&self) -> usize {
        let Tables { older, .. } = self.tables();
        size_of::<Arc<Version>>()
            + size_of::<Tables<'_>>()
            + older.capacity() * size_of::<Table<'_>>()
    }

    #[inline]
    pub(crate) fn tables(&self) -> &Tables<'_> {
        self.borrow_dependent()
    }
}

impl Default for Opened {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

/// The segments that a look-up came by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Looked into.
    pub(crate) probed: usize,
    /// Left out, as their filters said.
    pub(crate) excluded: usize,
    /// With the key.
    pub(crate) present: usize,
}

impl Asked {
    /// Adds what a segment says of the key; whether nothing below it matters.
    #[inline]
    fn probe<'a>(
        &mut self,
        table: &Table<'a>,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'a>,
    ) -> Result<bool> {
        self.probed += 1;
        let Some(found) = table.find(fingerprint, verify) else { return Ok(false) };
        self.present += 1;
        Ok(match table.only_id(found) {
            Some(id) => chain.push(RecordRef::Complete(Ids::One(id))),
            None => chain.push(table.record(found)?),
        })
    }

    /// Without the key.
    pub(crate) fn absent(self) -> usize {
        self.probed + self.excluded - self.present
    }
}

impl<'v> Tables<'v> {
    fn iter(&self) -> impl Iterator<Item = &Table<'v>> {
        self.newest.iter().chain(&self.older)
    }

    /// The one below so many others.
    #[inline]
    pub(crate) fn at(&self, depth: usize) -> Option<&Table<'v>> {
        match depth.checked_sub(1) {
            None => self.newest.as_ref(),
            Some(older) => self.older.get(older),
        }
    }

    /// Refuses a set with ids out of range, which a damaged segment can hold: a change would put
    /// the set into a new segment, under a sound checksum, with other ids.
    pub(crate) fn check_ids(&self, fingerprint: Fingerprint, set: &Chain<'_>) -> Result<()> {
        if set.is_in_range() {
            return Ok(());
        }
        for table in self.iter() {
            if let Some(record) = table.get(fingerprint, Verify::Full)?
                && !record.is_in_range()
            {
                let path = table.segment().path();
                return Err(Error::corrupt(path, 0, "a list has an id out of range"));
            }
        }
        Ok(())
    }

    /// Adds what the segments say of a key, newest first; their filters are asked before, if at all.
    #[inline]
    pub(crate) fn ask(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        filters: bool,
        chain: &mut Chain<'v>,
    ) -> Result<Asked> {
        if filters {
            return self.sift(fingerprint, verify, chain);
        }
        let mut asked = Asked::default();
        for table in self.iter() {
            if asked.probe(table, fingerprint, verify, chain)? {
                break;
            }
        }
        Ok(asked)
    }

    /// As [`Tables::ask`], by way of the filters; apart, as most indexes have none.
    #[inline(never)]
    fn sift(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'v>,
    ) -> Result<Asked> {
        let mut asked = Asked::default();
        for table in self.iter() {
            if table.excludes(fingerprint) {
                asked.excluded += 1;
            } else if asked.probe(table, fingerprint, verify, chain)? {
                break;
            }
        }
        Ok(asked)
    }
}
