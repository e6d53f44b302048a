//! Integers, floats and numerics. A number without a fraction that fits into 64 bits is filed as that,
//! every other one as its digits and exponent, so that `1`, `1.0` and `1.00` are one.

use super::{Special, put_i64, put_special, tag};

/// PostgreSQL's widest numeric has an exponent of six digits.
const EXPONENT_DIGITS: usize = 6;
/// Every integer up to here is a double of its own.
const EXACT: f64 = (1_u64 << 53) as f64;

/// `-12.50e3` is -1, "12", "50", 3.
struct Literal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

pub(super) fn integer(text: &[u8], min: i64, max: i64, out: &mut Vec<u8>) -> Option<()> {
    let n = small_integer(text).filter(|n| (min..=max).contains(n))?;
    put_i64(out, tag::INTEGER, n);
    Some(())
}

pub(super) fn numeric(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if let Some(n) = small_integer(text) {
        put_i64(out, tag::INTEGER, n);
        return Some(());
    }
    if let Some(special) = special(text) {
        put_special(out, special);
        return Some(());
    }
    let literal = literal(text)?;
    let digits = [literal.whole, literal.fraction].concat();
    decimal(literal.negative, &digits, literal.exponent - literal.fraction.len() as i64, out);
    Some(())
}

/// What a double can hold of it.
pub(super) fn float(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if let Some(special) = special(text) {
        put_special(out, special);
        return Some(());
    }
    let literal = literal(text)?;
    let value: f64 = str::from_utf8(text).ok()?.parse().ok()?;
    let nothing = |digits: &[u8]| digits.iter().all(|&digit| digit == b'0');
    let is_zero = nothing(literal.whole) && nothing(literal.fraction);
    // PostgreSQL refuses what is too large for a double, or too small.
    if !value.is_finite() || (value == 0.0 && !is_zero) {
        return None;
    }
    if value.abs() <= EXACT && value.trunc() == value {
        put_i64(out, tag::INTEGER, value as i64);
        return Some(());
    }
    // The shortest decimal that reads back as it; of two that are as near, the even one.
    numeric(ryu::Buffer::new().format_finite(value).as_bytes(), out)
}

fn special(text: &[u8]) -> Option<Special> {
    match text {
        b"NaN" => Some(Special::NaN),
        b"Infinity" => Some(Special::Infinity),
        b"-Infinity" => Some(Special::NegInfinity),
        _ => None,
    }
}

/// At most 20 characters, as PostgreSQL prints no longer ones.
fn small_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || text.len() > 20 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_i64, |n, &digit| {
            let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
            // Counted down, as there is one negative number more.
            n.checked_mul(10)?.checked_sub(digit)
        })
        .and_then(|n| if negative { Some(n) } else { n.checked_neg() })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    }
}

fn literal(text: &[u8]) -> Option<Literal<'_>> {
    let (negative, rest) = sign(text);
    let (whole, rest) = digits(rest);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits(rest),
        _ => (&rest[..0], rest),
    };
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', b'+', exponent @ ..] => exponent_of(exponent)?,
        [b'e' | b'E', b'-', exponent @ ..] => -exponent_of(exponent)?,
        [b'e' | b'E', exponent @ ..] => exponent_of(exponent)?,
        _ => return None,
    };
    let any = !whole.is_empty() || !fraction.is_empty();
    any.then_some(Literal { negative, whole, fraction, exponent })
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(len)
}

fn exponent_of(text: &[u8]) -> Option<i64> {
    let short = text.len() <= EXPONENT_DIGITS && text.iter().all(u8::is_ascii_digit);
    if short { str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Digits without zeros at either end: then two equal numbers have the same digits and exponent.
fn decimal(negative: bool, digits: &[u8], exponent: i64, out: &mut Vec<u8>) {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[zeros..];
    let len = digits.len() - digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    let exponent = exponent + (digits.len() - len) as i64;
    let digits = &digits[..len];
    if digits.is_empty() {
        return put_i64(out, tag::INTEGER, 0);
    }
    if exponent >= 0
        && len as i64 + exponent <= 19
        && let Some(n) = whole(negative, digits, exponent as u32)
    {
        return put_i64(out, tag::INTEGER, n);
    }
    out.extend_from_slice(&[tag::DECIMAL, if negative { b'-' } else { b'+' }]);
    out.extend_from_slice(&exponent.to_be_bytes());
    out.extend_from_slice(digits);
}

/// If it fits.
fn whole(negative: bool, digits: &[u8], exponent: u32) -> Option<i64> {
    let n = digits.iter().fold(0_i128, |n, digit| n * 10 + i128::from(digit - b'0'));
    let n = n * 10_i128.pow(exponent);
    i64::try_from(if negative { -n } else { n }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(read: fn(&[u8], &mut Vec<u8>) -> Option<()>, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        read(text.as_bytes(), &mut out).map(|()| out)
    }

    fn integer_key(n: i64) -> Option<Vec<u8>> {
        Some([&[1], &n.to_be_bytes()[..]].concat())
    }

    fn decimal_key(sign: u8, digits: &str, exponent: i64) -> Option<Vec<u8>> {
        Some([&[2, sign], &exponent.to_be_bytes()[..], digits.as_bytes()].concat())
    }

    #[test]
    fn integers_within_their_range() {
        let int8 = |text: &str| {
            let mut out = Vec::new();
            integer(text.as_bytes(), i64::MIN, i64::MAX, &mut out).map(|()| out)
        };
        for n in [0, 1, -1, i64::MAX, i64::MIN, 1_234_567_890_123] {
            assert_eq!(int8(&n.to_string()), integer_key(n));
        }
        assert_eq!(int8("007"), integer_key(7));
        for refused in
            ["", "-", "+1", " 1", "1 ", "1.0", "1e3", "9223372036854775808", "x", "--1", "1_0", "١"]
        {
            assert_eq!(int8(refused), None, "{refused}");
        }
        let mut out = Vec::new();
        assert_eq!(integer(b"32768", i16::MIN.into(), i16::MAX.into(), &mut out), None);
        assert_eq!(integer(b"-32768", i16::MIN.into(), i16::MAX.into(), &mut out), Some(()));
    }

    #[test]
    fn numerics_that_are_equal_have_one_key() {
        for (text, n) in [
            ("1", 1),
            ("1.0", 1),
            ("-1.000", -1),
            ("0", 0),
            ("-0.00", 0),
            ("0e5", 0),
            ("1e3", 1000),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
            ("100000000000000000000e-2", 1_000_000_000_000_000_000),
        ] {
            assert_eq!(key(numeric, text), integer_key(n), "{text}");
        }
        for (text, sign, digits, exponent) in [
            ("1.50", b'+', "15", -1),
            ("-.5", b'-', "5", -1),
            ("9223372036854775808", b'+', "9223372036854775808", 0),
            ("1e300", b'+', "1", 300),
            ("0.000000000000000000000000000001", b'+', "1", -30),
        ] {
            assert_eq!(key(numeric, text), decimal_key(sign, digits, exponent), "{text}");
        }
        assert_eq!(key(numeric, "NaN"), Some(vec![3, 0]));
        assert_eq!(key(numeric, "-Infinity"), Some(vec![3, 2]));
        for refused in ["", ".", "-", "1e", "1e1234567", "1.2.3", "nan", "+1", "0x1", "1 "] {
            assert_eq!(key(numeric, refused), None, "{refused}");
        }
    }

    #[test]
    fn doubles_are_rounded_once() {
        for (text, same) in [
            ("1", "1"),
            ("-0", "0"),
            ("0.1", "0.1"),
            ("1e-05", "0.00001"),
            ("9007199254740993", "9007199254740992"),
            ("1e+300", "1e300"),
            ("100000000000000000000", "1e20"),
            ("0.1000000000000000055511151231257827", "0.1"),
            ("-581960370947059.25", "-581960370947059.2"),
        ] {
            assert_eq!(key(float, text), key(numeric, same), "{text}");
        }
        for refused in ["1e309", "1e-400", "", "inf", "infinity", "NAN", "1f"] {
            assert_eq!(key(float, refused), None, "{refused}");
        }
    }
}
