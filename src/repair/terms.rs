//! The dictionary's file: whole terms are kept, wherever they are, in the log too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::lane::segments_in;
use super::{Lost, Repairer, damage};
use crate::dictionary::{Extent, TermLog};
use crate::epoch::{Epoch, TERMS, lane_dir};
use crate::error::{Error, Result};
use crate::hash::KeyHasher;
use crate::manifest::Manifest;
use crate::slots::SlotTable;
use crate::wal::Scan;

/// What is left of the dictionary.
#[derive(Debug)]
pub(super) struct Terms {
    /// What lanes made anew may rely on.
    pub(super) extent: Extent,
    path: PathBuf,
    /// What is wrong with the file, if it is to be made anew.
    fault: Option<String>,
    generation: u64,
    /// None if there was never a dictionary: ids of 2^30 and above are the index's own then.
    left: Option<Left>,
    /// Places that keys led to and that are gone, with repetitions.
    stray: Vec<u32>,
}

/// Terms by place.
#[derive(Debug, Default)]
struct Left {
    in_file: BTreeMap<u32, Vec<u8>>,
    /// Terms that only the log has. As long as nothing else leads there, that is as it should be.
    in_log: BTreeMap<u32, Vec<u8>>,
}

impl Terms {
    /// Whether a key may lead there.
    pub(super) fn has(&mut self, place: u32) -> bool {
        let Some(left) = &self.left else { return true };
        if left.in_file.contains_key(&place) {
            return true;
        }
        self.fault.get_or_insert_with(|| "it lacks terms that keys lead to".to_owned());
        left.in_log.contains_key(&place)
    }

    /// A pair of a key and a lost term was taken out.
    pub(super) fn dropped(&mut self, place: u32) {
        self.stray.push(place);
    }

    /// Whether ids of 2^30 and above are the dictionary's.
    pub(super) fn leads_to_terms(&self) -> bool {
        self.left.is_some()
    }

    /// Whether terms may be lost.
    pub(super) fn are_damaged(&self) -> bool {
        self.fault.is_some()
    }
}

/// What is known of the dictionary without its file.
#[derive(Clone, Copy, Debug, Default)]
struct ReliedOn {
    /// Nothing if the index never had terms.
    extent: Extent,
    /// A lane that cannot tell may rely on more.
    at_least: bool,
    /// The last record of the log that a lane has flushed.
    flushed: u64,
}

impl Repairer {
    fn relied_on(&self, epoch: &Epoch, slots: &SlotTable) -> Result<ReliedOn> {
        let mut relied_on = ReliedOn::default();
        for lane in 0..epoch.meta.num_lanes {
            let dir = lane_dir(&epoch.dir, lane);
            let extent = match Manifest::load(&self.fs, &dir, lane) {
                Ok(manifest) => {
                    relied_on.flushed = relied_on.flushed.max(manifest.flushed);
                    manifest.terms
                }
                Err(_) => {
                    relied_on.at_least = true;
                    let segments = segments_in(&self.fs, &dir, slots)?;
                    let leads = segments
                        .iter()
                        .any(|(_, s)| s.as_ref().is_ok_and(|s| s.origin().leads_to_terms));
                    Extent { generation: leads.into(), len: 0 }
                }
            };
            relied_on.extent = relied_on.extent.max(extent);
        }
        Ok(relied_on)
    }

    /// Finds out which terms can be read. Nothing is written before no lane leads to others any
    /// more, by [`Repairer::finish_terms`].
    pub(super) fn terms(&self, epoch: &Epoch, slots: &SlotTable) -> Result<Terms> {
        let relied_on = self.relied_on(epoch, slots)?;
        let path = epoch.dir.join(TERMS);
        let bytes = TermLog::read(&self.fs, &path)?.unwrap_or_default();
        let none = bytes.is_empty() && relied_on.extent == Extent::default();
        let mut left = Left::default();
        let mut doubtful = Vec::new();
        let mut whole = Ok(Extent::default());
        if !none {
            whole = TermLog::parse(&path, &bytes, &mut |place, term| {
                left.add(place, term, &mut doubtful);
                Ok(())
            });
            whole = whole.and_then(|extent| extent.check(&path, relied_on.extent).map(|()| extent));
        }
        if let Err(fault) = whole {
            whole = Err(damage(fault)?);
            let known = if relied_on.at_least { None } else { Some(relied_on.extent) };
            (left, doubtful) = (Left::default(), Vec::new());
            TermLog::salvage(&bytes, known, |place, term| left.add(place, term, &mut doubtful));
        }
        self.add_terms_of_log(epoch, relied_on.flushed, &mut left, &mut doubtful);
        let mut fault = whole.as_ref().err().map(Error::to_string);
        if let Some(place) = doubtful.first() {
            fault.get_or_insert_with(|| format!("place {place} is given to two terms"));
        }
        for place in doubtful {
            left.in_file.remove(&place);
            left.in_log.remove(&place);
        }
        let generation = relied_on.extent.generation.max(TermLog::generation(&bytes)) + 1;
        let left = (!none || !left.in_log.is_empty()).then_some(left);
        let extent = whole.unwrap_or(relied_on.extent);
        Ok(Terms { extent, path, fault, generation, left, stray: Vec::new() })
    }

    /// As far as the log can be read.
    fn add_terms_of_log(
        &self,
        epoch: &Epoch,
        flushed: u64,
        left: &mut Left,
        doubtful: &mut Vec<u32>,
    ) {
        let hasher = KeyHasher::new(&epoch.meta.hash_key);
        let scan = Scan::read(&self.fs, &self.root, &hasher, epoch.number, flushed, true);
        let Ok(scan) = scan else { return };
        for batch in scan.batches().filter_map(Result::ok) {
            for (place, term) in batch.terms {
                match left.in_file.get(&place).or_else(|| left.in_log.get(&place)) {
                    Some(known) if known != term => doubtful.push(place),
                    Some(_) => {}
                    None => drop(left.in_log.insert(place, term.to_vec())),
                }
            }
        }
    }

    /// Only once the lanes were looked through is it known what is lost, and only once they rely on
    /// no more may the file be replaced.
    pub(super) fn finish_terms(&mut self, terms: Terms) -> Result<()> {
        let Terms { fault, generation, left, mut stray, path, .. } = terms;
        let pairs = stray.len() as u64;
        stray.sort_unstable();
        stray.dedup();
        let lost = match stray.len() as u64 {
            0 => Lost::Nothing,
            terms => Lost::Terms { terms, pairs },
        };
        let Some(fault) = fault else { return Ok(()) };
        self.note(&path, fault, lost);
        if self.apply {
            let mut records = Vec::new();
            let Left { in_file, in_log } = left.unwrap_or_default();
            for (place, term) in in_file.iter().chain(&in_log) {
                TermLog::encode(&mut records, *place, term);
            }
            self.keep_copy(&path)?;
            TermLog::write_anew(&self.fs, &path, generation, &records)?;
        }
        Ok(())
    }
}

impl Left {
    /// A term of the file.
    fn add(&mut self, place: u32, term: &[u8], doubtful: &mut Vec<u32>) {
        if self.in_file.get(&place).is_some_and(|known| known != term) {
            doubtful.push(place);
        }
        self.in_file.insert(place, term.to_vec());
    }
}
