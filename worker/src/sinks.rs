//! Sinks: where records end.

pub mod file;
pub mod print;
pub mod text;

pub use text::AsText;
