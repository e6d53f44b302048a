//! redb: a B-tree with copy on write and a cache of its own.

use std::path::Path;

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction,
};

use super::{Peer, Reader, ample_cache};
use crate::Result;
use crate::workload::Key;

/// Keys as numbers, which it compares at once.
const TABLE: TableDefinition<'_, u64, u32> = TableDefinition::new("ids");

pub(crate) struct Redb(Database);

fn database(dir: &Path, keys: u64) -> Result<Database> {
    let cache = ample_cache(keys) as usize;
    Ok(Database::builder().set_cache_size(cache).create(dir.join("redb"))?)
}

fn insert(transaction: WriteTransaction, pairs: &[(Key, u32)]) -> Result<()> {
    let mut table = transaction.open_table(TABLE)?;
    for (key, id) in pairs {
        table.insert(u64::from_be_bytes(*key), id)?;
    }
    drop(table);
    Ok(transaction.commit()?)
}

impl Peer for Redb {
    const NAME: &'static str = "redb";
    const CRATE: &'static str = "redb";

    fn settings(keys: u64) -> String {
        let cache = ample_cache(keys) >> 20;
        format!(
            "keys as u64, cache of {cache} MiB; loaded in order in one transaction, then compact; \
             writes with Durability::None"
        )
    }

    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        let mut database = database(dir, pairs.len() as u64)?;
        insert(database.begin_write()?, pairs)?;
        database.compact()?;
        Ok(())
    }

    fn open(dir: &Path, keys: u64) -> Result<Self> {
        database(dir, keys).map(Self)
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(self.0.begin_read()?.open_table(TABLE)?)
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        self.put_all(&[(key, id)])
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::None)?;
        insert(transaction, pairs)
    }

    fn close(self) -> Result<()> {
        // A commit of the default durability takes those before it along.
        Ok(self.0.begin_write()?.commit()?)
    }
}

impl Reader for ReadOnlyTable<u64, u32> {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        Ok(ReadOnlyTable::get(self, u64::from_be_bytes(*key))?.map(|id| id.value()))
    }
}
