//! Values in words, where several parts say them the same way.

use std::error::Error;
use std::fmt::Write as _;

/// The errors that brought this one about, nearest first.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

/// An error and its causes in one line.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Bytes as lower-case hexadecimal digits: how hashes are written.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A string takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what} failed")]
    struct Step {
        what: &'static str,
        #[source]
        cause: Option<Box<dyn Error + 'static>>,
    }

    #[test]
    fn causes_follow_their_error() {
        let disk = std::io::Error::other("the disk is gone");
        let reading = Step { what: "reading", cause: Some(Box::new(disk)) };
        let start = Step { what: "the start", cause: Some(Box::new(reading)) };
        assert_eq!(with_causes(&start), "the start failed: reading failed: the disk is gone");
        assert_eq!(with_causes(&Step { what: "it", cause: None }), "it failed");
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
        assert_eq!(hexadecimal(&[]), "");
    }
}
