//! The dictionary's file: whole terms are kept, wherever they are.

use std::collections::BTreeMap;

use super::{Lost, Repairer, damage};
use crate::dictionary::{Extent, TermLog};
use crate::epoch::Epoch;
use crate::error::Result;

/// What is left of the dictionary.
#[derive(Debug)]
pub(super) struct Terms {
    /// What lanes made anew may rely on.
    pub(super) extent: Extent,
    /// If it was damaged: what is wrong, and the places that are left.
    damaged: Option<(String, Vec<u32>)>,
    /// Places that keys led to and that are gone, with repetitions.
    stray: Vec<u32>,
    path: std::path::PathBuf,
}

impl Terms {
    /// Whether a key may lead there.
    pub(super) fn has(&self, place: u32) -> bool {
        self.damaged.as_ref().is_none_or(|(_, left)| left.binary_search(&place).is_ok())
    }

    /// A pair of a key and a lost term was taken out.
    pub(super) fn dropped(&mut self, place: u32) {
        self.stray.push(place);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.is_some()
    }
}

impl Repairer {
    /// Makes the file anew of the terms that can be read, if it is damaged.
    pub(super) fn terms(&mut self, epoch: &Epoch, relied_on: Extent) -> Result<Terms> {
        let path = Self::terms_path(epoch);
        let bytes = if self.fs.exists(&path)? { self.fs.read(&path)? } else { Vec::new() };
        let parsed = if bytes.is_empty() && relied_on == Extent::default() {
            Ok(Extent::default())
        } else {
            TermLog::parse(&path, &bytes, &mut |_, _| Ok(()))
        };
        let checked = parsed.and_then(|extent| extent.check(&path, relied_on).map(|()| extent));
        let fault = match checked {
            Ok(extent) => {
                return Ok(Terms { extent, damaged: None, stray: Vec::new(), path });
            }
            Err(fault) => damage(fault)?,
        };
        let mut left = BTreeMap::new();
        // A place can be written again. If a later record of it is lost, the former term must not
        // come back; and if it cannot be told whose record is lost, it can be any place's.
        TermLog::salvage(&bytes, relied_on.len, |place, term| match (place, term) {
            (Some(place), Some(term)) => drop(left.insert(place, term.to_vec())),
            (Some(place), None) => drop(left.remove(&place)),
            (None, _) => left.clear(),
        });
        let mut records = Vec::new();
        for (place, term) in &left {
            TermLog::encode(&mut records, *place, term);
        }
        self.put_away(&path)?;
        let generation = relied_on.generation.max(TermLog::generation(&bytes)) + 1;
        let mut extent = Extent { generation, len: 0 };
        if self.apply {
            extent = TermLog::write_anew(&self.fs, &path, generation, &records)?;
        }
        let damaged = Some((fault.to_string(), left.into_keys().collect()));
        Ok(Terms { extent, damaged, stray: Vec::new(), path })
    }

    /// Only once the lanes were looked through is it known what is lost.
    pub(super) fn report_terms(&mut self, terms: Terms) {
        let Terms { damaged: Some((fault, _)), mut stray, path, .. } = terms else { return };
        let pairs = stray.len() as u64;
        stray.sort_unstable();
        stray.dedup();
        let lost = match stray.len() as u64 {
            0 => Lost::Nothing,
            terms => Lost::Terms { terms, pairs },
        };
        self.note(&path, fault, lost);
    }
}
