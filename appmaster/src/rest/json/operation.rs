//! `AsynchronousOperationResult`: how far an operation is, and what came of it.

use flumen_model::failure::Failure;
use serde::Serialize;
use serde_json::{Value, json};

use super::throwable::Throwable;
use crate::dispatcher::OperationState;

/// See the module.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Operation {
    status: QueueStatus,
    operation: Option<Value>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    id: &'static str,
}

impl Operation {
    /// With `CheckpointInfo` as its result.
    pub(in crate::rest) fn checkpoint(state: OperationState) -> Self {
        Self::new(match state {
            OperationState::InProgress => None,
            OperationState::Taken(taken) => Some(json!({ "checkpointId": taken.checkpoint.0 })),
            OperationState::Disposed => Some(json!({})),
            OperationState::Failed(failure) => Some(json!({ "failureCause": throwable(&failure) })),
        })
    }

    /// With `SavepointInfo` as its result; an object without fields for a removal.
    pub(in crate::rest) fn savepoint(state: OperationState) -> Self {
        Self::new(match state {
            OperationState::InProgress => None,
            OperationState::Taken(taken) => Some(json!({ "location": taken.directory })),
            OperationState::Disposed => Some(json!({})),
            OperationState::Failed(failure) => Some(json!({ "failure-cause": throwable(&failure) })),
        })
    }

    fn new(operation: Option<Value>) -> Self {
        let id = if operation.is_some() { "COMPLETED" } else { "IN_PROGRESS" };
        Self { status: QueueStatus { id }, operation }
    }
}

fn throwable(failure: &Failure) -> Throwable {
    Throwable::new("flumen.Failure", &failure.to_string())
}
