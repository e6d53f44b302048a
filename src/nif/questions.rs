//! What many texts lead to, in one call.

use std::time::Instant;

use rustler::{Encoder as _, Env, Term};

use super::code::Purpose;
use super::reads::MOST_TIME;
use super::routes::{self, MOST, Name};
use super::target::Targets;
use super::term::{self, Decoded};
use super::text::Text;
use super::{Handle, error, large, look_up};
use crate::questions::Question;
use crate::routes::Most;

/// Questions that a normal scheduler may answer in one call, and bytes of their texts and names.
const MOST_QUESTIONS: usize = 256;
const MOST_TEXT: usize = 64 * 1024;
/// What it may answer to all of them.
const MOST_ANSWERED: Most = Most { ids: 2048, ..MOST };

/// Names that a name is looked for among: the changes of a transaction are about few fields.
const RECENT: usize = 8;

/// `text_get` of each of a list of `{name, types, text}`.
#[rustler::nif]
fn text_get_many<'a>(env: Env<'a>, handle: Handle<'a>, questions: Term<'a>) -> Term<'a> {
    let batch = Batch::new(MOST.bytes, MOST_TEXT);
    let most = Most { until: Some(Instant::now() + MOST_TIME), ..MOST_ANSWERED };
    batch.answer(env, handle, questions, MOST_QUESTIONS, most)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn text_get_many_dirty<'a>(env: Env<'a>, handle: Handle<'a>, questions: Term<'a>) -> Term<'a> {
    let batch = Batch::new(usize::MAX, usize::MAX);
    batch.answer(env, handle, questions, usize::MAX, Most::ALL)
}

/// Questions, put so that the engine can answer them together.
struct Batch<'a> {
    /// Each once, with one of the terms that it is the encoding of.
    names: Vec<(Term<'a>, Name)>,
    /// One after the other.
    keys: Vec<u8>,
    asked: Vec<Asked>,
    /// Bytes of one name or text.
    most: usize,
    /// Bytes of names and texts that there is time for still.
    left: usize,
}

/// A key: most questions have one.
struct Asked {
    question: usize,
    /// Its place among the names.
    name: usize,
    len: usize,
}

impl<'a> Batch<'a> {
    fn new(most: usize, left: usize) -> Self {
        Self { names: Vec::new(), keys: Vec::new(), asked: Vec::new(), most, left }
    }

    fn answer(
        mut self,
        env: Env<'a>,
        handle: Handle<'a>,
        questions: Term<'a>,
        most_questions: usize,
        most: Most,
    ) -> Term<'a> {
        let what = "the questions are not a list";
        let decoded = term::elements(questions, what, most_questions, |question, place| {
            Ok(self.add(question, place)?.map(|read| read.then(|| Targets::new(env))))
        });
        // None for a text that is none of its types.
        let mut answers = match decoded {
            Ok(Some(answers)) => answers,
            Ok(None) => return large().encode(env),
            Err(fault) => return fault,
        };
        let names: Vec<_> = self.names.iter().map(|(_, name)| name.as_deref()).collect();
        let mut rest = &self.keys[..];
        let question = |asked: &Asked| {
            let (key, after) = rest.split_at(asked.len);
            rest = after;
            Question { name: asked.name, key }
        };
        let questions: Vec<_> = self.asked.iter().map(question).collect();
        look_up(env, handle, |index| {
            let all = index.targets_of_many(&names, &questions, most, |at, target| {
                if let Some(targets) = &mut answers[self.asked[at].question] {
                    targets.add(target);
                }
            })?;
            let bytes: usize = answers.iter().flatten().map(|targets| targets.bytes).sum();
            routes::consume(env, bytes + self.keys.len() + 100 * answers.len());
            if !all {
                return Ok(large().encode(env));
            }
            let answer = |targets: Option<Targets<'a>>| {
                targets.map_or_else(|| error().encode(env), Targets::into_term)
            };
            Ok(answers.into_iter().map(answer).collect::<Vec<_>>().encode(env))
        })
    }

    /// Adds the keys of a question; false if its text is none of its types. None if that is more than
    /// there is time for.
    fn add(&mut self, question: Term<'a>, place: usize) -> Decoded<'a, Option<bool>> {
        let Ok((name, types, text)) = question.decode::<(Term<'a>, Term<'a>, Term<'a>)>() else {
            let what = "a question is not {name, types, text}";
            return Err(error::invalid_argument(question.get_env(), what));
        };
        let Some(name) = self.name(name)? else { return Ok(None) };
        let text = Text::of(types, text, self.most)?;
        let Some(text) = text.filter(|text| self.has_time(text.work())) else { return Ok(None) };
        let asked = &mut self.asked;
        let read = text.keys(&mut self.keys, |key| {
            asked.push(Asked { question: place, name, len: key.len() });
        });
        Ok(Some(read))
    }

    /// The name's place; none if it is longer than there is time for.
    fn name(&mut self, term: Term<'a>) -> Decoded<'a, Option<usize>> {
        let first = self.names.len().saturating_sub(RECENT);
        // The very same term. That equal ones are one name can be told by their encodings alone: 0.0
        // equals -0.0 in some releases.
        let same = |(known, _): &(Term<'a>, Name)| known.as_c_arg() == term.as_c_arg();
        if let Some(at) = self.names[first..].iter().position(same) {
            return Ok(Some(first + at));
        }
        let name = routes::name(term, Purpose { lasting: false, most: self.most })?;
        let len = |name: &Name| name.as_ref().map_or(0, Vec::len);
        let Some(name) = name.filter(|name| self.has_time(len(name))) else { return Ok(None) };
        if let Some(at) = self.names[first..].iter().position(|(_, known)| *known == name) {
            return Ok(Some(first + at));
        }
        self.names.push((term, name));
        Ok(Some(self.names.len() - 1))
    }

    fn has_time(&mut self, bytes: usize) -> bool {
        let rest = self.left.checked_sub(bytes);
        self.left = rest.unwrap_or(0);
        rest.is_some()
    }
}
