//! Programs over REST: uploaded, listed, planned, run, removed. Flink calls them jars; here one is an executable that links
//! `flumen`, and the JobManager asks it for its graph in its own container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::multipart::{Field, Multipart, MultipartError, MultipartRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use flumen_model::config::{Configuration, MemorySize};
use flumen_model::ids::JobId;
use flumen_model::job_graph::JobGraph;
use flumen_model::text::with_causes;
use flumen_program::ProgramError;
use flumen_staging::{ContentCache, Progress, StageError};
use flumen_wire::application::{Artifact, JobSubmission, Program};
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

mod request;
mod store;

use request::{Body, Query, Wish};
use store::{Jar, JarStore, Upload, name_of};

use super::RestState;
use super::auth::Authorized;
use super::error::RestError;
use super::json::plan::JobPlan;
use super::params::{JsonBody, NameParam, QueryParams};
use super::routes::Answer;

/// Requests that upload or run a program at once; each may hold a few megabytes.
const AT_ONCE: usize = 4;

/// Time that a program waits for the one before it to tell its graph: one at a time, in the memory that is there for it.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Time that a program has to tell its graph over REST: with the rest of the request below the time after which a silent
/// connection is closed.
const PLAN_MAX: Duration = Duration::from_secs(40);

/// Time between two pieces of an upload.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What of an upload is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Arguments and configuration of one job.
const RUN_BODY_BYTES_MAX: usize = 1 << 20;

/// What a session needs to take programs.
#[derive(Clone)]
pub struct Jars(Arc<Inner>);

struct Inner {
    store: JarStore,
    cache: ContentCache,
    configuration: Configuration,
    hadoop: BTreeMap<String, String>,
    limits: Limits,
    at_once: Semaphore,
    planning: Semaphore,
}

/// What uploaded programs may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a program.
    pub upload_bytes: u64,
    /// Memory of a program that is asked for its graph.
    pub planning_memory: MemorySize,
}

impl Jars {
    /// Keeps programs in `upload_dir` and stages them in `cache`; a job's configuration is the cluster's `configuration` with
    /// what the request says over it.
    pub fn new(
        upload_dir: &Path,
        cache: ContentCache,
        configuration: Configuration,
        hadoop: BTreeMap<String, String>,
        limits: Limits,
    ) -> Self {
        let store = JarStore::new(upload_dir);
        let (at_once, planning) = (Semaphore::new(AT_ONCE), Semaphore::new(1));
        Self(Arc::new(Inner { store, cache, configuration, hadoop, limits, at_once, planning }))
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, JarError> {
        self.0.at_once.try_acquire().map_err(|_| JarError::Busy)
    }

    async fn graph(&self, path: &Path, wish: &Wish) -> Result<JobGraph, JarError> {
        let setup = ProgramSetup {
            protocol: PROTOCOL_VERSION,
            configuration: wish.configuration.clone(),
            hadoop: self.0.hadoop.clone(),
            worker: None,
        };
        let _turn = timeout(TURN_MAX, self.0.planning.acquire()).await.map_err(|_| JarError::Busy)?;
        tracing::info!(program = %path.display(), "an uploaded program is asked for its job");
        let memory = Some(self.0.limits.planning_memory);
        let planned = flumen_program::plan_within(memory, path, &wish.arguments, &setup);
        Ok(timeout(PLAN_MAX, planned).await.map_err(|_| JarError::SlowProgram)??)
    }
}

/// Why a request about programs is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum JarError {
    #[error("The body is not multipart/form-data with the program as its one file: {0}")]
    NotMultipart(String),
    #[error("Exactly 1 file must be sent, received {0}.")]
    Files(usize),
    #[error("The program is larger than {0} bytes (rest.server.max-content-length), or was cut off.")]
    TooLarge(u64),
    #[error("The upload was silent for {} s.", SILENCE_MAX.as_secs())]
    Slow,
    #[error("`{0}` is no name for a program: letters, digits, `.`, `_`, `-` and `+`.")]
    Name(String),
    #[error("The file is {0}: Flumen runs native executables that are built with the crate `flumen`.")]
    NotNative(&'static str),
    #[error("Jar file {0} does not exist.")]
    Missing(String),
    #[error("{0} programs are kept already: DELETE /jars/:jarid removes one.")]
    TooMany(usize),
    #[error("Uploaded programs can't be kept on the JobManager's disk (web.upload.dir): {0}")]
    Disk(std::io::Error),
    #[error("The request can't be carried out: {0}.")]
    Request(String),
    #[error("{}", with_causes(.0))]
    Program(#[from] ProgramError),
    #[error(
        "The program did not reach `execute` within {} s: whatever it waits for, `flink run` with Hadoop's configuration plans \
         it where it is typed, and waits longer.", PLAN_MAX.as_secs()
    )]
    SlowProgram,
    #[error("{}", with_causes(.0))]
    Stage(#[from] StageError),
    #[error("Others upload or run programs right now; try again.")]
    Busy,
}

impl JarError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotMultipart(_)
            | Self::Files(_)
            | Self::Name(_)
            | Self::NotNative(_)
            | Self::Missing(_)
            | Self::Request(_)
            | Self::Program(_)
            | Self::SlowProgram => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Disk(_) | Self::Stage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The routes; none in an application of one job, or with `web.submit.enable: false`, as in Flink.
pub(super) fn api(jars: Option<Jars>) -> Router<RestState> {
    let Some(jars) = jars else { return Router::new() };
    // The parts of a form have their own few bytes around the file.
    let upload_max = usize::try_from(jars.0.limits.upload_bytes).unwrap_or(usize::MAX).saturating_add(16 * 1024);
    let upload_jars = jars.clone();
    let upload = post(async move |_: Authorized, form: Form| upload(&upload_jars, form).await);
    let list_jars = jars.clone();
    let list = get(async move |headers: HeaderMap| list(&list_jars, &headers));
    let delete_jars = jars.clone();
    let delete = delete(async move |_: Authorized, NameParam(id): NameParam| remove(&delete_jars, id).await);
    let (get_plan_jars, plan_jars) = (jars.clone(), jars.clone());
    // Planning runs the program, so it needs the token though it changes nothing.
    let plan_route =
        get(async move |_: Authorized, NameParam(id): NameParam, QueryParams(query): QueryParams<Query>| {
            plan(&get_plan_jars, &id, Body::default(), query).await
        })
        .post(
            async move |_: Authorized,
                        NameParam(id): NameParam,
                        QueryParams(query): QueryParams<Query>,
                        JsonBody(body): JsonBody<Body>| plan(&plan_jars, &id, body, query).await,
        );
    let run_route = post(
        async move |_: Authorized,
                    State(state): State<RestState>,
                    NameParam(id): NameParam,
                    QueryParams(query): QueryParams<Query>,
                    JsonBody(body): JsonBody<Body>| run(&jars, &state, &id, body, query).await,
    );
    Router::new()
        .route("/jars", list)
        .route("/jars/upload", upload.layer(DefaultBodyLimit::max(upload_max)))
        .route("/jars/{name}", delete)
        .route("/jars/{name}/plan", plan_route.layer(DefaultBodyLimit::max(RUN_BODY_BYTES_MAX)))
        .route("/jars/{name}/run", run_route.layer(DefaultBodyLimit::max(RUN_BODY_BYTES_MAX)))
}

/// A form, whose mistakes are answered in Flink's form.
struct Form(Multipart);

impl FromRequest<RestState> for Form {
    type Rejection = RestError;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, RestError> {
        let form = Multipart::from_request(request, state).await;
        form.map(Self).map_err(|error: MultipartRejection| JarError::NotMultipart(error.body_text()).into())
    }
}

async fn upload(jars: &Jars, Form(mut form): Form) -> Answer<Value> {
    let _permit = jars.permit()?;
    let mut received: Option<Upload> = None;
    let mut files = 0;
    while let Some(field) = in_time(form.next_field()).await?.map_err(|error| jars.broken(&error))? {
        let Some(name) = field.file_name().map(str::to_owned) else { continue };
        files += 1;
        // Another one is told once all is here, and its content goes nowhere.
        if files == 1 {
            received = Some(jars.receive(&name, field).await?);
        }
    }
    let upload = received.filter(|_| files == 1).ok_or(JarError::Files(files))?;
    let path = blocking(move || upload.complete()).await?;
    tracing::info!(program = %path.display(), "a program was uploaded");
    Ok(Json(json!({ "filename": path, "status": "success" })))
}

impl Jars {
    async fn receive(&self, name: &str, mut field: Field<'_>) -> Result<Upload, JarError> {
        let (store, name) = (self.0.store.clone(), name.to_owned());
        let mut upload = blocking(move || store.begin(&name)).await?;
        let (mut pending, mut length) = (Vec::new(), 0);
        loop {
            let chunk = in_time(field.chunk()).await?.map_err(|error| self.broken(&error))?;
            if let Some(chunk) = &chunk {
                length += chunk.len() as u64;
                if length > self.0.limits.upload_bytes {
                    return Err(JarError::TooLarge(self.0.limits.upload_bytes));
                }
                pending.extend_from_slice(chunk);
            }
            if pending.len() >= WRITE_BYTES || chunk.is_none() {
                let data = std::mem::take(&mut pending);
                upload = blocking(move || upload.write(&data).map(|()| upload).map_err(JarError::Disk)).await?;
            }
            if chunk.is_none() {
                return Ok(upload);
            }
        }
    }

    fn broken(&self, error: &MultipartError) -> JarError {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => JarError::TooLarge(self.0.limits.upload_bytes),
            _ => JarError::NotMultipart(error.body_text()),
        }
    }
}

async fn in_time<T>(piece: impl Future<Output = T>) -> Result<T, JarError> {
    timeout(SILENCE_MAX, piece).await.map_err(|_| JarError::Slow)
}

/// Work on the disk, away from the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JarError> + Send + 'static,
) -> Result<T, JarError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| Err(JarError::Disk(std::io::Error::other(panicked))))
}

fn list(jars: &Jars, headers: &HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let file = |jar: &Jar| {
        let entry = json!({ "name": jar.name(), "description": null });
        json!({ "id": jar.id, "name": jar.name(), "uploaded": jar.uploaded_ms, "entry": [entry] })
    };
    let files: Vec<Value> = jars.0.store.list().iter().map(file).collect();
    Json(json!({ "address": format!("http://{host}"), "files": files }))
}

async fn remove(jars: &Jars, id: String) -> Answer<Value> {
    let store = jars.0.store.clone();
    blocking(move || store.remove(&id)).await?;
    Ok(Json(json!({})))
}

/// The file, its name, and what is to be run.
fn asked(jars: &Jars, id: &str, body: Body, query: Query) -> Result<(PathBuf, String, Wish), JarError> {
    let path = jars.0.store.path(id)?;
    let wish = Wish::read(body, query, &jars.0.configuration, || JobId(uuid::Uuid::new_v4().as_u128()))?;
    Ok((path, name_of(id).unwrap_or(id).to_owned(), wish))
}

async fn plan(jars: &Jars, id: &str, body: Body, query: Query) -> Answer<JobPlan> {
    let (path, _, wish) = asked(jars, id, body, query)?;
    let _permit = jars.permit()?;
    let graph = jars.graph(&path, &wish).await?;
    Ok(Json(JobPlan::of_graph(wish.job, &graph)))
}

/// Puts the program where TaskExecutors fetch it; goes on when whoever asked is gone, so that no half of a file is left.
async fn staged(cache: ContentCache, path: PathBuf, name: String) -> Result<Artifact, JarError> {
    let staging = tokio::spawn(async move {
        let file = flumen_staging::hash(&path).await?;
        let there = cache.ensure(&file, &name, &Progress::default()).await?;
        Ok(Artifact { url: there.to_string(), size: file.length, sha256: file.sha256 })
    });
    staging.await.unwrap_or_else(|panicked| Err(JarError::Disk(std::io::Error::other(panicked))))
}

async fn run(jars: &Jars, state: &RestState, id: &str, body: Body, query: Query) -> Answer<Value> {
    let (path, name, wish) = asked(jars, id, body, query)?;
    let _permit = jars.permit()?;
    let graph = jars.graph(&path, &wish).await?;
    let artifact = staged(jars.0.cache.clone(), path, name.clone()).await?;
    let Wish { job, arguments, configuration, client_heartbeat } = wish;
    let submission = JobSubmission {
        protocol: PROTOCOL_VERSION,
        job,
        graph,
        program: Program { name, artifact: Some(artifact) },
        arguments,
        configuration,
        client_heartbeat,
        accepted_ms: None,
    };
    state.submit(Box::new(submission)).await?;
    Ok(Json(json!({ "jobid": job.to_string() })))
}
