//! What is on its way to stable storage before a change of a namespace is promised: its name, or
//! that there is none.

use crate::config::Durability;
use crate::dictionary::Scope;
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::lane::Lane;
use crate::write::Attempt;

impl Index {
    fn is_partly_logged(&self, key: Fingerprint) -> bool {
        self.lane(self.slots.lane(key)).is_some_and(Lane::is_partly_logged)
    }

    /// Sees to it that the log has the name of a namespace that is there, before it has any of its
    /// changes. There may have been another of that name, which went without the log: a recovery
    /// has the newer one take its place.
    pub(crate) fn log_name(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
    ) -> Result<Attempt<()>> {
        if self.wal_for(durability).is_some() && self.is_partly_logged(key) {
            return self.make_namespace(key, name, durability);
        }
        Ok(Attempt::Done(()))
    }

    /// Whether a change of that durability has no changes before it that are less of a promise.
    pub(crate) fn is_all_logged(&self, durability: Durability) -> bool {
        self.wal_for(durability).is_none() || !self.lanes().any(Lane::is_partly_logged)
    }

    /// That there is no namespace of the name is promised as if it had been dropped this moment, once
    /// that is settled. Nobody else makes one meanwhile.
    pub(crate) fn promise_absence(
        &self,
        key: Fingerprint,
        name: &[u8],
        durability: Durability,
    ) -> Result<()> {
        self.check_writable()?;
        if !self.is_all_logged(durability) {
            // Its targets may have gone without the log: what a recovery brings back of them is not
            // to be the next one's.
            self.dictionary.forget(&Scope::NAMES.term(name));
            // So may its name, which no record can make up for: nobody knows the id it had.
            if self.is_partly_logged(key)
                && let Some(lane) = self.lane(self.slots.lane(key))
            {
                lane.flush(&self.upkeep())?;
            }
        }
        Ok(())
    }
}
