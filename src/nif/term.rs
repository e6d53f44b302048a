//! Terms to engine values and back.

use std::path::Path;
use std::sync::Arc;

use rustler::types::list::ListIterator;
use rustler::{Atom, Binary, Encoder as _, Env, Term};

use super::PACE;
use super::error::invalid_argument;
use super::key::key_within;
use crate::chain::IdSet;
use crate::change::Op;
use crate::config::{Config, Durability, Filter, Verify};
use crate::hash::{Fingerprint, HashKey};
use crate::index::Index;
use crate::residency::Residency;
use crate::write::Change;

/// A decoded argument, or the error term to answer with.
pub(super) type Decoded<'a, T> = Result<T, Term<'a>>;

/// A key that can be nothing but bytes.
pub(super) fn bytes<'a>(term: Term<'a>) -> Decoded<'a, &'a [u8]> {
    match Binary::from_term(term) {
        Ok(binary) => Ok(binary.as_slice()),
        Err(_) => Err(invalid_argument(term.get_env(), "the key is not a binary")),
    }
}

pub(super) fn id(term: Term<'_>) -> Decoded<'_, u32> {
    match term.decode::<u32>() {
        Ok(id) if id <= crate::MAX_ID => Ok(id),
        _ if term.is_integer() => Err(super::error::id_out_of_range(term)),
        _ => Err(invalid_argument(term.get_env(), "the id is not an integer")),
    }
}

/// The elements of a proper list, each decoded with its place; `None` if there are more than
/// `most`, or as soon as one is more than there is time for.
pub(super) fn elements<'a, T>(
    list: Term<'a>,
    what: &str,
    most: usize,
    mut decode: impl FnMut(Term<'a>, usize) -> Decoded<'a, Option<T>>,
) -> Decoded<'a, Option<Vec<T>>> {
    // Counted first, and not only because iterating an improper list panics: a pass over nothing
    // but the cells brings them into the cache, which makes the whole quicker by a tenth. That pass
    // has no end but the list's, so callers on normal schedulers keep long lists away.
    let (Ok(len), Ok(items)) = (list.list_length(), list.decode::<ListIterator<'a>>()) else {
        return Err(invalid_argument(list.get_env(), what));
    };
    if len > most {
        return Ok(None);
    }
    let mut elements = Vec::with_capacity(len);
    for (place, item) in items.enumerate() {
        match decode(item, place)? {
            Some(element) => elements.push(element),
            None => return Ok(None),
        }
    }
    Ok(Some(elements))
}

/// `[{:put | :delete, key, id}]`, at most `most` of them, with keys of `left` bytes together.
pub(super) fn batch<'a>(
    index: &Index,
    list: Term<'a>,
    most: usize,
    mut left: usize,
) -> Decoded<'a, Option<Vec<Change<Fingerprint>>>> {
    elements(list, "the batch is not a list", most, |item, place| {
        let Ok((op, key_term, id_term)) = item.decode::<(Atom, Term<'_>, Term<'_>)>() else {
            return Err(not_a_change(item, place));
        };
        let op = op_of(op).ok_or_else(|| not_a_change(item, place))?;
        let key = key_within(index, key_term, &mut left)?;
        let id = id(id_term)?;
        Ok(key.map(|key| (op, key, id)))
    })
}

fn op_of(atom: Atom) -> Option<Op> {
    match atom {
        atom if atom == super::put() => Some(Op::Put),
        atom if atom == super::delete() => Some(Op::Delete),
        _ => None,
    }
}

/// `:put` or `:delete`.
pub(super) fn op(term: Term<'_>) -> Decoded<'_, Op> {
    let op = term.decode::<Atom>().ok().and_then(op_of);
    op.ok_or_else(|| invalid_argument(term.get_env(), "the operation is neither :put nor :delete"))
}

/// `:memory`, `:os` or `:sync`.
pub(super) fn durability(term: Term<'_>) -> Decoded<'_, Durability> {
    match term.decode::<Atom>() {
        Ok(atom) if atom == super::memory() => Ok(Durability::Memory),
        Ok(atom) if atom == super::os() => Ok(Durability::Os),
        Ok(atom) if atom == super::sync() => Ok(Durability::Sync),
        _ => Err(invalid_argument(
            term.get_env(),
            "the durability is neither :memory nor :os nor :sync",
        )),
    }
}

fn not_a_change(item: Term<'_>, place: usize) -> Term<'_> {
    let what = format!(
        "element {place} of the batch is neither {{:put, key, id}} nor {{:delete, key, id}}"
    );
    invalid_argument(item.get_env(), &what)
}

pub(super) fn config<'a>(term: Term<'a>) -> Decoded<'a, Config> {
    let env = term.get_env();
    let get = |name: Atom| {
        let value = term.map_get(name.to_term(env)).ok();
        value.filter(|value| *value != super::nil().encode(env))
    };
    let integer = |name: Atom, what: &str| match get(name).map(|value| value.decode::<u32>()) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(invalid_argument(env, what)),
    };
    let durability = match get(super::durability()) {
        None => Durability::default(),
        Some(mode) => durability(mode)?,
    };
    let max_log_bytes = match get(super::max_log_bytes()).map(|value| value.decode::<u64>()) {
        None => None,
        Some(Ok(bytes)) => Some(bytes),
        Some(Err(_)) => return Err(invalid_argument(env, "max_log_bytes is not an integer")),
    };
    let salvage = match get(super::recover()).map(|value| value.decode::<Atom>()) {
        None => false,
        Some(Ok(atom)) if atom == super::strict() => false,
        Some(Ok(atom)) if atom == super::salvage() => true,
        Some(_) => return Err(invalid_argument(env, "recover is neither :strict nor :salvage")),
    };
    let verify = match get(super::verify()).map(|value| value.decode::<Atom>()) {
        None => Verify::Full,
        Some(Ok(atom)) if atom == super::full() => Verify::Full,
        Some(Ok(atom)) if atom == super::fast() => Verify::Fast,
        Some(_) => return Err(invalid_argument(env, "verify is neither :full nor :fast")),
    };
    let residency = match get(super::residency()).map(|value| value.decode::<Atom>()) {
        None => Residency::default(),
        Some(Ok(atom)) if atom == super::mmap() => Residency::Mmap,
        Some(Ok(atom)) if atom == super::populate() => Residency::Populate,
        Some(Ok(atom)) if atom == super::mlock() => Residency::Mlock,
        Some(Ok(atom)) if atom == super::heap() => Residency::Heap,
        Some(_) => return Err(invalid_argument(env, "the residency is unknown")),
    };
    let filter = match get(super::filter()).map(|value| value.decode::<Atom>()) {
        None => Filter::default(),
        Some(Ok(atom)) if atom == super::none() => Filter::None,
        Some(Ok(atom)) if atom == super::bloom() => Filter::Bloom,
        Some(Ok(atom)) if atom == super::fuse8() => Filter::Fuse8,
        Some(_) => return Err(invalid_argument(env, "the filter is unknown")),
    };
    let hash_key = match get(super::hash_key()).map(Binary::from_term) {
        None => None,
        Some(Ok(binary)) => match <[u8; 16]>::try_from(binary.as_slice()) {
            Ok(bytes) => Some(HashKey(bytes)),
            Err(_) => return Err(invalid_argument(env, "hash_key is not 16 bytes long")),
        },
        Some(Err(_)) => return Err(invalid_argument(env, "hash_key is not a binary")),
    };
    Ok(Config {
        num_lanes: integer(super::num_lanes(), "num_lanes is not a small integer")?,
        compaction_threshold: integer(
            super::compaction_threshold(),
            "compaction_threshold is not a small integer",
        )?,
        verify,
        hash_key,
        durability,
        max_log_bytes,
        salvage,
        residency,
        filter,
        pace: Some(Arc::clone(&PACE)),
    })
}

/// A list of ids. `none` is the empty list, for callers that make many lists. Inlined, so that a term is
/// not handed on in memory, in parts.
#[inline(always)]
pub(super) fn ids<'a>(none: Term<'a>, ids: &IdSet) -> Term<'a> {
    match ids {
        IdSet::Empty => none,
        // Without the detour over an array of terms.
        IdSet::One(id) => none.list_prepend(id),
        IdSet::Many(ids) => ids.encode(none.get_env()),
    }
}

pub(super) fn path<'a>(path: Term<'a>) -> Decoded<'a, &'a Path> {
    match path.decode::<&'a str>() {
        Ok(path) if !path.contains('\0') => Ok(Path::new(path)),
        _ => Err(invalid_argument(path.get_env(), "the path is not a string")),
    }
}

/// A map from atoms to numbers.
pub(super) fn numbers<'a>(env: Env<'a>, pairs: &[(&str, u64)]) -> Term<'a> {
    let pairs: Vec<(Term<'a>, u64)> = pairs.iter().map(|(k, v)| (atom(env, k), *v)).collect();
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| Term::map_new(env))
}

/// Only for names fixed in these files: atoms are never freed.
pub(super) fn atom<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    Atom::from_str(env, name).map_or_else(|_| name.encode(env), |atom| atom.to_term(env))
}
