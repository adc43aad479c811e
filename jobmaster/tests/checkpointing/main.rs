//! When checkpoints are triggered, given up, kept and removed, and what is shown of them.

#[path = "../world/mod.rs"]
mod world;

mod job;

mod kept;
mod shown;
mod when;
