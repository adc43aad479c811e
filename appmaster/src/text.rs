//! Texts for users: failures cut to a length that YARN stores.

use flumen_model::failure::Failure;

/// Longest diagnostics of an application: shown in a table cell of YARN's page, and on a terminal.
const DIAGNOSTICS_CHARS_MAX: usize = 4000;

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
    fn long_diagnostics_keep_their_beginning() {
        let text = diagnostics(&Failure::new(Blame::User, format!("panicked: {}", "ö".repeat(9999))));
        assert!(text.starts_with("panicked: ö") && text.ends_with('…') && text.chars().count() <= 4002);
        assert_eq!(diagnostics(&Failure::new(Blame::User, "short")), "short");
    }
}
