//! What a [`super::ResourceManager`] is told, and what it tells to do.

use std::num::NonZeroU32;
use std::time::Duration;

use flumen_hadoop::yarn::{Container, ContainerAsk, ContainerId, ContainerStatus, Resource};
use flumen_model::failure::Failure;
use flumen_model::ids::ExecutorId;

use crate::resource::fit::Cluster;
use crate::resource::slots::Reserve;

/// What containers to ask for, and how patient to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Of one TaskExecutor's container.
    pub container: Resource,
    /// Slots of one TaskExecutor.
    pub slots: NonZeroU32,
    /// How many TaskExecutors there are besides those that jobs need.
    pub reserve: Reserve,
    /// Restricts the containers to nodes of this label.
    pub node_label: Option<String>,
    /// `resourcemanager.start-worker.max-failure-rate`, per minute.
    pub failures_per_minute_max: f64,
    /// `resourcemanager.taskmanager-registration.timeout`.
    pub registration_timeout: Duration,
    /// How long the TaskExecutors of an earlier attempt of the application have to register with this one; `None`: they end
    /// with their attempt.
    pub former_timeout: Option<Duration>,
    /// `yarn.resource-check.grace`.
    pub fit_grace: Duration,
    /// The ApplicationMaster's own container.
    pub appmaster: Resource,
    /// The application's user, under whose name containers' logs are found.
    pub user: String,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// What the jobs need now. Also the answer to [`Action::GiveUp`]: nothing is planned between the two.
    Declared {
        /// Slots of all jobs together.
        slots: u32,
        /// Slots of the largest job that still waits for some of its; 0: none waits.
        largest: u32,
    },
    /// YARN answered a heartbeat; what it said besides is told by other events.
    Answered,
    /// YARN gave containers.
    Allocated(Vec<Container>),
    /// YARN reports containers that ended.
    Completed(Vec<ContainerStatus>),
    /// A restarted ResourceManager of YARN has taken this attempt back: what was not started yet is void.
    Reregistered,
    /// YARN names running containers that it gave before: to an earlier attempt, or to this one before its own restart.
    FoundAgain(Vec<Container>),
    /// What earlier attempts left behind is divided among the jobs: what nobody uses may go.
    Divided,
    /// YARN refused the asks, with this text.
    AskRefused(String),
    /// A NodeManager took a container over, or why it did not.
    Launched {
        /// The container.
        id: ContainerId,
        /// The text of the failure.
        result: Result<(), String>,
    },
    /// The TaskExecutor of a container has registered.
    ExecutorRegistered(ContainerId),
    /// The connection to a container's TaskExecutor broke, or it fell silent.
    ExecutorLost {
        /// The container.
        id: ContainerId,
        /// What is known of it.
        failure: Failure,
    },
    /// A job was given slots in a container, or the last one gave them back.
    Busy {
        /// The container.
        id: ContainerId,
        /// Whether a job has slots there.
        busy: bool,
    },
    /// The standby JobManager in that container has registered.
    StandbyRegistered(ContainerId),
    /// The connection to the standby JobManager in that container is gone.
    StandbyLost(ContainerId),
    /// Answer to [`Action::InspectCluster`]; `None` when the ResourceManager of YARN did not tell.
    ClusterInspected(Option<Cluster>),
    /// Nothing but the time has changed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put this into the table of asks; a count of 0 takes the wish back.
    Ask(ContainerAsk),
    /// Give the container back, whatever runs in it.
    Release {
        /// The container.
        id: ContainerId,
        /// For the log.
        reason: &'static str,
    },
    /// Start a TaskExecutor in it, then tell [`Event::Launched`].
    Launch(Box<Container>),
    /// Tell the jobs that the TaskExecutor is gone.
    ReportLost {
        /// Its name.
        id: ExecutorId,
        /// Why.
        failure: Failure,
    },
    /// Tell the standby JobManager which containers of TaskExecutors have come and gone.
    TellStandby {
        /// Its container.
        to: ContainerId,
        /// They have come.
        here: Vec<Container>,
        /// They are gone.
        gone: Vec<ContainerId>,
    },
    /// Tell the standby JobManager in that container that it is not wanted.
    DismissStandby(ContainerId),
    /// Find out how large the cluster is, then tell [`Event::ClusterInspected`].
    InspectCluster,
    /// Jobs that wait for slots will never get them: fail them, then tell [`Event::Declared`].
    GiveUp {
        /// Only those that need at least so many slots.
        needing: u32,
        /// Why.
        failure: Failure,
    },
}
