//! The client of `ContainerManagementProtocol`: start, stop and look after containers on one node.

use std::time::Duration;

use prost::Message;

use super::line::{Line, Search};
use super::messages::{
    ContainerExceptionMapProto, ContainerIdsRequestProto, GetContainerStatusesResponseProto,
    StartContainerRequestProto, StartContainersRequestProto, StartContainersResponseProto, StopContainersResponseProto,
};
use super::{
    Backoff, Container, ContainerId, ContainerStatus, DecodeError, LaunchContext, LaunchError, NodeId, required,
};
use crate::rpc::{RpcError, RpcOptions};
use crate::token::Token;

/// Settings of a [`NodeManagerClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NmOptions {
    /// Limits of one connection and one call.
    pub rpc: RpcOptions,
    /// How long to try to reach the node. Default: up to 60 s, a NodeManager's restart.
    pub backoff: Backoff,
}

impl Default for NmOptions {
    fn default() -> Self {
        let backoff = Backoff { max_wait: Duration::from_secs(60), ..Backoff::default() };
        Self { rpc: RpcOptions::default(), backoff }
    }
}

/// Why a NodeManager did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum NmError {
    /// It could not be reached. A start may have happened all the same.
    #[error("NodeManager {node} could not be reached within {waited:?} ({attempts} attempts)")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// For how long.
        waited: Duration,
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        last: Box<RpcError>,
    },
    /// It does not take the token: use the ResourceManager's newest one for this node, if there is another.
    #[error("NodeManager {node} does not take this token: {message}")]
    TokenRefused {
        /// The node.
        node: NodeId,
        /// Its text.
        message: String,
    },
    /// It refuses this container: the container's token has expired or is from before the ResourceManager's restart, or the
    /// launch context is bad. Release the container and ask for another.
    #[error("NodeManager {node} refused {container}: {class}: {message}")]
    ContainerRefused {
        /// The node.
        node: NodeId,
        /// The container.
        container: ContainerId,
        /// Exception class, short.
        class: String,
        /// Its text.
        message: String,
    },
    /// It does not know the container: never started there, or ended long ago.
    #[error("NodeManager {node} does not know {container}: {message}")]
    UnknownContainer {
        /// The node.
        node: NodeId,
        /// The container.
        container: ContainerId,
        /// Its text.
        message: String,
    },
    /// The call itself failed for a reason that trying again does not change.
    #[error("NodeManager {node} did not accept {method}")]
    Refused {
        /// The node.
        node: NodeId,
        /// The method.
        method: &'static str,
        /// What it said.
        #[source]
        cause: Box<RpcError>,
    },
    /// An answer lacks a field that the protocol needs, or names nothing that was asked for.
    #[error("the answer of NodeManager {node} to {method} is incomplete")]
    Incomplete {
        /// The node.
        node: NodeId,
        /// The method.
        method: &'static str,
        /// What is missing.
        #[source]
        cause: DecodeError,
    },
    /// The launch context cannot be sent.
    #[error("the container cannot be started as described")]
    Launch(#[from] LaunchError),
}

const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB";
const START: &str = "startContainers";
const STOP: &str = "stopContainers";
const STATUS: &str = "getContainerStatuses";

/// A line to one NodeManager. Connects when first used and again when the connection broke. A dropped future leaves it usable.
#[derive(Debug)]
pub struct NodeManagerClient {
    node: NodeId,
    line: Line,
    backoff: Backoff,
}

/// What an error of the NodeManager means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not there, or not ready: later.
    Later,
    /// The token of the connection is not taken.
    TokenRefused,
    /// Trying again would not help.
    Refuse,
}

/// Exceptions of a NodeManager that has just started.
const NOT_READY: [&str; 2] = ["NMNotYetReadyException", "RetriableException"];

fn decide(error: &RpcError) -> Verdict {
    match error {
        RpcError::Remote { fatal, .. } => match error.remote_class().unwrap_or_default() {
            class if NOT_READY.contains(&class) => Verdict::Later,
            // fatal: it closed the connection at the handshake; otherwise it speaks of the container's token
            "InvalidToken" | "SaslException" if *fatal => Verdict::TokenRefused,
            _ => Verdict::Refuse,
        },
        RpcError::Sasl { .. } => Verdict::Refuse,
        _ => Verdict::Later,
    }
}

/// A container that the NodeManager names as failed in its answer.
struct Failed {
    class: String,
    message: String,
}

/// What came of asking to start a container.
enum Started {
    Yes,
    No(Failed),
}

impl NodeManagerClient {
    /// A client that is not connected yet. `token` is [`super::ApplicationMasterClient::nm_token`] of that node.
    pub fn new(node: NodeId, token: Token, options: NmOptions) -> Self {
        let line = Line::new(vec![node.to_string()], PROTOCOL, token, options.rpc);
        Self { node, line, backoff: options.backoff }
    }

    /// The node.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Uses another token from the next connection on. An open connection stays valid.
    pub fn set_token(&mut self, token: Token) {
        self.line.set_token(token);
    }

    /// Starts a container. `Ok` means that the NodeManager took it over; whether it runs is seen by its status and, in the
    /// end, by [`super::AllocateResponse::completed`].
    ///
    /// After a failure that leaves open whether the start happened, the node is asked before it is tried again.
    pub async fn start_container(&mut self, context: &LaunchContext, container: &Container) -> Result<(), NmError> {
        let start = StartContainerRequestProto {
            container_launch_context: Some(context.to_proto()?),
            container_token: container.token.as_ref().map(Into::into),
        };
        // one container per call: a bad token of one would fail the others with it
        let request = StartContainersRequestProto { start_container_request: vec![start] };
        let mut search = Search::begin();
        let mut maybe_started = false;
        loop {
            if maybe_started && self.knows(container.id, &mut search).await? {
                return Ok(());
            }
            let error = match self.line.call::<_, StartContainersResponseProto>(START, &request).await {
                Ok(answer) => match started(answer, container.id) {
                    Ok(Started::Yes) => return Ok(()),
                    Ok(Started::No(failed)) if NOT_READY.contains(&failed.class.as_str()) => self.remote(START, failed),
                    Ok(Started::No(failed)) => return Err(self.container_refused(container.id, failed)),
                    Err(cause) => return Err(self.incomplete(START, cause)),
                },
                Err(error) => error,
            };
            match decide(&error) {
                Verdict::Refuse => return Err(self.start_refused(container.id, error)),
                Verdict::TokenRefused => return Err(self.token_refused(&error)),
                Verdict::Later => maybe_started |= error.is_ambiguous(),
            }
            self.look_further(&mut search, error).await?;
        }
    }

    /// Stops a container: SIGTERM, and SIGKILL after `yarn.nodemanager.sleep-delay-before-sigkill.ms` (250 ms). Answers
    /// at once. A container that has ended, or that the node does not know, is stopped.
    pub async fn stop_container(&mut self, id: ContainerId) -> Result<(), NmError> {
        let request = ContainerIdsRequestProto { container_id: vec![id.into()] };
        let answer: StopContainersResponseProto = self.call(STOP, &request, &mut Search::begin()).await?;
        if let Some(failed) = failure(answer.failed_requests).map_err(|cause| self.incomplete(STOP, cause))? {
            tracing::debug!(container = %id, node = %self.node, reason = failed.message, "nothing to stop");
        }
        Ok(())
    }

    /// Asks what a container is doing.
    pub async fn status(&mut self, id: ContainerId) -> Result<ContainerStatus, NmError> {
        self.status_within(id, &mut Search::begin()).await
    }

    async fn status_within(&mut self, id: ContainerId, search: &mut Search) -> Result<ContainerStatus, NmError> {
        let request = ContainerIdsRequestProto { container_id: vec![id.into()] };
        let answer: GetContainerStatusesResponseProto = self.call(STATUS, &request, search).await?;
        if let Some(status) = answer.status.into_iter().next() {
            return status.try_into().map_err(|cause| self.incomplete(STATUS, cause));
        }
        match failure(answer.failed_requests) {
            Ok(Some(Failed { message, .. })) => {
                Err(NmError::UnknownContainer { node: self.node.clone(), container: id, message })
            }
            Ok(None) => Err(self.incomplete(STATUS, DecodeError::Missing("GetContainerStatusesResponse.status"))),
            Err(cause) => Err(self.incomplete(STATUS, cause)),
        }
    }

    async fn knows(&mut self, id: ContainerId, search: &mut Search) -> Result<bool, NmError> {
        match self.status_within(id, search).await {
            Ok(_) => Ok(true),
            Err(NmError::UnknownContainer { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls a method that may be repeated, until the node answers.
    async fn call<Req, Resp>(
        &mut self,
        method: &'static str,
        request: &Req,
        search: &mut Search,
    ) -> Result<Resp, NmError>
    where
        Req: Message,
        Resp: Message + Default,
    {
        loop {
            let error = match self.line.call(method, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match decide(&error) {
                Verdict::Refuse => {
                    return Err(NmError::Refused { node: self.node.clone(), method, cause: Box::new(error) });
                }
                Verdict::TokenRefused => return Err(self.token_refused(&error)),
                Verdict::Later => {}
            }
            self.look_further(search, error).await?;
        }
    }

    async fn look_further(&mut self, search: &mut Search, error: RpcError) -> Result<(), NmError> {
        if self.line.look_further(search, &self.backoff, &error).await {
            return Ok(());
        }
        let (waited, attempts) = (search.elapsed(), search.attempts());
        Err(NmError::Unreachable { node: self.node.clone(), waited, attempts, last: Box::new(error) })
    }

    fn incomplete(&self, method: &'static str, cause: DecodeError) -> NmError {
        NmError::Incomplete { node: self.node.clone(), method, cause }
    }

    fn token_refused(&self, error: &RpcError) -> NmError {
        NmError::TokenRefused { node: self.node.clone(), message: text(error) }
    }

    fn start_refused(&self, container: ContainerId, error: RpcError) -> NmError {
        match error.remote_class() {
            Some(class) => {
                let class = class.to_owned();
                NmError::ContainerRefused { node: self.node.clone(), container, class, message: text(&error) }
            }
            None => NmError::Refused { node: self.node.clone(), method: START, cause: Box::new(error) },
        }
    }

    fn container_refused(&self, container: ContainerId, Failed { class, message }: Failed) -> NmError {
        NmError::ContainerRefused { node: self.node.clone(), container, class, message }
    }

    fn remote(&self, doing: &str, Failed { class, message }: Failed) -> RpcError {
        RpcError::Remote { address: self.node.to_string(), doing: doing.to_owned(), class, message, fatal: false }
    }
}

fn text(error: &RpcError) -> String {
    match error {
        RpcError::Remote { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn started(answer: StartContainersResponseProto, id: ContainerId) -> Result<Started, DecodeError> {
    if let Some(failed) = failure(answer.failed_requests)? {
        return Ok(Started::No(failed));
    }
    for succeeded in answer.succeeded_requests {
        if ContainerId::try_from(succeeded)? == id {
            return Ok(Started::Yes);
        }
    }
    Err(DecodeError::Missing("StartContainersResponse.succeeded_requests"))
}

/// The one failed container of an answer about one container.
fn failure(failed: Vec<ContainerExceptionMapProto>) -> Result<Option<Failed>, DecodeError> {
    let Some(first) = failed.into_iter().next() else {
        return Ok(None);
    };
    let exception = required(first.exception, "ContainerExceptionMap.exception")?;
    let class = exception.class_name.unwrap_or_default();
    let class = class.rsplit(['.', '$']).next().unwrap_or_default().to_owned();
    Ok(Some(Failed { class, message: exception.message.unwrap_or_default().trim().to_owned() }))
}

#[cfg(test)]
mod tests;
