//! Immutable tables: a minimal perfect hash over the keys of one flush or compaction, with
//! signatures, entries, cold fingerprint bits and id lists beside it.

mod entries;
mod filter;
mod format;
mod mph;
mod packed;
mod reader;
mod table;
mod writer;

pub(crate) use format::Origin;
pub(crate) use reader::Segment;
pub(crate) use table::{Found, Probe, Table};
pub(crate) use writer::SegmentWriter;

#[cfg(test)]
mod tests;
