//! The paths that concern checkpoints and savepoints.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flumen_jobmaster::SnapshotWish;
use flumen_model::ids::JobId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Authorized;
use super::error::RestError;
use super::json::checkpoints::{Checkpoint, CheckpointConfig, Checkpoints, TaskWithSubtasks};
use super::json::operation::Operation;
use super::params::{CheckpointParam, JobParam, JsonBody, TriggerParam, VertexParam};
use super::routes::Answer;
use super::{RestState, SnapshotOrder};
use crate::dispatcher::{OperationKind, TriggerId};

/// The routes.
pub(super) fn api() -> Router<RestState> {
    Router::new()
        .route("/jobs/{jobid}/checkpoints", get(checkpoints).post(take_checkpoint))
        .route("/jobs/{jobid}/checkpoints/config", get(config))
        .route("/jobs/{jobid}/checkpoints/details/{checkpointid}", get(details))
        .route("/jobs/{jobid}/checkpoints/details/{checkpointid}/subtasks/{vertexid}", get(subtasks))
        .route("/jobs/{jobid}/checkpoints/{triggerid}", get(checkpoint_operation))
        .route("/jobs/{jobid}/savepoints", post(take_savepoint))
        .route("/jobs/{jobid}/savepoints/{triggerid}", get(savepoint_operation))
        .route("/jobs/{jobid}/stop", post(stop))
        .route("/savepoint-disposal", post(dispose))
        .route("/savepoint-disposal/{triggerid}", get(disposal))
}

async fn checkpoints(State(state): State<RestState>, JobParam(job): JobParam) -> Answer<Checkpoints> {
    Ok(Json(Checkpoints::new(&state.checkpoints(job).await?)))
}

async fn config(State(state): State<RestState>, JobParam(job): JobParam) -> Answer<CheckpointConfig> {
    Ok(Json(CheckpointConfig::new(&state.checkpoints(job).await?.settings, &state.options.configuration)))
}

async fn details(
    State(state): State<RestState>,
    JobParam(job): JobParam,
    CheckpointParam(id): CheckpointParam,
) -> Answer<Checkpoint> {
    let statistics = state.checkpoints(job).await?;
    let entry = statistics.history.iter().find(|entry| entry.id == id).ok_or(RestError::NoCheckpoint(id))?;
    Ok(Json(Checkpoint::with_tasks(entry, &statistics.settings)))
}

async fn subtasks(
    State(state): State<RestState>,
    JobParam(job): JobParam,
    CheckpointParam(id): CheckpointParam,
    VertexParam(vertex): VertexParam,
) -> Answer<TaskWithSubtasks> {
    let statistics = state.checkpoints(job).await?;
    let entry = statistics.history.iter().find(|entry| entry.id == id).ok_or(RestError::NoCheckpoint(id))?;
    let task = entry.vertices.iter().find(|task| task.vertex == vertex).ok_or(RestError::NoVertex(vertex))?;
    Ok(Json(TaskWithSubtasks::new(entry, task)))
}

/// `CheckpointTriggerRequestBody`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckpointBody {
    checkpoint_type: Option<CheckpointType>,
    trigger_id: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum CheckpointType {
    Configured,
    Full,
    Incremental,
}

async fn take_checkpoint(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(job): JobParam,
    JsonBody(body): JsonBody<CheckpointBody>,
) -> Result<Response, RestError> {
    let wish = SnapshotWish::Checkpoint { full: body.checkpoint_type == Some(CheckpointType::Full) };
    take(&state, job, wish, false, body.trigger_id).await
}

/// `SavepointTriggerRequestBody`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SavepointBody {
    #[serde(default)]
    cancel_job: bool,
    target_directory: Option<String>,
    #[serde(rename = "formatType")]
    format: Option<String>,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

async fn take_savepoint(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(job): JobParam,
    JsonBody(body): JsonBody<SavepointBody>,
) -> Result<Response, RestError> {
    known_format(body.format)?;
    let wish = SnapshotWish::Savepoint { target: full(&state, body.target_directory)? };
    take(&state, job, wish, body.cancel_job, body.trigger_id).await
}

/// `StopWithSavepointRequestBody`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopBody {
    #[serde(default)]
    drain: bool,
    target_directory: Option<String>,
    #[serde(rename = "formatType")]
    format: Option<String>,
    trigger_id: Option<String>,
}

async fn stop(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(job): JobParam,
    JsonBody(body): JsonBody<StopBody>,
) -> Result<Response, RestError> {
    known_format(body.format)?;
    let wish = SnapshotWish::Stop { target: full(&state, body.target_directory)?, drain: body.drain };
    take(&state, job, wish, false, body.trigger_id).await
}

/// Savepoints have one format, which does not depend on the backend; both of Flink's are taken for it.
fn known_format(format: Option<String>) -> Result<(), RestError> {
    let known = |format: &str| ["CANONICAL", "NATIVE"].iter().any(|known| format.eq_ignore_ascii_case(known));
    match format {
        Some(other) if !known(&other) => Err(RestError::SavepointFormat(other)),
        Some(_) | None => Ok(()),
    }
}

/// The directory as a full path, in the job's file systems.
fn full(state: &RestState, directory: Option<String>) -> Result<Option<String>, RestError> {
    let resolve = |text: String| state.options.files.resolve(&text).map(|path| path.to_string());
    directory.map(resolve).transpose().map_err(RestError::BadDirectory)
}

async fn take(
    state: &RestState,
    job: JobId,
    wish: SnapshotWish,
    then_cancel: bool,
    trigger: Option<String>,
) -> Result<Response, RestError> {
    let trigger = trigger_id(trigger)?;
    state.snapshot(SnapshotOrder { job, trigger, wish, then_cancel }).await?;
    Ok((StatusCode::ACCEPTED, request_id(trigger)).into_response())
}

/// The client's own number, or a new one.
fn trigger_id(given: Option<String>) -> Result<TriggerId, RestError> {
    match given {
        None => Ok(TriggerId(uuid::Uuid::new_v4().as_u128())),
        Some(text) => text.parse().map_err(|error: flumen_model::ids::BadId| RestError::BadBody(error.to_string())),
    }
}

fn request_id(trigger: TriggerId) -> Json<Value> {
    Json(json!({ "request-id": trigger.to_string() }))
}

async fn checkpoint_operation(
    State(state): State<RestState>,
    JobParam(job): JobParam,
    TriggerParam(trigger): TriggerParam,
) -> Answer<Operation> {
    state.job(job).await?;
    Ok(Json(Operation::checkpoint(state.operation(Some(job), trigger, OperationKind::Checkpoint).await?)))
}

async fn savepoint_operation(
    State(state): State<RestState>,
    JobParam(job): JobParam,
    TriggerParam(trigger): TriggerParam,
) -> Answer<Operation> {
    state.job(job).await?;
    Ok(Json(Operation::savepoint(state.operation(Some(job), trigger, OperationKind::Savepoint).await?)))
}

/// `SavepointDisposalRequest`.
#[derive(Deserialize)]
struct DisposalBody {
    #[serde(rename = "savepoint-path")]
    path: String,
}

async fn dispose(
    _: Authorized,
    State(state): State<RestState>,
    JsonBody(body): JsonBody<DisposalBody>,
) -> Answer<Value> {
    let trigger = trigger_id(None)?;
    state.dispose(trigger, body.path).await?;
    Ok(request_id(trigger))
}

async fn disposal(State(state): State<RestState>, TriggerParam(trigger): TriggerParam) -> Answer<Operation> {
    Ok(Json(Operation::savepoint(state.operation(None, trigger, OperationKind::Disposal).await?)))
}
