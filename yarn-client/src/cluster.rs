//! The ResourceManager, as the client uses it: its answers become the plain facts that the pure modules decide on.

use std::sync::Arc;
use std::time::Duration;

use flumen_hadoop::conf::{Configuration as HadoopConfiguration, RmAddress};
use flumen_hadoop::rest::{
    ApplicationFilter, ApplicationFinalStatus, ApplicationReport, ApplicationState, Node, Queue, ResourceManagerClient,
    RmError, RmOptions, SubmitApplication,
};
use flumen_hadoop::yarn::{
    ApplicationId, Backoff, LaunchContext, LaunchError, LocalResource, ParseIdError, Resource, ResourceKind, Visibility,
};
use flumen_wire::application::StagedFile;

use crate::submit::Submission;
use crate::sweep::Known;
use crate::validate::{ClusterFacts, NodeFacts, QueueFacts};

/// Says whether the scheduler counts virtual cores.
const CALCULATOR: &str = "yarn.scheduler.capacity.resource-calculator";

/// Time that a killed application has to end.
const KILL_LIMIT: Duration = Duration::from_secs(15);

/// A request to the ResourceManager that did not succeed, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The ResourceManager is not there or said no.
    #[error("the YARN cluster (yarn-site.xml in HADOOP_CONF_DIR or YARN_CONF_DIR) can't be used")]
    Rm(#[from] RmError),
    /// The submission can't be put into YARN's words.
    #[error("the application can't be submitted")]
    Launch(#[from] LaunchError),
    /// An id that is none.
    #[error("the application's id can't be understood")]
    Id(#[from] ParseIdError),
}

impl ClusterError {
    /// Whether the ResourceManager has never heard of the application, or has forgotten it.
    pub fn is_unknown_application(&self) -> bool {
        matches!(self, Self::Rm(RmError::NotFound { .. }))
    }
}

/// An id to submit under, and the cluster's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApplication {
    /// The id.
    pub id: String,
    /// Largest memory of a container, in MB.
    pub max_memory_mb: Option<u64>,
    /// Most virtual cores of a container.
    pub max_vcores: Option<u64>,
}

/// What matters of YARN's application states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppState {
    /// Not running yet.
    Waiting,
    /// The ApplicationMaster is registered.
    Running,
    /// It unregistered.
    Finished,
    /// Its attempts are used up.
    Failed,
    /// It was killed.
    Killed,
}

/// How an application ended by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalStatus {
    /// It has not said.
    Undefined,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was killed or cancelled.
    Killed,
}

/// A report on an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppReport {
    /// Its state.
    pub state: AppState,
    /// How it ended.
    pub final_status: FinalStatus,
    /// Why it waits or failed; may be empty.
    pub diagnostics: String,
    /// Its web interface.
    pub tracking_url: String,
    /// `host:port` of the ApplicationMaster's REST interface.
    pub master: Option<String>,
}

/// One YARN cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    rm: Arc<ResourceManagerClient>,
    addresses: Vec<RmAddress>,
    user: String,
    schedules_vcores: bool,
    min_memory_mb: Option<u64>,
}

impl Cluster {
    /// The cluster of Hadoop's configuration, for a user; no connection is made. `limit` bounds every request, repetitions
    /// included.
    ///
    /// # Errors
    /// When the configuration names no ResourceManager.
    pub fn new(hadoop: &HadoopConfiguration, user: &str, limit: Duration) -> Result<Self, ClusterError> {
        let options = RmOptions::from_configuration(hadoop, Some(user.to_owned()))?;
        let addresses = options.addresses.clone();
        let backoff = Backoff { longest: Duration::from_secs(1), max_wait: limit, ..Backoff::default() };
        let options = RmOptions { connect_timeout: limit / 2, call_timeout: limit, backoff, ..options };
        let calculator = hadoop.get_raw(CALCULATOR).unwrap_or_default();
        let min = hadoop.get_i64("yarn.scheduler.minimum-allocation-mb").map_err(RmError::from)?;
        Ok(Self {
            rm: Arc::new(ResourceManagerClient::new(options)?),
            addresses,
            user: user.to_owned(),
            schedules_vcores: counts_vcores(calculator),
            min_memory_mb: min.and_then(|mb| u64::try_from(mb).ok()),
        })
    }

    /// Asks for an application id.
    ///
    /// # Errors
    /// [`ClusterError::Rm`].
    pub async fn new_application(&self) -> Result<NewApplication, ClusterError> {
        let new = self.rm.new_application().await?;
        let known = |value: u64| (value > 0).then_some(value);
        Ok(NewApplication {
            id: new.id.to_string(),
            max_memory_mb: known(new.maximum.memory_mb),
            max_vcores: known(new.maximum.vcores.into()),
        })
    }

    /// Nodes, queues and settings of the scheduler.
    ///
    /// # Errors
    /// [`ClusterError::Rm`].
    pub async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        const MIN_MEMORY: &str = "yarn.scheduler.minimum-allocation-mb";
        let (nodes, queues, min, calculator) = tokio::try_join!(
            self.rm.nodes(),
            self.rm.queues(),
            self.rm.configuration_value(MIN_MEMORY),
            self.rm.configuration_value(CALCULATOR),
        )?;
        // The cluster's own values count; the client's files may be others, or lack them.
        let min = min.and_then(|text| text.trim().parse().ok()).or(self.min_memory_mb);
        let mut facts = Vec::new();
        flattened(&queues, 100.0, &mut facts);
        Ok(ClusterFacts {
            max_memory_mb: None,
            max_vcores: None,
            min_memory_mb: min.unwrap_or(1),
            schedules_vcores: calculator.map_or(self.schedules_vcores, |name| counts_vcores(&name)),
            queues: facts,
            nodes: nodes.into_iter().filter(Node::is_running).map(node_facts).collect(),
        })
    }

    /// Submits an application.
    ///
    /// # Errors
    /// [`ClusterError`]; whether it was submitted is not known when the ResourceManager is unreachable.
    pub async fn submit(&self, submission: &Submission) -> Result<(), ClusterError> {
        Ok(self.rm.submit(&in_yarns_words(submission)?).await?)
    }

    /// Reports on an application.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn report(&self, application: &str) -> Result<AppReport, ClusterError> {
        Ok(reported(self.rm.application(application.parse()?).await?))
    }

    /// How the attempts of an application ended, a line for each; empty when there was only one, or nobody remembers.
    pub async fn history(&self, application: &str) -> Vec<String> {
        let Ok(id) = application.parse() else { return Vec::new() };
        match self.rm.attempts(id).await {
            Ok(attempts) if attempts.len() > 1 => attempts.iter().map(ToString::to_string).collect(),
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::debug!(%error, "the attempts of an application can't be read");
                Vec::new()
            }
        }
    }

    /// The running applications of this user, and those that wait for their first or next ApplicationMaster, with their ids.
    ///
    /// # Errors
    /// [`ClusterError::Rm`].
    pub async fn running(&self) -> Result<Vec<(String, AppReport)>, ClusterError> {
        let filter = ApplicationFilter {
            user: Some(self.user.clone()),
            states: vec![ApplicationState::Accepted, ApplicationState::Running],
            ..ApplicationFilter::default()
        };
        let running = self.rm.applications(&filter).await?;
        Ok(running.into_iter().map(|report| (report.id.to_string(), reported(report))).collect())
    }

    /// Kills an application and waits for its end.
    ///
    /// # Errors
    /// [`ClusterError`], also when it has not ended after some seconds.
    pub async fn kill(&self, application: &str) -> Result<(), ClusterError> {
        Ok(self.rm.kill(application.parse()?, KILL_LIMIT).await.map(drop)?)
    }

    /// What is known of an application; one that can't be asked for counts as active.
    pub async fn known(&self, application: &str) -> Known {
        let Ok(id) = application.parse::<ApplicationId>() else { return Known::Active };
        match self.rm.application(id).await {
            Ok(report) if report.state.is_final() => Known::Ended,
            Err(RmError::NotFound { .. }) => Known::Unknown,
            Ok(_) | Err(_) => Known::Active,
        }
    }

    /// Where the state of an application can be set by HTTP.
    pub fn state_url(&self, application: &str) -> String {
        let base = self.addresses.first().map(|rm| rm.address.as_str()).unwrap_or_default();
        format!("{base}/ws/v1/cluster/apps/{application}/state?user.name={}", self.user)
    }
}

fn counts_vcores(calculator: &str) -> bool {
    calculator.ends_with("DominantResourceCalculator")
}

/// `percent` is the most that the queue above may have of the whole cluster.
fn flattened(queue: &Queue, percent: f64, facts: &mut Vec<QueueFacts>) {
    let percent = percent * queue.max_capacity_percent.filter(|&p| p > 0.0).unwrap_or(100.0) / 100.0;
    facts.push(QueueFacts {
        name: queue.name.clone(),
        path: queue.path.clone(),
        is_leaf: queue.is_leaf(),
        state: queue.state.clone().unwrap_or_else(|| "RUNNING".to_owned()),
        max_capacity_percent: Some(percent),
        max_memory_mb: queue.max_resources.as_ref().map(|most| most.memory_mb),
    });
    for child in &queue.children {
        flattened(child, percent, facts);
    }
}

fn node_facts(node: Node) -> NodeFacts {
    let total = node.total();
    NodeFacts {
        memory_mb: total.memory_mb,
        used_memory_mb: node.used.memory_mb,
        vcores: total.vcores.into(),
        used_vcores: node.used.vcores.into(),
        labels: node.labels,
        id: node.id,
    }
}

fn reported(report: ApplicationReport) -> AppReport {
    AppReport {
        state: match report.state {
            ApplicationState::Running => AppState::Running,
            ApplicationState::Finished => AppState::Finished,
            ApplicationState::Failed => AppState::Failed,
            ApplicationState::Killed => AppState::Killed,
            ApplicationState::New
            | ApplicationState::NewSaving
            | ApplicationState::Submitted
            | ApplicationState::Accepted
            | ApplicationState::Other => AppState::Waiting,
        },
        final_status: match report.final_status {
            ApplicationFinalStatus::Succeeded | ApplicationFinalStatus::Ended => FinalStatus::Succeeded,
            ApplicationFinalStatus::Failed => FinalStatus::Failed,
            ApplicationFinalStatus::Killed => FinalStatus::Killed,
            ApplicationFinalStatus::Undefined => FinalStatus::Undefined,
        },
        diagnostics: crate::diagnostics::readable(&report.diagnostics),
        tracking_url: report.tracking_url,
        // YARN shows `host:-1` for a master that gave no port.
        master: report.am_rpc_address.filter(|address| !address.ends_with(":-1") && !address.ends_with(":0")),
    }
}

fn in_yarns_words(submission: &Submission) -> Result<SubmitApplication, ClusterError> {
    let mut launch = LaunchContext::new().command_raw(&submission.command);
    for (name, value) in &submission.environment {
        launch = launch.env_raw(name, value)?;
    }
    for file in &submission.resources {
        launch = launch.resource(&file.link, local_resource(file)?)?;
    }
    if submission.view_acls.is_some() || submission.modify_acls.is_some() {
        let acl = |acl: &Option<String>| acl.clone().unwrap_or_else(|| " ".to_owned());
        launch = launch.acls(acl(&submission.view_acls), acl(&submission.modify_acls));
    }
    Ok(SubmitApplication {
        id: submission.id.parse()?,
        name: submission.name.clone(),
        application_type: submission.application_type.clone(),
        queue: submission.queue.clone(),
        priority: submission.priority,
        tags: submission.tags.iter().cloned().collect(),
        resource: Resource::new(submission.memory_mb, u32::try_from(submission.vcores).unwrap_or(u32::MAX)),
        launch,
        max_attempts: Some(submission.max_attempts),
        attempt_failures_validity: u64::try_from(submission.failures_validity_ms).ok().map(Duration::from_millis),
        keep_containers: submission.keep_containers,
        node_label: submission.node_label.clone(),
        master_node_label: None,
    })
}

fn local_resource(file: &StagedFile) -> Result<LocalResource, LaunchError> {
    Ok(LocalResource {
        url: file.url.parse()?,
        size: file.size,
        timestamp_ms: i64::try_from(file.modified_ms).unwrap_or(i64::MAX),
        kind: if file.archive { ResourceKind::Archive } else { ResourceKind::File },
        visibility: if file.cached { Visibility::Private } else { Visibility::Application },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_nested_queues_are_multiplied() {
        let leaf = Queue {
            name: "a".into(),
            path: "root.p.a".into(),
            state: Some("RUNNING".into()),
            max_capacity_percent: Some(50.0),
            ..Queue::default()
        };
        let parent = Queue {
            name: "p".into(),
            path: "root.p".into(),
            max_capacity_percent: Some(40.0),
            children: vec![leaf],
            ..Queue::default()
        };
        let root = Queue { name: "root".into(), path: "root".into(), children: vec![parent], ..Queue::default() };
        let mut facts = Vec::new();
        flattened(&root, 100.0, &mut facts);
        let shown: Vec<_> = facts.iter().map(|q| (q.path.as_str(), q.is_leaf, q.max_capacity_percent)).collect();
        assert_eq!(
            shown,
            [("root", false, Some(100.0)), ("root.p", false, Some(40.0)), ("root.p.a", true, Some(20.0))]
        );
    }
}
