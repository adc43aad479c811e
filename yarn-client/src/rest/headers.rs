//! Headers that the user wants in every request: `FLINK_REST_CLIENT_HEADERS`, one `Name:Value` a line.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

/// The environment variable.
const VARIABLE: &str = "FLINK_REST_CLIENT_HEADERS";

/// A line that is no header. The value is not shown: it may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {VARIABLE} is no header: `Name:Value` was expected, one a line")]
pub struct BadHeaders {
    /// Which line, from 1.
    pub line: usize,
}

/// The headers of the variable; none when it is not set.
///
/// # Errors
/// [`BadHeaders`].
pub fn from_environment() -> Result<HeaderMap, BadHeaders> {
    parsed(&std::env::var(VARIABLE).unwrap_or_default())
}

/// Whether the variable brings a token, or whatever else proves who this is.
pub fn variable_authorizes() -> bool {
    from_environment().is_ok_and(|headers| headers.contains_key(AUTHORIZATION))
}

/// The headers of a text.
///
/// # Errors
/// [`BadHeaders`].
pub fn parsed(text: &str) -> Result<HeaderMap, BadHeaders> {
    let mut headers = HeaderMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = BadHeaders { line: index + 1 };
        let Some((name, value)) = line.split_once(':') else { return Err(bad) };
        let (Ok(name), Ok(mut value)) = (name.trim().parse::<HeaderName>(), HeaderValue::from_str(value.trim())) else {
            return Err(bad);
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_one_a_line_as_in_flink() {
        let headers = parsed("Authorization:Bearer a:b\n\n X-Cookie : k=v \n").unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b");
        assert_eq!(headers["x-cookie"], "k=v");
        assert!(parsed("").unwrap().is_empty());
        for (text, line) in [("secret", 1), ("A:1\nB C:2", 2), ("A:\u{7}", 1)] {
            let error = parsed(text).unwrap_err();
            assert_eq!(error, BadHeaders { line });
            assert!(!error.to_string().contains("secret"));
        }
    }
}
