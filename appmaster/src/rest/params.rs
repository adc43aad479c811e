//! What stands in a path, a query or a body. All that can be wrong with them is answered in Flink's form.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use flumen_model::checkpoint::CheckpointId;
use flumen_model::ids::{JobId, VertexId};
use serde::de::DeserializeOwned;

use super::RestState;
use super::error::RestError;
use crate::dispatcher::TriggerId;

/// `:jobid`.
pub(super) struct JobParam(pub(super) JobId);

/// `:vertexid`.
pub(super) struct VertexParam(pub(super) VertexId);

/// `:triggerid`.
pub(super) struct TriggerParam(pub(super) TriggerId);

/// `:checkpointid`.
pub(super) struct CheckpointParam(pub(super) CheckpointId);

/// `:taskmanagerid` or `:jarid`, as it is.
pub(super) struct NameParam(pub(super) String);

/// `:filename`, as it is.
pub(super) struct FileParam(pub(super) String);

/// Query parameters.
pub(super) struct QueryParams<T>(pub(super) T);

/// A bounded body of JSON; none at all is an object without fields, as Flink has it.
pub(super) struct JsonBody<T>(pub(super) T);

impl FromRequestParts<RestState> for JobParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        let value = param(parts, state, "jobid").await?;
        value.parse().map(Self).map_err(|_| RestError::BadPathParameter { name: "jobid", value })
    }
}

impl FromRequestParts<RestState> for VertexParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        let value = param(parts, state, "vertexid").await?;
        value.parse().map(Self).map_err(|_| RestError::BadPathParameter { name: "vertexid", value })
    }
}

impl FromRequestParts<RestState> for TriggerParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        let value = param(parts, state, "triggerid").await?;
        value.parse().map(Self).map_err(|_| RestError::BadPathParameter { name: "triggerid", value })
    }
}

impl FromRequestParts<RestState> for CheckpointParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        let value = param(parts, state, "checkpointid").await?;
        let id = value.parse().map(CheckpointId);
        id.map(Self).map_err(|_| RestError::BadPathParameter { name: "checkpointid", value })
    }
}

impl FromRequestParts<RestState> for NameParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        param(parts, state, "name").await.map(Self)
    }
}

impl FromRequestParts<RestState> for FileParam {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, RestError> {
        param(parts, state, "file").await.map(Self)
    }
}

async fn param(parts: &mut Parts, state: &RestState, name: &'static str) -> Result<String, RestError> {
    let bad = || RestError::BadPathParameter { name, value: parts.uri.path().to_owned() };
    let (bad_encoding, missing) = (bad(), bad());
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| bad_encoding)?;
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).ok_or(missing)
}

impl<T: DeserializeOwned> FromRequestParts<RestState> for QueryParams<T> {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, RestError> {
        let query = Query::try_from_uri(&parts.uri).map_err(|error| RestError::BadQuery(error.body_text()))?;
        Ok(Self(query.0))
    }
}

impl<T: DeserializeOwned> FromRequest<RestState> for JsonBody<T> {
    type Rejection = RestError;

    async fn from_request(request: Request, state: &RestState) -> Result<Self, RestError> {
        let body = Bytes::from_request(request, state).await.map_err(|_| RestError::TooLarge)?;
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        serde_json::from_slice(&body).map(Self).map_err(|error| RestError::BadBody(error.to_string()))
    }
}
