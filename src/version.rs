//! The segments of a lane as they are between two flushes, and asking them.

use std::sync::Arc;

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
    /// Without the key.
    pub(crate) fn absent(self) -> usize {
        self.probed + self.excluded - self.present
    }
}

/// What a segment said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// How it differs from what lies below.
    Some,
    All,
}

impl Said {
    /// Adds a segment's record of the key.
    #[inline(always)]
    fn by<'v>(
        table: &Table<'v>,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'v>,
    ) -> Result<Self> {
        let Some(found) = table.find(fingerprint, verify) else { return Ok(Said::Nothing) };
        let complete = match table.only_id(found) {
            Some(id) => chain.push(RecordRef::Complete(Ids::One(id))),
            None => chain.push(table.record(found)?),
        };
        Ok(if complete { Said::All } else { Said::Some })
    }
}

impl<'v> Tables<'v> {
    pub(crate) fn of(version: &'v Version) -> Self {
        let mut tables = version.segments.iter().map(|segment| segment.table());
        Self { newest: tables.next(), older: tables.collect() }
    }

    /// Bytes allocated, beside this.
    pub(crate) fn memory(&self) -> usize {
        self.older.capacity() * size_of::<Table<'_>>()
    }

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

    /// Adds what the segments say of a key, newest first; how many were asked.
    #[inline]
    pub(crate) fn ask(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'v>,
    ) -> Result<usize> {
        let Some(newest) = &self.newest else { return Ok(0) };
        let said = Said::by(newest, fingerprint, verify, chain)?;
        if said == Said::All || self.older.is_empty() {
            return Ok(1);
        }
        self.ask_older(fingerprint, verify, chain)
    }

    /// Goes on with those below the newest; apart, as most lanes have none.
    #[inline(never)]
    fn ask_older(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'v>,
    ) -> Result<usize> {
        for (older, table) in self.older.iter().enumerate() {
            if Said::by(table, fingerprint, verify, chain)? == Said::All {
                return Ok(2 + older);
            }
        }
        Ok(1 + self.older.len())
    }

    /// As [`Tables::ask`], by way of the `filters` if that is wanted.
    pub(crate) fn sift(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
        filters: bool,
        chain: &mut Chain<'v>,
    ) -> Result<Asked> {
        let mut asked = Asked::default();
        for table in self.iter() {
            if filters && table.excludes(fingerprint) {
                asked.excluded += 1;
                continue;
            }
            asked.probed += 1;
            let said = Said::by(table, fingerprint, verify, chain)?;
            asked.present += usize::from(said != Said::Nothing);
            if said == Said::All {
                break;
            }
        }
        Ok(asked)
    }
}
