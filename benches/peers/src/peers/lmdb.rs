//! LMDB: a B-tree in a mapped file.

use std::path::Path;

use heed::byteorder::NativeEndian;
use heed::types::{U32, U64};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags, RoTxn,
    WithTls,
};

use super::{Peer, Reader};
use crate::Result;
use crate::workload::Key;

type Ids = Database<'static, U64<NativeEndian>, U32<NativeEndian>, IntegerComparator>;

/// A table borrows its environment, which here stays open until the process ends.
pub(crate) struct Lmdb {
    env: &'static Env,
    ids: Ids,
}

/// Far more than it needs, in whole pages; the file has holes where nothing is.
fn map_size(keys: u64) -> u64 {
    ((1 << 30) + 128 * keys).next_multiple_of(1 << 20)
}

impl Lmdb {
    fn put_with(&self, flags: PutFlags, pairs: &[(Key, u32)]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, id) in pairs {
            let key = u64::from_be_bytes(*key);
            self.ids.put_with_flags(&mut transaction, flags, &key, id)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Peer for Lmdb {
    const NAME: &'static str = "LMDB";
    const CRATE: &'static str = "heed";

    fn settings(keys: u64) -> String {
        let map = map_size(keys) >> 20;
        format!(
            "MDB_INTEGERKEY, map of {map} MiB with MDB_WRITEMAP; loaded in order in one \
             transaction with MDB_APPEND; writes with MDB_NOSYNC"
        )
    }

    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        let lmdb = Self::open(dir, pairs.len() as u64)?;
        lmdb.put_with(PutFlags::APPEND, pairs)?;
        lmdb.close()
    }

    #[expect(unsafe_code, reason = "LMDB trusts that its file is left alone")]
    fn open(dir: &Path, keys: u64) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(map_size(keys) as usize);
        // SAFETY: without waiting for the disk, a power failure may damage the file; it is not
        // read after one.
        unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC) };
        // SAFETY: this process opens it once, and nobody else changes the file.
        let env = Box::leak(Box::new(unsafe { options.open(dir)? }));
        let created =
            env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                let options = opener.database_options().types().key_comparator();
                options.create(transaction).map(CommitOrAbort::<Ids, ()>::Commit)
            })?;
        Ok(Self { env, ids: created.unwrap_commit() })
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(Transaction { inner: self.env.read_txn()?, ids: self.ids })
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        self.put_with(PutFlags::empty(), &[(key, id)])
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        self.put_with(PutFlags::empty(), pairs)
    }

    fn close(self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}

struct Transaction {
    inner: RoTxn<'static, WithTls>,
    ids: Ids,
}

impl Reader for Transaction {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        Ok(self.ids.get(&self.inner, &u64::from_be_bytes(*key))?)
    }
}
