//! Keys of the text that PostgreSQL prints.

use rustler::{Atom, Binary, Encoder as _, Env, NewBinary, NifResult, Term};

use crate::postgres::{Type, canonical};

mod types {
    rustler::atoms! {
        int2, int4, int8, float4, float8, numeric, bool, text, varchar, bpchar, name, uuid, date,
        time, timestamp, timestamptz,
    }
}

/// The canonical key of a text of that type; `:error` if PostgreSQL would not print it. In time that
/// is proportional to the text's length: callers keep long ones away.
#[rustler::nif]
fn text_key<'a>(env: Env<'a>, ty: Atom, text: Binary<'a>) -> NifResult<Term<'a>> {
    let ty = type_of(ty).ok_or(rustler::Error::BadArg)?;
    let mut key = Vec::with_capacity(text.len() + 16);
    if !canonical(ty, &text, &mut key) {
        return Ok(super::error().encode(env));
    }
    let mut binary = NewBinary::new(env, key.len());
    binary.copy_from_slice(&key);
    Ok(binary.into())
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
