//! What is promised of namespaces, by changes of different durability, drops among them: a promise
//! holds whatever came before it without one.

mod support;

use std::path::Path;
use std::sync::Arc;

use lsm_index::{Config, Durability, Index, KeyHasher, Op, SlotTable};
use support::namespaces::{Terms, check_purged, listed, targets};
use support::simulated::{Loss, Simulated};
use support::{HASH_KEY, config, names};

const LANES: u32 = 2;

fn open(system: &Simulated) -> Index {
    let config: Config = config(LANES, 1000);
    Index::open_on(Arc::new(system.clone()), Path::new("/db"), &config).expect("open")
}

fn route(index: &Index, name: &[u8], term: &[u8], op: Op, durability: Durability) -> bool {
    index.route_in(name, b"key", term, op, durability).expect("route").changed
}

fn put(index: &Index, name: &[u8], term: &[u8], durability: Durability) {
    assert!(route(index, name, term, Op::Put, durability));
}

fn found(index: &Index, name: &[u8]) -> Terms {
    let found = targets(index, name, b"key").expect("targets");
    assert_eq!(listed(index, index.list_in(name)).expect("listed"), found);
    found
}

/// Whoever is told that a route, or a namespace, is not there, is promised that as whoever removes
/// one: also if it had been dropped with less of a promise.
#[test]
fn a_namespace_that_is_not_there_is_promised_as_a_drop_is() {
    let asked: [fn(&Index, Durability); 2] = [
        |index, durability| assert!(!route(index, b"name", b"t", Op::Delete, durability)),
        |index, durability| assert!(!index.drop_namespace(b"name", durability).expect("drop")),
    ];
    for ask in asked {
        for (dropped, promised) in [
            (Durability::Memory, Durability::Os),
            (Durability::Memory, Durability::Sync),
            (Durability::Os, Durability::Sync),
        ] {
            let system = Simulated::new();
            let index = open(&system);
            put(&index, b"name", b"t", Durability::Sync);
            assert!(index.drop_namespace(b"name", dropped).expect("drop"));
            ask(&index, promised);
            let crashed = match promised {
                Durability::Sync => system.crash(Loss::Unsynced),
                _ => system.killed(),
            };
            assert_eq!(found(&open(&crashed), b"name"), Terms::new(), "{dropped:?}, {promised:?}");
        }
    }
}
