//! What can be done with streams, as whole programs in the embedded cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alignment;
mod asynchronous;
mod broadcast;
mod functions;
mod joins;
mod own_sources;
mod settings;
mod side_outputs;
mod windows;
mod world;
