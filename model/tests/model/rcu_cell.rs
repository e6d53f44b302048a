//! Readers of a published value beside those who replace it and drop what was replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::rcu::Published;
use crate::support::explore;

const VALUES: usize = 4;

/// The flags say which values are gone; they outlive all of them.
struct Value {
    number: usize,
    gone: Arc<[AtomicBool; VALUES]>,
}

impl Drop for Value {
    fn drop(&mut self) {
        let twice = self.gone[self.number].swap(true, Ordering::SeqCst);
        assert!(!twice, "dropped twice");
    }
}

/// Two readers, one who replaces, and two who drop: what a reader looks at is there until it leaves,
/// values are seen in order, and in the end only the last one is left.
#[test]
fn what_a_reader_looks_at_is_there_until_it_leaves() {
    explore(|| {
        let gone: Arc<[AtomicBool; VALUES]> = Arc::default();
        let value = |number| Arc::new(Value { number, gone: Arc::clone(&gone) });
        let cell = Arc::new(Published::new([value(0)]));

        let mut tasks = Vec::new();
        for _ in 0..2 {
            let (cell, gone) = (cell.clone(), gone.clone());
            tasks.push(shuttle::thread::spawn(move || {
                let mut last = 0;
                for _ in 0..3 {
                    let pin = cell.readers().pin();
                    let number = cell.get(0, &pin).number;
                    assert!(number >= last, "an older value");
                    last = number;
                    for _ in 0..2 {
                        assert!(!gone[number].load(Ordering::SeqCst), "gone while looked at");
                        shuttle::thread::yield_now();
                    }
                    assert!(!gone[number].load(Ordering::SeqCst), "gone while looked at");
                }
            }));
        }
        let values: Vec<_> = (1..VALUES).map(value).collect();
        let replaced = cell.clone();
        tasks.push(shuttle::thread::spawn(move || {
            for value in values {
                replaced.replace(0, value);
                replaced.readers().reclaim();
            }
        }));
        let reclaimed = cell.clone();
        tasks.push(shuttle::thread::spawn(move || {
            (0..3).for_each(|_| reclaimed.readers().reclaim());
        }));
        for task in tasks {
            task.join().expect("a task");
        }

        let left = |number: usize| !gone[number].load(Ordering::SeqCst);
        if (0..VALUES - 1).any(left) {
            assert!(cell.readers().wants_reclaim(), "left behind, and nobody told");
        }
        cell.readers().reclaim();
        assert!((0..VALUES - 1).all(|number| !left(number)), "kept although nobody looks");
        assert!(left(VALUES - 1));
        drop(cell);
        assert!(!left(VALUES - 1));
    });
}
