//! The 32-bit value word of overlay entries, and of a segment's while it is written.
//!
//! | bits | meaning |
//! |---|---|
//! | `0`, 31-bit id | a complete set of one id |
//! | `1`, 31-bit offset | a list elsewhere: in the overlay's lists, or in the postings in units of 4 bytes |
//! | all ones | the empty set (a tombstone) |

/// One value word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u32);

/// A word's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    Tombstone,
    Id(u32),
    Offset(u32),
}

impl Word {
    pub(crate) const TOMBSTONE: Word = Word(u32::MAX);
    /// Offsets are below this; the value above is the tombstone's.
    pub(crate) const MAX_OFFSET: u32 = (1 << 31) - 2;
    const FLAG: u32 = 1 << 31;

    /// Ids are below 2^31; none must pass for an offset.
    pub(crate) fn id(id: u32) -> Self {
        Word(id & !Self::FLAG)
    }

    pub(crate) fn offset(offset: u32) -> Self {
        debug_assert!(offset <= Self::MAX_OFFSET);
        Word(Self::FLAG | offset)
    }

    #[inline]
    pub(crate) fn unpack(self) -> Unpacked {
        match self {
            Self::TOMBSTONE => Unpacked::Tombstone,
            Word(word) if word & Self::FLAG == 0 => Unpacked::Id(word),
            Word(word) => Unpacked::Offset(word & !Self::FLAG),
        }
    }
}
