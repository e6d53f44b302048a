//! Interleavings of the engine's threads. MODEL_SCHEDULES says how many of each kind to try.

mod counts;
mod disk;
mod memory;
mod namespaces;
mod rcu_cell;
mod reconcile;
mod support;
mod terms;

// The engine's own, which it keeps to itself.
#[path = "../../../src/grace.rs"]
#[allow(dead_code, reason = "the engine uses more of it")]
mod grace;
#[path = "../../../src/rcu.rs"]
#[allow(dead_code, reason = "the engine uses more of it")]
mod rcu;
#[path = "../../../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "the engine uses more of it")]
mod sync;
