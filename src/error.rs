//! The one error type of the engine: every fault names the thing and the place.

use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for results of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, as data. Nothing is changed by a call that fails, but for what the
/// call itself says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index was closed; it answers nothing any more.
    #[error("the index is closed")]
    Closed,
    /// A panic or a failed write left memory and files in doubt: writes are refused until reopen.
    #[error("writes are refused until the index is reopened: {reason}")]
    Poisoned {
        /// What happened first.
        reason: String,
    },
    /// A key longer than [`crate::MAX_KEY_LEN`].
    #[error("key of {len} bytes is longer than {max}", max = crate::MAX_KEY_LEN)]
    KeyTooLong {
        /// The key's length in bytes.
        len: usize,
    },
    /// An id that does not fit in 31 bits.
    #[error("id {id} is not within 0..={max}", max = crate::MAX_ID)]
    IdOutOfRange {
        /// The id given.
        id: u64,
    },
    /// An option outside its domain.
    #[error("option {option}: {message}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value.
        message: String,
    },
    /// Somebody else has the directory open.
    #[error("{path} is open elsewhere{}", holder_suffix(*.holder))]
    Locked {
        /// The index's directory.
        path: PathBuf,
        /// The operating-system process id of the holder, where the lock file tells it.
        holder: Option<u32>,
    },
    /// An option given at open contradicts what the index was created with.
    #[error("option {option} is {given}, but the index at {path} was created with {stored}")]
    Mismatch {
        /// The option's name.
        option: &'static str,
        /// The stored value.
        stored: String,
        /// The value given.
        given: String,
        /// The index's directory.
        path: PathBuf,
    },
    /// The operating system refused a file operation.
    #[error("cannot {op} {path}: {source}")]
    Io {
        /// The operation.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's bytes are not what was written.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// The file was written by a version this one does not know.
    #[error("{path} has format version {found}, this library reads {supported}")]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version supported.
        supported: u32,
    },
    /// No minimal perfect hash was found for a segment's keys (never seen with random keys).
    #[error("no minimal perfect hash found for {keys} keys")]
    MphConstruction {
        /// How many keys the segment was to hold.
        keys: usize,
    },
    /// More than the format can hold in one file.
    #[error("{what} would exceed the format's limit of {limit}")]
    TooLarge {
        /// What grew too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Ids of 2^30 and above, and terms, whose ids those are, in one index.
    #[error("{what}: an index holds terms or ids of 2^30 and above, not both")]
    MixedIds {
        /// What was refused.
        what: &'static str,
    },
    /// The dictionary has handed out every id it has.
    #[error("the dictionary has no ids left; reopen the index to reuse freed ones")]
    IdsExhausted,
}

fn holder_suffix(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (by process {pid})"))
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_path_buf(), source }
    }

    pub(crate) fn corrupt(path: &Path, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset: offset as u64, what: what.into() }
    }
}
