//! Namespaces in scripted workloads: routes as plain contents, and what has to agree with them.

use std::collections::{BTreeMap, BTreeSet};

use lsm_index::{Index, Listing, Most, Result, Target};

use super::workload::Contents;
use super::{Item, term};

pub(crate) const NAMES: usize = 3;
pub(crate) const KEYS: usize = 3;
pub(crate) const TERMS: usize = 4;

pub(crate) type Terms = BTreeSet<Vec<u8>>;

/// Names of one shard of the dictionary, as its terms are, so that ids are given again soon.
pub(crate) fn name(n: usize) -> Vec<u8> {
    super::names()[n].clone()
}

pub(crate) fn key(n: usize) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// The key of a namespace as a key of contents.
pub(crate) fn place(name: usize, key: usize) -> Vec<u8> {
    format!("in {name}, {key}").into_bytes()
}

/// The keys that contents have of a namespace.
pub(crate) fn places(name: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..KEYS).map(move |key| place(name, key))
}

pub(crate) fn targets(index: &Index, name: &[u8], key: &[u8]) -> Result<Terms> {
    let mut terms = Terms::new();
    let all = index.targets_in(name, key, Most::ALL, |term| {
        assert!(terms.insert(term.to_vec()), "a target twice");
    })?;
    assert!(all, "no key has more targets than can be counted");
    Ok(terms)
}

pub(crate) fn listed(index: &Index, listing: Result<Listing>) -> Result<Terms> {
    let (mut listing, mut terms) = (listing?, Terms::new());
    let mut each = |target: Target<'_>| match target {
        Target::Term(term) => assert!(terms.insert(term.to_vec()), "a target twice"),
        Target::Id(id) => panic!("a plain id: {id}"),
    };
    while listing.next_slice(index, &mut each)? {}
    Ok(terms)
}

/// Adds what look-ups in all namespaces give.
pub(crate) fn look_up(index: &Index, contents: &mut Contents) -> Result<()> {
    for n in 0..NAMES {
        for k in 0..KEYS {
            let terms = targets(index, &name(n), &key(k))?;
            if !terms.is_empty() {
                contents.insert(place(n, k), terms.into_iter().map(Item::Term).collect());
            }
        }
    }
    Ok(())
}

/// The targets of each namespace that is there.
pub(crate) fn members(contents: &Contents) -> BTreeMap<Vec<u8>, Terms> {
    let of = |n: usize| {
        let items = places(n).filter_map(|place| contents.get(&place)).flatten();
        items.map(|item| match item {
            Item::Term(term) => term.clone(),
            Item::Id(id) => panic!("a plain id: {id}"),
        })
    };
    let all = (0..NAMES).map(|n| (name(n), of(n).collect::<Terms>()));
    all.filter(|(_, terms)| !terms.is_empty()).collect()
}

/// Listings and counts agree with the look-ups of all keys.
pub(crate) fn check_listings(index: &Index, contents: &Contents) -> Result<()> {
    let members = members(contents);
    let names = listed(index, index.list_namespaces())?;
    assert_eq!(names, members.keys().cloned().collect::<Terms>(), "names");
    for n in 0..NAMES {
        let name = name(n);
        let expected = members.get(&name).cloned().unwrap_or_default();
        assert_eq!(listed(index, index.list_in(&name))?, expected, "listing {n}");
        assert_eq!(index.count_in(&name)?, expected.len() as u64, "count of {n}");
    }
    Ok(())
}

/// How many keys an index has that holds just this: those of names too.
pub(crate) fn keys_of(contents: &Contents) -> u64 {
    (contents.len() + members(contents).len()) as u64
}

/// Does all background work. Then nothing else is there, and all that was is.
pub(crate) fn check_purged(index: &Index, contents: &Contents) -> Result<()> {
    index.take_census()?;
    check_listings(index, contents)?;
    while index.work()? {}
    let mut found = super::workload::looked_up(index)?;
    assert_eq!(&found, contents, "background work changes nothing");
    found.clear();
    check_listings(index, contents)?;
    assert_eq!(index.count()?, keys_of(contents), "keys that nobody can reach: {contents:?}");
    let mut keys = 0;
    index.for_each_key(|_, _| keys += 1)?;
    assert_eq!(keys, keys_of(contents), "keys are not counted right");
    Ok(())
}

/// The number of terms that an index has which holds just this: names and targets.
pub(crate) fn terms_of(contents: &Contents) -> u64 {
    let members = members(contents);
    let is_plain = |(key, _): &(&Vec<u8>, _)| !key.starts_with(b"in ");
    let plain: BTreeSet<&Item> = contents.iter().filter(is_plain).flat_map(|(_, i)| i).collect();
    let plain = plain.into_iter().filter(|item| matches!(item, Item::Term(_))).count();
    (plain + members.len() + members.values().map(BTreeSet::len).sum::<usize>()) as u64
}

pub(crate) fn target(n: usize) -> Vec<u8> {
    term(n)
}
