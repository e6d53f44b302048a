//! What an index is asked with: bytes, or a term made of integers, atoms and bytes.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::MAX_KEY_LEN;
use crate::error::{Error, Result};
use crate::hash::{Fingerprint, KeyHasher};
use crate::index::Index;

/// A key: anything that lends bytes, or the fingerprint of a term, which the same index has made
/// ([`Index::term_key`]).
pub trait Key {
    /// The key's identity in the index whose hasher it is.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`].
    fn fingerprint(&self, hasher: &KeyHasher) -> Result<Fingerprint>;
}

impl<B: AsRef<[u8]> + ?Sized> Key for B {
    #[inline]
    fn fingerprint(&self, hasher: &KeyHasher) -> Result<Fingerprint> {
        let bytes = self.as_ref();
        Index::check_key(bytes)?;
        Ok(hasher.fingerprint(bytes))
    }
}

impl Key for Fingerprint {
    #[inline]
    fn fingerprint(&self, _hasher: &KeyHasher) -> Result<Fingerprint> {
        Ok(*self)
    }
}

// First bytes of what a term is made of, as docs/format.md has them: part of the format.
const NOT_NEGATIVE: u8 = 0x01;
const NEGATIVE: u8 = 0x02;
const BYTES: u8 = 0x03;
const ATOM: u8 = 0x04;
const TUPLE: u8 = 0x05;

/// A term on its way to a key, told part by part: an integer, an atom, bytes, or a tuple and then as
/// many of these. It is hashed on the way, and takes no memory.
///
/// No term is a key that bytes are, and no two terms are one key.
///
/// ```
/// # use lsm_index::{Config, Index};
/// # let index = Index::in_memory(&Config::default())?;
/// let mut user = index.term_key();
/// user.tuple(2);
/// user.atom("user");
/// user.integer(42);
/// let user = user.finish()?;
/// index.put(&user, 7)?;
/// assert_eq!(index.get(&user)?.as_slice(), [7]);
/// # Ok::<(), lsm_index::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TermKey {
    hasher: SipHasher24,
    /// Of the encoding so far.
    len: usize,
    /// The end of it, which is not hashed yet: all of it with most terms. Hashed part by part, a term
    /// of three takes three times as long.
    rest: [u8; ROOM],
    rest_len: usize,
}

const ROOM: usize = 64;

impl TermKey {
    pub(crate) fn new(hasher: SipHasher24) -> Self {
        Self { hasher, len: 0, rest: [0; ROOM], rest_len: 0 }
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, n: i64) {
        let magnitude = n.unsigned_abs();
        let len = (u64::BITS - magnitude.leading_zeros()).div_ceil(8) as usize;
        let mut code = [0; 10];
        code[0] = if n < 0 { NEGATIVE } else { NOT_NEGATIVE };
        code[1] = len as u8;
        code[2..].copy_from_slice(&magnitude.to_le_bytes());
        self.add_some(&code, 2 + len);
    }

    /// An atom, by its name.
    #[inline]
    pub fn atom(&mut self, name: &str) {
        self.header(ATOM, name.len());
        self.add(name.as_bytes());
    }

    /// Bytes within a term; alone they are another key than these bytes themselves.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.header(BYTES, bytes.len());
        self.add(bytes);
    }

    /// A tuple; its elements follow.
    #[inline]
    pub fn tuple(&mut self, elements: usize) {
        self.header(TUPLE, elements);
    }

    /// Bytes of its encoding so far.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.len
    }

    /// The key, of the index that began it.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`] if its encoding is longer than a key.
    #[inline]
    pub fn finish(&self) -> Result<Fingerprint> {
        if self.len > MAX_KEY_LEN {
            return Err(Error::KeyTooLong { len: self.len });
        }
        Ok(Fingerprint(self.hasher.hash(&self.rest[..self.rest_len])))
    }

    /// A tag and a number in LEB128.
    #[inline]
    fn header(&mut self, tag: u8, mut number: usize) {
        if number < 0x80 {
            return self.add_some(&[tag, number as u8], 2);
        }
        let (mut code, mut len) = ([tag; 11], 1);
        while number >= 0x80 {
            code[len] = number as u8 | 0x80;
            number >>= 7;
            len += 1;
        }
        code[len] = number as u8;
        self.add_some(&code, len + 1);
    }

    /// The first bytes of some: all are copied, as that is one store.
    #[inline]
    fn add_some<const N: usize>(&mut self, code: &[u8; N], len: usize) {
        match self.rest[self.rest_len..].first_chunk_mut() {
            Some(room) => {
                *room = *code;
                self.rest_len += len;
                self.len += len;
            }
            None => self.add(&code[..len]),
        }
    }

    #[inline]
    fn add(&mut self, code: &[u8]) {
        self.len = self.len.saturating_add(code.len());
        if let Some(room) = self.rest.get_mut(self.rest_len..self.rest_len + code.len()) {
            room.copy_from_slice(code);
            self.rest_len += code.len();
        } else if self.len <= MAX_KEY_LEN {
            self.hasher.write(&self.rest[..self.rest_len]);
            self.rest_len = 0;
            self.hasher.write(code);
        }
        // What is too long is refused in the end, and takes no time until then.
    }
}

impl Index {
    /// Begins the key of a term.
    #[inline]
    #[must_use]
    pub fn term_key(&self) -> TermKey {
        self.hasher.term()
    }

    /// A key's identity in this index.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`].
    #[inline]
    pub fn fingerprint<K: Key + ?Sized>(&self, key: &K) -> Result<Fingerprint> {
        key.fingerprint(&self.hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;

    fn hasher() -> KeyHasher {
        KeyHasher::new(&HashKey(std::array::from_fn(|i| i as u8)))
    }

    fn of(tell: impl FnOnce(&mut TermKey)) -> Result<Fingerprint> {
        let mut key = hasher().term();
        tell(&mut key);
        key.finish()
    }

    /// The same from the encoding, as docs/format.md describes it.
    fn documented(encoding: &[u8]) -> u64 {
        let [k0, k1] =
            ["term key 1", "term key 2"].map(|half| hasher().fingerprint(half.as_bytes()).0);
        SipHasher24::new_with_keys(k0, k1).hash(encoding)
    }

    enum Part {
        Integer(i64),
        Atom(&'static str),
        Bytes(&'static [u8]),
        Tuple(usize),
    }

    #[test]
    fn a_term_has_the_documented_fingerprint() {
        use Part::{Atom, Bytes, Integer, Tuple};
        let golden: [(&[Part], &[u8], u64); 13] = [
            (&[Integer(0)], b"\x01\x00", 0x50de_5338_01c3_e5ea),
            (&[Integer(255)], b"\x01\x01\xff", 0xdcde_dff2_ff4b_5b85),
            (&[Integer(256)], b"\x01\x02\x00\x01", 0x6429_7aac_4d84_bae8),
            (&[Integer(-1)], b"\x02\x01\x01", 0x80ea_b66c_4e13_7fe1),
            (
                &[Integer(i64::MAX)],
                b"\x01\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
                0xe536_2abc_ca31_de79,
            ),
            (&[Integer(i64::MIN)], b"\x02\x08\0\0\0\0\0\0\0\x80", 0xcb45_e807_0605_f77b),
            (&[Atom("")], b"\x04\x00", 0x710a_949b_11da_7d98),
            (&[Atom("user")], b"\x04\x04user", 0x4c84_844a_60ab_46f2),
            (&[Atom("\u{fc}")], b"\x04\x02\xc3\xbc", 0x9b34_3180_7b7f_bdcf),
            (&[Tuple(1), Bytes(b"")], b"\x05\x01\x03\x00", 0x362f_e5ba_9824_a0e9),
            (
                &[Tuple(2), Atom("user"), Integer(42)],
                b"\x05\x02\x04\x04user\x01\x01\x2a",
                0x1287_69c4_49fb_67af,
            ),
            (
                &[Tuple(3), Integer(1), Bytes(b"user_id"), Integer(7)],
                b"\x05\x03\x01\x01\x01\x03\x07user_id\x01\x01\x07",
                0x5197_9897_d233_93ac,
            ),
            (
                &[Tuple(1), Bytes(&[b'x'; 300])],
                &[&b"\x05\x01\x03\xac\x02"[..], &[b'x'; 300]].concat(),
                0xe594_31d9_6def_6883,
            ),
        ];
        for (parts, encoding, fingerprint) in golden {
            let told = of(|key| {
                for part in parts {
                    match *part {
                        Integer(n) => key.integer(n),
                        Atom(name) => key.atom(name),
                        Bytes(bytes) => key.bytes(bytes),
                        Tuple(elements) => key.tuple(elements),
                    }
                }
            });
            assert_eq!(told.expect("short").0, fingerprint, "{encoding:x?}");
            assert_eq!(documented(encoding), fingerprint, "{encoding:x?}");
        }
    }

    #[test]
    fn a_term_is_no_key_of_bytes_or_of_a_namespace() {
        let encoding = b"\x04\x04user";
        let user = of(|key| key.atom("user")).expect("short");
        assert_ne!(user, hasher().fingerprint(encoding));
        assert_ne!(user, hasher().fingerprint(b"user"));
        let scope = u32::from_le_bytes(*b"\x04\x04us");
        assert_ne!(user, hasher().scoped(scope, b"er"));
    }

    #[test]
    fn an_encoding_is_as_long_as_a_key_at_the_most() {
        let bytes = vec![b'x'; MAX_KEY_LEN];
        // A tag and three bytes of length.
        let tell = |len: usize| of(|key| key.bytes(&bytes[..len]));
        assert_eq!(tell(MAX_KEY_LEN - 4).expect("as long").0, {
            documented(&[&b"\x03\xfb\xff\x03"[..], &bytes[..MAX_KEY_LEN - 4]].concat())
        });
        let longer = tell(MAX_KEY_LEN - 3);
        assert!(matches!(longer, Err(Error::KeyTooLong { len: 65_536 })), "{longer:?}");
        let long = of(|key| (0..8).for_each(|_| key.bytes(&bytes)));
        assert!(matches!(long, Err(Error::KeyTooLong { .. })), "{long:?}");
    }
}
