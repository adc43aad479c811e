//! Names of buckets from times: the part of Java's date patterns that Flink's users write into `DateTimeBucketAssigner`.

use std::fmt::Write as _;

use chrono::{Datelike as _, NaiveDateTime, Timelike as _};

/// A pattern that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pattern}` is not understood as a date pattern ({reason}): use yyyy, MM, dd, HH, mm, ss, SSS and quoted text, such as yyyy-MM-dd--HH"
)]
pub struct BadDatePattern {
    /// As it was given.
    pub pattern: String,
    /// What is wrong.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A field, and the digits that it has at least.
    Field(Field, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl Field {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'y' | 'u' => Self::Year,
            'M' => Self::Month,
            'd' => Self::Day,
            'H' => Self::Hour,
            'm' => Self::Minute,
            's' => Self::Second,
            'S' => Self::Millisecond,
            _ => return None,
        })
    }

    fn value(self, time: &NaiveDateTime) -> i64 {
        match self {
            Self::Year => i64::from(time.year()),
            Self::Month => i64::from(time.month()),
            Self::Day => i64::from(time.day()),
            Self::Hour => i64::from(time.hour()),
            Self::Minute => i64::from(time.minute()),
            Self::Second => i64::from(time.second()),
            Self::Millisecond => i64::from(time.nanosecond() / 1_000_000),
        }
    }

    /// For how many milliseconds since 1970 the value can't change. Offsets from UTC change at full quarters of an hour.
    fn unit_ms(self) -> i64 {
        match self {
            Self::Year | Self::Month | Self::Day | Self::Hour => 15 * 60_000,
            Self::Minute => 60_000,
            Self::Second => 1000,
            Self::Millisecond => 1,
        }
    }
}

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatePattern(Vec<Piece>);

impl DatePattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, BadDatePattern> {
        let bad = |reason: String| BadDatePattern { pattern: pattern.to_owned(), reason };
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                // Two quotes stand for one, within and outside of quoted text.
                let mut quoted = 0;
                loop {
                    match letters.next() {
                        None => return Err(bad("a quote is not closed".to_owned())),
                        Some('\'') if quoted > 0 && letters.peek() == Some(&'\'') => {
                            letters.next();
                            text.push('\'');
                        }
                        Some('\'') => break,
                        Some(letter) => text.push(letter),
                    }
                    quoted += 1;
                }
                if quoted == 0 {
                    text.push('\'');
                }
            } else if letter.is_ascii_alphabetic() {
                let mut digits = 1;
                while letters.next_if_eq(&letter).is_some() {
                    digits += 1;
                }
                let field = Field::of(letter).ok_or_else(|| bad(format!("`{letter}` is no field")))?;
                let known = match field {
                    Field::Year => digits == 4,
                    Field::Millisecond => digits == 3,
                    _ => digits <= 2,
                };
                if !known {
                    return Err(bad(format!("{digits} times `{letter}`")));
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Field(field, digits));
            } else {
                text.push(letter);
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self(pieces))
    }

    /// The longest time, counted from full multiples of it, in which the text stays the same: a divisor of it, at least.
    pub(super) fn unit_ms(&self) -> i64 {
        let units = self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Field(field, _) => Some(field.unit_ms()),
        });
        units.min().unwrap_or(Field::Year.unit_ms())
    }

    pub(super) fn write(&self, time: &NaiveDateTime, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(field, digits) => {
                    // Writing to a String can't fail.
                    let _ = write!(out, "{:0digits$}", field.value(time));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_as_java_writes_them() {
        let time = chrono::DateTime::from_timestamp_millis(1_754_053_746_007).unwrap().naive_utc();
        let cases = [
            ("yyyy-MM-dd--HH", "2025-08-01--13", 900_000),
            ("'year='yyyy/'month='M/'day='d", "year=2025/month=8/day=1", 900_000),
            ("HHmmss.SSS", "130906.007", 1),
            ("yyyyMMdd-HH:mm", "20250801-13:09", 60_000),
            ("mm:s", "09:6", 1000),
            ("HH 'o''clock' ''", "13 o'clock '", 900_000),
            ("all-2025".trim_start_matches("all"), "-2025", 900_000),
        ];
        for (pattern, expected, unit) in cases {
            let parsed = DatePattern::parse(pattern).unwrap();
            let mut out = String::new();
            parsed.write(&time, &mut out);
            assert_eq!((out.as_str(), parsed.unit_ms()), (expected, unit), "{pattern}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_reason() {
        for (pattern, reason) in
            [("YYYY", "`Y` is no field"), ("yy", "2 times `y`"), ("'x", "a quote is not closed"), ("HHH", "3 times")]
        {
            let error = DatePattern::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(pattern), "{error}");
        }
    }
}
