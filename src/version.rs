//! The segments of a lane as they are between two flushes, and asking them.

use std::sync::Arc;

use crate::chain::Chain;
use crate::config::Verify;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::segment::Segment;

/// The lane's segments, newest first, with their levels.
#[derive(Debug, Default)]
pub(crate) struct Version {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) levels: Vec<u8>,
    /// Keys and listed ids of all segments together: what the limits of overlays refer to.
    pub(crate) weight: usize,
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
    #[inline(always)]
    fn probe<'a>(
        &mut self,
        segment: &'a Segment,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'a>,
    ) -> Result<bool> {
        self.probed += 1;
        let Some(record) = segment.get(fingerprint, verify)? else { return Ok(false) };
        self.present += 1;
        Ok(chain.push(record))
    }

    /// Without the key.
    pub(crate) fn absent(self) -> usize {
        self.probed + self.excluded - self.present
    }
}

impl Version {
    pub(crate) fn new(segments: Vec<(u8, Arc<Segment>)>) -> Self {
        let weight = segments.iter().map(|(_, s)| s.weight()).sum();
        let (levels, segments) = segments.into_iter().unzip();
        Self { segments, levels, weight }
    }

    /// Refuses a set with ids out of range, which a damaged segment can hold: a change would put
    /// the set into a new segment, under a sound checksum, with other ids.
    pub(crate) fn check_ids(&self, fingerprint: Fingerprint, set: &Chain<'_>) -> Result<()> {
        if set.is_in_range() {
            return Ok(());
        }
        for segment in &self.segments {
            if let Some(record) = segment.get(fingerprint, Verify::Full)?
                && !record.is_in_range()
            {
                return Err(Error::corrupt(segment.path(), 0, "a list has an id out of range"));
            }
        }
        Ok(())
    }

    /// Adds what the segments say of a key, newest first; their filters are asked before, if at all.
    #[inline(always)]
    pub(crate) fn ask<'a>(
        &'a self,
        fingerprint: Fingerprint,
        verify: Verify,
        filters: bool,
        chain: &mut Chain<'a>,
    ) -> Result<Asked> {
        if filters {
            return self.sift(fingerprint, verify, chain);
        }
        let mut asked = Asked::default();
        for segment in &self.segments {
            if asked.probe(segment, fingerprint, verify, chain)? {
                break;
            }
        }
        Ok(asked)
    }

    /// As [`Version::ask`], by way of the filters; apart, as most indexes have none.
    #[inline(never)]
    fn sift<'a>(
        &'a self,
        fingerprint: Fingerprint,
        verify: Verify,
        chain: &mut Chain<'a>,
    ) -> Result<Asked> {
        let mut asked = Asked::default();
        for segment in &self.segments {
            if segment.excludes(fingerprint) {
                asked.excluded += 1;
            } else if asked.probe(segment, fingerprint, verify, chain)? {
                break;
            }
        }
        Ok(asked)
    }
}
