//! Keys of the text that PostgreSQL prints, and what they lead to in one call.

use std::borrow::Cow;
use std::ops::Range;

use rustler::{Atom, Binary, Encoder as _, Env, NewBinary, NifResult, Term};

use super::code::{self, Purpose};
use super::quick::quick_nif;
use super::routes::{self, MOST};
use super::target::{self, Targets};
use super::term::{self, Decoded};
use super::{Handle, error, large, look_up};
use crate::postgres::{Type, canonical};

mod types {
    rustler::atoms! {
        int2, int4, int8, float4, float8, numeric, bool, text, varchar, bpchar, name, uuid, date,
        time, timestamp, timestamptz,
    }
}

/// More than one column's values can be told apart by.
const MOST_TYPES: usize = 64;
/// What a key is worth beside its text.
const BYTES_PER_KEY: usize = 16;
/// For a name that a normal scheduler encodes.
const NAME: Purpose = Purpose { lasting: false, most: MOST.bytes };

/// The canonical key of a text of that type; `:error` if PostgreSQL would not print it. In time that
/// is proportional to the text's length: callers keep long ones away.
#[rustler::nif]
fn text_key<'a>(env: Env<'a>, ty: Atom, text: Binary<'a>) -> NifResult<Term<'a>> {
    let ty = type_of(ty).ok_or(rustler::Error::BadArg)?;
    let mut key = Vec::with_capacity(text.len() + 16);
    if !canonical(ty, &text, &mut key) {
        return Ok(error().encode(env));
    }
    Ok(NewBinary::from_slice(env, &key).into())
}

/// A term's own bytes, as the dictionary has them: equal ones for terms that are the same. `:error`
/// if it holds a pid, port, reference or function.
#[rustler::nif]
fn term_key<'a>(env: Env<'a>, term: Term<'a>) -> Term<'a> {
    key_of_term(env, term, MOST.bytes)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn term_key_dirty<'a>(env: Env<'a>, term: Term<'a>) -> Term<'a> {
    key_of_term(env, term, usize::MAX)
}

fn key_of_term<'a>(env: Env<'a>, term: Term<'a>, most: usize) -> Term<'a> {
    let mut key = Vec::new();
    match code::encode(term, Purpose { lasting: true, most }, &mut key) {
        Ok(()) => NewBinary::from_slice(env, &key).into(),
        Err(code::Unfit::Long) => large().encode(env),
        Err(_) => error().encode(env),
    }
}

/// What a text leads to, read as each of some types: `{ids, others}`, or `:error` if it is a text of
/// none of them.
fn text_get<'a>(
    env: Env<'a>,
    [reference, name, types, text]: [Term<'a>; 4],
) -> NifResult<Term<'a>> {
    Ok(answer_one(env, reference.decode()?, name_of(name, NAME), types, text))
}
quick_nif!(text_get / 4);

/// [`text_get`] with the namespace's name as [`name_code`] gives it, for those who ask it often.
fn text_get_in<'a>(
    env: Env<'a>,
    [reference, name, types, text]: [Term<'a>; 4],
) -> NifResult<Term<'a>> {
    let name = term::bytes(name).map(|name| Some(Some(Cow::Borrowed(name))));
    Ok(answer_one(env, reference.decode()?, name, types, text))
}
quick_nif!(text_get_in / 4);

/// A namespace's name as the dictionary has it, if there is one.
type Name<'a> = Option<Cow<'a, [u8]>>;

/// None if it is longer than there is time for.
fn name_of<'a>(name: Term<'a>, purpose: Purpose) -> Decoded<'a, Option<Name<'a>>> {
    Ok(routes::name(name, purpose)?.map(|name| name.map(Cow::Owned)))
}

/// A namespace's name as the dictionary has it; `:large` if a normal scheduler has no time for it.
#[rustler::nif]
fn name_code<'a>(env: Env<'a>, name: Term<'a>) -> Term<'a> {
    match target::name(name, NAME) {
        Ok(Some(name)) => NewBinary::from_slice(env, &name).into(),
        Ok(None) => large().encode(env),
        Err(fault) => fault,
    }
}

fn answer_one<'a>(
    env: Env<'a>,
    handle: Handle<'a>,
    name: Decoded<'a, Option<Name<'a>>>,
    types: Term<'a>,
    text: Term<'a>,
) -> Term<'a> {
    let decoded = name.and_then(|name| Ok(name.zip(Text::of(types, text, MOST.bytes)?)));
    let (name, text) = match decoded {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return large().encode(env),
        Err(fault) => return fault,
    };
    look_up(env, handle, |index| {
        let (mut targets, mut all) = (Targets::new(env), Ok(true));
        let mut keys = Vec::with_capacity(text.work());
        let read = text.keys(&mut keys, |key| {
            if let Ok(true) = all {
                all = routes::add_targets(index, name.as_deref(), key, MOST, &mut targets);
            }
        });
        routes::consume(env, targets.bytes);
        Ok(match all? {
            _ if !read => error().encode(env),
            true => targets.into_term(),
            false => large().encode(env),
        })
    })
}

/// A text, and what to read it as.
pub(super) struct Text<'a> {
    types: Types,
    text: Binary<'a>,
}

/// Nearly always one.
enum Types {
    One(Type),
    Many(Vec<Type>),
}

impl<'a> Text<'a> {
    /// None if it is longer than there is time for.
    pub(super) fn of(types: Term<'a>, text: Term<'a>, most: usize) -> Decoded<'a, Option<Self>> {
        let env = types.get_env();
        let unknown = || error::invalid_argument(env, "the types are not of those read natively");
        let one = |ty: Atom| type_of(ty).ok_or_else(unknown);
        let types = match Atom::from_term(types) {
            Ok(ty) => Types::One(one(ty)?),
            Err(_) => {
                let each = |ty, _place| one(Atom::from_term(ty).map_err(|_| unknown())?).map(Some);
                let types = term::elements(types, "the types are not a list", MOST_TYPES, each)?;
                Types::Many(types.ok_or_else(unknown)?)
            }
        };
        let Ok(text) = Binary::from_term(text) else {
            return Err(error::invalid_argument(env, "the text is not a binary"));
        };
        Ok((text.len() <= most).then_some(Self { types, text }))
    }

    /// What reading it as its types, and asking for the keys, is worth in bytes of text.
    pub(super) fn work(&self) -> usize {
        let types = match &self.types {
            Types::One(_) => 1,
            Types::Many(types) => types.len(),
        };
        types * (self.text.len() + BYTES_PER_KEY)
    }

    /// Appends its keys to `out`, one after the other, and hands each over. False if it is a text of
    /// none of the types.
    pub(super) fn keys(&self, out: &mut Vec<u8>, mut each: impl FnMut(&[u8])) -> bool {
        match &self.types {
            Types::One(ty) => {
                let start = out.len();
                let read = canonical(*ty, &self.text, out);
                if read {
                    each(&out[start..]);
                }
                read
            }
            Types::Many(types) => {
                let mut keys: Vec<Range<usize>> = Vec::new();
                for &ty in types {
                    let start = out.len();
                    if !canonical(ty, &self.text, out) {
                        continue;
                    }
                    // Types that read a text alike share its key.
                    if keys.iter().any(|key| out[key.clone()] == out[start..]) {
                        out.truncate(start);
                    } else {
                        keys.push(start..out.len());
                        each(&out[start..]);
                    }
                }
                !keys.is_empty() || types.is_empty()
            }
        }
    }
}

fn type_of(atom: Atom) -> Option<Type> {
    let types = [
        (types::int8(), Type::Int8),
        (types::uuid(), Type::Uuid),
        (types::text(), Type::Text),
        (types::int4(), Type::Int4),
        (types::int2(), Type::Int2),
        (types::varchar(), Type::Text),
        (types::bpchar(), Type::Text),
        (types::name(), Type::Text),
        (types::bool(), Type::Bool),
        (types::numeric(), Type::Numeric),
        (types::float4(), Type::Float4),
        (types::float8(), Type::Float8),
        (types::date(), Type::Date),
        (types::time(), Type::Time),
        (types::timestamp(), Type::Timestamp),
        (types::timestamptz(), Type::Timestamptz),
    ];
    types.iter().find(|(known, _)| *known == atom).map(|(_, ty)| *ty)
}
