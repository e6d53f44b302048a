//! The dictionary as a whole: lives of terms and ids, in memory and over its file.

use std::path::Path;

use super::*;
use crate::error::Error;
use crate::fs::Fs;
use crate::hash::HashKey;

fn hasher() -> KeyHasher {
    KeyHasher::new(&HashKey([7; 16]))
}

/// The dictionary in a file, which keys lead to `ids` of.
fn open(path: &Path, ids: &[u32]) -> Dictionary {
    let dictionary = Dictionary::open(&Fs::disk(), path.to_path_buf(), hasher()).expect("sound");
    let counted = dictionary.count_references(|count| {
        count(ids);
        Ok(())
    });
    counted.expect("sound");
    (0..SHARDS).for_each(|number| dictionary.settle_shard(number, |_, _| {}));
    dictionary.settle(std::iter::empty());
    dictionary
}

fn intern(dictionary: &Dictionary, term: &[u8]) -> u32 {
    let mut given = 0;
    let routed = dictionary.with_interned(term, true, |id| {
        given = id;
        Made::<()>::Ok(true)
    });
    assert!(matches!(routed, Ok(Some(Routed::Changed(_)))));
    given
}

fn release(dictionary: &Dictionary, term: &[u8]) {
    let routed = dictionary.with_known(term, true, |_| Made::<()>::Ok(true));
    assert!(matches!(routed, Some(Routed::Changed(_))));
}

fn term(dictionary: &Dictionary, id: u32) -> Option<Vec<u8>> {
    let mut found = None;
    let look_up = || Ok(((), IdSet::One(id)));
    dictionary.resolve(look_up, |_, term| found = term.map(<[u8]>::to_vec)).expect("resolved");
    found
}

/// Many terms that share a shard.
fn neighbours(dictionary: &Dictionary) -> impl Iterator<Item = Vec<u8>> {
    let terms = (0_u32..).map(|i| format!("term {i}").into_bytes());
    terms.filter(|term| dictionary.address(term).shard == 0)
}

fn neighbour(dictionary: &Dictionary, n: usize) -> Vec<u8> {
    neighbours(dictionary).nth(n).expect("endless")
}

/// A term of the shard that an id belongs to.
fn neighbour_of(dictionary: &Dictionary, id: u32) -> Vec<u8> {
    let terms = (0_u32..).map(|i| format!("another {i}").into_bytes());
    terms.into_iter().find(|term| dictionary.address(term).shard == shard_of(id)).expect("endless")
}

/// What a round over all lanes does here.
fn round(dictionary: &Dictionary, meanwhile: impl FnOnce()) {
    dictionary.nominate();
    meanwhile();
    dictionary.recycle().expect("recycled");
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
    let gone = dictionary.with_known(b"shape", true, |_| Made::<()>::Ok(true));
    assert!(matches!(gone, Some(Routed::Unchanged)));
    assert_ne!(intern(&dictionary, b"shape"), id);
}

#[test]
fn in_memory_an_id_is_used_again_once_nobody_can_mistake_it() {
    let dictionary = Dictionary::in_memory(hasher());
    let terms: Vec<_> = neighbours(&dictionary).take(1500).collect();
    let churn = |from: usize, count: usize| {
        let terms = terms[from..from + count].iter();
        terms
            .map(|term| {
                let id = intern(&dictionary, term);
                release(&dictionary, term);
                id
            })
            .collect::<Vec<_>>()
    };
    let first = churn(0, 8)[0];
    let mut held = None;
    let look_up = || {
        // Somebody has just looked the first id up, and others come and go.
        assert!(!churn(100, 200).contains(&first));
        Ok(((), IdSet::One(first)))
    };
    dictionary.resolve(look_up, |_, term| held = term.map(<[u8]>::to_vec)).expect("resolved");
    assert_eq!(held.as_ref(), terms.first());
    let (before, later) = (dictionary.memory(), churn(1000, 500));
    assert!(later.contains(&first), "{first} {later:?}");
    assert!(dictionary.memory() < 3 * before);
}

#[test]
fn a_change_that_was_not_made_leaves_no_trace() {
    let dictionary = Dictionary::in_memory(hasher());
    let _ = dictionary.with_interned(b"busy", true, |_| Made::Err(()));
    let is_empty = || dictionary.used_shards().all(|(_, shard)| shard.read().is_empty());
    assert!(is_empty());
    let unchanged = dictionary.with_interned(b"same", true, |_| Made::<()>::Ok(false));
    assert!(matches!(unchanged, Ok(Some(Routed::Unchanged))));
    assert!(is_empty());
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
    let first = open(&path, &[]);
    let kept = intern(&first, b"kept");
    let unused = intern(&first, b"unused");
    first.persist().expect("persist");
    drop(first);

    let second = Dictionary::open(&Fs::disk(), path.clone(), hasher()).expect("reopened");
    assert_eq!(term(&second, kept).as_deref(), Some(&b"kept"[..]));
    assert!(matches!(second.with_interned(b"kept", true, |_| Made::Err(())), Ok(None)));
    assert!(second.with_known(b"kept", true, |_| Made::Err(())).is_none());
    drop(second);

    let second = open(&path, &[5, kept]);
    assert_eq!(intern(&second, b"kept"), kept);
    assert_eq!(term(&second, kept).as_deref(), Some(&b"kept"[..]));
    assert_ne!(intern(&second, b"unused"), unused, "a file may have the id still");
    round(&second, || {});
    assert_eq!(term(&second, unused), None);
    assert_eq!(intern(&second, &neighbour_of(&second, unused)), unused);
}

#[test]
fn on_disk_an_id_is_used_again_after_a_round() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dictionary = open(&dir.path().join("TERMS"), &[]);
    let intern_next = |n| intern(&dictionary, &neighbour(&dictionary, n));
    let first = intern_next(0);
    release(&dictionary, &neighbour(&dictionary, 0));
    assert_ne!(intern_next(1), first);
    dictionary.nominate();
    assert_ne!(intern_next(2), first);
    dictionary.recycle().expect("recycled");
    assert_eq!(intern_next(3), first);
}

/// Whatever happens to a term during a round, it is no candidate of that one any more.
#[test]
fn a_term_that_is_used_during_a_round_keeps_its_id() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("TERMS");
    let dictionary = open(&path, &[]);
    let [used, used_and_dropped, dropped] = [0, 1, 2].map(|n| neighbour(&dictionary, n));
    let ids = [&used, &used_and_dropped, &dropped].map(|term| intern(&dictionary, term));
    release(&dictionary, &used);
    release(&dictionary, &used_and_dropped);
    round(&dictionary, || {
        assert_eq!(intern(&dictionary, &used), ids[0]);
        assert_eq!(intern(&dictionary, &used_and_dropped), ids[1]);
        release(&dictionary, &used_and_dropped);
        release(&dictionary, &dropped);
    });
    let next = (3..9).map(|n| intern(&dictionary, &neighbour(&dictionary, n)));
    assert!(next.into_iter().all(|id| !ids.contains(&id)));
    assert_eq!(intern(&dictionary, &used_and_dropped), ids[1], "it is found still");
}

/// A first key that comes to nothing leaves its id to another term: the file may not have both.
#[test]
fn a_term_without_a_key_is_for_no_file() {
    let mut terms = Terms::default();
    let for_file = |terms: &Terms| {
        let mut found = Vec::new();
        terms.slice(0, |place, _| found.push(place));
        found
    };
    let place = terms.insert(7, b"term", |_| 7).expect("room");
    assert_eq!(for_file(&terms), [0; 0]);
    assert_eq!(terms.add_reference(place), Some(true));
    assert_eq!(for_file(&terms), [place]);
    assert!(terms.drop_reference(place));
    terms.nominate();
    assert_eq!(for_file(&terms), [place], "segments may lead to it until the round ends");
    terms.forsake(0, |_| 7);
    assert_eq!(for_file(&terms), [0; 0]);
}

#[test]
fn the_file_is_written_anew_and_keeps_what_keys_may_lead_to() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("TERMS");
    let dictionary = open(&path, &[]);
    let kept = intern(&dictionary, b"kept");
    let idle = intern(&dictionary, b"idle");
    for n in 0..24_u32 {
        let long = n.to_le_bytes().repeat(100_000);
        intern(&dictionary, &long);
        assert!(!dictionary.wants_recycling(|| 0) || n > 0);
        release(&dictionary, &long);
    }
    assert!(dictionary.wants_recycling(|| 0));
    dictionary.persist().expect("persist");
    let before = Fs::disk().len(&path).expect("written");
    // Dropped while the round was on its way: segments may lead to it.
    round(&dictionary, || release(&dictionary, b"idle"));
    assert!(!dictionary.wants_recycling(|| 0));
    dictionary.persist().expect("persist");
    assert!(Fs::disk().len(&path).expect("rewritten") < before / 1000);
    drop(dictionary);
    let again = open(&path, &[kept]);
    assert_eq!(term(&again, kept).as_deref(), Some(&b"kept"[..]));
    assert_eq!(term(&again, idle).as_deref(), Some(&b"idle"[..]));
}

#[test]
fn a_missing_term_is_damage() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dictionary =
        Dictionary::open(&Fs::disk(), dir.path().join("TERMS"), hasher()).expect("new");
    let counted = dictionary.count_references(|count| {
        count(&[TERM_ID_FLAG | 3]);
        Ok(())
    });
    assert!(matches!(counted, Err(Error::Corrupt { .. })));
}
