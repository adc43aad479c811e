//! Every operator in every mode of the harness: in batches and alone, before a slow receiver, restored after each element,
//! with more and fewer instances.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod async_io;
mod join;
mod keyed;
mod process;
mod stateless;
mod watermarks;
