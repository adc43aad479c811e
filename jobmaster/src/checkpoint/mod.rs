//! Checkpoints: when they are taken, when they are complete, how long they are kept, and what subtasks start from.

pub(crate) mod statistics;
