//! The program as it is being written: nodes (operators) with typed factories behind untyped handles, and how they become
//! a JobGraph and something that can run.

pub(crate) mod chain;
pub(crate) mod declare;
pub(crate) mod job;
pub(crate) mod node;
pub(crate) mod records;
pub(crate) mod resolve;
pub(crate) mod restore;
pub(crate) mod settings;

#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;
