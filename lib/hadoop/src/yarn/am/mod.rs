//! The client of `ApplicationMasterProtocol`: register, heartbeat, finish.
//!
//! [`ApplicationMasterClient`] owns what makes the protocol hard: response ids and the replay of a lost answer, the token
//! that the ResourceManager renews while the master runs, fail-over between ResourceManagers, and the registration that has
//! to be repeated after a ResourceManager's restart. Decisions are in `heartbeat` (what to send) and `decide` (what an
//! error means), both free of I/O.

mod answer;
mod client;
mod decide;
mod heartbeat;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Backoff, Container, ContainerId, ContainerStatus, DecodeError, Resource, ResourceType, UpdatedNode};
use crate::rpc::{RpcError, RpcOptions};

pub use client::ApplicationMasterClient;

/// Settings of an [`ApplicationMasterClient`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AmOptions {
    /// Limits of one connection and one call.
    pub rpc: RpcOptions,
    /// How long to look for a ResourceManager before giving up. One wait comes after all addresses have been tried.
    pub backoff: Backoff,
    /// How long [`ApplicationMasterClient::finish`] waits for the ResourceManager's final word.
    pub finish: FinishOptions,
}

/// Limits of [`ApplicationMasterClient::finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishOptions {
    /// Time between two questions; default 100 ms.
    pub interval: Duration,
    /// Time after which it gives up; default 60 s.
    pub max_wait: Duration,
}

impl Default for FinishOptions {
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), max_wait: Duration::from_secs(60) }
    }
}

/// How an ApplicationMaster introduces itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationRequest {
    /// Host of the master's own service; shown with the port as `amRPCAddress` in the ResourceManager's REST API.
    pub host: String,
    /// Port of that service; `None` shows no address.
    pub rpc_port: Option<u16>,
    /// Where the ResourceManager's web proxy leads to; empty for none.
    pub tracking_url: String,
}

/// The ResourceManager's answer to a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// The most that one container may have. A larger ask is refused.
    pub maximum_capability: Resource,
    /// The queue that the application runs in, with its path: `root.default`.
    pub queue: String,
    /// Containers of earlier attempts that still run, when the application keeps them. Their node tokens are in
    /// [`ApplicationMasterClient::nm_token`] already. More may come with later answers.
    pub containers_from_previous_attempts: Vec<Container>,
    /// The resource types that the ResourceManager knows. Asks for others are silently ignored by it.
    pub resource_types: Vec<ResourceType>,
    /// The ResourceManager knew this attempt already: the answer to an earlier registration was lost, and everything above
    /// is empty.
    pub already_registered: bool,
}

/// A wish for containers of one kind, anywhere in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerAsk {
    /// Names the wish, from 0; comes back in [`Container::allocation_request_id`]. A later ask of the same id replaces this
    /// one.
    pub allocation_request_id: i64,
    /// Lower numbers are served first.
    pub priority: i32,
    /// What each container is to have; the scheduler rounds up.
    pub capability: Resource,
    /// How many are still wanted, **absolute**: not in addition to those asked for before. The ResourceManager and this
    /// client count down with each container that comes. 0 withdraws.
    pub count: u32,
    /// Restricts the containers to nodes of this partition (`yarn.scheduler.…labels`).
    pub node_label: Option<String>,
}

/// What to tell the ResourceManager with one heartbeat. Only changes are needed; the default is a plain heartbeat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllocateRequest {
    /// New and changed wishes.
    pub asks: Vec<ContainerAsk>,
    /// Containers to give back, started or not.
    pub releases: Vec<ContainerId>,
    /// Hosts that no container shall come from any more.
    pub blacklist_additions: Vec<String>,
    /// Hosts that may be used again.
    pub blacklist_removals: Vec<String>,
    /// Progress of the application, 0 to 1.
    pub progress: f32,
    /// A new tracking URL.
    pub tracking_url: Option<String>,
}

/// What the ResourceManager had to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllocateResponse {
    /// New containers.
    pub allocated: Vec<Container>,
    /// Containers that ended, among them ones never started, released ones and ones of earlier attempts: match by id and
    /// ignore the unknown. Only this tells that a container is gone.
    pub completed: Vec<ContainerStatus>,
    /// Running containers that the ResourceManager learnt of late, or, after [`AllocateResponse::reregistered`], that it
    /// still or again knows. May name containers that this attempt started itself: match by id.
    pub containers_from_previous_attempts: Vec<Container>,
    /// Nodes whose state changed.
    pub updated_nodes: Vec<UpdatedNode>,
    /// What the queue could still give to this application now, when the ResourceManager told.
    pub headroom: Option<Resource>,
    /// Number of nodes in the cluster.
    pub cluster_nodes: u32,
    /// Resources that the ResourceManager wants back.
    pub preemption: Option<Preemption>,
    /// The ResourceManager had forgotten this attempt (a restart or fail-over), and the client has registered again and
    /// repeated all open asks, releases and the blacklist. Containers given before but not started yet are void: their start
    /// will be refused; release them and ask again.
    pub reregistered: bool,
}

/// The ResourceManager wants resources back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preemption {
    /// These containers will be taken.
    pub strict: Vec<ContainerId>,
    /// These will be taken unless as much as in `wanted` is given back otherwise.
    pub candidates: Vec<ContainerId>,
    /// Amounts and how often each is wanted back.
    pub wanted: Vec<(Resource, u32)>,
}

/// How the application ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalStatus {
    /// All jobs succeeded.
    Succeeded,
    /// A job failed.
    Failed,
    /// Cancelled or stopped by its user.
    Killed,
}

/// Why the ResourceManager's client gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AmError {
    /// This attempt is over: YARN has forgotten it or replaced it by a newer one, or no longer takes its token. Stop all work
    /// and exit **without** finishing the application.
    #[error("this application attempt is over: {reason}; stop all work and leave the application to its next attempt")]
    AttemptOver {
        /// What the ResourceManager said.
        reason: String,
    },
    /// The ResourceManager refused the asks, and with them the whole heartbeat. These asks are forgotten (their numbers
    /// before stay in force); everything else of the heartbeat is sent again with the next one.
    #[error("the ResourceManager refused an ask for containers: {class}: {message}")]
    BadAsk {
        /// All asks that were in the heartbeat; at least one of them is at fault.
        asks: Vec<ContainerAsk>,
        /// Exception class, short.
        class: String,
        /// Its text.
        message: String,
    },
    /// As [`AmError::BadAsk`], for the containers that were to be released.
    #[error("the ResourceManager refused to release containers: {class}: {message}")]
    BadRelease {
        /// All releases that were in the heartbeat.
        releases: Vec<ContainerId>,
        /// Exception class, short.
        class: String,
        /// Its text.
        message: String,
    },
    /// As [`AmError::BadAsk`], for the changes of the blacklist.
    #[error("the ResourceManager refused a change of the blacklist: {class}: {message}")]
    BadBlacklist {
        /// Exception class, short.
        class: String,
        /// Its text.
        message: String,
    },
    /// No ResourceManager could be reached within [`Backoff::max_wait`].
    #[error("no ResourceManager of {addresses:?} could be reached within {waited:?} ({attempts} attempts)")]
    Unreachable {
        /// All addresses that were tried.
        addresses: Vec<String>,
        /// For how long.
        waited: Duration,
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        last: Box<RpcError>,
    },
    /// The ResourceManager refused for a reason that trying again does not change, or could not be understood.
    #[error("the ResourceManager did not accept {method}")]
    Refused {
        /// The method.
        method: &'static str,
        /// What it said.
        #[source]
        cause: Box<RpcError>,
    },
    /// An answer lacks a field that the protocol needs.
    #[error("the ResourceManager's answer to {method} is incomplete")]
    Incomplete {
        /// The method.
        method: &'static str,
        /// What is missing.
        #[source]
        cause: DecodeError,
    },
    /// The ResourceManager took the registration and forgot it at once, again and again.
    #[error("the ResourceManager forgot this application attempt {times} times in one heartbeat; look into its log")]
    Forgotten {
        /// How often.
        times: u32,
    },
    /// The ResourceManager took the final status but did not confirm within [`FinishOptions::max_wait`] that it is stored.
    #[error(
        "the ResourceManager did not confirm the end of the application within {waited:?}; its final status may be lost"
    )]
    FinishUnconfirmed {
        /// How long it was asked.
        waited: Duration,
    },
    /// [`ApplicationMasterClient::allocate`] or `finish` before a successful `register`.
    #[error("the application master has not registered yet; call register first")]
    NotRegistered,
    /// A client without addresses.
    #[error("no ResourceManager scheduler address given; set yarn.resourcemanager.scheduler.address")]
    NoAddress,
}
