//! What is compared, and what all of it has to offer.

mod fjall;
mod hash_map;
mod lmdb;
mod lsm_index;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::path::Path;

use crate::Result;
use crate::measure::{self, Figures, Stage};
use crate::workload::Key;

/// A map from keys to ids, in a directory.
pub(crate) trait Peer: Sized {
    /// As the table calls it.
    const NAME: &'static str;
    /// The crate it comes from.
    const CRATE: &'static str;
    /// Whether it outlives the process.
    const PERSISTENT: bool = true;
    /// Whether it wants the pairs of a load in the order of their keys.
    const SORTED: bool = true;

    /// In words, how it differs from its defaults for so many keys.
    fn settings(keys: u64) -> String;

    /// Fills an empty directory in the way its documentation has for that, until all of it is on
    /// stable storage.
    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()>;

    /// Opens what was loaded, for reading and writing.
    fn open(dir: &Path, keys: u64) -> Result<Self>;

    /// What look-ups are made with: a read transaction, if the peer has them.
    fn reader(&self) -> Result<impl Reader>;

    /// Puts a new pair, of which the process's end takes nothing away; without waiting for the
    /// disk.
    fn put(&mut self, key: Key, id: u32) -> Result<()>;

    /// Puts new pairs, all or none of them.
    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()>;

    /// Leaves everything on stable storage.
    fn close(self) -> Result<()>;
}

/// Memory that is enough for all of it, in whichever form a peer caches it.
fn ample_cache(keys: u64) -> u64 {
    (256 << 20) + 128 * keys
}

/// Looks keys up.
pub(crate) trait Reader {
    fn get(&self, key: &Key) -> Result<Option<u32>>;

    /// The same for many: by what the peer has for that, or one after the other.
    fn get_many(&self, keys: &[Key], found: &mut [Option<u32>]) -> Result<()> {
        for (key, found) in keys.iter().zip(found) {
            *found = self.get(key)?;
        }
        Ok(())
    }
}

/// A peer, whichever type it has.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) crate_name: &'static str,
    pub(crate) persistent: bool,
    pub(crate) settings: fn(u64) -> String,
    /// Measures one stage, in this process.
    pub(crate) run: fn(Stage, &Path, u64) -> Result<Figures>,
}

impl Entry {
    const fn of<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            crate_name: P::CRATE,
            persistent: P::PERSISTENT,
            settings: P::settings,
            run: measure::run::<P>,
        }
    }
}

/// In the order of the table's columns; the first is what the others are set beside.
pub(crate) const ALL: &[Entry] = &[
    Entry::of::<lsm_index::LsmIndex>(),
    Entry::of::<lmdb::Lmdb>(),
    Entry::of::<redb::Redb>(),
    Entry::of::<fjall::Fjall>(),
    #[cfg(feature = "rocksdb")]
    Entry::of::<rocksdb::RocksDb>(),
    Entry::of::<hash_map::Map>(),
];
