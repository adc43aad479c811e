//! Errors as Flink's REST interface gives them: a status and `{"errors":["…"]}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flumen_fs::FsError;
use flumen_model::checkpoint::CheckpointId;
use flumen_model::ids::{JobId, VertexId};
use flumen_model::status::JobStatus;
use serde_json::json;

use super::jars::JarError;
use crate::dispatcher::TriggerId;
use crate::executor_logs::NoAnswer;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    #[error("Cannot resolve path parameter ({name}) from value \"{value}\".")]
    BadPathParameter { name: &'static str, value: String },
    #[error("Cannot resolve query parameter ({name}) from value \"{value}\".")]
    BadQueryParameter { name: &'static str, value: String },
    #[error("The query of the request is not as expected: {0}")]
    BadQuery(String),
    #[error("The body of the request is not as expected: {0}")]
    BadBody(String),
    #[error("The body of the request is too large or was cut off.")]
    TooLarge,
    #[error("Job {0} not found")]
    NoJob(JobId),
    #[error("Vertex {0} not found")]
    NoVertex(VertexId),
    #[error("Checkpointing has not been enabled for job {0}: it runs in batch execution.")]
    NoCheckpoints(JobId),
    #[error("Could not find checkpointing statistics for checkpoint {0}.")]
    NoCheckpoint(CheckpointId),
    #[error("There is no {what} with the trigger id {trigger}; results are kept while the application runs.")]
    NoOperation { what: &'static str, trigger: TriggerId },
    #[error("state.savepoints.dir is not set: \"target-directory\" or \"targetDirectory\" has to say where it goes.")]
    NoSavepointDirectory,
    #[error("The directory of the request can't be used: {0}")]
    BadDirectory(FsError),
    #[error("formatType is {0}: CANONICAL and NATIVE are allowed, and mean the same here.")]
    SavepointFormat(String),
    #[error("Too many operations are under way; wait for one to end.")]
    TooManyOperations,
    #[error("The job has already reached the terminal state {0}: nothing can be taken of it.")]
    JobOver(JobStatus),
    #[error("Could not find TaskExecutor {0}.")]
    NoExecutor(String),
    #[error("There is no log file `{0}`; GET …/logs lists those that exist.")]
    NoLog(String),
    #[error("The log files of TaskExecutor {id} can't be read: {why}.")]
    ExecutorSilent { id: String, why: NoAnswer },
    #[error("The file has {size} bytes, and nothing where the range begins.")]
    NoSuchRange { size: u64 },
    #[error("Not found: {0}")]
    NoRoute(String),
    #[error("Job cancellation failed because the job has already reached another terminal state ({0}).")]
    AlreadyOver(JobStatus),
    #[error("The termination mode \"stop\" is not supported; use \"cancel\".")]
    StopMode,
    #[error(
        "This changes something, so it needs the application's token: `Authorization: Bearer <token>`. \
         The token is in the application's staging directory and is sent by `flink` itself."
    )]
    Unauthorized,
    #[error("The JobManager did not answer in time; try again.")]
    Busy,
    #[error("The application is ending.")]
    Ending,
    #[error("{0}")]
    Refused(String),
    #[error("This application runs one job and takes no other: start a session (`yarn-session.sh`) for several.")]
    OneJobOnly,
    #[error("The job is being accepted still; try again.")]
    NotBegun,
    #[error(
        "A multipart body is not understood here: Flink's own client sends a Java program, and this cluster runs native \
         ones. Submit with this cluster's `flink run`."
    )]
    Multipart,
    #[error("The log file `{name}` cannot be read: {cause}")]
    LogUnreadable { name: String, cause: std::io::Error },
    #[error(transparent)]
    Jar(#[from] JarError),
}

impl RestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadPathParameter { .. }
            | Self::BadQueryParameter { .. }
            | Self::BadQuery(_)
            | Self::BadBody(_)
            | Self::NoSavepointDirectory
            | Self::BadDirectory(_)
            | Self::Refused(_)
            | Self::Multipart
            | Self::SavepointFormat(_) => StatusCode::BAD_REQUEST,
            Self::TooManyOperations => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoJob(_)
            | Self::NoVertex(_)
            | Self::NoCheckpoints(_)
            | Self::NoCheckpoint(_)
            | Self::NoOperation { .. }
            | Self::NoExecutor(_)
            | Self::NoLog(_)
            | Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::AlreadyOver(_) | Self::JobOver(_) | Self::OneJobOnly => StatusCode::CONFLICT,
            Self::StopMode => StatusCode::PERMANENT_REDIRECT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchRange { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Jar(error) => error.status(),
            Self::Busy | Self::Ending | Self::NotBegun | Self::ExecutorSilent { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::LogUnreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(json!({ "errors": [self.to_string()] }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
