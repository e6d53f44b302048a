//! Erlang terms as bytes that no release changes, for the dictionary: a term has one encoding, and
//! terms that differ have different ones.
//!
//! | first byte | kind | the rest |
//! |---|---|---|
//! | `00` | a binary that is the whole term | its bytes |
//! | `01`, `02` | integer, not negative or negative | length of the magnitude; its bytes, lowest first, the last not 0 |
//! | `03` | binary within a term | length, bytes |
//! | `04` | atom | length, name in UTF-8 |
//! | `05` | tuple | number of elements, elements |
//! | `06` | list | as a tuple |
//! | `07` | map | number of pairs, pairs of key and value, ascending by the bytes of their keys |
//! | `08` | float | 8 bytes, IEEE 754, big-endian |
//! | `09` | improper list | as a list, then the tail |
//! | `0A` | bits that are no whole number of bytes | bits used of the last byte, length, bytes |
//! | `FF` | pid, port, reference or function: nothing that lasts | length, external format |
//!
//! Lengths and numbers are LEB128. Neither direction recurses with a term's depth, as schedulers
//! have small stacks; maps as keys of maps do.

use rustler::types::MapIterator;
use rustler::types::tuple::make_tuple;
use rustler::{Binary, Encoder as _, Env, NewBinary, Term, TermType};

use super::external;
use super::tuple;

/// Why a term cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It holds a pid, port, reference or function, and has to last.
    Passing,
    /// Maps are keys of maps, too often one within the other.
    Deep,
    /// Its encoding is longer than the caller has time for.
    Long,
    /// The VM has a kind of term that is not known here.
    Unknown,
}

/// What a term's encoding is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// It has to mean something after a restart.
    pub(super) lasting: bool,
    /// Bytes.
    pub(super) most: usize,
}

const WHOLE_BINARY: u8 = 0x00;
const NOT_NEGATIVE: u8 = 0x01;
const NEGATIVE: u8 = 0x02;
const BINARY: u8 = 0x03;
const ATOM: u8 = 0x04;
const TUPLE: u8 = 0x05;
const LIST: u8 = 0x06;
const MAP: u8 = 0x07;
const FLOAT: u8 = 0x08;
const IMPROPER_LIST: u8 = 0x09;
const BITS: u8 = 0x0a;
const PASSING: u8 = 0xff;

/// Maps as keys of maps.
const MAX_DEPTH: u32 = 16;

/// Appends a term's encoding.
pub(super) fn encode(term: Term<'_>, purpose: Purpose, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if let Ok(binary) = Binary::from_term(term) {
        if binary.len() >= purpose.most {
            return Err(Unfit::Long);
        }
        out.push(WHOLE_BINARY);
        out.extend_from_slice(&binary);
        return Ok(());
    }
    encode_part(term, purpose, out)
}

/// The same for a term that others follow.
pub(super) fn encode_part(
    term: Term<'_>,
    purpose: Purpose,
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    encode_within(term, purpose, out, MAX_DEPTH)
}

/// What is still to be written, the next one last.
enum Todo<'a> {
    Term(Term<'a>),
    Bytes(Vec<u8>),
}

fn encode_within(
    term: Term<'_>,
    purpose: Purpose,
    out: &mut Vec<u8>,
    depth: u32,
) -> Result<(), Unfit> {
    // Most terms are done at once.
    let mut todo = Vec::new();
    let mut next = Some(Todo::Term(term));
    while let Some(now) = next {
        match now {
            Todo::Bytes(bytes) => out.extend_from_slice(&bytes),
            Todo::Term(term) => match term.get_type() {
                TermType::Tuple => {
                    let most = purpose.most.saturating_sub(out.len());
                    let elements = tuple::elements(term, most).ok_or(Unfit::Long)?;
                    put_header(TUPLE, elements.len(), out);
                    let deep = encode_leaves(&elements, purpose, out)?;
                    todo.extend(deep.iter().rev().copied().map(Todo::Term));
                }
                TermType::List => {
                    let most = purpose.most.saturating_sub(out.len());
                    let (elements, tail) = cells(term, most).ok_or(Unfit::Long)?;
                    put_header(tail.map_or(LIST, |_| IMPROPER_LIST), elements.len(), out);
                    let deep = encode_leaves(&elements, purpose, out)?;
                    todo.extend(tail.map(Todo::Term));
                    todo.extend(deep.iter().rev().copied().map(Todo::Term));
                }
                TermType::Map => {
                    let deeper = depth.checked_sub(1).ok_or(Unfit::Deep)?;
                    if term.map_size().is_ok_and(|pairs| pairs > purpose.most) {
                        return Err(Unfit::Long);
                    }
                    let (mut pairs, mut left) =
                        (Vec::new(), purpose.most.saturating_sub(out.len()));
                    for (key, value) in MapIterator::new(term).ok_or(Unfit::Unknown)? {
                        let mut bytes = Vec::new();
                        encode_within(key, Purpose { most: left, ..purpose }, &mut bytes, deeper)?;
                        left -= bytes.len();
                        pairs.push((bytes, value));
                    }
                    pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                    put_header(MAP, pairs.len(), out);
                    for (key, value) in pairs.into_iter().rev() {
                        todo.extend([Todo::Term(value), Todo::Bytes(key)]);
                    }
                }
                _ => encode_leaf(term, purpose, out)?,
            },
        }
        if out.len() + todo.len() > purpose.most {
            return Err(Unfit::Long);
        }
        next = todo.pop();
    }
    Ok(())
}

/// The elements of a list, and what is behind the last of them if it is improper; none if they are
/// more than `most`.
fn cells(list: Term<'_>, most: usize) -> Option<(Vec<Term<'_>>, Option<Term<'_>>)> {
    let (mut elements, mut rest) = (Vec::new(), list);
    while let Ok((head, tail)) = rest.list_get_cell() {
        if elements.len() == most {
            return None;
        }
        elements.push(head);
        rest = tail;
    }
    Some((elements, Some(rest).filter(|rest| !rest.is_empty_list())))
}

/// Encodes elements up to the first that has elements itself; that and those behind it are left.
fn encode_leaves<'e, 'a>(
    elements: &'e [Term<'a>],
    purpose: Purpose,
    out: &mut Vec<u8>,
) -> Result<&'e [Term<'a>], Unfit> {
    for (at, element) in elements.iter().enumerate() {
        if let TermType::Tuple | TermType::List | TermType::Map = element.get_type() {
            return Ok(&elements[at..]);
        }
        encode_leaf(*element, purpose, out)?;
        if out.len() > purpose.most {
            return Err(Unfit::Long);
        }
    }
    Ok(&[])
}

fn encode_leaf(term: Term<'_>, purpose: Purpose, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if let Ok(binary) = Binary::from_term(term) {
        if binary.len() > purpose.most {
            return Err(Unfit::Long);
        }
        put_sized(BINARY, &binary, out);
        return Ok(());
    }
    if let Ok(n) = term.decode::<i64>() {
        put_integer(n < 0, &n.unsigned_abs().to_le_bytes(), out);
        return Ok(());
    }
    if let (TermType::Float, Ok(float)) = (term.get_type(), term.decode::<f64>()) {
        out.push(FLOAT);
        out.extend_from_slice(&float.to_be_bytes());
        return Ok(());
    }
    if let Some(name) = external::atom_name(term) {
        put_sized(ATOM, name.as_bytes(), out);
        return Ok(());
    }
    // What the VM shows in no other way.
    let written = term.to_binary();
    match external::leaf(&written) {
        Some(external::Leaf::Integer { negative, magnitude }) => {
            put_integer(negative, magnitude, out);
        }
        Some(external::Leaf::Bits { used, bytes }) => {
            out.extend_from_slice(&[BITS, used]);
            put_number(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Some(external::Leaf::Passing) if purpose.lasting => return Err(Unfit::Passing),
        Some(external::Leaf::Passing) => put_sized(PASSING, &written, out),
        Some(external::Leaf::Atom(_)) | None => return Err(Unfit::Unknown),
    }
    Ok(())
}

fn put_number(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_header(tag: u8, count: usize, out: &mut Vec<u8>) {
    out.push(tag);
    put_number(count, out);
}

fn put_sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    put_header(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_integer(negative: bool, magnitude: &[u8], out: &mut Vec<u8>) {
    let len = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    put_sized(if negative { NEGATIVE } else { NOT_NEGATIVE }, &magnitude[..len], out);
}

/// The term that these bytes encode; none if they are no encoding.
pub(super) fn decode<'a>(env: Env<'a>, code: &[u8]) -> Option<Term<'a>> {
    match code {
        [WHOLE_BINARY, bytes @ ..] => Some(binary(env, bytes)),
        _ => {
            let mut rest = code;
            let term = decode_part(env, &mut rest)?;
            rest.is_empty().then_some(term)
        }
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

/// A term some of whose elements were read.
struct Container<'a> {
    tag: u8,
    /// How many elements it has in all.
    count: usize,
    elements: Vec<Term<'a>>,
}

/// The first of several terms, taken off.
pub(super) fn decode_part<'a>(env: Env<'a>, rest: &mut &[u8]) -> Option<Term<'a>> {
    let mut open: Vec<Container<'a>> = Vec::new();
    loop {
        let (tag, after) = rest.split_first()?;
        *rest = after;
        let mut term = match *tag {
            tag @ (TUPLE | LIST | IMPROPER_LIST | MAP) => {
                let number = take_number(rest)?;
                let count = match tag {
                    IMPROPER_LIST => number.checked_add(1)?,
                    MAP => number.checked_mul(2)?,
                    _ => number,
                };
                // Each element takes a byte at least.
                if count > rest.len() {
                    return None;
                }
                // Bytes that say there are many, one container within the other, are no reason to
                // ask for much memory.
                let elements = Vec::with_capacity(count.min(64));
                let container = Container { tag, count, elements };
                if count > 0 {
                    open.push(container);
                    continue;
                }
                container.close(env)?
            }
            tag => decode_leaf(env, tag, rest)?,
        };
        loop {
            let Some(mut container) = open.pop() else { return Some(term) };
            container.elements.push(term);
            if container.elements.len() < container.count {
                open.push(container);
                break;
            }
            term = container.close(env)?;
        }
    }
}

impl<'a> Container<'a> {
    fn close(self, env: Env<'a>) -> Option<Term<'a>> {
        let Self { tag, mut elements, .. } = self;
        match tag {
            TUPLE => Some(make_tuple(env, &elements)),
            MAP => {
                let (keys, values): (Vec<_>, Vec<_>) =
                    elements.as_chunks::<2>().0.iter().map(|&[key, value]| (key, value)).unzip();
                Term::map_from_term_arrays(env, &keys, &values).ok()
            }
            _ => {
                let tail =
                    if tag == IMPROPER_LIST { elements.pop()? } else { Term::list_new_empty(env) };
                Some(elements.into_iter().rev().fold(tail, |tail, head| tail.list_prepend(head)))
            }
        }
    }
}

fn decode_leaf<'a>(env: Env<'a>, tag: u8, rest: &mut &[u8]) -> Option<Term<'a>> {
    match tag {
        NOT_NEGATIVE | NEGATIVE => {
            let magnitude = take_sized(rest)?;
            let mut bytes = [0; 8];
            match bytes.get_mut(..magnitude.len()) {
                Some(low) => low.copy_from_slice(magnitude),
                None => return external::integer(env, tag == NEGATIVE, magnitude),
            }
            let n = u64::from_le_bytes(bytes);
            match tag {
                NOT_NEGATIVE => Some(n.encode(env)),
                _ => match 0_i64.checked_sub_unsigned(n) {
                    Some(n) => Some(n.encode(env)),
                    None => external::integer(env, true, magnitude),
                },
            }
        }
        BINARY => Some(binary(env, take_sized(rest)?)),
        ATOM => external::atom(env, take_sized(rest)?),
        FLOAT => {
            let (bytes, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            Some(f64::from_be_bytes(*bytes).encode(env))
        }
        BITS => {
            let (used, after) = rest.split_first()?;
            *rest = after;
            external::bits(env, *used, take_sized(rest)?)
        }
        PASSING => external::any(env, take_sized(rest)?),
        _ => None,
    }
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut n = 0;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        n |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(n);
        }
    }
    None
}

fn take_sized<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = take_number(rest)?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}
