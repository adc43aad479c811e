//! Texts for users: errors with their causes, failures cut to a length that YARN stores.

use std::error::Error;

use flumen_model::failure::Failure;

/// Longest diagnostics of an application: shown in a table cell of YARN's page, and on a terminal.
const DIAGNOSTICS_CHARS_MAX: usize = 4000;

/// An error and its causes in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What YARN is told about a job's failure.
pub fn diagnostics(failure: &Failure) -> String {
    shortened(&failure.to_string(), DIAGNOSTICS_CHARS_MAX)
}

/// The text, or its beginning and a sign that there was more.
pub fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{} …", text[..cut].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::failure::Blame;

    #[test]
    fn causes_follow_their_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("reading failed")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("the disk is gone"));
        assert_eq!(with_causes(&error), "reading failed: the disk is gone");
    }

    #[test]
    fn long_diagnostics_keep_their_beginning() {
        let text = diagnostics(&Failure::new(Blame::User, format!("panicked: {}", "ö".repeat(9999))));
        assert!(text.starts_with("panicked: ö") && text.ends_with('…') && text.chars().count() <= 4002);
        assert_eq!(diagnostics(&Failure::new(Blame::User, "short")), "short");
    }
}
