//! Look-ups in a segment. Nothing read from its bytes is trusted as an index unchecked.

use prefetch_index::prefetch_index;

use super::entries::{Packing, hot_bits, hot_parts};
use super::filter::FilterParams;
use super::mph::Mph;
use super::packed::Values;
use super::reader::Segment;
use super::writer::DELTA_FLAG;
use crate::config::Verify;
use crate::error::Result;
use crate::hash::Fingerprint;
use crate::record::{Ids, RecordRef};
use crate::slots::SlotTable;
use crate::word::Unpacked;

/// All that look-ups read of a segment before its bytes: side by side, so that it is in few cache
/// lines, and not behind one pointer after the other.
#[derive(Debug)]
pub(crate) struct Table<'s> {
    pub(super) mph: Mph,
    pub(super) pilots: &'s [u8],
    pub(super) remap: &'s [u8],
    pub(super) signatures: &'s [u8],
    pub(super) entries: &'s [u8],
    pub(super) cold: &'s [[u8; 2]],
    pub(super) postings: &'s [[u8; 4]],
    pub(super) packing: Packing,
    pub(super) values: Values,
    pub(super) slots: SlotTable,
    pub(super) filter: FilterParams,
    pub(super) filter_bytes: &'s [u8],
    /// For what few look-ups want.
    pub(super) segment: &'s Segment,
}

/// A look-up under way, between prefetches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) fingerprint: Fingerprint,
    /// Bucket, then position; beyond all once the key is known to be absent.
    at: usize,
}

/// A key that is there: its packed word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found(u64);

const ABSENT: usize = usize::MAX;

impl Probe {
    pub(crate) fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, at: ABSENT }
    }
}

impl<'s> Table<'s> {
    pub(crate) fn segment(&self) -> &'s Segment {
        self.segment
    }

    /// Whether the filter says that the key is not there.
    #[inline]
    pub(crate) fn excludes(&self, fingerprint: Fingerprint) -> bool {
        !self.filter.may_have(self.filter_bytes, fingerprint)
    }

    /// The record of a key of the segment's lane, as [`Table::find`] finds it.
    pub(crate) fn get(
        &self,
        fingerprint: Fingerprint,
        verify: Verify,
    ) -> Result<Option<RecordRef<'s>>> {
        self.find(fingerprint, verify).map(|found| self.record(found)).transpose()
    }

    /// A key of the segment's lane. With [`Verify::Fast`] an absent key passes for a present one
    /// with probability lanes / 2^48: all but the cold bits are compared.
    #[inline]
    pub(crate) fn find(&self, fingerprint: Fingerprint, verify: Verify) -> Option<Found> {
        self.matching_word(fingerprint, self.position(fingerprint)?, verify)
    }

    /// The key's id, if it has but one and that stands here: nearly always, and told without a record,
    /// which goes through memory, written in parts and read as a whole. Processors wait for that.
    #[inline]
    pub(crate) fn only_id(&self, found: Found) -> Option<u32> {
        match self.values.unpack(found.0)? {
            Unpacked::Id(id) => Some(id),
            _ => None,
        }
    }

    /// What stands here of a key.
    pub(crate) fn record(&self, found: Found) -> Result<RecordRef<'s>> {
        match self.values.unpack(found.0) {
            Some(Unpacked::Id(id)) => Ok(RecordRef::Complete(Ids::One(id))),
            Some(Unpacked::Tombstone) => Ok(RecordRef::Tombstone),
            Some(Unpacked::Offset(offset)) => list_at(self.postings, offset as usize)
                .ok_or_else(|| self.segment.corrupt_posting(offset)),
            None => Err(self.segment.corrupt_entry("an entry's value has no meaning")),
        }
    }

    /// Asks for the cache line of the key's list, if it has one.
    #[inline]
    pub(crate) fn fetch(&self, found: Found) {
        if let Some(Unpacked::Offset(offset)) = self.values.unpack(found.0) {
            prefetch_index(self.postings, offset as usize);
        }
    }

    /// Whether the segment has a record of the key.
    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.find(fingerprint, Verify::Full).is_some()
    }

    /// Where the key is if it is there.
    #[inline]
    pub(super) fn position(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.mph.position(fingerprint, self.pilots, self.remap)
    }

    /// The packed word at the position, if the fingerprint there is the key's.
    #[inline]
    fn matching_word(
        &self,
        fingerprint: Fingerprint,
        position: usize,
        verify: Verify,
    ) -> Option<Found> {
        let Self { signatures, entries, cold, packing, .. } = self;
        if *signatures.get(position)? != fingerprint.signature() {
            return None;
        }
        if packing.hot_bits(entries, position)? != hot_bits(fingerprint, &self.slots) {
            return None;
        }
        if verify == Verify::Full
            && u16::from_le_bytes(*cold.get(position)?) != fingerprint.cold_bits()
        {
            return None;
        }
        packing.word(entries, position).map(Found)
    }

    /// First stage of a staged look-up: finds the bucket and asks for its pilot's cache line.
    #[inline]
    pub(crate) fn locate(&self, probe: &mut Probe) {
        probe.at = self.mph.bucket(probe.fingerprint);
        prefetch_index(self.pilots, probe.at);
    }

    /// Second stage: finds the position and asks for the signature.
    #[inline]
    pub(crate) fn approach(&self, probe: &mut Probe) {
        let pilot = self.pilots.get(probe.at).copied().unwrap_or_default();
        let slot = self.mph.slot(probe.fingerprint, pilot);
        probe.at = self.mph.remapped(slot, self.remap).unwrap_or(ABSENT);
        prefetch_index(self.signatures, probe.at);
    }

    /// Third stage: asks for the rest of what is compared, if the signature matches.
    #[inline]
    pub(crate) fn sign(&self, probe: &mut Probe, verify: Verify) {
        if self.signatures.get(probe.at) != Some(&probe.fingerprint.signature()) {
            probe.at = ABSENT;
            return;
        }
        for byte in self.packing.ends(probe.at) {
            prefetch_index(self.entries, byte);
        }
        if verify == Verify::Full {
            prefetch_index(self.cold, probe.at);
        }
    }

    /// Last stage: the key, as [`Table::find`] finds it.
    #[inline]
    pub(crate) fn finish(&self, probe: &Probe, verify: Verify) -> Option<Found> {
        self.matching_word(probe.fingerprint, probe.at, verify)
    }

    /// The fingerprint and record at each position.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<(Fingerprint, RecordRef<'s>)>> {
        let slots = self.slots.of_lane(self.segment.origin().lane);
        // Of a rank that the lane does not have, damage made the entry.
        let entry = move |position| {
            let (rank, entry_bits) = hot_parts(self.packing.hot_bits(self.entries, position)?);
            Some((*slots.get(rank)?, entry_bits, self.packing.word(self.entries, position)?))
        };
        let signed = self.signatures.iter().zip(self.cold).enumerate();
        signed.map(move |(position, (&signature, &cold))| {
            let Some((slot, entry_bits, word)) = entry(position) else {
                return Err(self.segment.corrupt_entry("an entry is of no slot of the lane"));
            };
            let cold_bits = u16::from_le_bytes(cold);
            let fingerprint = Fingerprint::from_parts(slot, signature, entry_bits, cold_bits);
            Ok((fingerprint, self.record(Found(word))?))
        })
    }
}

/// The record of the list that begins with a word, if all of it is there.
fn list_at(words: &[[u8; 4]], offset: usize) -> Option<RecordRef<'_>> {
    let words = words.get(offset..)?;
    let word = |i: usize| words.get(i).map(|w| u32::from_le_bytes(*w));
    let first = word(0)?;
    if first & DELTA_FLAG == 0 {
        let ids = words.get(1..1 + first as usize)?;
        return (!ids.is_empty()).then_some(RecordRef::Complete(Ids::Stored(ids)));
    }
    let adds = (first & !DELTA_FLAG) as usize;
    let removes = word(1)? as usize;
    let lists = words.get(3..3 + adds + removes)?;
    Some(RecordRef::Delta {
        adds: Ids::Stored(&lists[..adds]),
        removes: Ids::Stored(&lists[adds..]),
        len: word(2)?,
    })
}
