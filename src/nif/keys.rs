//! Keys of the text that PostgreSQL prints, and what they lead to in one call.

use std::borrow::Cow;

use rustler::{Atom, Binary, Encoder as _, Env, NewBinary, NifResult, Term};

use super::code::{self, Purpose};
use super::routes::{self, MOST};
use super::target::{self, Targets};
use super::term::{self, Decoded};
use super::{IndexResource, answer, error, large};
use crate::error::Result;
use crate::index::Index;
use crate::postgres::{Type, canonical};
use crate::routes::Most;

mod types {
    rustler::atoms! {
        int2, int4, int8, float4, float8, numeric, bool, text, varchar, bpchar, name, uuid, date,
        time, timestamp, timestamptz,
    }
}

/// Questions that a normal scheduler may answer in one call, and bytes of their texts and names.
const MOST_QUESTIONS: usize = 256;
const MOST_TEXT: usize = 64 * 1024;
/// More than one column's values can be told apart by.
const MOST_TYPES: usize = 64;
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
#[rustler::nif]
fn text_get<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    name: Term<'a>,
    types: Term<'a>,
    text: Term<'a>,
) -> Term<'a> {
    answer_one(env, resource, name_of(name, NAME), types, text)
}

/// [`text_get`] with the namespace's name as [`name_code`] gives it, for those who ask it often.
#[rustler::nif]
fn text_get_in<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    name: Term<'a>,
    types: Term<'a>,
    text: Term<'a>,
) -> Term<'a> {
    let name = term::bytes(name).map(|name| Some(Some(Cow::Borrowed(name))));
    answer_one(env, resource, name, types, text)
}

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
    resource: &'a IndexResource,
    name: Decoded<'a, Option<Name<'a>>>,
    types: Term<'a>,
    text: Term<'a>,
) -> Term<'a> {
    let question = name.and_then(|name| match name {
        Some(name) => Question::of(name, types, text, MOST.bytes),
        None => Ok(None),
    });
    let question = match question {
        Ok(Some(question)) => question,
        Ok(None) => return large().encode(env),
        Err(fault) => return fault,
    };
    answer(env, resource, |index| {
        let mut bytes = 0;
        let answer = question.answer(env, index, MOST, &mut bytes)?;
        routes::consume(env, bytes);
        Ok(answer.unwrap_or_else(|| large().encode(env)))
    })
}

/// [`text_get`] of each of a list of `{name, types, text}`.
#[rustler::nif]
fn text_get_many<'a>(env: Env<'a>, resource: &'a IndexResource, questions: Term<'a>) -> Term<'a> {
    answer_all(env, resource, questions, MOST_QUESTIONS, MOST)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn text_get_many_dirty<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    questions: Term<'a>,
) -> Term<'a> {
    answer_all(env, resource, questions, usize::MAX, Most::ALL)
}

fn answer_all<'a>(
    env: Env<'a>,
    resource: &'a IndexResource,
    questions: Term<'a>,
    most_questions: usize,
    most: Most,
) -> Term<'a> {
    let what = "the questions are not a list";
    let mut asked = 0;
    let decoded = term::elements(questions, what, most_questions, |question, _place| {
        let Ok((name, types, text_of)) = question.decode::<(Term<'a>, Term<'a>, Term<'a>)>() else {
            return Err(error::invalid_argument(env, "a question is not {name, types, text}"));
        };
        if asked > MOST_TEXT && most != Most::ALL {
            return Ok(None);
        }
        let name = name_of(name, Purpose { lasting: false, most: most.bytes })?;
        let question = match name {
            Some(name) => Question::of(name, types, text_of, most.bytes)?,
            None => None,
        };
        asked += question.as_ref().map_or(0, Question::len);
        Ok(question)
    });
    let questions = match decoded {
        Ok(questions) => questions,
        Err(fault) => return fault,
    };
    let Some(questions) = questions.filter(|_| most == Most::ALL || asked <= MOST_TEXT) else {
        return large().encode(env);
    };
    answer(env, resource, |index| {
        let (mut answers, mut bytes) = (Vec::with_capacity(questions.len()), asked);
        for question in &questions {
            match question.answer(env, index, most, &mut bytes)? {
                Some(answer) if bytes <= most.bytes => answers.push(answer),
                _ => return Ok(large().encode(env)),
            }
        }
        routes::consume(env, bytes + 100 * questions.len());
        Ok(answers.encode(env))
    })
}

/// Which targets of a namespace a text leads to.
struct Question<'a> {
    name: Name<'a>,
    types: Types,
    text: Binary<'a>,
}

/// Nearly always one.
enum Types {
    One(Type),
    Many(Vec<Type>),
}

impl<'a> Question<'a> {
    /// None if that is more than there is time for.
    fn of(
        name: Name<'a>,
        types: Term<'a>,
        text: Term<'a>,
        most: usize,
    ) -> Decoded<'a, Option<Self>> {
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
        if text.len() > most {
            return Ok(None);
        }
        Ok(Some(Self { name, types, text }))
    }

    /// Bytes of its text and name.
    fn len(&self) -> usize {
        self.text.len() + self.name.as_deref().map_or(0, <[u8]>::len)
    }

    /// None if that is more than `most` allows.
    fn answer(
        &self,
        env: Env<'a>,
        index: &Index,
        most: Most,
        bytes: &mut usize,
    ) -> Result<Option<Term<'a>>> {
        let mut targets = Targets::new(env);
        let mut look_up =
            |key: &[u8]| routes::add_targets(index, self.name.as_deref(), key, most, &mut targets);
        let read = |ty, key: &mut Vec<u8>| canonical(ty, &self.text, key);
        let mut key = Vec::with_capacity(self.text.len() + 16);
        let all = match &self.types {
            Types::One(ty) if read(*ty, &mut key) => look_up(&key)?,
            Types::One(_) => return Ok(Some(error().encode(env))),
            Types::Many(types) => {
                let mut keys: Vec<Vec<u8>> = Vec::new();
                for &ty in types {
                    let mut key = Vec::new();
                    // Types that read a text alike share its key.
                    if read(ty, &mut key) && !keys.contains(&key) {
                        keys.push(key);
                    }
                }
                if keys.is_empty() && !types.is_empty() {
                    return Ok(Some(error().encode(env)));
                }
                let mut all = true;
                for key in &keys {
                    all &= look_up(key)?;
                }
                all
            }
        };
        if !all {
            return Ok(None);
        }
        *bytes += targets.bytes;
        Ok(Some(targets.into_term()))
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
