//! Runs one operator through everything that can happen to it.
//!
//! In: how the operator is made, what it is given, what it should emit. Out: a panic that names the mode in which it did
//! something else. Start at [`harness`].
//!
//! ```
//! use flumen_testkit::{end, harness, rec, watermark};
//! use flumen_worker::operators::Map;
//!
//! harness(|_, _, output| Ok(Box::new(Map::new(|n: u32| n + 1, output))))
//!     .input([rec(1).at(10), watermark(10), rec(2).at(20), end()])
//!     .expect([rec(2).at(10), rec(3).at(20)])
//!     .in_all_modes();
//! ```
//!
//! An operator that forgets a field in its snapshot, relies on the size of batches or on being called at once after a
//! record, keeps something of a key that has moved elsewhere, or mixes up what comes before a barrier with what comes while its
//! snapshot is being written, fails at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what the harness can't do fails the test")]

mod checkpoints;
mod compare;
mod element;
mod harness;
mod receiver;
mod run;
mod world;

pub use element::{Element, active, end, idle, processing_time, rec, split, split_finished, watermark};
pub use harness::{Harness, Mode, harness};
pub use receiver::{Shared, share};
