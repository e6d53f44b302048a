//! Errors as `{:error, {reason, message, detail}}`.

use rustler::{Encoder as _, Env, Term};

use crate::error::Error;

mod reasons {
    rustler::atoms! {
        closed, poisoned, key_too_long, id_out_of_range, invalid_argument, invalid_option, locked,
        mismatch, not_found, io, corrupt, unsupported_version, mph_construction, too_large,
        ids_exhausted, mixed_ids,
    }
}

mod keys {
    rustler::atoms! {
        reason, len, max, id, option, path, holder, stored, given, op, kind, offset, found,
        supported, keys, limit,
    }
}

/// Encodes an error.
pub(super) fn encode<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    env.error_tuple(parts(env, error))
}

/// `{reason, message, detail}`: the message is the engine's own, the detail holds what it names.
pub(super) fn parts<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    let path_of = |path: &std::path::Path| path.to_string_lossy().into_owned().encode(env);
    let (reason, detail): (_, Vec<(_, Term<'a>)>) = match error {
        Error::Closed => (reasons::closed(), vec![]),
        Error::Poisoned { reason } => {
            (reasons::poisoned(), vec![(keys::reason(), reason.encode(env))])
        }
        Error::KeyTooLong { len } => (
            reasons::key_too_long(),
            vec![(keys::len(), len.encode(env)), (keys::max(), crate::MAX_KEY_LEN.encode(env))],
        ),
        Error::IdOutOfRange { id } => (
            reasons::id_out_of_range(),
            vec![(keys::id(), id.encode(env)), (keys::max(), crate::MAX_ID.encode(env))],
        ),
        Error::InvalidOption { option, .. } => {
            (reasons::invalid_option(), vec![(keys::option(), option.encode(env))])
        }
        Error::Locked { path, holder } => (
            reasons::locked(),
            vec![(keys::path(), path_of(path)), (keys::holder(), holder.encode(env))],
        ),
        Error::Mismatch { option, stored, given, path } => (
            reasons::mismatch(),
            vec![
                (keys::option(), option.encode(env)),
                (keys::stored(), stored.encode(env)),
                (keys::given(), given.encode(env)),
                (keys::path(), path_of(path)),
            ],
        ),
        Error::Io { op, path, source } => {
            // Any other file that is missing is missing from an index.
            let named = *op == "find" || path.ends_with(crate::epoch::CURRENT);
            let missing = named && source.kind() == std::io::ErrorKind::NotFound;
            (
                if missing { reasons::not_found() } else { reasons::io() },
                vec![
                    (keys::op(), op.encode(env)),
                    (keys::path(), path_of(path)),
                    (keys::kind(), source.kind().to_string().encode(env)),
                ],
            )
        }
        Error::Corrupt { path, offset, .. } => (
            reasons::corrupt(),
            vec![(keys::path(), path_of(path)), (keys::offset(), offset.encode(env))],
        ),
        Error::UnsupportedVersion { path, found, supported } => (
            reasons::unsupported_version(),
            vec![
                (keys::path(), path_of(path)),
                (keys::found(), found.encode(env)),
                (keys::supported(), supported.encode(env)),
            ],
        ),
        Error::MphConstruction { keys } => {
            (reasons::mph_construction(), vec![(self::keys::keys(), keys.encode(env))])
        }
        Error::TooLarge { limit, .. } => {
            (reasons::too_large(), vec![(keys::limit(), limit.encode(env))])
        }
        Error::MixedIds { .. } => (reasons::mixed_ids(), vec![]),
        Error::IdsExhausted => (reasons::ids_exhausted(), vec![]),
    };
    let detail = Term::map_from_pairs(env, &detail).unwrap_or_else(|_| Term::map_new(env));
    (reason, error.to_string(), detail).encode(env)
}

/// An integer that is no id; it may be negative, or larger than any number of ours.
pub(super) fn id_out_of_range(id: Term<'_>) -> Term<'_> {
    let env = id.get_env();
    // Printing a very large integer takes very long.
    let shown =
        id.decode::<i64>().map_or_else(|_| "beyond 64 bits".to_owned(), |id| id.to_string());
    let message = format!("id {shown} is not within 0..={}", crate::MAX_ID);
    let detail = vec![(keys::id(), id), (keys::max(), crate::MAX_ID.encode(env))];
    let detail = Term::map_from_pairs(env, &detail).unwrap_or_else(|_| Term::map_new(env));
    env.error_tuple((reasons::id_out_of_range(), message, detail))
}

/// A term of the wrong kind: `what` says which argument and what belongs there.
pub(super) fn invalid_argument<'a>(env: Env<'a>, what: &str) -> Term<'a> {
    env.error_tuple((reasons::invalid_argument(), what, Term::map_new(env)))
}
