//! What `flink run` stages for the ApplicationMaster: one JSON file, readable by the user alone (it holds the token).

use std::collections::BTreeMap;
use std::fmt;

use flumen_model::config::Configuration;
use flumen_model::ids::JobId;
use flumen_model::job_graph::JobGraph;
use serde::{Deserialize, Serialize};

/// Name of the file in the ApplicationMaster's working directory.
pub const APPLICATION_FILE: &str = "flumen-application.json";

/// Name of the TaskExecutor's executable in every container.
pub const TASKEXECUTOR_FILE: &str = "flumen-taskexecutor";

/// Name of the ApplicationMaster's executable in its container.
pub const APPMASTER_FILE: &str = "flumen-appmaster";

/// A per-job application.
#[derive(Clone, Serialize, Deserialize)]
pub struct Application {
    /// [`crate::control::PROTOCOL_VERSION`] of the client.
    pub protocol: u32,
    /// The job.
    pub job: JobId,
    /// What it runs, with the splits of its sources.
    pub graph: JobGraph,
    /// The program's file name in the containers' working directories.
    pub program: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The effective configuration: file, `-D` and flags merged.
    pub configuration: Configuration,
    /// Expanded Hadoop properties as the client sees them.
    pub hadoop: BTreeMap<String, String>,
    /// The user on whose behalf files are read and written.
    pub user: String,
    /// The application's own staging directory, removed when the application ends.
    pub staging: String,
    /// What TaskExecutors' containers need: program, TaskExecutor, certificate, shipped files.
    pub resources: Vec<StagedFile>,
    /// Bearer token of changing REST calls. Never logged.
    pub rest_token: String,
    /// True when the job is to be cancelled once the attached client falls silent (`-sae`).
    pub client_heartbeat: bool,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("job", &self.job)
            .field("program", &self.program)
            .field("staging", &self.staging)
            .finish_non_exhaustive()
    }
}

/// A file in the staging area, as YARN localises it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Name in the container's working directory.
    pub link: String,
    /// Full URL, `hdfs://host:port/path`.
    pub url: String,
    /// Bytes; must equal the file's length.
    pub size: u64,
    /// Modification time in milliseconds; must equal the file's.
    pub modified_ms: u64,
    /// Unpacked by the NodeManager when true.
    pub archive: bool,
    /// True when the file lies in the shared cache, so that the NodeManager may keep it for later applications of the user.
    pub cached: bool,
}
