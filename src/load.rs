//! Bulk loading: pairs are gathered per lane and streamed straight into segments.

use crate::change::Op;
use crate::error::Result;
use crate::freed;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::key::Key;

/// Pairs held in memory before lanes are written out: 64 MiB at 16 bytes a pair.
const MAX_BUFFERED: usize = 1 << 22;

/// Ids that are added to a key at a time: a writer's share before others get their turn.
const MOST_AT_ONCE: usize = 4096;

/// A bulk load under way. Pairs are added to the index when their lane is written out, at the
/// latest by the last [`Loader::step`].
#[derive(Debug)]
pub struct Loader {
    lanes: Vec<Vec<(Fingerprint, u32)>>,
    buffered: usize,
    most: usize,
    total: u64,
}

impl Loader {
    /// A load into `index`.
    #[must_use]
    pub fn new(index: &Index) -> Self {
        Self::with_buffer(index, MAX_BUFFERED)
    }

    /// As [`Loader::new`], holding at most about `most` pairs (16 bytes each) in memory.
    #[must_use]
    pub fn with_buffer(index: &Index, most: usize) -> Self {
        let lanes = (0..index.num_lanes()).map(|_| Vec::new()).collect();
        Self { lanes, buffered: 0, most, total: 0 }
    }

    /// Takes one pair.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`](crate::Error::KeyTooLong),
    /// [`Error::IdOutOfRange`](crate::Error::IdOutOfRange); the pair is not taken then.
    #[inline]
    pub fn add<K: Key + ?Sized>(&mut self, index: &Index, key: &K, id: u32) -> Result<()> {
        let fingerprint = index.fingerprint(key)?;
        index.check_id(id, Op::Put)?;
        self.lanes[index.slots.lane(fingerprint)].push((fingerprint, id));
        self.buffered += 1;
        self.total += 1;
        Ok(())
    }

    /// Whether more pairs are held than memory is meant for; [`Loader::step`] makes room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffered >= self.most
    }

    /// Pairs taken so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes the fullest lane's pairs out, for [`LanePairs::write`]; none if all are written.
    /// Several threads may write what they took at the same time.
    #[must_use]
    pub fn take_fullest(&mut self) -> Option<LanePairs> {
        let fullest = (0..self.lanes.len()).max_by_key(|&lane| self.lanes[lane].len());
        let lane = fullest.filter(|&lane| !self.lanes[lane].is_empty())?;
        let pairs = std::mem::take(&mut self.lanes[lane]);
        self.buffered -= pairs.len();
        Some(LanePairs { lane, pairs })
    }

    /// The same while more than half of what memory is meant for is held: to be called when it is full, by
    /// several threads at once if there are cores for them.
    #[must_use]
    pub fn take_surplus(&mut self) -> Option<LanePairs> {
        if self.buffered > self.most / 2 { self.take_fullest() } else { None }
    }

    /// Takes the fullest lane and writes it; false if there was none. Then all that was loaded is
    /// on stable storage.
    ///
    /// # Errors
    /// As [`LanePairs::write`].
    pub fn step(&mut self, index: &Index) -> Result<bool> {
        match self.take_fullest() {
            Some(pairs) => pairs.write(index).map(|()| true),
            None => index.finish_load().map(|()| false),
        }
    }
}

/// Pairs of one lane on their way into the index.
#[derive(Debug)]
pub struct LanePairs {
    lane: usize,
    pairs: Vec<(Fingerprint, u32)>,
}

impl LanePairs {
    /// Adds the pairs to the index. A bounded piece of work: one segment.
    ///
    /// # Errors
    /// Those of a flush. The pairs are lost from the load then; nothing is from the index.
    pub fn write(self, index: &Index) -> Result<()> {
        index.load_lane(self.lane, self.pairs)
    }
}

impl Index {
    /// Pairs of keys that were there already went through the log, or past it.
    pub(crate) fn finish_load(&self) -> Result<()> {
        self.check_writable()?;
        let synced = self.sync();
        freed::give_back();
        synced
    }

    fn load_lane(&self, number: usize, mut pairs: Vec<(Fingerprint, u32)>) -> Result<()> {
        self.check_writable()?;
        pairs.sort_unstable();
        pairs.dedup();
        let lane = self.lane_or_new(number);
        let begin = || {
            for &(key, id) in &pairs {
                self.reconciliations.note(number, key, &[(id, Op::Put)]);
            }
        };
        let mut known = Vec::new();
        let loaded = lane.load_new_keys(&pairs, &mut known, &self.upkeep(), begin);
        // The overlay may have been frozen for a segment that was not made.
        self.note(lane.state().frozen.is_some());
        loaded?;
        // Keys that the index has already take the ordinary way.
        let mut wanted = Vec::new();
        for of_key in known.chunk_by(|a, b| a.0 == b.0) {
            for ids in of_key.chunks(MOST_AT_ONCE) {
                self.relieve(number)?;
                self.relieve_log()?;
                let gate = lane.gate();
                self.check_open()?;
                wanted.clear();
                wanted.extend(ids.iter().map(|&(_, id)| (id, Op::Put)));
                let wal = self.wal_for(self.durability);
                self.change_key(lane, &gate, ids[0].0, &wanted, wal, None)?;
            }
        }
        Ok(())
    }
}
