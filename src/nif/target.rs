//! What keys lead to, between Erlang and the dictionary: a shape's id, the id and what is left of
//! the shape's clause, or a condition that looks further.
//!
//! | bytes | target |
//! |---|---|
//! | an encoding ([`super::code`]) | `{id}` |
//! | `0B`, two encodings | `{id, rest}` |
//! | `0C`, one encoding | `[condition]` |

use rustler::{Encoder as _, Env, Term};

use super::code::{self, Purpose, Unfit};
use super::error::invalid_argument;
use super::term::Decoded;
use super::tuple;
use crate::dictionary::TERM_ID_FLAG;
use crate::routes;

const WITH_REST: u8 = 0x0b;
const CONDITION: u8 = 0x0c;

/// Bytes that the encodings of most ids and names have room in.
const USUAL: usize = 48;

/// A target as the engine takes it.
pub(super) enum Target {
    Plain(u32),
    Term(Vec<u8>),
}

/// `id` (a small integer, stored as it is), `{id}`, `{id, rest}` or `[condition]`; none if it is
/// longer than there is time for.
pub(super) fn encode<'a>(term: Term<'a>, purpose: Purpose) -> Decoded<'a, Option<Target>> {
    if let Ok(id) = term.decode::<u32>()
        && id < TERM_ID_FLAG
    {
        return Ok(Some(Target::Plain(id)));
    }
    let mut out = Vec::with_capacity(USUAL);
    let encoded = if let Ok((condition, _)) = term.list_get_cell() {
        out.push(CONDITION);
        code::encode_part(condition, purpose, &mut out)
    } else {
        match tuple::elements(term, 2).unwrap_or_default()[..] {
            [id] => code::encode(id, purpose, &mut out),
            [id, rest] => {
                out.push(WITH_REST);
                code::encode_part(id, purpose, &mut out)
                    .and_then(|()| code::encode_part(rest, purpose, &mut out))
            }
            _ => return Err(invalid_argument(term.get_env(), "the target is none")),
        }
    };
    finish(term.get_env(), encoded, out).map(|encoded| encoded.map(Target::Term))
}

/// Any term.
pub(super) fn name<'a>(term: Term<'a>, purpose: Purpose) -> Decoded<'a, Option<Vec<u8>>> {
    let mut out = Vec::with_capacity(USUAL);
    let encoded = code::encode(term, purpose, &mut out);
    finish(term.get_env(), encoded, out)
}

fn finish<'a>(
    env: Env<'a>,
    encoded: Result<(), Unfit>,
    out: Vec<u8>,
) -> Decoded<'a, Option<Vec<u8>>> {
    match encoded {
        Ok(()) => Ok(Some(out)),
        Err(Unfit::Long) => Ok(None),
        Err(Unfit::Passing) => Err(invalid_argument(
            env,
            "the index is stored, and a pid, port, reference or function would mean nothing \
             after a restart",
        )),
        Err(Unfit::Deep) => {
            Err(invalid_argument(env, "maps are nested as keys of maps too deeply"))
        }
        Err(Unfit::Unknown) => Err(invalid_argument(env, "the term is of an unknown kind")),
    }
}

/// Targets as they are answered: `{ids, others}`, the others being `{id, rest}` or `[condition]`, in
/// no particular order.
pub(super) struct Targets<'a> {
    ids: Term<'a>,
    others: Term<'a>,
    /// Of the terms so far.
    pub(super) bytes: usize,
}

impl<'a> Targets<'a> {
    pub(super) fn new(env: Env<'a>) -> Self {
        let none = Term::list_new_empty(env);
        Self { ids: none, others: none, bytes: 0 }
    }

    pub(super) fn add(&mut self, target: routes::Target<'_>) {
        match target {
            routes::Target::Id(id) => self.ids = self.ids.list_prepend(id),
            routes::Target::Term(term) => self.term(term),
        }
    }

    /// A term of the dictionary; one that is no target is passed over.
    pub(super) fn term(&mut self, term: &[u8]) {
        self.bytes += term.len();
        let env = self.ids.get_env();
        let other = match term {
            [WITH_REST, rest @ ..] => {
                let mut rest = rest;
                let id = code::decode_part(env, &mut rest);
                let left = code::decode_part(env, &mut rest);
                id.zip(left).map(|pair| pair.encode(env))
            }
            [CONDITION, rest @ ..] => {
                let mut rest = rest;
                let condition = code::decode_part(env, &mut rest);
                condition.map(|condition| Term::list_new_empty(env).list_prepend(condition))
            }
            _ => {
                if let Some(id) = code::decode(env, term) {
                    self.ids = self.ids.list_prepend(id);
                }
                return;
            }
        };
        if let Some(other) = other {
            self.others = self.others.list_prepend(other);
        }
    }

    /// With the ids as keys of a map.
    pub(super) fn into_set(self) -> Term<'a> {
        let env = self.ids.get_env();
        let ids: Vec<Term<'a>> = self.ids.decode().unwrap_or_default();
        let values = vec![Term::list_new_empty(env); ids.len()];
        let set = Term::map_from_term_arrays(env, &ids, &values);
        // An id that is listed twice came and went meanwhile.
        let each = |set: Term<'a>, id: &Term<'a>| set.map_put(*id, values[0]).unwrap_or(set);
        let set = set.unwrap_or_else(|_| ids.iter().fold(Term::map_new(env), each));
        (set, self.others).encode(env)
    }

    pub(super) fn into_term(self) -> Term<'a> {
        (self.ids, self.others).encode(self.ids.get_env())
    }
}
