//! Crashes in the middle of a scenario, looked at after it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::simulated::Simulated;
use super::{ROOT, config, holds};
use lsm_index::{Index, verify_on};

/// Machines as a crash leaves them, each with pairs that have to be there.
#[derive(Default)]
pub(crate) struct Crashes(Mutex<Vec<(Simulated, Pairs)>>);

type Pairs = Vec<(Vec<u8>, u32)>;

impl Crashes {
    pub(crate) fn keep(&self, crashed: Simulated, promised: &[(Vec<u8>, u32)]) {
        self.0.lock().expect("lock").push((crashed, promised.to_vec()));
    }

    /// Opens each of them, and checks what has to be there, and the rest by `check`.
    pub(crate) fn check(&self, lanes: u32, check: impl Fn(&Index)) {
        for (crashed, promised) in self.0.lock().expect("lock").drain(..) {
            verify_on(Arc::new(crashed.clone()), Path::new(ROOT)).expect("sound");
            let index = Index::open_on(Arc::new(crashed), Path::new(ROOT), &config(lanes, 100));
            let index = index.expect("opens");
            for (key, id) in promised {
                let key = (holds(&index, &key, id), key);
                assert!(key.0, "{} is gone", String::from_utf8_lossy(&key.1));
            }
            check(&index);
        }
    }
}
