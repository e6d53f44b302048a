//! fjall: an LSM tree with a cache of blocks.

use std::path::Path;

use fjall::config::{HashRatioPolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Peer, Reader, ample_cache};
use crate::Result;
use crate::workload::Key;

pub(crate) struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Peer for Fjall {
    const NAME: &'static str = "fjall";
    const CRATE: &'static str = "fjall";

    fn settings(keys: u64) -> String {
        let cache = ample_cache(keys) >> 20;
        format!(
            "cache of {cache} MiB, all index and filter blocks pinned, hash indexes in data blocks, \
             no compression; loaded in order by ingestion; writes without persist"
        )
    }

    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        let Self { database, keyspace } = Self::open(dir, pairs.len() as u64)?;
        let mut ingestion = keyspace.start_ingestion()?;
        for (key, id) in pairs {
            ingestion.write(key, id.to_le_bytes())?;
        }
        ingestion.finish()?;
        Ok(database.persist(PersistMode::SyncAll)?)
    }

    fn open(dir: &Path, keys: u64) -> Result<Self> {
        let database = Database::builder(dir).cache_size(ample_cache(keys)).open()?;
        let keyspace = database.keyspace("ids", || {
            KeyspaceCreateOptions::default()
                .index_block_pinning_policy(PinningPolicy::all(true))
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        })?;
        Ok(Self { database, keyspace })
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(&self.keyspace)
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        Ok(self.keyspace.insert(key, id.to_le_bytes())?)
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        let mut batch = self.database.batch();
        for (key, id) in pairs {
            batch.insert(&self.keyspace, key, id.to_le_bytes());
        }
        Ok(batch.commit()?)
    }

    fn close(self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Reader for &Keyspace {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        let value = Keyspace::get(self, key)?;
        Ok(value.map(|id| id[..].try_into().map(u32::from_le_bytes)).transpose()?)
    }
}
