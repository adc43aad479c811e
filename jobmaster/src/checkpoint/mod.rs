//! Checkpoints: when they are taken, when they are complete, how long they are kept, and what subtasks start from.
//!
//! ```text
//! due ─ trigger ─▶ acknowledging ─ all subtasks confirmed ─▶ storing ─ metadata in place ─▶ completed ─▶ subsumed
//!                        │                                     │                              (a newer one suffices)
//!                        └─ declined, too late, failure ─▶ aborted ◀─ not stored
//! ```
//!
//! Start reading at `coordinator` (the decisions), then `files` (what may be removed) and `restore` (who gets what).
//!
//! Invariants, checked by the tests under these names:
//! * CC-1: a checkpoint completes only when every subtask has confirmed it in one and the same execution of its region, or
//!   had finished before it was triggered.
//! * CC-2: workers hear that a checkpoint is complete only after its metadata is in place, and never of one that was given
//!   up. Nothing that they then commit can be lost by a restore.
//! * CC-3: ids only grow, also beyond a restore.
//! * CC-4: nothing is removed that a kept checkpoint, a savepoint, or one that may still complete refers to.
//! * CC-5: subtasks start from the newest completed checkpoint that is not known to be damaged, or from the one before.
//! * CC-6: every request is answered exactly once.
//! * CC-7: no checkpoint is triggered unless every subtask runs or has finished with a snapshot.

pub(crate) mod adopt;
pub(crate) mod coordinator;
mod ends;
mod files;
mod over;
mod pending;
pub(crate) mod restore;
pub(crate) mod statistics;
mod stop;
mod store;
mod tracker;
