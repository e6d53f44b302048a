//! A hash table in memory: what look-ups cost when nothing has to outlive the process.

use std::path::Path;

use hashbrown::HashMap;

use super::{Peer, Reader};
use crate::Result;
use crate::workload::{Key, pairs};

/// The table has the keys as numbers.
pub(crate) struct Map(HashMap<u64, u32>);

impl Peer for Map {
    const NAME: &'static str = "hashbrown";
    const CRATE: &'static str = "hashbrown";
    const PERSISTENT: bool = false;
    const SORTED: bool = false;

    fn settings(_keys: u64) -> String {
        "in memory only, foldhash, room for all keys from the start; opening is loading".into()
    }

    fn load(_dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        // Taking it apart again is no part of a load.
        std::mem::forget(filled(pairs));
        Ok(())
    }

    fn open(_dir: &Path, keys: u64) -> Result<Self> {
        Ok(Self(filled(&pairs(keys))))
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(&self.0)
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        self.0.insert(u64::from_be_bytes(key), id);
        Ok(())
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        pairs.iter().try_for_each(|&(key, id)| self.put(key, id))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

fn filled(pairs: &[(Key, u32)]) -> HashMap<u64, u32> {
    let mut map = HashMap::with_capacity(pairs.len());
    map.extend(pairs.iter().map(|&(key, id)| (u64::from_be_bytes(key), id)));
    map
}

impl Reader for &HashMap<u64, u32> {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        Ok(HashMap::get(self, &u64::from_be_bytes(*key)).copied())
    }
}
