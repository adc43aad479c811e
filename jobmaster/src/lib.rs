//! One job's life, from its JobGraph to its result: placement, deployment, failover, cancellation.
//!
//! In: facts ([`Event`]) with the time at which they are told. Out: what is to be done about them ([`Action`]). The
//! [`JobMaster`] decides and a driver acts: the ApplicationMaster on YARN, the embedded cluster inside a user's process,
//! a scripted world in tests. There is no I/O here, no task, no clock.
//!
//! Start reading at [`JobMaster`], then `state` (the phases, drawn), `place` and `failover` (the decisions), `checkpoint`.

mod event;
mod machine;
mod state;

mod checkpoint;

mod adoption;
mod alignment;
mod execution_graph;
mod executors;
mod failover;
mod place;
mod region;
mod splits;

mod details;
mod settings;
mod start;

pub use adoption::FormerExecutor;
pub use checkpoint::statistics::{
    CheckpointCounts, CheckpointEntry, CheckpointStatistics, CheckpointStatus, RestoredCheckpoint, SubtaskCheckpoint,
    VertexCheckpoint,
};
pub use details::{ExceptionEntry, JobDetails, SplitProgress, SubtaskDetails, VertexDetails};
pub use event::{Action, Event, JobResult, RequestId, SnapshotRequest, SnapshotTaken, SnapshotWish, Timestamp};
pub use failover::RestartStrategy;
pub use machine::JobMaster;
pub use settings::{CheckpointSettings, ClaimMode, Restarts, Retention, Settings};
pub use start::Start;
