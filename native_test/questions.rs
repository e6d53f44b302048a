//! Many questions at once: each is answered as it would be alone.

mod support;

use std::collections::BTreeSet;

use lsm_index::{Durability, Error, Index, Most, Op, Question, Target};
use support::{Item, Random, config, resolved};

const NAMES: u64 = 5;
const KEYS: u64 = 30;

fn name(n: u64) -> Vec<u8> {
    format!("namespace {n}").into_bytes()
}

fn key(n: u64) -> Vec<u8> {
    n.to_le_bytes()[..n as usize % 8].to_vec()
}

fn term(n: u64) -> Vec<u8> {
    vec![n as u8; n as usize % 40]
}

fn targets(index: &Index, name: &[u8], key: &[u8]) -> BTreeSet<Item> {
    let mut items = BTreeSet::new();
    let each = |term: &[u8]| assert!(items.insert(Item::Term(term.to_vec())), "twice");
    assert!(index.targets_in(name, key, Most::ALL, each).expect("targets"));
    items
}

/// What `targets_of_many` tells of each question, if it is all.
fn targets_of_many(
    index: &Index,
    names: &[Option<&[u8]>],
    questions: &[Question<'_>],
    most: Most,
) -> Option<Vec<BTreeSet<Item>>> {
    let mut answers = vec![BTreeSet::new(); questions.len()];
    let mut last = 0;
    let all = index.targets_of_many(names, questions, most, |place, target| {
        assert!(last <= place, "out of order");
        last = place;
        let item = match target {
            Target::Id(id) => Item::Id(id),
            Target::Term(term) => Item::Term(term.to_vec()),
        };
        assert!(answers[place].insert(item), "twice");
    });
    all.expect("targets").then_some(answers)
}

#[test]
fn many_questions_are_answered_as_each_of_them() {
    let random = &mut Random(5);
    let index = Index::in_memory(&config(4, 10)).expect("in memory");
    for n in 0..2_000 {
        let (of, at) = (random.next() % NAMES, random.next() % KEYS);
        index
            .route_in(&name(of), &key(at), &term(n % 80), Op::Put, Durability::Memory)
            .expect("put");
        let of_index = term(n % 70);
        let target = if n % 2 == 0 { Target::Term(&of_index) } else { Target::Id(n as u32) };
        index.route(&key(random.next() % KEYS), target, Op::Put).expect("put");
    }
    assert!(index.drop_namespace(&name(1), Durability::Memory).expect("drop"));
    let stored: Vec<Vec<u8>> = (0..NAMES + 1).map(name).collect();
    let names: Vec<Option<&[u8]>> =
        std::iter::once(None).chain(stored.iter().map(|name| Some(&name[..]))).collect();
    let keys: Vec<Vec<u8>> = (0..=KEYS).map(key).collect();
    for len in [0, 1, 31, 32, 33, 500] {
        let mut question =
            |_| Question { name: random.below(names.len()), key: &keys[random.below(keys.len())] };
        let questions: Vec<_> = (0..len).map(&mut question).collect();
        let expected = questions.iter().map(|question| match names[question.name] {
            Some(name) => targets(&index, name, question.key),
            None => resolved(&index, question.key),
        });
        let expected: Vec<BTreeSet<Item>> = expected.collect();
        let told = |most| targets_of_many(&index, &names, &questions, most);
        assert_eq!(told(Most::ALL).as_ref(), Some(&expected));
        let ids = expected.iter().map(BTreeSet::len).sum();
        assert_eq!(told(Most { ids, ..Most::ALL }).as_ref(), Some(&expected));
        if len == 500 {
            assert_eq!(told(Most { ids: ids - 1, ..Most::ALL }), None);
            assert_eq!(told(Most { bytes: ids, ..Most::ALL }), None);
        }
    }
    let long = vec![0; lsm_index::MAX_KEY_LEN + 1];
    let too_long = [Question { name: 0, key: &long }];
    let told = index.targets_of_many(&names, &too_long, Most::ALL, |_, _| {});
    assert!(matches!(told, Err(Error::KeyTooLong { .. })), "{told:?}");
    index.close().expect("close");
    let told = index.targets_of_many(&names, &[], Most::ALL, |_, _| {});
    assert!(matches!(told, Err(Error::Closed)), "{told:?}");
}

/// Ids that would be the dictionary's, if there were one, are no targets; what stands beside them is
/// told of its own question.
#[test]
fn questions_pass_over_plain_ids_beyond_the_dictionarys() {
    let index = Index::in_memory(&config(4, 10)).expect("in memory");
    index.put(b"a", 1 << 30).expect("put");
    index.put(b"a", 1).expect("put");
    index.put(b"b", 2).expect("put");
    let questions = [&b"a"[..], b"b", b"c"].map(|key| Question { name: 0, key });
    let told = targets_of_many(&index, &[None], &questions, Most::ALL).expect("all");
    assert_eq!(told, [[Item::Id(1)].into(), [Item::Id(2)].into(), BTreeSet::new()]);
}
