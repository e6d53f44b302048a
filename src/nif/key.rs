//! Keys: binaries, read where they lie, and terms that are made of integers, atoms and binaries.

use rustler::{Binary, Term, TermType};

use super::error::{encode, invalid_argument};
use super::external;
use super::term::{self, Decoded};
use super::tuple;
use crate::hash::Fingerprint;
use crate::index::Index;
use crate::key::TermKey;

/// Elements of a tuple that is a key.
const MOST_ELEMENTS: usize = 8;

const WHAT: &str = "the key is neither a binary, an integer of 64 bits or an atom, nor a tuple of \
                    one to eight of these";

/// A key of the index.
#[inline]
pub(super) fn key<'a>(index: &Index, term: Term<'a>) -> Decoded<'a, Fingerprint> {
    match Binary::from_term(term) {
        Ok(binary) => hashed(index, &binary, term),
        Err(_) => term_key(index, term).map(|(key, _len)| key),
    }
}

#[inline]
fn hashed<'a>(index: &Index, bytes: &[u8], term: Term<'a>) -> Decoded<'a, Fingerprint> {
    index.fingerprint(bytes).map_err(|e| encode(term.get_env(), &e))
}

/// The same, which takes its bytes off those that may still be hashed; none if they are too few.
#[inline]
pub(super) fn key_within<'a>(
    index: &Index,
    term: Term<'a>,
    left: &mut usize,
) -> Decoded<'a, Option<Fingerprint>> {
    let (key, len) = match Binary::from_term(term) {
        Ok(binary) if binary.len() > *left => return Ok(None),
        Ok(binary) => (hashed(index, &binary, term)?, binary.len()),
        Err(_) => term_key(index, term)?,
    };
    Ok(left.checked_sub(len).map(|rest| {
        *left = rest;
        key
    }))
}

/// At most `most` keys, of `left` bytes together.
pub(super) fn keys<'a>(
    index: &Index,
    list: Term<'a>,
    most: usize,
    mut left: usize,
) -> Decoded<'a, Option<Vec<Fingerprint>>> {
    term::elements(list, "the keys are not a list", most, |item, _place| {
        key_within(index, item, &mut left)
    })
}

/// A key that is no binary, and the bytes of its encoding. A function apart, so that those that are
/// take no longer for it.
#[inline(never)]
fn term_key<'a>(index: &Index, term: Term<'a>) -> Decoded<'a, (Fingerprint, usize)> {
    let mut key = index.term_key();
    let is_key = match term.get_type() {
        TermType::Tuple => add_tuple(term, &mut key),
        _ => add_part(term, &mut key),
    };
    if !is_key {
        return Err(invalid_argument(term.get_env(), WHAT));
    }
    let fingerprint = key.finish().map_err(|e| encode(term.get_env(), &e))?;
    Ok((fingerprint, key.encoded_len()))
}

/// False if it is none of one to eight parts.
fn add_tuple(term: Term<'_>, key: &mut TermKey) -> bool {
    // Without asking for memory.
    if let Ok((a, b)) = term.decode::<(Term<'_>, Term<'_>)>() {
        return add_elements(&[a, b], key);
    }
    if let Ok((a, b, c)) = term.decode::<(Term<'_>, Term<'_>, Term<'_>)>() {
        return add_elements(&[a, b, c], key);
    }
    tuple::elements(term, MOST_ELEMENTS)
        .is_some_and(|elements| !elements.is_empty() && add_elements(&elements, key))
}

fn add_elements(elements: &[Term<'_>], key: &mut TermKey) -> bool {
    key.tuple(elements.len());
    elements.iter().all(|element| add_part(*element, key))
}

/// False if it is neither an integer nor an atom nor a binary.
fn add_part(term: Term<'_>, key: &mut TermKey) -> bool {
    if let Ok(n) = term.decode::<i64>() {
        key.integer(n);
    } else if let Ok(binary) = Binary::from_term(term) {
        key.bytes(&binary);
    } else if let Some(name) = external::atom_name(term) {
        key.atom(&name);
    } else {
        return false;
    }
    true
}
