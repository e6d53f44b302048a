//! A version together with the tables that borrow from it, in one place: what keeps such values behind
//! a pointer of their own costs every look-up a wait for it, a twentieth of one in the caches.
#![expect(unsafe_code, reason = "no type tells that a value borrows from the one beside it")]

use std::sync::Arc;

use crate::version::{Tables, Version};

/// A version's tables, with the version. Such a value lies in what is shared, and is dropped where it lies:
/// handed to a function that drops it, its references would have to outlive the call.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Of `version`; never handed out for longer than this is borrowed, and dropped first.
    tables: Tables<'static>,
    version: Arc<Version>,
}

impl Opened {
    pub(crate) fn of(version: Arc<Version>) -> Self {
        // SAFETY: what an `Arc` holds stays where it is, whatever becomes of the `Arc`, until the last
        // one is dropped; and a version is only ever shared, never changed. The one beside the tables
        // outlives them: both are private, neither is replaced, and the tables are dropped first.
        let lasting: &'static Version = unsafe { &*Arc::as_ptr(&version) };
        Self { tables: Tables::of(lasting), version }
    }

    pub(crate) fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// The tables, for no longer than `self` is there.
    #[inline]
    pub(crate) fn tables(&self) -> &Tables<'_> {
        &self.tables
    }
}

impl Default for Opened {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::config::Verify;
    use crate::hash::Fingerprint;
    use crate::mmap::MappedBytes;
    use crate::segment::{Origin, Segment, SegmentWriter};
    use crate::slots::SlotTable;

    #[test]
    fn tables_answer_for_as_long_as_they_are_there() {
        let (slots, key) = (SlotTable::new(1), Fingerprint(7 << 14));
        let mut writer = SegmentWriter::with_capacity(1);
        writer.add_one(key, 9);
        let bytes = writer.finish(Origin::default(), &slots).expect("laid out");
        let bytes = MappedBytes::anonymous(bytes).expect("mapped");
        let segment = Arc::new(Segment::new(bytes, None, &slots).expect("sound"));
        let version = Arc::new(Version::new(vec![(2, Arc::clone(&segment))]));
        let opened = Arc::new(Opened::of(Arc::clone(&version)));
        drop(version);
        let moved = std::thread::spawn(move || opened).join().expect("done");
        let mut chain = Chain::default();
        assert_eq!(moved.tables().ask(key, Verify::Full, &mut chain).expect("sound"), 1);
        assert!(chain.contains(9) && !chain.contains(8));
        drop(chain);
        // Nobody else has the version, and with the tables it goes.
        assert_eq!((Arc::strong_count(moved.version()), Arc::strong_count(&segment)), (1, 2));
        drop(moved);
        assert_eq!(Arc::strong_count(&segment), 1);
    }
}
