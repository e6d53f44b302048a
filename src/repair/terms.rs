//! The dictionary's file: whole terms are kept, wherever they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::lane::segments_in;
use super::{Lost, Repairer, damage};
use crate::dictionary::{Extent, TermLog};
use crate::epoch::{Epoch, TERMS, lane_dir};
use crate::error::Result;
use crate::manifest::Manifest;

/// What is left of the dictionary.
#[derive(Debug)]
pub(super) struct Terms {
    /// What lanes made anew may rely on.
    pub(super) extent: Extent,
    path: PathBuf,
    /// If it was damaged: what is wrong, and the file to put in its place.
    anew: Option<(String, Anew)>,
    /// The places that have a term, ascending; none if there was never a dictionary, so that ids of
    /// 2^30 and above are the index's own.
    places: Option<Vec<u32>>,
    /// Places that keys led to and that are gone, with repetitions.
    stray: Vec<u32>,
}

#[derive(Debug)]
struct Anew {
    generation: u64,
    records: Vec<u8>,
}

impl Terms {
    /// Whether a key may lead there.
    pub(super) fn has(&self, place: u32) -> bool {
        self.places.as_ref().is_none_or(|places| places.binary_search(&place).is_ok())
    }

    /// A pair of a key and a lost term was taken out.
    pub(super) fn dropped(&mut self, place: u32) {
        self.stray.push(place);
    }

    /// Whether ids of 2^30 and above are the dictionary's.
    pub(super) fn leads_to_terms(&self) -> bool {
        self.places.is_some()
    }
}

/// What is known of the dictionary without its file.
#[derive(Clone, Copy, Debug, Default)]
struct ReliedOn {
    /// Nothing if the index never had terms.
    extent: Extent,
    /// A lane that cannot tell may rely on more.
    at_least: bool,
}

impl Repairer {
    fn relied_on(&self, epoch: &Epoch) -> Result<ReliedOn> {
        let mut relied_on = ReliedOn::default();
        for lane in 0..epoch.meta.num_lanes {
            let dir = lane_dir(&epoch.dir, lane);
            let extent = match Manifest::load(&self.fs, &dir, lane) {
                Ok(manifest) => manifest.terms,
                Err(_) => {
                    relied_on.at_least = true;
                    let segments = segments_in(&self.fs, &dir)?;
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
    pub(super) fn terms(&self, epoch: &Epoch) -> Result<Terms> {
        let relied_on = self.relied_on(epoch)?;
        let path = epoch.dir.join(TERMS);
        let bytes = if self.fs.exists(&path)? { self.fs.read(&path)? } else { Vec::new() };
        let mut places = Vec::new();
        let parsed = if bytes.is_empty() && relied_on.extent == Extent::default() {
            Ok(Extent::default())
        } else {
            TermLog::parse(&path, &bytes, &mut |place, _| {
                places.push(place);
                Ok(())
            })
        };
        let whole =
            parsed.and_then(|extent| extent.check(&path, relied_on.extent).map(|()| extent));
        let fault = match whole {
            Ok(extent) => {
                places.sort_unstable();
                let places = (extent != Extent::default()).then_some(places);
                return Ok(Terms { extent, path, anew: None, places, stray: Vec::new() });
            }
            Err(fault) => damage(fault)?,
        };
        let known = if relied_on.at_least { None } else { Some(relied_on.extent) };
        let mut left = BTreeMap::new();
        let mut doubtful = Vec::new();
        TermLog::salvage(&bytes, known, |place, term| {
            if left.insert(place, term).is_some_and(|other| other != term) {
                doubtful.push(place);
            }
        });
        left.retain(|place, _| !doubtful.contains(place));
        let mut records = Vec::new();
        for (place, term) in &left {
            TermLog::encode(&mut records, *place, term);
        }
        let generation = relied_on.extent.generation.max(TermLog::generation(&bytes)) + 1;
        let anew = Some((fault.to_string(), Anew { generation, records }));
        let places = Some(left.into_keys().collect());
        Ok(Terms { extent: relied_on.extent, path, anew, places, stray: Vec::new() })
    }

    /// Only once the lanes were looked through is it known what is lost, and only once they rely on
    /// no more may the file be replaced.
    pub(super) fn finish_terms(&mut self, terms: Terms) -> Result<()> {
        let Terms { anew, mut stray, path, .. } = terms;
        let pairs = stray.len() as u64;
        stray.sort_unstable();
        stray.dedup();
        let lost = match stray.len() as u64 {
            0 => Lost::Nothing,
            terms => Lost::Terms { terms, pairs },
        };
        match anew {
            None if pairs == 0 => {}
            None => self.note(&path, "it lacks terms that keys lead to", lost),
            Some((fault, Anew { generation, records })) => {
                self.note(&path, fault, lost);
                if self.apply {
                    self.keep_copy(&path)?;
                    TermLog::write_anew(&self.fs, &path, generation, &records)?;
                }
            }
        }
        Ok(())
    }
}
