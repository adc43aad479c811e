//! Log files of the JobManager and of TaskExecutors: listed, and read as a whole or in part. TaskExecutors are asked for
//! them, so that whoever reaches the JobManager, or YARN's proxy, reads them all.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use flumen_log::LogDirectory;
use flumen_model::ids::ExecutorId;
use flumen_wire::logs::{LogAnswer, LogFileInfo, LogWish, PIECE_BYTES_MAX};
use serde::Serialize;
use serde_json::{Value, json};

use super::RestState;
use super::error::RestError;
use super::params::{FileParam, NameParam};
use super::range::{self, Part};
use super::routes::Answer;
use crate::executor_logs::{ExecutorLogs, NoAnswer};

/// The file that the ApplicationMaster writes, and the one with what it prints.
const JOBMANAGER_LOG: &str = "jobmanager.log";
const JOBMANAGER_OUT: &str = "jobmanager.out";

/// The same of a TaskExecutor; its workers print into the second.
const TASKMANAGER_LOG: &str = "taskmanager.log";
const TASKMANAGER_OUT: &str = "taskmanager.out";

/// What is read, sent and held in memory of a file at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The routes.
pub(super) fn api() -> Router<RestState> {
    Router::new()
        .route("/jobmanager/logs", get(jobmanager_logs))
        .route("/jobmanager/logs/{file}", get(jobmanager_file))
        .route("/jobmanager/log", get(async |state, headers| jobmanager(state, JOBMANAGER_LOG, &headers)))
        .route("/jobmanager/stdout", get(async |state, headers| jobmanager(state, JOBMANAGER_OUT, &headers)))
        .route("/taskmanagers/{name}/logs", get(taskmanager_logs))
        .route("/taskmanagers/{name}/logs/{file}", get(taskmanager_file))
        .route("/taskmanagers/{name}/log", get(taskmanager_log))
        .route("/taskmanagers/{name}/stdout", get(taskmanager_stdout))
}

/// `LogInfo` of Flink.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct LogInfo {
    name: String,
    size: u64,
    /// Milliseconds since 1970.
    mtime: u64,
}

async fn jobmanager_logs(State(state): State<RestState>) -> Json<Value> {
    let files = state.options.log_dir.as_ref().map(LogDirectory::list).unwrap_or_default();
    let info = |file: flumen_log::LogFile| LogInfo { name: file.name, size: file.size, mtime: file.modified_ms };
    let logs: Vec<LogInfo> = files.into_iter().map(info).collect();
    Json(json!({ "logs": logs }))
}

async fn jobmanager_file(
    state: State<RestState>,
    FileParam(name): FileParam,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    jobmanager(state, &name, &headers)
}

fn jobmanager(State(state): State<RestState>, name: &str, headers: &HeaderMap) -> Result<Response, RestError> {
    let no_log = || RestError::NoLog(name.to_owned());
    let unreadable = |cause| RestError::LogUnreadable { name: name.to_owned(), cause };
    let directory = state.options.log_dir.as_ref().ok_or_else(no_log)?;
    let (mut file, size) = directory.open(name).map_err(unreadable)?.ok_or_else(no_log)?;
    let part = range::wanted(headers, size)?;
    file.seek(SeekFrom::Start(part.start)).map_err(unreadable)?;
    let body = Body::from_stream(futures::stream::unfold(Some(file.take(part.length())), next_chunk));
    Ok(text(&part, body))
}

type Rest = Option<io::Take<File>>;

async fn next_chunk(rest: Rest) -> Option<(io::Result<Bytes>, Rest)> {
    let mut file = rest?;
    if file.limit() == 0 {
        return None;
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = file.read(&mut chunk)?;
        chunk.truncate(length);
        Ok((Bytes::from(chunk), file))
    });
    match read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
        Ok((chunk, _)) if chunk.is_empty() => Some((Err(shorter()), None)),
        Ok((chunk, file)) => Some((Ok(chunk), Some(file))),
        Err(cause) => Some((Err(cause), None)),
    }
}

/// What a user's program writes is shown as a text, whatever a browser would guess.
fn text(part: &Part, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CONTENT_LENGTH, part.length().to_string()),
    ];
    match part.content_range() {
        None => (headers, body).into_response(),
        Some(range) => (StatusCode::PARTIAL_CONTENT, headers, [(header::CONTENT_RANGE, range)], body).into_response(),
    }
}

fn shorter() -> io::Error {
    io::Error::other("the file became shorter while it was read: it was rolled")
}

/// A TaskExecutor's files.
#[derive(Clone)]
struct Remote {
    logs: ExecutorLogs,
    id: ExecutorId,
}

impl Remote {
    fn of(state: &RestState, id: String) -> Self {
        Self { logs: state.options.executor_logs.clone(), id: ExecutorId(id) }
    }

    async fn ask(&self, wish: LogWish) -> Result<LogAnswer, RestError> {
        self.logs.ask(&self.id, wish).await.map_err(|error| match error {
            NoAnswer::NotConnected => RestError::NoExecutor(self.id.to_string()),
            NoAnswer::Busy | NoAnswer::Late => RestError::ExecutorSilent { id: self.id.to_string(), why: error },
        })
    }

    async fn list(&self) -> Result<Vec<LogFileInfo>, RestError> {
        match self.ask(LogWish::List).await? {
            LogAnswer::Files(files) => Ok(files),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Bytes of a file and its length.
    async fn piece(&self, name: &str, offset: u64, length: u64) -> Result<(u64, Bytes), RestError> {
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(PIECE_BYTES_MAX);
        let wish = LogWish::Piece { name: name.to_owned(), offset, length };
        match self.ask(wish).await? {
            LogAnswer::Piece { size, data } => Ok((size, data.into())),
            LogAnswer::NoSuchFile => Err(RestError::NoLog(name.to_owned())),
            LogAnswer::Unreadable(cause) => {
                Err(RestError::LogUnreadable { name: name.to_owned(), cause: io::Error::other(cause) })
            }
            other @ LogAnswer::Files(_) => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, answer: &LogAnswer) -> RestError {
        let cause = io::Error::other(format!("{} answered {answer:?}", self.id));
        RestError::LogUnreadable { name: "logs".to_owned(), cause }
    }

    /// A file as a plain text, as long as it is now.
    async fn serve(self, name: String, headers: &HeaderMap) -> Result<Response, RestError> {
        // Nothing of it: tells whether it is there, and how long it is.
        let (size, _) = self.piece(&name, 0, 0).await?;
        let part = range::wanted(headers, size)?;
        let rest = Some((self, name, part.start, part.end));
        Ok(text(&part, Body::from_stream(futures::stream::unfold(rest, next_piece))))
    }
}

type RemoteRest = Option<(Remote, String, u64, u64)>;

async fn next_piece(rest: RemoteRest) -> Option<(io::Result<Bytes>, RemoteRest)> {
    let (remote, name, offset, end) = rest?;
    if offset >= end {
        return None;
    }
    match remote.piece(&name, offset, end - offset).await {
        Ok((_, data)) if data.is_empty() => Some((Err(shorter()), None)),
        Ok((_, data)) => {
            let offset = offset + data.len() as u64;
            Some((Ok(data), Some((remote, name, offset, end))))
        }
        Err(error) => Some((Err(io::Error::other(error)), None)),
    }
}

async fn taskmanager_logs(State(state): State<RestState>, NameParam(id): NameParam) -> Answer<Value> {
    let files = Remote::of(&state, id).list().await?;
    let info = |file: LogFileInfo| LogInfo { name: file.name, size: file.size, mtime: file.modified_ms };
    let logs: Vec<LogInfo> = files.into_iter().map(info).collect();
    Ok(Json(json!({ "logs": logs })))
}

async fn taskmanager_file(
    State(state): State<RestState>,
    NameParam(id): NameParam,
    FileParam(name): FileParam,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    Remote::of(&state, id).serve(name, &headers).await
}

async fn taskmanager_log(
    State(state): State<RestState>,
    NameParam(id): NameParam,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    Remote::of(&state, id).serve(TASKMANAGER_LOG.to_owned(), &headers).await
}

async fn taskmanager_stdout(
    State(state): State<RestState>,
    NameParam(id): NameParam,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    Remote::of(&state, id).serve(TASKMANAGER_OUT.to_owned(), &headers).await
}
