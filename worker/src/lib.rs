//! Runs the operators of a job: linked into every job's executable.
//!
//! In: [`ToWorker`](flumen_wire::control::ToWorker) commands of the JobMaster, records from sources and other workers. Out:
//! [`FromWorker`](flumen_wire::control::FromWorker) reports, records to other workers and sinks.
//!
//! A subtask is a thread that owns everything it works on. It takes batches from its gate (or its source), pushes them
//! through its chain of operators ([`operator::Push`]: one virtual call per batch and operator) and into its writers, which
//! hand batches to other subtasks: as they are within this process, serialised to other processes. Start reading at
//! [`operator`] and [`task`], then [`exchange`].

pub mod batch;
pub mod operator;
pub mod operator_state;

pub mod subtask;
pub mod task;
mod task_state;

pub mod checkpoint;
pub mod keyed_state;
mod local_copies;
pub mod restore;
mod transfer;
mod upload;

pub mod exchange;

pub mod functions;
pub mod keyed;
pub mod operators;
pub mod sinks;
pub mod sources;
pub mod spill;
pub mod windows;

pub mod deployment;
pub mod files;
pub mod process;
pub mod worker;
