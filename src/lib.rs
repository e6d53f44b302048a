//! A persistent **key → set of ids** index: 10 to 11 bytes per key, look-ups well under a
//! microsecond.
//!
//! Keys are bytes (or terms, see [`TermKey`]), ids are numbers below 2^31. Recent changes live in small hash tables
//! (overlays); everything else in immutable segments, which are minimal-perfect-hash tables in
//! mapped files. An index is dealt into lanes, each an LSM tree of its own.
//!
//! ```
//! use lsm_index::{Config, Index};
//!
//! let index = Index::in_memory(&Config::default())?;
//! index.put(b"user:42", 7)?;
//! index.put(b"user:42", 3)?;
//! assert_eq!(index.get(b"user:42")?.as_slice(), [3, 7]);
//! assert_eq!(index.count()?, 1);
//! # Ok::<(), lsm_index::Error>(())
//! ```
//!
//! Two keys with the same 64-bit fingerprint are one key to the index. The fingerprint is a
//! keyed hash with a secret key, so nobody can aim for it; for n keys the chance of any such pair
//! is at most n²/2^65 (3e-6 at 10 million). Nothing else makes a wrong answer.

mod batch;
mod census;
mod chain;
mod change;
mod compaction;
mod config;
mod dictionary;
mod epoch;
mod error;
mod filtering;
mod frame;
mod freed;
pub mod fs;
mod grace;
mod hash;
mod incoming;
mod index;
mod key;
mod lane;
mod layers;
mod listing;
mod load;
mod lock;
mod lookup;
mod maintenance;
mod manifest;
mod mmap;
mod namespaces;
mod opened;
mod overlay;
mod pace;
pub mod postgres;
mod promises;
mod purge;
mod quarantine;
mod questions;
mod rcu;
mod reconcile;
mod record;
mod recovery;
mod repair;
mod residency;
mod round;
mod routes;
mod scan;
mod segment;
mod slots;
mod stamp;
mod stats;
mod stripes;
mod sync;
mod verify;
mod version;
mod view;
mod wal;
mod word;
mod write;

#[cfg(feature = "nif")]
mod nif;

pub use chain::IdSet;
pub use change::Op;
pub use config::{
    Config, DEFAULT_COMPACTION_THRESHOLD, DEFAULT_LANES, DEFAULT_MAX_LOG_BYTES, Durability, Filter,
    SMALLEST_LOG, Verify,
};
pub use dictionary::TERM_ID_FLAG;
pub use error::{Error, Result};
pub use hash::{Fingerprint, HashKey, KeyHasher, NUM_SLOTS, jump_hash};
pub use index::Index;
pub use key::{Key, TermKey};
pub use listing::{Listing, Slice};
pub use load::{LanePairs, Loader};
pub use namespaces::Outcome;
pub use pace::Pace;
pub use questions::Question;
pub use reconcile::Reconciler;
pub use recovery::Recovery;
pub use repair::{Lost, Remedy, repair, repair_on};
pub use residency::Residency;
pub use routes::{Most, Target};
pub use slots::SlotTable;
pub use stamp::{MAX_STAMP_LEN, Pending};
pub use stats::{Memory, SectionBytes, Stats};
pub use verify::{CheckedFile, Progress, Report, Verifier, verify, verify_on};
pub use wal::LostBytes;
pub use write::{Attempt, Change};

/// The longest key, in bytes.
pub const MAX_KEY_LEN: usize = 65_535;

/// The largest id.
pub const MAX_ID: u32 = (1 << 31) - 1;
