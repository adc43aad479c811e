//! A file system in memory, as several processes see it, whose every operation can fail, be late, or wait for its turn.

#![allow(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod disk;
mod process;

pub use disk::Disk;
#[allow(unused_imports, reason = "each test uses a part of it")]
pub use process::{Fault, Process, Turns};
