//! The TaskExecutor: one process per container that offers slots and starts, watches and ends workers.
//!
//! In: commands of the JobManager ([`flumen_wire::control::ToExecutor`]), messages and exits of workers. Out: reports to the
//! JobManager, child processes, their output in rolling log files. It never links user code: a job's crash is a child's exit.
//! Start at [`executor`], the loop that owns all state, then [`workers`]; [`exit`], [`memory`] and [`slots`] only decide.

pub mod arguments;

pub mod executor;
pub mod log_reader;

pub mod connection;
mod leader;
mod link;
pub mod settings;

pub mod over;
pub mod slots;
pub mod workers;

pub mod programs;
pub mod worker_process;

pub mod exit;
pub mod memory;
pub mod output;
pub mod tmp_dirs;
