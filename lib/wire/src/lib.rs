//! The bytes between Flumen's own processes, and nothing else defines any.
//!
//! * [`control`]: the messages of JobMaster, TaskExecutors, workers and programs;
//! * [`report`]: what a TaskExecutor knows of its workers, for a new JobManager to go on with them;
//! * [`standby`]: what the JobManager that leads and the one that stands by tell each other;
//! * [`logs`]: what is asked of a TaskExecutor's log files, and its answers;
//! * [`application`]: what a submission leaves in the staging directory for the ApplicationMaster;
//! * [`kept`]: how a job ended, as an ApplicationMaster keeps it for a later one;
//! * [`frame`]: how a control message stands on a stream: a length and JSON, so that two versions of Flumen can talk
//!   (unknown fields are ignored, missing ones have defaults) and a capture can be read;
//! * [`data`]: the frames in which records and credits travel between workers;
//! * [`tls`]: mutual TLS with the certificate authority of one application, which `certificate` makes.

pub mod application;
pub mod control;

#[cfg(feature = "certificate")]
pub mod certificate;
pub mod data;
pub mod frame;
pub mod kept;
pub mod logs;
pub mod report;
pub mod standby;
pub mod tls;
