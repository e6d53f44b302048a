//! Interleavings of the engine's threads. MODEL_SCHEDULES says how many of each kind to try.

mod disk;
mod memory;
mod namespaces;
mod reconcile;
mod support;
mod terms;
