//! Walks several layers of a lane as one: what compaction and listing have in common.

use crate::chain::Chain;
use crate::config::Verify;
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::overlay::Overlay;
use crate::record::RecordRef;
use crate::segment::{Segment, Table};

/// A layer to walk.
#[expect(clippy::large_enum_variant, reason = "a walk has a handful, and asks them for every key")]
#[derive(Debug)]
pub(crate) enum Layer<'a> {
    Overlay(&'a Overlay),
    Segment(Table<'a>),
}

impl<'a> Layer<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Self {
        Layer::Segment(segment.table())
    }

    fn get(&self, fingerprint: Fingerprint) -> Result<Option<RecordRef<'a>>> {
        match self {
            Layer::Overlay(overlay) => Ok(overlay.get(fingerprint)),
            Layer::Segment(table) => table.get(fingerprint, Verify::Full),
        }
    }

    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        match self {
            Layer::Overlay(overlay) => overlay.get(fingerprint).is_some(),
            Layer::Segment(table) => table.contains(fingerprint),
        }
    }
}

/// Calls `f` once per key with its records, newest first. `layers` are newest first.
///
/// Whether a newer layer has a key already is asked of that layer's own hash function, so
/// nothing is sorted and nothing is held. Keys come in the order the layers store them.
pub(crate) fn walk<'a>(
    layers: &[Layer<'a>],
    mut f: impl FnMut(Fingerprint, &Chain<'a>) -> Result<()>,
) -> Result<()> {
    for (i, layer) in layers.iter().enumerate() {
        let (newer, older) = (&layers[..i], &layers[i + 1..]);
        let mut visit = |fingerprint: Fingerprint, record: RecordRef<'a>| {
            if newer.iter().any(|layer| layer.contains(fingerprint)) {
                return Ok(());
            }
            let mut chain = Chain::default();
            let mut settled = chain.push(record);
            for layer in older {
                if settled {
                    break;
                }
                if let Some(record) = layer.get(fingerprint)? {
                    settled = chain.push(record);
                }
            }
            f(fingerprint, &chain)
        };
        match layer {
            Layer::Overlay(overlay) => overlay.iter().try_for_each(|(k, r)| visit(k, r))?,
            Layer::Segment(table) => {
                for item in table.iter() {
                    let (fingerprint, record) = item?;
                    visit(fingerprint, record)?;
                }
            }
        }
    }
    Ok(())
}
