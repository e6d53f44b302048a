//! A segment's bytes, and where its sections lie in them: found once, as look-ups need several of them
//! several times.

use self_cell::self_cell;

use super::format::{Layout, Section};
use crate::mmap::MappedBytes;

/// The sections, without their padding.
#[derive(Debug)]
pub(super) struct Sections<'b> {
    pub(super) pilots: &'b [u8],
    pub(super) remap: &'b [u8],
    pub(super) signatures: &'b [u8],
    pub(super) entries: &'b [u8],
    pub(super) cold: &'b [[u8; 2]],
    pub(super) postings: &'b [[u8; 4]],
    pub(super) filter: &'b [u8],
}

self_cell!(
    pub(super) struct Body {
        owner: MappedBytes,
        #[covariant]
        dependent: Sections,
    }

    impl {Debug}
);

impl Body {
    /// Of bytes that are as long as the layout says.
    pub(super) fn of(bytes: MappedBytes, layout: &Layout) -> Self {
        Body::new(bytes, |bytes| {
            let section = |section| &bytes[layout.range(section)];
            Sections {
                pilots: section(Section::Pilots),
                remap: section(Section::Remap),
                signatures: section(Section::Signatures),
                entries: section(Section::Entries),
                cold: section(Section::Cold).as_chunks().0,
                postings: section(Section::Postings).as_chunks().0,
                filter: section(Section::Filter),
            }
        })
    }

    pub(super) fn bytes(&self) -> &MappedBytes {
        self.borrow_owner()
    }

    #[inline]
    pub(super) fn sections(&self) -> &Sections<'_> {
        self.borrow_dependent()
    }
}
