//! The census: how many keys lead to each term is not stored, but counted after an index is opened.
//!
//! Look-ups do not need it. Changes of routes do, and listings by namespace; whoever comes first
//! with one of those takes it, unless background work has been quicker.

use std::collections::HashMap;

use crate::dictionary::SHARDS;
use crate::error::Result;
use crate::index::Index;
use crate::sync::atomic::Ordering;

/// Shards that are settled in one piece.
const SHARDS_AT_ONCE: usize = 16;

/// How far the census has got. Done once the dictionary is settled.
#[derive(Debug, Default)]
pub(crate) struct Census {
    next_lane: usize,
    next_shard: usize,
    /// Terms with keys by namespace.
    members: HashMap<u32, u32>,
}

impl Index {
    /// Does one bounded piece of the census, a lane or some shards; false if it was done.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a key leads to a term that is not there, or a
    /// segment is damaged.
    pub(crate) fn step_census(&self) -> Result<bool> {
        if self.dictionary.is_settled() {
            return Ok(false);
        }
        let mut census = self.census.lock();
        if self.dictionary.is_settled() {
            return Ok(false);
        }
        let Census { next_lane, next_shard, members } = &mut *census;
        // No route changes meanwhile, as that takes a dictionary that is settled; so lanes can be
        // looked at one after the other.
        if *next_lane < self.num_lanes() as usize {
            if let Some(lane) = self.lane(*next_lane) {
                let each = |count: &mut dyn FnMut(&[u32])| lane.for_each_key(|_, ids| count(ids));
                let counted = self.dictionary.count_references(each);
                // Terms may be missing because the index closed meanwhile.
                self.check_open()?;
                counted?;
            }
            *next_lane += 1;
        } else if *next_shard < SHARDS {
            for number in *next_shard..*next_shard + SHARDS_AT_ONCE {
                self.dictionary.settle_shard(number, |namespace, live| {
                    *members.entry(namespace).or_default() += live;
                });
            }
            *next_shard += SHARDS_AT_ONCE;
        } else {
            let unsettled = self.dictionary.settle(members.drain());
            self.purge_later(unsettled);
        }
        self.work_waits.store(true, Ordering::SeqCst);
        Ok(true)
    }

    /// Takes what is left of the census.
    ///
    /// # Errors
    /// Those of a damaged index, see [`Index::open`].
    pub fn take_census(&self) -> Result<()> {
        self.check_open()?;
        while self.step_census()? {}
        Ok(())
    }
}
