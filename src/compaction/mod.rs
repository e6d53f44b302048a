//! Flushing overlays and merging segments: what to do (pure), and doing it, a bounded step at a
//! time.

mod bulk;
mod merge;
mod policy;
mod rent;
mod worker;

pub(crate) use policy::{BOTTOM, LEVEL_1, SAMPLED};
pub(crate) use rent::Rent;
pub(crate) use worker::Upkeep;
