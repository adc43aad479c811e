//! How a session is given jobs: `POST /jobs` with a [`JobSubmission`].

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use flumen_wire::application::JobSubmission;
use flumen_wire::control::PROTOCOL_VERSION;
use serde::Deserialize;
use serde_json::json;

use super::RestState;
use super::auth::Authorized;
use super::error::RestError;

/// Longest submission: a graph with the splits of a million files is below it.
const SUBMISSION_BYTES_MAX: usize = 64 << 20;

/// The routes.
pub(super) fn api() -> Router<RestState> {
    Router::new().route("/jobs", post(submit).layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX)))
}

/// A submission that is complete and of this version.
struct Submitted(Box<JobSubmission>);

impl FromRequest<RestState> for Submitted {
    type Rejection = RestError;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, RestError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
            return Err(RestError::Multipart);
        }
        let body = Bytes::from_request(request, state).await.map_err(|_| RestError::TooLarge)?;
        // A large graph would hold everything else up.
        let read = tokio::task::spawn_blocking(move || read(&body)).await;
        read.unwrap_or_else(|error| Err(RestError::BadBody(error.to_string()))).map(Self)
    }
}

/// The version alone, so that a submission of another one is told so rather than what it looks like.
#[derive(Deserialize)]
struct Version {
    protocol: u32,
}

fn read(body: &[u8]) -> Result<Box<JobSubmission>, RestError> {
    let bad = |error: serde_json::Error| RestError::BadBody(error.to_string());
    let Version { protocol } = serde_json::from_slice(body).map_err(bad)?;
    if protocol != PROTOCOL_VERSION {
        return Err(RestError::BadBody(format!(
            "the client speaks version {protocol} of Flumen's protocol, this cluster {PROTOCOL_VERSION}: use one version"
        )));
    }
    serde_json::from_slice(body).map_err(bad)
}

async fn submit(
    _: Authorized,
    State(state): State<RestState>,
    Submitted(submission): Submitted,
) -> Result<Response, RestError> {
    let url = format!("/jobs/{}", submission.job);
    state.submit(submission).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "jobUrl": url }))).into_response())
}
