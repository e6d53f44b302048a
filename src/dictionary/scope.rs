//! What terms belong to: the index itself, its namespaces' names, or a namespace. A number before a
//! term's bytes says which, so that each has terms of its own.

use super::TERM_ID_FLAG;

/// Where a term, or a key, belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope(u32);

impl Scope {
    /// The index itself.
    pub(crate) const INDEX: Self = Self(0);
    /// Names of namespaces.
    pub(crate) const NAMES: Self = Self(1);

    /// The namespace whose name has this id.
    pub(crate) fn of_namespace(id: u32) -> Self {
        Self((id & !TERM_ID_FLAG) + 2)
    }

    pub(crate) fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// The id of the namespace's name, if it is a namespace's.
    pub(crate) fn namespace(self) -> Option<u32> {
        self.0.checked_sub(2).map(|id| id | TERM_ID_FLAG)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// A term of this scope, as the dictionary has it: the scope's number in LEB128, the bytes.
    pub(crate) fn term(self, bytes: &[u8]) -> Vec<u8> {
        let mut term = Vec::with_capacity(bytes.len() + 5);
        let mut number = self.0;
        while number >= 0x80 {
            term.push(number as u8 | 0x80);
            number >>= 7;
        }
        term.push(number as u8);
        term.extend_from_slice(bytes);
        term
    }

    /// A term's scope and its bytes; none if the dictionary cannot have it.
    #[inline]
    pub(crate) fn split(term: &[u8]) -> Option<(Self, &[u8])> {
        let (mut number, mut shift, mut rest) = (0, 0, term);
        loop {
            let (byte, after) = rest.split_first()?;
            number |= u32::from(byte & 0x7f).checked_shl(shift)?;
            rest = after;
            if byte & 0x80 == 0 {
                return Some((Self(number), rest));
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_split_where_it_was_put_together() {
        let largest = Scope::of_namespace(u32::MAX >> 1);
        assert_eq!(largest.namespace(), Some(u32::MAX >> 1));
        let namespaces = [0, 1, 125, 126, 127, 16_381, 16_382, 1 << 29].map(Scope::of_namespace);
        for scope in [Scope::INDEX, Scope::NAMES, largest].into_iter().chain(namespaces) {
            for bytes in [&b""[..], b"\x80", b"term"] {
                assert_eq!(Scope::split(&scope.term(bytes)), Some((scope, bytes)));
            }
        }
        assert_eq!((Scope::INDEX.namespace(), Scope::NAMES.namespace()), (None, None));
        for unfit in [&b""[..], b"\x80", b"\xff\xff\xff\xff\xff\xff\x01"] {
            assert_eq!(Scope::split(unfit), None);
        }
    }
}
