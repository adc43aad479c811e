//! Which part of a file a request is for: the header `Range`. Pure.

use axum::http::{HeaderMap, header};

use super::error::RestError;

/// A part of a file: from `start`, without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    size: u64,
    /// Whether a part was asked for.
    partial: bool,
}

impl Part {
    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// What the header `Content-Range` says; `None`: the answer is the whole file.
    pub(super) fn content_range(&self) -> Option<String> {
        self.partial.then(|| format!("bytes {}-{}/{}", self.start, self.end.saturating_sub(1), self.size))
    }
}

/// The part of a file of `size` bytes that is wanted. A header that can't be understood, or wants several parts, counts as
/// none, as the standard has it.
///
/// # Errors
/// [`RestError::NoSuchRange`] when there is nothing in the file where it begins.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Result<Part, RestError> {
    let whole = Part { start: 0, end: size, size, partial: false };
    let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.trim().strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    else {
        return Ok(whole);
    };
    let part = |start, end| Part { start, end, size, partial: true };
    match (number(first), number(last)) {
        (Some(None), Some(Some(last))) if last == 0 || size == 0 => Err(RestError::NoSuchRange { size }),
        (Some(None), Some(Some(last))) => Ok(part(size.saturating_sub(last), size)),
        (Some(Some(first)), Some(_)) if first >= size => Err(RestError::NoSuchRange { size }),
        (Some(Some(first)), Some(None)) => Ok(part(first, size)),
        (Some(Some(first)), Some(Some(last))) if first <= last => Ok(part(first, size.min(last.saturating_add(1)))),
        _ => Ok(whole),
    }
}

/// `Some(None)`: it was left out. `None`: it is no number.
fn number(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted_of(range: &str, size: u64) -> Result<Part, RestError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        wanted(&headers, size)
    }

    #[test]
    fn a_part_is_what_the_standard_says() {
        for (range, start, end) in
            [("bytes=0-3", 0, 4), ("bytes=7-", 7, 10), ("bytes=-4", 6, 10), ("bytes=-99", 0, 10), ("bytes=2-99", 2, 10)]
        {
            let part = wanted_of(range, 10).unwrap();
            assert_eq!((part.start, part.end), (start, end), "{range}");
            assert_eq!(part.content_range().unwrap(), format!("bytes {start}-{}/10", end - 1));
        }
        for range in ["lines=1-2", "bytes=5-3", "bytes=a-b", "bytes=1-2,4-5", "bytes=-", "bytes=+1-2", "bytes 1-2"] {
            let part = wanted_of(range, 10).unwrap();
            assert_eq!((part.length(), part.content_range()), (10, None), "{range}");
        }
        for (range, size) in
            [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 10), ("bytes=-5", 0), ("bytes=18446744073709551615-", 10)]
        {
            assert!(matches!(wanted_of(range, size), Err(RestError::NoSuchRange { .. })), "{range}");
        }
        assert_eq!(wanted_of("bytes=0-18446744073709551615", 10).unwrap().length(), 10);
    }
}
