//! The dictionary as a whole: lives of terms and ids, in memory and over its file.

use super::*;
use crate::error::Error;
use crate::fs::Fs;
use crate::hash::HashKey;

fn hasher() -> KeyHasher {
    KeyHasher::new(&HashKey([7; 16]))
}

fn intern(dictionary: &Dictionary, term: &[u8]) -> u32 {
    let mut given = 0;
    let routed = dictionary.with_interned(term, true, |id| {
        given = id;
        Routed::<()>::Changed
    });
    assert!(matches!(routed, Ok(Some(Routed::Changed))));
    given
}

fn release(dictionary: &Dictionary, term: &[u8]) {
    let routed = dictionary.with_known(term, true, |_| Routed::<()>::Changed);
    assert!(matches!(routed, Some(Routed::Changed)));
}

fn term(dictionary: &Dictionary, id: u32) -> Option<Vec<u8>> {
    let mut found = None;
    let look_up = || Ok(((), IdSet::One(id)));
    dictionary.resolve(look_up, |_, term| found = term.map(<[u8]>::to_vec)).expect("resolved");
    found
}

/// The n-th of many terms that share a shard.
fn neighbour(dictionary: &Dictionary, n: usize) -> Vec<u8> {
    let terms = (0_u32..).map(|i| format!("term {i}").into_bytes());
    terms.filter(|term| dictionary.address(term).shard == 0).nth(n).expect("endless")
}

#[test]
fn a_term_lives_as_long_as_its_references() {
    let dictionary = Dictionary::in_memory(hasher());
    let id = intern(&dictionary, b"shape");
    assert_eq!(intern(&dictionary, b"shape"), id);
    release(&dictionary, b"shape");
    assert_eq!(intern(&dictionary, b"shape"), id);
    release(&dictionary, b"shape");
    release(&dictionary, b"shape");
    let gone = dictionary.with_known(b"shape", true, |_| Routed::<()>::Changed);
    assert!(matches!(gone, Some(Routed::Unchanged)));
    assert_ne!(intern(&dictionary, b"shape"), id);
}

#[test]
fn in_memory_an_id_is_used_again_once_nobody_can_mistake_it() {
    let dictionary = Dictionary::in_memory(hasher());
    let churn = |from: usize, count: usize| {
        let terms = (from..from + count).map(|n| neighbour(&dictionary, n));
        terms
            .map(|term| {
                let id = intern(&dictionary, &term);
                release(&dictionary, &term);
                id
            })
            .collect::<Vec<_>>()
    };
    let first = churn(0, 64)[0];
    let mut held = None;
    let look_up = || {
        // Somebody has just looked the first id up, and others come and go.
        assert!(!churn(100, 200).contains(&first));
        Ok(((), IdSet::One(first)))
    };
    dictionary.resolve(look_up, |_, term| held = term.map(<[u8]>::to_vec)).expect("resolved");
    assert_eq!(held, Some(neighbour(&dictionary, 0)));
    let (before, later) = (dictionary.memory(), churn(1000, 500));
    assert!(later.contains(&first), "{first} {later:?}");
    assert!(dictionary.memory() < 3 * before);
}

#[test]
fn a_change_that_was_not_made_leaves_no_trace() {
    let dictionary = Dictionary::in_memory(hasher());
    let _ = dictionary.with_interned(b"busy", true, |_| Routed::Failed(()));
    assert!(dictionary.is_empty());
    let unchanged = dictionary.with_interned(b"same", true, |_| Routed::<()>::Unchanged);
    assert!(matches!(unchanged, Ok(Some(Routed::Unchanged))));
    assert!(dictionary.is_empty());
}

#[test]
fn packing_keeps_every_term() {
    let dictionary = Dictionary::in_memory(hasher());
    let ids: Vec<u32> = (0..1000_u32).map(|i| intern(&dictionary, &i.to_le_bytes())).collect();
    for i in (0..1000_u32).filter(|i| i % 3 != 0) {
        release(&dictionary, &i.to_le_bytes());
    }
    while dictionary.pack() {}
    for (i, id) in (0..1000_u32).zip(ids) {
        if i % 3 == 0 {
            assert_eq!(term(&dictionary, id), Some(i.to_le_bytes().to_vec()));
        }
    }
}

#[test]
fn the_file_brings_terms_back_and_frees_the_unused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("TERMS");
    let first = Dictionary::open(&Fs::disk(), path.clone(), hasher()).expect("new");
    let kept = intern(&first, b"kept");
    let unused = intern(&first, b"unused");
    first.persist().expect("persist");
    drop(first);

    let second = Dictionary::open(&Fs::disk(), path, hasher()).expect("reopened");
    second
        .count_references(false, |count| {
            count(&[5, kept]);
            Ok(())
        })
        .expect("sound");
    assert_eq!(term(&second, kept).as_deref(), Some(&b"kept"[..]));
    assert_eq!(term(&second, unused), None);
    assert_eq!(intern(&second, b"unused"), unused);
}

#[test]
fn on_disk_an_id_is_used_again_after_a_whole_flush() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dictionary =
        Dictionary::open(&Fs::disk(), dir.path().join("TERMS"), hasher()).expect("new");
    let intern_next = |n| intern(&dictionary, &neighbour(&dictionary, n));
    let first = intern_next(0);
    release(&dictionary, &neighbour(&dictionary, 0));
    assert_ne!(intern_next(1), first);
    let failed = dictionary.recycle_around(|| Err(Error::Closed));
    assert!(failed.is_err());
    assert_ne!(intern_next(2), first);
    dictionary.recycle_around(|| Ok(())).expect("flushed");
    assert_eq!(intern_next(3), first);
}

/// A place that is retired, used and retired again during a flush may be in the hands of two.
#[test]
fn a_place_is_recycled_by_one_flush_at_a_time() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("TERMS");
    let dictionary = Dictionary::open(&Fs::disk(), path, hasher()).expect("new");
    let [term, next, last] = [0, 1, 2].map(|n| neighbour(&dictionary, n));
    let id = intern(&dictionary, &term);
    release(&dictionary, &term);
    let (begun, second_begun) = std::sync::mpsc::channel();
    let (done, first_done) = std::sync::mpsc::channel();
    let (dictionary, term) = (&dictionary, &term);
    let flushes = || {
        std::thread::scope(|scope| {
            let first = dictionary.recycle_around(|| {
                assert_eq!(intern(dictionary, term), id);
                release(dictionary, term);
                scope.spawn(move || {
                    let second = dictionary.recycle_around(|| {
                        begun.send(()).expect("the first has not given up");
                        first_done.recv().expect("the first goes on");
                        Ok(())
                    });
                    second.expect("flushed");
                });
                // The second one may begin now, but should not.
                let _ = second_begun.recv_timeout(Duration::from_millis(200));
                Ok(())
            });
            first.expect("flushed");
            done.send(()).expect("the second waits");
        });
        Ok(((), IdSet::One(id)))
    };
    // Whoever has looked the id up keeps its place from being free at once.
    dictionary.resolve(flushes, |_, _| {}).expect("resolved");
    dictionary.recycle_around(|| Ok(())).expect("flushed");
    assert_ne!(intern(dictionary, &next), intern(dictionary, &last));
}

#[test]
fn the_log_is_shortened_and_keeps_what_keys_may_lead_to() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("TERMS");
    let dictionary = Dictionary::open(&Fs::disk(), path.clone(), hasher()).expect("new");
    let kept = intern(&dictionary, b"kept");
    for n in 0..20_u32 {
        let long = n.to_le_bytes().repeat(100_000);
        intern(&dictionary, &long);
        release(&dictionary, &long);
    }
    dictionary.persist().expect("persist");
    let retired = intern(&dictionary, b"retired");
    let before = Fs::disk().len(&path).expect("written");
    dictionary
        .recycle_around(|| {
            // Retired while the flush was on its way: segments may lead to it.
            release(&dictionary, b"retired");
            Ok(())
        })
        .expect("flushed");
    dictionary.persist().expect("persist");
    assert!(Fs::disk().len(&path).expect("rewritten") < before / 1000);
    drop(dictionary);
    let again = Dictionary::open(&Fs::disk(), path, hasher()).expect("reopened");
    assert_eq!(term(&again, kept).as_deref(), Some(&b"kept"[..]));
    assert_eq!(term(&again, retired).as_deref(), Some(&b"retired"[..]));
}

#[test]
fn a_missing_term_is_damage() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dictionary =
        Dictionary::open(&Fs::disk(), dir.path().join("TERMS"), hasher()).expect("new");
    let counted = dictionary.count_references(false, |count| {
        count(&[TERM_ID_FLAG | 3]);
        Ok(())
    });
    assert!(matches!(counted, Err(Error::Corrupt { .. })));
}
