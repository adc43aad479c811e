//! Who may change something: whoever has the application's token, or everybody (`rest.authorization.enabled: false`).

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};

use super::RestState;
use super::error::RestError;

/// Proof that the request carries the application's token, if it has to. A handler that changes something takes it as an argument.
pub(super) struct Authorized;

impl FromRequestParts<RestState> for Authorized {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| is_bearer(scheme));
        Self::by_token(token.map_or("", |(_, token)| token.trim()), state)
    }
}

impl Authorized {
    /// Compares a token that did not come in the header.
    pub(super) fn by_token(token: &str, state: &RestState) -> Result<Self, RestError> {
        if !state.options.authorization {
            return Ok(Self);
        }
        let expected = &state.options.token;
        // An application without a token can't be changed by anybody.
        let authorized = !expected.is_empty() && same(token.as_bytes(), expected.as_bytes());
        if authorized { Ok(Self) } else { Err(RestError::Unauthorized) }
    }
}

fn is_bearer(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("bearer")
}

/// Compares in a time that depends on the lengths alone, so that an answer's delay does not tell how much of a guess was
/// right.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = given.iter().zip(expected).fold(0u8, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
    given.len() == expected.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_the_same() {
        for (given, expected, equal) in [
            ("", "", true),
            ("a", "", false),
            ("", "a", false),
            ("abc", "abc", true),
            ("abd", "abc", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(same(given.as_bytes(), expected.as_bytes()), equal, "{given} {expected}");
        }
    }
}
