//! One process per YARN application: JobManager, ResourceManager, REST.
//!
//! In: the application that the client staged; connections of TaskExecutors, answers of YARN, requests of REST. Out: asks for
//! containers, commands to TaskExecutors, pages and JSON, the application's final status.
//! Start at [`run`] (the application's life; [`standby`] is that of a JobManager that waits) and [`main_loop`] (the task that owns all state); what it decides is in [`dispatcher`] and
//! [`resource`], free of I/O.

pub mod run;
pub mod standby;

pub mod environment;
pub mod setup;

pub mod high_availability;
pub mod main_loop;

pub mod dispatcher;

pub mod client_watch;
pub mod ending;
pub mod program;

pub mod resource;

pub mod checkpoints;
pub mod elsewhere;
pub mod executor_logs;
pub mod executors;
pub mod job_files;
pub mod outputs;
pub mod rest;

pub mod clock;
pub mod hadoop;
pub mod ports;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
