//! Which path does what. Handlers read their parameters, ask, and shape the answer.

use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch};
use axum::{Json, Router};
use flumen_jobmaster::Timestamp;
use flumen_model::ids::JobId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Authorized;
use super::error::RestError;
use super::json::cluster::{ConfigurationEntry, Dashboard, Overview, TaskManagerDetails, TaskManagers};
use super::json::job::{Job, JobIds, JobsOverview, Progress, Vertex};
use super::json::outcome::{Exceptions, ExecutionResult, JobConfig, Status};
use super::json::plan::JobPlan;
use super::params::{JobParam, JsonBody, NameParam, QueryParams, VertexParam};
use super::{Jars, RestState, checkpoints, jars, logs, page, submit};
use crate::elsewhere::Elsewhere;

/// No request that is served here has more to say.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Exceptions that are shown unless `maxExceptions` says otherwise; Flink's number.
const EXCEPTIONS_SHOWN: usize = 20;

pub(super) type Answer<T> = Result<Json<T>, RestError>;

/// All routes, each also under `/v1`, and the web page at `/`.
pub fn router(state: RestState) -> Router {
    let jars = &state.options.jars;
    Router::new()
        .merge(api(jars.clone()))
        .nest("/v1", api(jars.clone()))
        .merge(page_parts())
        .route("/v1/jobmanager/elsewhere", get(page::elsewhere))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

/// The web page of who stands by: it shows nothing, and goes where the leader is.
pub fn page_alone(elsewhere: Elsewhere) -> Router {
    Router::new()
        .merge(page_parts())
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(elsewhere)
}

/// What the page needs of whoever serves it.
fn page_parts<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Elsewhere: FromRef<S>,
{
    Router::new()
        .route("/", get(page::index))
        .route("/ui/style.css", get(page::style))
        .route("/ui/app.js", get(page::script))
        .route("/jobmanager/elsewhere", get(page::elsewhere))
}

impl FromRef<RestState> for Elsewhere {
    fn from_ref(state: &RestState) -> Self {
        state.options.elsewhere.clone()
    }
}

fn api(jars: Option<Jars>) -> Router<RestState> {
    Router::new()
        .route("/overview", get(overview))
        .route("/cluster", delete(shut_down))
        .route("/config", get(dashboard))
        .route("/jobs", get(job_ids))
        .merge(submit::api())
        .route("/jobs/overview", get(jobs_overview))
        .route("/jobs/{jobid}", get(job).patch(terminate))
        .route("/jobs/{jobid}/plan", get(plan))
        .route("/jobs/{jobid}/exceptions", get(exceptions))
        .route("/jobs/{jobid}/config", get(job_config))
        .route("/jobs/{jobid}/status", get(status))
        .route("/jobs/{jobid}/progress", get(progress))
        .route("/jobs/{jobid}/execution-result", get(execution_result))
        .route("/jobs/{jobid}/vertices/{vertexid}", get(vertex))
        .route("/jobs/{jobid}/yarn-cancel", get(yarn_cancel).put(yarn_cancel_by_body))
        .route("/jobs/{jobid}/clientHeartbeat", patch(client_heartbeat))
        .route("/taskmanagers", get(taskmanagers))
        .route("/taskmanagers/{name}", get(taskmanager))
        .route("/jobmanager/config", get(jobmanager_config))
        .merge(jars::api(jars))
        .merge(logs::api())
        .merge(checkpoints::api())
}

async fn not_found(uri: Uri) -> RestError {
    RestError::NoRoute(uri.path().to_owned())
}

async fn overview(State(state): State<RestState>) -> Answer<Overview> {
    Ok(Json(Overview::new(&state.jobs().await?, &state.executors().await?)))
}

async fn dashboard(State(state): State<RestState>) -> Json<Dashboard> {
    Json(Dashboard::new(state.options.jars.is_some()))
}

async fn shut_down(_: Authorized, State(state): State<RestState>) -> Answer<Value> {
    state.shut_down().await?;
    Ok(Json(json!({})))
}

async fn job_ids(State(state): State<RestState>) -> Answer<JobIds> {
    Ok(Json(JobIds::new(&state.jobs().await?)))
}

async fn jobs_overview(State(state): State<RestState>) -> Answer<JobsOverview> {
    Ok(Json(JobsOverview::new(&state.jobs().await?, state.now())))
}

async fn job(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<Job> {
    Ok(Json(Job::new(&*state.job(id).await?, state.now())))
}

async fn plan(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<JobPlan> {
    Ok(Json(JobPlan::new(&*state.job(id).await?)))
}

#[derive(Deserialize)]
struct ExceptionsQuery {
    #[serde(rename = "maxExceptions")]
    max: Option<String>,
}

async fn exceptions(
    State(state): State<RestState>,
    JobParam(id): JobParam,
    QueryParams(query): QueryParams<ExceptionsQuery>,
) -> Answer<Exceptions> {
    let max = match query.max {
        None => EXCEPTIONS_SHOWN,
        Some(text) => text.parse().map_err(|_| RestError::BadQueryParameter { name: "maxExceptions", value: text })?,
    };
    Ok(Json(Exceptions::new(&*state.job(id).await?, max)))
}

async fn job_config(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<JobConfig> {
    Ok(Json(JobConfig::new(&*state.job(id).await?)))
}

async fn status(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<Status> {
    Ok(Json(Status::new(&*state.job(id).await?)))
}

async fn progress(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<Progress> {
    Ok(Json(Progress::new(&*state.job(id).await?)))
}

async fn execution_result(State(state): State<RestState>, JobParam(id): JobParam) -> Answer<ExecutionResult> {
    Ok(Json(ExecutionResult::new(&*state.job(id).await?, state.now())))
}

async fn vertex(
    State(state): State<RestState>,
    JobParam(job): JobParam,
    VertexParam(id): VertexParam,
) -> Answer<Vertex> {
    let job = state.job(job).await?;
    let vertex = job.vertices.iter().find(|vertex| vertex.id == id).ok_or(RestError::NoVertex(id))?;
    Ok(Json(Vertex::new(vertex, state.now())))
}

#[derive(Deserialize)]
struct TerminationQuery {
    mode: Option<String>,
}

async fn terminate(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(id): JobParam,
    QueryParams(query): QueryParams<TerminationQuery>,
) -> Result<Response, RestError> {
    match query.mode.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("cancel") => cancel(&state, id).await,
        Some("stop") => Err(RestError::StopMode),
        Some(_) => Err(RestError::BadQueryParameter { name: "mode", value: query.mode.unwrap_or_default() }),
    }
}

async fn yarn_cancel(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(id): JobParam,
) -> Result<Response, RestError> {
    cancel(&state, id).await
}

#[derive(Deserialize)]
struct TokenBody {
    token: String,
}

/// YARN's proxy drops the header `Authorization` but passes the body of a PUT: `{"token":"…"}` counts as well.
async fn yarn_cancel_by_body(
    by_header: Result<Authorized, RestError>,
    State(state): State<RestState>,
    JobParam(id): JobParam,
    body: Result<JsonBody<TokenBody>, RestError>,
) -> Result<Response, RestError> {
    if let Err(unauthorized) = by_header {
        let JsonBody(given) = body.map_err(|_| unauthorized)?;
        Authorized::by_token(&given.token, &state)?;
    }
    cancel(&state, id).await
}

async fn cancel(state: &RestState, id: JobId) -> Result<Response, RestError> {
    state.cancel(id).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
struct HeartbeatBody {
    /// Milliseconds since 1970.
    #[serde(rename = "expiredTimestamp")]
    expires: u64,
}

async fn client_heartbeat(
    _: Authorized,
    State(state): State<RestState>,
    JobParam(id): JobParam,
    JsonBody(body): JsonBody<HeartbeatBody>,
) -> Result<Response, RestError> {
    state.client_heartbeat(id, Timestamp(body.expires)).await?;
    Ok(accepted())
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

async fn taskmanagers(State(state): State<RestState>) -> Answer<TaskManagers> {
    Ok(Json(TaskManagers::new(&state.executors().await?, &state.options.configuration)))
}

async fn taskmanager(State(state): State<RestState>, NameParam(id): NameParam) -> Answer<TaskManagerDetails> {
    let executors = state.executors().await?;
    let executor = executors.iter().find(|executor| executor.id.0 == id).ok_or(RestError::NoExecutor(id))?;
    Ok(Json(TaskManagerDetails::new(executor, &state.jobs().await?, &state.options.configuration)))
}

async fn jobmanager_config(State(state): State<RestState>) -> Json<Vec<ConfigurationEntry>> {
    Json(ConfigurationEntry::all(&state.options.configuration))
}
