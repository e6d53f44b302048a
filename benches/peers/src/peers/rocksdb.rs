//! RocksDB, as the system has it: an LSM tree with a cache of blocks.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DataBlockIndexType, IngestExternalFileOptions,
    Options, SstFileWriter, WriteBatch,
};

use super::{Peer, Reader, ample_cache};
use crate::Result;
use crate::workload::Key;

const COLUMN_FAMILY: &str = "default";

pub(crate) struct RocksDb(DB);

/// What `OptimizeForPointLookup` sets, and more cache; it has no cache for index and filter blocks,
/// which stay in memory.
fn options(keys: u64) -> Result<Options> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.75);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_format_version(5);
    blocks.set_block_cache(&Cache::new_lru_cache(ample_cache(keys) as usize)?);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_memtable_prefix_bloom_ratio(0.02);
    options.set_memtable_whole_key_filtering(true);
    options.set_compression_type(DBCompressionType::None);
    Ok(options)
}

impl Peer for RocksDb {
    const NAME: &'static str = "RocksDB";
    const CRATE: &'static str = "rocksdb";

    fn settings(keys: u64) -> String {
        let cache = ample_cache(keys) >> 20;
        format!(
            "the system's library; OptimizeForPointLookup, cache of {cache} MiB, no compression; \
             loaded in order by ingestion of a file; batches by batched MultiGet; writes without sync"
        )
    }

    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        let options = options(pairs.len() as u64)?;
        let file = dir.join("load.sst");
        let mut writer = SstFileWriter::create(&options);
        writer.open(&file)?;
        for (key, id) in pairs {
            writer.put(key, id.to_le_bytes())?;
        }
        writer.finish()?;
        let db = DB::open(&options, dir)?;
        let mut ingestion = IngestExternalFileOptions::default();
        ingestion.set_move_files(true);
        db.ingest_external_file_opts(&ingestion, vec![file])?;
        Ok(db.flush()?)
    }

    fn open(dir: &Path, keys: u64) -> Result<Self> {
        Ok(Self(DB::open_cf_with_opts(&options(keys)?, dir, [(COLUMN_FAMILY, options(keys)?)])?))
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(&self.0)
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        Ok(self.0.put(key, id.to_le_bytes())?)
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, id) in pairs {
            batch.put(key, id.to_le_bytes());
        }
        Ok(self.0.write(batch)?)
    }

    fn close(self) -> Result<()> {
        self.0.flush_wal(true)?;
        Ok(())
    }
}

fn id(bytes: &[u8]) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

impl Reader for &DB {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        self.get_pinned(key)?.map(|bytes| id(&bytes)).transpose()
    }

    fn get_many(&self, keys: &[Key], found: &mut [Option<u32>]) -> Result<()> {
        let family = self.cf_handle(COLUMN_FAMILY).ok_or("no default column family")?;
        for (bytes, found) in self.batched_multi_get_cf(family, keys, false).into_iter().zip(found)
        {
            *found = bytes?.map(|bytes| id(&bytes)).transpose()?;
        }
        Ok(())
    }
}
