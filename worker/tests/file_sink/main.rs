//! The file sink with a control plane that stores, loses and repeats: what a reader sees is each record exactly once.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

mod crash;
mod life;
mod world;
