//! Whole programs in the embedded cluster that lose what they did since their newest checkpoint, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod log;
mod sums;

mod client;
mod damaged;
mod former_jobs;
mod recovery;
mod slow;
mod unaligned;
