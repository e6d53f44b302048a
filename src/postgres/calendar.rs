//! Dates and times in the ISO date style, to the microsecond, over PostgreSQL's whole range.

use super::{Special, put_i64, put_special, tag};

/// Julian day 0, where PostgreSQL's calendar begins, lies in 4714 BC.
const FIRST_BC_YEAR: i64 = 4714;
const LAST_DATE_YEAR: i64 = 5_874_897;
const LAST_TIMESTAMP_YEAR: i64 = 294_276;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// As written, before the era is known.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

pub(super) fn date(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if let Some(special) = special(text) {
        put_special(out, special);
        return Some(());
    }
    let (date, rest) = year_month_day(text)?;
    put_i64(out, tag::DATE, days(&date, rest, LAST_DATE_YEAR)?);
    Some(())
}

pub(super) fn time(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let micros = match (text, time_of_day(text)) {
        (b"24:00:00", _) => MICROS_PER_DAY,
        (_, Some((micros, []))) => micros,
        _ => return None,
    };
    put_i64(out, tag::TIME, micros);
    Some(())
}

pub(super) fn timestamp(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    instant(text, tag::TIMESTAMP, out, |rest| Some((0, rest)))
}

pub(super) fn timestamptz(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    instant(text, tag::TIMESTAMPTZ, out, zone)
}

fn instant(
    text: &[u8],
    tag: u8,
    out: &mut Vec<u8>,
    zone: impl Fn(&[u8]) -> Option<(i64, &[u8])>,
) -> Option<()> {
    if let Some(special) = special(text) {
        put_special(out, special);
        return Some(());
    }
    let (date, [b' ' | b'T', rest @ ..]) = year_month_day(text)? else { return None };
    let (micros, rest) = time_of_day(rest)?;
    let (offset, rest) = zone(rest)?;
    let days = days(&date, rest, LAST_TIMESTAMP_YEAR)?;
    put_i64(out, tag, days * MICROS_PER_DAY + micros - offset * MICROS_PER_SECOND);
    Some(())
}

fn special(text: &[u8]) -> Option<Special> {
    match text {
        b"infinity" => Some(Special::Infinity),
        b"-infinity" => Some(Special::NegInfinity),
        _ => None,
    }
}

/// A year has four digits at least; PostgreSQL's largest has seven.
fn year_month_day(text: &[u8]) -> Option<(Date, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=7).contains(&len) {
        return None;
    }
    let (year, rest) = text.split_at(len);
    let year = year.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return None };
    Some((Date { year, month: pair(*m1, *m2)?, day: pair(*d1, *d2)? }, rest))
}

/// Days since 2000-01-01, PostgreSQL's own first day; `era` is what stands after the date.
fn days(date: &Date, era: &[u8], last_year: i64) -> Option<i64> {
    // There is no year 0: in the astronomical count, it is 1 BC.
    let year = match era {
        b"" if (1..=last_year).contains(&date.year) => date.year,
        b" BC" if (1..=FIRST_BC_YEAR).contains(&date.year) => 1 - date.year,
        _ => return None,
    };
    if !(1..=12).contains(&date.month) || !(1..=days_in_month(year, date.month)).contains(&date.day)
    {
        return None;
    }
    // Years begin in March here, so that the leap day is their last.
    let (year, month) =
        if date.month > 2 { (year, date.month - 3) } else { (year - 1, date.month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + (153 * month + 2) / 5 + date.day - 730_426)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Microseconds since midnight, and what follows.
fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return None };
    let (hour, minute, second) = (pair(*h1, *h2)?, pair(*m1, *m2)?, pair(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, rest) = match rest {
        [b'.', rest @ ..] => {
            let len = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = rest.split_at(len);
            let scale = 10_i64.pow(6 - len as u32);
            let fraction =
                digits.iter().fold(0, |fraction, digit| fraction * 10 + i64::from(digit - b'0'));
            (if len > 0 { fraction * scale } else { return None }, rest)
        }
        _ => (0, rest),
    };
    Some((((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros, rest))
}

/// `+05:30` is 19 800 seconds. PostgreSQL's offsets end short of 16 hours.
fn zone(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, hours, rest) = match text {
        [b'Z', rest @ ..] => return Some((0, rest)),
        [b'+', h1, h2, rest @ ..] => (1, pair(*h1, *h2)?, rest),
        [b'-', h1, h2, rest @ ..] => (-1, pair(*h1, *h2)?, rest),
        _ => return None,
    };
    let (minutes, rest) = zone_part(rest);
    let (seconds, rest) = zone_part(rest);
    (hours < 16).then_some((sign * (hours * 3600 + minutes * 60 + seconds), rest))
}

/// Minutes or seconds, if there are any.
fn zone_part(text: &[u8]) -> (i64, &[u8]) {
    match text {
        [b':', a @ b'0'..=b'5', b, rest @ ..] => pair(*a, *b).map_or((0, text), |n| (n, rest)),
        _ => (0, text),
    }
}

/// Two digits.
fn pair(a: u8, b: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(a)? * 10 + digit(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&[u8], &mut Vec<u8>) -> Option<()>;

    fn value(read: Read, text: &str) -> Option<i64> {
        let mut out = Vec::new();
        read(text.as_bytes(), &mut out)?;
        out[1..].try_into().ok().map(i64::from_be_bytes)
    }

    #[test]
    fn dates_count_from_the_year_2000() {
        for (text, days) in [
            ("2000-01-01", 0),
            ("2000-02-29", 59),
            ("1999-12-31", -1),
            ("1970-01-01", -10_957),
            ("0001-01-01", -730_119),
            ("0001-12-31 BC", -730_120),
            ("5874897-12-31", 2_145_031_948),
        ] {
            assert_eq!(value(date, text), Some(days), "{text}");
        }
        for refused in [
            "",
            "2000-1-1",
            "2000-13-01",
            "2001-02-29",
            "1900-02-29",
            "0000-01-01",
            "4715-01-01 BC",
            "5874898-01-01",
            "2000-01-01 ",
            "99-01-01",
            "2000/01/01",
            "2000-00-10",
            "2000-01-00",
        ] {
            assert_eq!(value(date, refused), None, "{refused}");
        }
        let mut out = Vec::new();
        assert_eq!(date(b"-infinity", &mut out), Some(()));
        assert_eq!(out, [3, 2]);
    }

    #[test]
    fn times_of_a_day() {
        for (text, micros) in [
            ("00:00:00", 0),
            ("12:34:56.789", 45_296_789_000),
            ("23:59:59.999999", 86_399_999_999),
            ("24:00:00", 86_400_000_000),
            ("00:00:00.5", 500_000),
        ] {
            assert_eq!(value(time, text), Some(micros), "{text}");
        }
        for refused in [
            "",
            "24:00:01",
            "12:60:00",
            "12:00:60",
            "12:00",
            "12:00:00.",
            "12:00:00.1234567",
            "1:00:00",
        ] {
            assert_eq!(value(time, refused), None, "{refused}");
        }
    }

    #[test]
    fn instants_at_any_offset_are_one() {
        let noon = value(timestamptz, "2024-02-29 12:00:00+00").expect("an instant");
        for text in [
            "2024-02-29 12:00:00Z",
            "2024-02-29T12:00:00+00:00",
            "2024-02-29 17:30:00+05:30",
            "2024-02-29 00:00:00-12",
            "2024-02-29 12:34:56+00:34:56",
        ] {
            assert_eq!(value(timestamptz, text), Some(noon), "{text}");
        }
        assert_eq!(value(timestamp, "2024-02-29 12:00:00"), Some(noon));
        assert_eq!(value(timestamptz, "0044-03-15 12:00:00+00 BC").map(i64::signum), Some(-1));
        for refused in
            ["2024-02-29 12:00:00", "2024-02-29 12:00:00+16", "2024-02-29 12:00:00+5", "2024-02-29"]
        {
            assert_eq!(value(timestamptz, refused), None, "{refused}");
        }
        for refused in ["2024-02-29 12:00:00+00", "294277-01-01 00:00:00", "2024-02-29 24:00:00"] {
            assert_eq!(value(timestamp, refused), None, "{refused}");
        }
    }
}
