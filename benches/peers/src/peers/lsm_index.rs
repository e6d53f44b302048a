//! This library, in mapped files.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use lsm_index::{Config, IdSet, Index, Loader, Op};

use super::{Peer, Reader};
use crate::Result;
use crate::workload::Key;

/// An index, and the thread that does its background work, as other peers start theirs.
pub(crate) struct LsmIndex {
    index: Arc<Index>,
    wakeups: Sender<()>,
    worker: JoinHandle<lsm_index::Result<()>>,
}

impl LsmIndex {
    /// Tells the thread, if there is something to do.
    fn wake(&self) -> Result<()> {
        if self.index.claim_wakeup() {
            self.wakeups.send(())?;
        }
        Ok(())
    }
}

impl Peer for LsmIndex {
    const NAME: &'static str = "lsm_index";
    const CRATE: &'static str = "lsm_index";
    const SORTED: bool = false;

    fn settings(_keys: u64) -> String {
        "as it comes; Loader, then compact; a thread for the background work".into()
    }

    fn load(dir: &Path, pairs: &[(Key, u32)]) -> Result<()> {
        let index = Index::open(dir, &Config::default())?;
        let mut loader = Loader::new(&index);
        for (key, id) in pairs {
            loader.add(&index, key, *id)?;
            if loader.is_full() {
                loader.step(&index)?;
            }
        }
        while loader.step(&index)? {}
        index.compact()?;
        Ok(index.close()?)
    }

    fn open(dir: &Path, _keys: u64) -> Result<Self> {
        let index = Arc::new(Index::open(dir, &Config::default())?);
        let (wakeups, woken) = channel();
        let working = Arc::clone(&index);
        let worker = thread::spawn(move || {
            for () in woken {
                while working.work()? {}
            }
            Ok(())
        });
        Ok(Self { index, wakeups, worker })
    }

    fn reader(&self) -> Result<impl Reader> {
        Ok(&*self.index)
    }

    fn put(&mut self, key: Key, id: u32) -> Result<()> {
        self.index.put(&key, id)?;
        self.wake()
    }

    fn put_all(&mut self, pairs: &[(Key, u32)]) -> Result<()> {
        let batch: Vec<(Op, &[u8], u32)> =
            pairs.iter().map(|(key, id)| (Op::Put, &key[..], *id)).collect();
        self.index.write(&batch)?;
        self.wake()
    }

    fn close(self) -> Result<()> {
        drop(self.wakeups);
        self.worker.join().map_err(|_| "the background work panicked")??;
        Ok(self.index.close()?)
    }
}

/// All keys of this benchmark have one id at most.
fn only(ids: &IdSet) -> Option<u32> {
    match ids {
        IdSet::Empty => None,
        IdSet::One(id) => Some(*id),
        IdSet::Many(_) => panic!("a key has several ids"),
    }
}

impl Reader for &Index {
    fn get(&self, key: &Key) -> Result<Option<u32>> {
        Ok(only(&Index::get(self, key)?))
    }

    fn get_many(&self, keys: &[Key], found: &mut [Option<u32>]) -> Result<()> {
        Ok(Index::get_many(self, keys, |place, ids| found[place] = only(&ids))?)
    }
}
