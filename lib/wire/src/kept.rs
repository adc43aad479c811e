//! What an ApplicationMaster keeps of a job for a later one, besides its [`JobSubmission`]: how it ended.

use flumen_model::failure::Failure;
use flumen_model::status::JobStatus;
use serde::{Deserialize, Serialize};

use crate::application::JobSubmission;

/// How a job ended: enough for it never to run again, for its end to be told, and for it to be shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptResult {
    /// What was run, without the splits of its sources.
    pub submission: JobSubmission,
    /// FINISHED, FAILED or CANCELED.
    pub status: JobStatus,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Why it was cancelled, if somebody did that.
    #[serde(default)]
    pub cancelled: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub start_ms: u64,
    /// From its acceptance to its end.
    pub runtime_ms: u64,
    /// How often it was restarted.
    #[serde(default)]
    pub restarts: u32,
    /// The newest checkpoint that was left after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<String>,
}
