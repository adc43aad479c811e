//! What an ApplicationMaster says to YARN: [`ApplicationMasterClient`] to the ResourceManager's scheduler,
//! [`NodeManagerClient`] to the NodeManagers that run its containers.
//!
//! The ids and plain types come first ([`ContainerId`], [`Container`], [`Resource`]); the protobuf messages stay inside.

mod am;
mod id;
mod launch;
mod line;
pub(crate) mod messages;
mod nm;
mod retry;
mod types;

pub use am::{
    AllocateRequest, AllocateResponse, AmError, AmOptions, ApplicationMasterClient, ContainerAsk, FinalStatus,
    FinishOptions, Preemption, Registration, RegistrationRequest,
};
pub use id::{ApplicationAttemptId, ApplicationId, ContainerId, NodeId, ParseIdError};
pub use launch::{LaunchContext, LaunchError, LocalResource, ResourceKind, ResourceUrl, Visibility};
pub use nm::{NmError, NmOptions, NodeManagerClient};
pub use retry::Backoff;
pub use types::{
    Container, ContainerState, ContainerStatus, NodeState, Resource, ResourceType, UpdatedNode, am_rm_attempt,
    exit_code,
};

/// A message that decodes as protobuf but lacks a field that the protocol needs, or has an impossible value there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field is missing.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A number is outside what the field can mean.
    #[error("field {field} has the impossible value {value}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// Bytes inside the message are no protobuf.
    #[error("{0} does not decode")]
    Protobuf(&'static str, #[source] prost::DecodeError),
}

impl DecodeError {
    fn out_of_range(field: &'static str, value: i64) -> Self {
        Self::OutOfRange { field, value }
    }
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing(field))
}
