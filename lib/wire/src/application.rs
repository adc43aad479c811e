//! What the client stages for the ApplicationMaster (one JSON file, readable by the user alone: it holds the token), and how
//! it submits jobs to it.

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

/// An application on YARN: what its ApplicationMaster needs to know.
#[derive(Clone, Serialize, Deserialize)]
pub struct Application {
    /// [`crate::control::PROTOCOL_VERSION`] of the client.
    pub protocol: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// The effective configuration: file, `-D` and flags merged.
    pub configuration: Configuration,
    /// Expanded Hadoop properties as the client sees them.
    pub hadoop: BTreeMap<String, String>,
    /// The user on whose behalf files are read and written.
    pub user: String,
    /// The application's own staging directory, removed when the application ends.
    pub staging: String,
    /// What TaskExecutors' containers need: TaskExecutor, certificate, shipped files, the program of a per-job application.
    pub resources: Vec<StagedFile>,
    /// What the ApplicationMaster's own container has besides this file: a standby JobManager's needs the same.
    #[serde(default)]
    pub master_resources: Vec<StagedFile>,
    /// Bearer token of changing REST calls. Never logged.
    pub rest_token: String,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("purpose", &self.purpose)
            .field("staging", &self.staging)
            .finish_non_exhaustive()
    }
}

/// What an application is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// One job, which is submitted with the application and ends with it (`yarn-per-job`).
    Job(Box<JobSubmission>),
    /// The jobs that are submitted over REST until the session is stopped (`yarn-session`).
    Session,
    /// The job of a program that the ApplicationMaster itself asks for its graph (`yarn-application`).
    Program(Box<ProgramSubmission>),
}

impl Purpose {
    /// The one job of the application; `None` for a session.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Job(submission) => Some(submission.job),
            Self::Program(submission) => Some(submission.job),
            Self::Session => None,
        }
    }
}

/// A job as the ApplicationMaster accepts it: within [`Purpose::Job`], or as the body of `POST /jobs` of a session.
#[derive(Clone, Serialize, Deserialize)]
pub struct JobSubmission {
    /// [`crate::control::PROTOCOL_VERSION`] of the client.
    pub protocol: u32,
    /// The job, made up by the client: the same submission sent twice is the same job.
    pub job: JobId,
    /// What it runs, with the splits of its sources.
    pub graph: JobGraph,
    /// What its workers are.
    pub program: Program,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The job's effective configuration: what concerns the cluster (containers, ports, memory) is taken from the
    /// application's.
    pub configuration: Configuration,
    /// True when the job is to be cancelled once the attached client falls silent (`-sae`).
    pub client_heartbeat: bool,
    /// When a JobManager accepted it, as that one keeps it for the next: milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ms: Option<u64>,
}

impl fmt::Debug for JobSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobSubmission")
            .field("job", &self.job)
            .field("name", &self.graph.name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// A program whose graph is not known yet.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProgramSubmission {
    /// The job that it becomes.
    pub job: JobId,
    /// The program.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl fmt::Debug for ProgramSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramSubmission")
            .field("job", &self.job)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// The executable of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its file name, without directories.
    pub name: String,
    /// Where it is fetched from; `None`: YARN has put it into the container's working directory.
    #[serde(default)]
    pub artifact: Option<Artifact>,
}

impl Program {
    /// A program that is in every container's working directory.
    pub fn localized(name: impl Into<String>) -> Self {
        Self { name: name.into(), artifact: None }
    }
}

/// A file that is fetched by content, and only if it is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artifact {
    /// Full URL, `hdfs://host:port/path`.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal digits: whoever fetches it compares.
    pub sha256: String,
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
