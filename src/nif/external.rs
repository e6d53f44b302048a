//! The VM's external term format, for the few kinds of terms that its interface for native code
//! shows in no other way: large integers, atoms beyond Latin-1, bits, and what does not last.

use rustler::{Env, Term};

const VERSION: u8 = 131;

const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const BIT_BINARY: u8 = 77;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;
const ATOM_LATIN1: u8 = 100;
const SMALL_ATOM_LATIN1: u8 = 115;
/// Ports, pids, references and functions, of all releases.
const PASSING: [u8; 11] = [88, 89, 90, 101, 102, 103, 112, 113, 114, 117, 120];

/// A term without parts.
pub(super) enum Leaf<'b> {
    Integer {
        negative: bool,
        /// Lowest byte first.
        magnitude: &'b [u8],
    },
    Atom(String),
    Bits {
        /// Of the last byte.
        used: u8,
        bytes: &'b [u8],
    },
    /// A port, pid, reference or function.
    Passing,
}

/// An atom's name; none of any other term.
pub(super) fn atom_name(term: Term<'_>) -> Option<String> {
    // Beyond Latin-1, the VM's interface does not tell it.
    term.atom_to_string().ok().or_else(|| {
        let written = term.is_atom().then(|| term.to_binary())?;
        match leaf(&written)? {
            Leaf::Atom(name) => Some(name),
            _ => None,
        }
    })
}

/// Reads what the VM has written; none if it is none of these.
pub(super) fn leaf(written: &[u8]) -> Option<Leaf<'_>> {
    let [VERSION, tag, rest @ ..] = written else { return None };
    match *tag {
        SMALL_BIG => {
            let [len, sign, magnitude @ ..] = rest else { return None };
            let magnitude = magnitude.get(..usize::from(*len))?;
            Some(Leaf::Integer { negative: *sign != 0, magnitude })
        }
        LARGE_BIG => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (sign, magnitude) = rest.split_first()?;
            let magnitude = magnitude.get(..u32::from_be_bytes(*len) as usize)?;
            Some(Leaf::Integer { negative: *sign != 0, magnitude })
        }
        BIT_BINARY => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (used, bytes) = rest.split_first()?;
            Some(Leaf::Bits { used: *used, bytes: bytes.get(..u32::from_be_bytes(*len) as usize)? })
        }
        ATOM_UTF8 => Some(Leaf::Atom(String::from_utf8(rest.get(2..)?.to_vec()).ok()?)),
        SMALL_ATOM_UTF8 => Some(Leaf::Atom(String::from_utf8(rest.get(1..)?.to_vec()).ok()?)),
        ATOM_LATIN1 => Some(Leaf::Atom(rest.get(2..)?.iter().map(|b| char::from(*b)).collect())),
        SMALL_ATOM_LATIN1 => {
            Some(Leaf::Atom(rest.get(1..)?.iter().map(|b| char::from(*b)).collect()))
        }
        tag if PASSING.contains(&tag) => Some(Leaf::Passing),
        _ => None,
    }
}

pub(super) fn integer<'a>(env: Env<'a>, negative: bool, magnitude: &[u8]) -> Option<Term<'a>> {
    let len = u32::try_from(magnitude.len()).ok()?;
    let head = [&[VERSION, LARGE_BIG][..], &len.to_be_bytes(), &[negative.into()]].concat();
    any(env, &[&head[..], magnitude].concat())
}

pub(super) fn atom<'a>(env: Env<'a>, name: &[u8]) -> Option<Term<'a>> {
    let len = u16::try_from(name.len()).ok()?;
    any(env, &[&[VERSION, ATOM_UTF8][..], &len.to_be_bytes(), name].concat())
}

pub(super) fn bits<'a>(env: Env<'a>, used: u8, bytes: &[u8]) -> Option<Term<'a>> {
    let len = u32::try_from(bytes.len()).ok()?;
    any(env, &[&[VERSION, BIT_BINARY][..], &len.to_be_bytes(), &[used], bytes].concat())
}

/// The term that the VM has written; none if the bytes are none.
#[expect(unsafe_code, reason = "the safe variant refuses atoms this VM has not seen yet")]
pub(super) fn any<'a>(env: Env<'a>, written: &[u8]) -> Option<Term<'a>> {
    // SAFETY:
    // 1. The VM checks the bytes as it decodes; malformed ones give `None`, not a fault.
    // 2. What makes the call unsafe is that terms may name new atoms, which are never freed.
    //    These are of terms that this application stored, and are checksummed on disk. After a
    //    restart their atoms may well be new; refusing them would lose routes.
    unsafe { env.binary_to_term_trusted(written) }.map(|(term, _)| term)
}
