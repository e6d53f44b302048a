//! A reconciliation beside writers and background work: what nobody named goes, what was put
//! meanwhile stays, and ids keep their meaning.

use std::collections::BTreeSet;

use lsm_index::{Durability, Index, Most, Op, Target};

use crate::support::{explore, in_memory, together, upkeep, with};

type Terms = BTreeSet<Vec<u8>>;

fn route(index: &Index, key: &[u8], term: &[u8], op: Op) -> bool {
    let outcome = index.route_in(b"n", key, term, op, Durability::Memory).expect("route");
    outcome.changed
}

fn found(index: &Index, key: &[u8]) -> Terms {
    let mut terms = Terms::new();
    let each = |term: &[u8]| assert!(terms.insert(term.to_vec()), "twice");
    index.targets_in(b"n", key, Most::ALL, each).expect("targets");
    terms
}

#[test]
fn what_is_put_beside_a_reconciliation_stays() {
    explore(|| {
        let index = in_memory(1, 2);
        for (key, term) in [(b"1", b"a"), (b"2", b"b"), (b"3", b"c"), (b"4", b"d")] {
            assert!(route(&index, key, term, Op::Put));
        }
        let mut reconciler = index.begin_reconciliation(true).expect("begin");
        together([
            with(&index, move |index| {
                let target = Target::Term(b"a");
                assert!(reconciler.name(index, Some(b"n"), b"1", target).expect("name"));
                // Never there, whoever got the id of what was.
                let target = Target::Term(b"e");
                assert!(!reconciler.name(index, Some(b"n"), b"2", target).expect("name"));
                while reconciler.step(index, Durability::Memory).expect("step") {}
                assert!((1..=3).contains(&reconciler.removed()), "{}", reconciler.removed());
            }),
            with(&index, |index| {
                // Of one that is there or just went, of one that goes, and of a new one.
                route(index, b"3", b"c", Op::Put);
                route(index, b"2", b"b", Op::Delete);
                route(index, b"5", b"e", Op::Put);
            }),
            with(&index, upkeep),
        ]);
        upkeep(&index);
        let of = |term: &[u8]| Terms::from([term.to_vec()]);
        assert_eq!(found(&index, b"1"), of(b"a"));
        assert_eq!(found(&index, b"2"), Terms::new());
        assert_eq!(found(&index, b"3"), of(b"c"));
        assert_eq!(found(&index, b"4"), Terms::new());
        assert_eq!(found(&index, b"5"), of(b"e"));
        assert_eq!(index.count_in(b"n").expect("count"), 3);
    });
}
