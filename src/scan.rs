//! Listing what a lane holds.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::lane::Lane;
use crate::layers::{Layer, walk};

impl Lane {
    /// Calls `f` with each live key's fingerprint and its ids, ascending. The active overlay is
    /// copied first (it is small), so that writers wait for the copy only; with what comes before it.
    pub(crate) fn for_each_key(&self, mut f: impl FnMut(Fingerprint, &[u32])) -> Result<()> {
        let (active, frozen, version) = {
            let state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let mut active = state.active.copy();
            if let Some(incoming) = &state.incoming {
                incoming.add_to(&mut active);
            }
            (active, state.frozen.clone(), Arc::clone(&state.version))
        };
        let overlays = std::iter::once(&active).chain(frozen.as_ref().map(|f| &f.overlay));
        let segments = version.segments.iter().map(|s| Layer::of(s));
        let layers: Vec<Layer<'_>> = overlays.map(Layer::Overlay).chain(segments).collect();
        walk(&layers, |fingerprint, chain| {
            let ids = chain.id_set();
            if !ids.as_slice().is_empty() {
                f(fingerprint, ids.as_slice());
            }
            Ok(())
        })
    }
}
