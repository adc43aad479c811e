//! How long what takes after something was killed: [`masters`] kills ApplicationMasters, with and without a [`standby`], and
//! [`workers`] kills workers and TaskExecutors. Tests kill a few and assert what is seen; a benchmark kills many and tells how long
//! it took.

pub mod masters;
mod notes;
pub mod standby;
pub mod workers;

use std::time::Duration;

pub use notes::Notes;

/// What is seen of the death of a leader. Times begin when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// Until there is a leader: the process of the next attempt, or a standby that has said where it leads.
    pub leader: Duration,
    /// Until REST shows the job as running.
    pub rest: Duration,
    /// Until a checkpoint is complete that was triggered since.
    pub checkpoint: Duration,
    /// The longest time without a record meanwhile.
    pub gap: Duration,
    /// The same in a stretch before, as long as [`STRETCH`], in which nothing happened.
    pub jitter: Duration,
    /// Whether anything was restarted: a process of the job's ended, or a checkpoint was restored.
    pub restarted: bool,
}

/// A death is looked at for so long at least: longer than the next leader takes to its first checkpoint.
pub const STRETCH: Duration = Duration::from_secs(2);
