//! Repairs of a small index with something of everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_index::{Index, Lost, Remedy, Result, repair_on, verify_on};

use super::simulated::Simulated;
use super::small::{fill, key};
use super::{Item, Model, config};

pub(crate) const ROOT: &str = "/db";
pub(crate) const LANE: &str = "/db/epoch-00000001/lane-0000";

pub(crate) fn open(system: &Simulated) -> Result<Index> {
    Index::open_on(Arc::new(system.clone()), Path::new(ROOT), &config(1, 100))
}

/// Two segments, terms, a delta, and changes that only the log has.
pub(crate) fn small() -> (Simulated, Model) {
    let system = Simulated::new();
    let index = open(&system).expect("create");
    let mut model = fill(&index);
    index.flush().expect("flush");
    model.put(&index, &key(21), Item::Id(21));
    model.put(&index, &key(22), Item::Term(b"term 22".to_vec()));
    drop(index);
    (system, model)
}

pub(crate) fn segment(number: u64) -> PathBuf {
    Path::new(LANE).join(format!("{number:020}.seg"))
}

/// All files but the lock.
pub(crate) fn files(system: &Simulated) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = system.files();
    files.remove(Path::new("/db/LOCK"));
    files
}

pub(crate) fn damage(system: &Simulated, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = system.files()[path].clone();
    change(&mut bytes);
    system.set_file(path, &bytes);
}

/// Repairs: first dry, then in earnest. Both tell the same, and only the second changes anything.
pub(crate) fn repaired(system: &Simulated) -> Result<Vec<Remedy>> {
    let root = Path::new(ROOT);
    let before = files(system);
    let planned = repair_on(Arc::new(system.clone()), root, false);
    assert_eq!(files(system), before, "a dry run changed something");
    let done = repair_on(Arc::new(system.clone()), root, true);
    match (&planned, &done) {
        (Ok(planned), Ok(done)) => assert_eq!(planned, done),
        (Err(planned), Err(done)) => assert_eq!(planned.to_string(), done.to_string()),
        other => panic!("{other:?}"),
    }
    let remedies = done?;
    verify_on(Arc::new(system.clone()), root).expect("sound after the repair");
    let again = repair_on(Arc::new(system.clone()), root, true).expect("repaired");
    assert_eq!(again, [], "nothing is left to be repaired");
    for remedy in &remedies {
        // What was there is kept.
        if let Some(bytes) = before.get(&remedy.path) {
            let mut kept = files(system).into_iter().filter(|(_, kept)| kept == bytes);
            let as_it_is = |path: &Path| path.starts_with("/db/quarantine") || path == remedy.path;
            assert!(kept.any(|(path, _)| as_it_is(&path)), "{}", remedy.path.display());
        }
    }
    Ok(remedies)
}

pub(crate) fn expect(remedies: &[Remedy], path: impl AsRef<Path>, lost: Lost) {
    let [remedy] = remedies else { panic!("{remedies:?}") };
    assert_eq!((remedy.path.as_path(), remedy.lost), (path.as_ref(), lost));
    assert!(!remedy.fault.is_empty());
}
