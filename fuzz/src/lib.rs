//! What the fuzz targets share. `native_test/corpus.rs` runs the same body on the corpora, as a
//! test.

mod body;
#[path = "../../native_test/support/simulated/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod simulated;

pub use body::{Target, run, seeds};
