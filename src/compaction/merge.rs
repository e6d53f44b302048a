//! Merges layers of a lane into the records of one new segment.

use std::sync::Arc;

use crate::error::Result;
use crate::layers::{Layer, walk};
use crate::overlay::Overlay;
use crate::record::Record;
use crate::segment::{Segment, SegmentWriter};

/// Merges a frozen overlay and segments, newest first. With `bottom`, nothing older remains, so
/// that tombstones vanish and deltas become whole sets.
///
/// Segments are checked first: a damaged one must not be copied under a fresh checksum.
pub(crate) fn merge(
    overlay: Option<&Overlay>,
    segments: &[Arc<Segment>],
    bottom: bool,
) -> Result<SegmentWriter> {
    segments.iter().try_for_each(|s| s.check())?;
    let most = overlay.map_or(0, Overlay::len) + segments.iter().map(|s| s.keys()).sum::<usize>();
    let mut out = SegmentWriter::with_capacity(most);
    let below = segments.iter().map(|s| Layer::of(s));
    let layers: Vec<Layer<'_>> = overlay.map(Layer::Overlay).into_iter().chain(below).collect();
    walk(&layers, |fingerprint, chain| match chain.merged(bottom) {
        Record::Tombstone if bottom => Ok(()),
        record => out.add(fingerprint, &record),
    })?;
    Ok(out)
}
