//! Why state can't be read by a changed program.

use std::fmt;

/// State that a snapshot has and the program can't read: which field of which state, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible {
    /// The state's name.
    pub state: String,
    /// The field's path, such as `orders[].total`; empty for the value as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Incompatible {
    pub(crate) fn new(state: &str, field: &str, reason: impl Into<String>) -> Self {
        Self { state: state.to_owned(), field: field.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state `{}`", self.state)?;
        if !self.field.is_empty() {
            write!(f, ", field `{}`", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Incompatible {}
