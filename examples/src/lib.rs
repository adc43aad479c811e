//! What several of the example programs use.

pub mod bench;
pub mod probe;
