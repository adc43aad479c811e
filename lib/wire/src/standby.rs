//! What the JobManager that leads and the one that stands by tell each other.

use flumen_model::ids::ExecutorId;
use serde::{Deserialize, Serialize};

/// The argument that makes the ApplicationMaster's executable a standby JobManager.
pub const STANDBY_ARGUMENT: &str = "standby";

/// Who stands by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyInfo {
    /// [`PROTOCOL_VERSION`](crate::control::PROTOCOL_VERSION) of the standby.
    pub protocol: u32,
    /// Its name: the container's id on YARN.
    pub id: ExecutorId,
    /// Its node's host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// `host:port` of its web page, which leads to the JobManager that leads, whichever that is; `None` if it has none.
    pub page: Option<String>,
}

/// The container of a TaskExecutor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownContainer {
    /// Its id on YARN.
    pub id: String,
    /// Host of its NodeManager.
    pub host: String,
    /// Port of its NodeManager.
    pub port: u16,
    /// `host:port` of that NodeManager's web pages; empty when not known.
    pub web: String,
    /// Its memory, in MiB.
    pub memory_mb: u64,
    /// Its virtual cores.
    pub vcores: u32,
}
