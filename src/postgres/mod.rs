//! The text that PostgreSQL prints for a value, read into the canonical bytes that a key is made of:
//! the same for values that are equal in SQL, and for no others. `LsmIndex.Key` documents the bytes.
//!
//! Reading is strict: what PostgreSQL would not print is refused, never guessed at.

mod calendar;
mod number;

/// The types whose text is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are PostgreSQL's")]
pub enum Type {
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Bool,
    /// Text, varchar, bpchar and name: compared byte by byte.
    Text,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

/// First bytes of keys: the kind of value.
mod tag {
    pub(super) const INTEGER: u8 = 0x01;
    pub(super) const DECIMAL: u8 = 0x02;
    pub(super) const SPECIAL: u8 = 0x03;
    pub(super) const BOOLEAN: u8 = 0x04;
    pub(super) const TEXT: u8 = 0x06;
    pub(super) const UUID: u8 = 0x07;
    pub(super) const DATE: u8 = 0x08;
    pub(super) const TIME: u8 = 0x09;
    pub(super) const TIMESTAMP: u8 = 0x0a;
    pub(super) const TIMESTAMPTZ: u8 = 0x0b;
}

/// Values of no finite size.
#[derive(Clone, Copy, Debug)]
enum Special {
    NaN,
    Infinity,
    NegInfinity,
}

/// Appends the canonical bytes of the value that `text` is of type `ty`: none and false if PostgreSQL
/// would not print that.
#[must_use]
pub fn canonical(ty: Type, text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let read = match ty {
        Type::Int2 => number::integer(text, i16::MIN.into(), i16::MAX.into(), out),
        Type::Int4 => number::integer(text, i32::MIN.into(), i32::MAX.into(), out),
        Type::Int8 => number::integer(text, i64::MIN, i64::MAX, out),
        Type::Float4 | Type::Float8 => number::float(text, out),
        Type::Numeric => number::numeric(text, out),
        Type::Bool => boolean(text, out),
        Type::Text => {
            out.push(tag::TEXT);
            out.extend_from_slice(text);
            Some(())
        }
        Type::Uuid => uuid(text, out),
        Type::Date => calendar::date(text, out),
        Type::Time => calendar::time(text, out),
        Type::Timestamp => calendar::timestamp(text, out),
        Type::Timestamptz => calendar::timestamptz(text, out),
    };
    if read.is_none() {
        out.truncate(start);
    }
    read.is_some()
}

fn put_i64(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_special(out: &mut Vec<u8>, special: Special) {
    out.extend_from_slice(&[tag::SPECIAL, special as u8]);
}

fn boolean(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value = match text {
        b"t" | b"true" => 1,
        b"f" | b"false" => 0,
        _ => return None,
    };
    out.extend_from_slice(&[tag::BOOLEAN, value]);
    Some(())
}

/// Every form that PostgreSQL accepts: 32 hexadecimal digits in groups of four, a hyphen or none
/// between groups, braces around all of it or none.
fn uuid(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = match text {
        [b'{', inner @ .., b'}'] => inner,
        _ => text,
    };
    out.push(tag::UUID);
    for group in 0..8 {
        if group > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        let (digits, after) = rest.split_first_chunk::<4>()?;
        let [a, b, c, d] = digits.map(|digit| char::from(digit).to_digit(16));
        out.push((a? << 4 | b?) as u8);
        out.push((c? << 4 | d?) as u8);
        rest = after;
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ty: Type, text: &str) -> Option<Vec<u8>> {
        let mut out = vec![0xaa];
        let read = canonical(ty, text.as_bytes(), &mut out);
        assert!(read || out == [0xaa], "something is left of what was refused");
        read.then(|| out.split_off(1))
    }

    #[test]
    fn texts_and_booleans() {
        assert_eq!(key(Type::Text, ""), Some(vec![6]));
        assert_eq!(key(Type::Text, "a "), Some(b"\x06a ".to_vec()));
        assert_eq!(key(Type::Bool, "t"), Some(vec![4, 1]));
        assert_eq!(key(Type::Bool, "false"), Some(vec![4, 0]));
        for refused in ["", "T", "true ", "1", "on"] {
            assert_eq!(key(Type::Bool, refused), None, "{refused}");
        }
    }

    #[test]
    fn every_form_of_a_uuid() {
        let bytes: Vec<u8> = [7].into_iter().chain((0..16).map(|n| n * 16 + n)).collect();
        for text in [
            "00112233-4455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "00112233445566778899aabbccddeeff",
            "0011-2233-4455-6677-8899-aabb-ccdd-eeff",
            "{00112233445566778899aabbccddeeff}",
        ] {
            assert_eq!(key(Type::Uuid, text).as_ref(), Some(&bytes), "{text}");
        }
        for refused in [
            "",
            "{}",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "00112233-4455-6677-8899-aabbccddeeff-",
            "-00112233-4455-6677-8899-aabbccddeeff",
            "{00112233-4455-6677-8899-aabbccddeeff",
            "0011223-34455-6677-8899-aabbccddeeff0",
            "00112233--4455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeegg",
        ] {
            assert_eq!(key(Type::Uuid, refused), None, "{refused}");
        }
    }
}
