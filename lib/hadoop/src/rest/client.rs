//! The requests.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::excerpt;
use super::application::{ApplicationJson, AttemptJson};
use super::cluster::{NodeJson, NodeLabelJson, ResourceJson};
use super::transport::{Request, Transport};
use super::{
    ApplicationFilter, ApplicationReport, ApplicationState, AttemptReport, ClusterInfo, ClusterMetrics, NewApplication,
    Node, NodeLabel, Queue, RmError, RmOptions, SubmitApplication, one_or_many, queue,
};
use crate::yarn::ApplicationId;

const CLUSTER: &str = "/ws/v1/cluster";
/// Between two looks at an application that is being killed.
const KILL_POLL: Duration = Duration::from_millis(200);

/// A client of YARN's ResourceManager. Methods may be called at the same time.
///
/// Every method finds the active ResourceManager, repeats its request while none answers, and fails with
/// [`RmError::Unreachable`] or [`RmError::Standby`] when the budget is used up. Beyond those it can fail with
/// [`RmError::Refused`], [`RmError::Unauthorized`] and [`RmError::Malformed`].
pub struct ResourceManagerClient {
    transport: Transport,
}

impl ResourceManagerClient {
    /// Makes a client; no connection is made.
    ///
    /// # Errors
    /// [`RmError::Setup`].
    pub fn new(options: RmOptions) -> Result<Self, RmError> {
        Ok(Self { transport: Transport::new(options)? })
    }

    /// Calls and reads the part of the answer that `pointer` names; a missing part reads as `null`.
    async fn read<T: serde::de::DeserializeOwned>(&self, request: &Request, pointer: &str) -> Result<T, RmError> {
        let answer = self.transport.call(request).await?;
        let part = answer.pointer(pointer).cloned().unwrap_or_default();
        serde_json::from_value(part).map_err(|error| self.malformed(request, &answer, &error.to_string()))
    }

    fn malformed(&self, request: &Request, answer: &Value, reason: &str) -> RmError {
        RmError::Malformed {
            request: request.name(),
            url: self.transport.active(),
            reason: format!("{reason}: {}", excerpt(answer.to_string().as_bytes())),
        }
    }

    /// Tells about the active ResourceManager.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn cluster_info(&self) -> Result<ClusterInfo, RmError> {
        self.read(&Request::get(format!("{CLUSTER}/info")), "/clusterInfo").await
    }

    /// Asks for an id to submit an application under.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn new_application(&self) -> Result<NewApplication, RmError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Json {
            application_id: String,
            #[serde(default)]
            maximum_resource_capability: ResourceJson,
        }
        let request = Request::send(Method::POST, format!("{CLUSTER}/apps/new-application"), None);
        let json: Json = self.read(&request, "").await?;
        let id = json.application_id.parse();
        let id =
            id.map_err(|_| self.malformed(&request, &Value::from(json.application_id), "it is no application id"))?;
        Ok(NewApplication { id, maximum: json.maximum_resource_capability.into() })
    }

    /// Submits an application. Once more under the same id it changes nothing, so a lost answer does no harm.
    ///
    /// # Errors
    /// [`RmError::Refused`] when a resource is larger than the cluster's maximum, for instance; [`RmError::Submission`];
    /// those of the [client](ResourceManagerClient). Other mistakes show up in the [report](Self::application) later.
    pub async fn submit(&self, application: &SubmitApplication) -> Result<(), RmError> {
        let request = Request::send(Method::POST, format!("{CLUSTER}/apps"), Some(application.to_json()?));
        self.transport.call(&request).await.map(drop)
    }

    /// Reports on one application.
    ///
    /// # Errors
    /// [`RmError::NotFound`]; those of the [client](ResourceManagerClient).
    pub async fn application(&self, id: ApplicationId) -> Result<ApplicationReport, RmError> {
        let request = Request::get(format!("{CLUSTER}/apps/{id}"));
        let json: ApplicationJson = self.read(&request, "/app").await?;
        let id = Value::from(json.id.clone());
        json.into_report().ok_or_else(|| self.malformed(&request, &id, "it has no application id"))
    }

    /// Reports on the attempts of an application that the ResourceManager remembers, the first one first.
    ///
    /// # Errors
    /// [`RmError::NotFound`]; those of the [client](ResourceManagerClient).
    pub async fn attempts(&self, id: ApplicationId) -> Result<Vec<AttemptReport>, RmError> {
        let path = format!("{CLUSTER}/apps/{id}/appattempts");
        let all: List<AttemptJson> = self.read(&Request::get(path.as_str()), "/appAttempts/appAttempt").await?;
        let mut attempts = Vec::new();
        // The list lacks their states.
        for AttemptJson { app_attempt_id, .. } in all.0 {
            let one: AttemptJson = self.read(&Request::get(format!("{path}/{app_attempt_id}")), "").await?;
            attempts.extend(one.into_report());
        }
        attempts.sort_by_key(|attempt| attempt.number);
        Ok(attempts)
    }

    /// Reports on the applications that a filter selects.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn applications(&self, filter: &ApplicationFilter) -> Result<Vec<ApplicationReport>, RmError> {
        let mut request = Request::get(format!("{CLUSTER}/apps"));
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        let lists = [
            ("user", filter.user.clone().unwrap_or_default()),
            ("states", states.join(",")),
            ("applicationTags", filter.tags.join(",")),
            ("applicationTypes", filter.types.join(",")),
            ("limit", filter.limit.map(|limit| limit.to_string()).unwrap_or_default()),
        ];
        for (key, value) in lists.into_iter().filter(|(_, value)| !value.is_empty()) {
            request = request.with(key, value);
        }
        let applications: List<ApplicationJson> = self.read(&request, "/apps/app").await?;
        Ok(applications.0.into_iter().filter_map(ApplicationJson::into_report).collect())
    }

    /// Kills an application and waits until it has ended, for at most `limit`. Returns its last state: an application that
    /// ended by itself stays `Finished` or `Failed`.
    ///
    /// # Errors
    /// [`RmError::NotFound`]; [`RmError::NotEnded`] after `limit`; [`RmError::Refused`] when the user may not;
    /// those of the [client](ResourceManagerClient).
    pub async fn kill(&self, id: ApplicationId, limit: Duration) -> Result<ApplicationState, RmError> {
        let path = format!("{CLUSTER}/apps/{id}/state");
        let kill = Request::send(Method::PUT, path.as_str(), Some(json!({"state": "KILLED"})));
        let look = Request::get(path);
        let begun = Instant::now();
        let mut state: String = self.read(&kill, "/state").await?;
        loop {
            let parsed = ApplicationState::parse(&state);
            if parsed.is_final() {
                return Ok(parsed);
            }
            if begun.elapsed() >= limit {
                return Err(RmError::NotEnded { what: id.to_string(), after: limit });
            }
            tokio::time::sleep(KILL_POLL).await;
            state = self.read(&look, "/state").await?;
        }
    }

    /// The scheduler's queues: the root with all below it.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn queues(&self) -> Result<Queue, RmError> {
        let request = Request::get(format!("{CLUSTER}/scheduler"));
        let answer = self.transport.call(&request).await?;
        queue::parse(&answer).ok_or_else(|| self.malformed(&request, &answer, "it holds no queues"))
    }

    /// All nodes, in whatever state.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn nodes(&self) -> Result<Vec<Node>, RmError> {
        let nodes: List<NodeJson> = self.read(&Request::get(format!("{CLUSTER}/nodes")), "/nodes/node").await?;
        Ok(nodes.0.into_iter().map(Node::from).collect())
    }

    /// Totals of the cluster.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn metrics(&self) -> Result<ClusterMetrics, RmError> {
        self.read(&Request::get(format!("{CLUSTER}/metrics")), "/clusterMetrics").await
    }

    /// The labels that nodes can have; none while labels are switched off.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn node_labels(&self) -> Result<Vec<NodeLabel>, RmError> {
        let request = Request::get(format!("{CLUSTER}/get-node-labels"));
        let labels: List<NodeLabelJson> = self.read(&request, "/nodeLabelInfo").await?;
        Ok(labels.0.into_iter().map(NodeLabel::from).collect())
    }

    /// A property of the ResourceManager's own configuration; `None` when it is not set there.
    ///
    /// # Errors
    /// Those of the [client](ResourceManagerClient).
    pub async fn configuration_value(&self, key: &str) -> Result<Option<String>, RmError> {
        match self.read(&Request::get("/conf").with("name", key), "/property/value").await {
            Err(RmError::NotFound { .. }) => Ok(None),
            answer => answer,
        }
    }
}

/// Elements that may be missing, alone or many.
#[derive(Deserialize)]
#[serde(bound = "T: serde::de::DeserializeOwned", transparent)]
struct List<T>(#[serde(deserialize_with = "one_or_many")] Vec<T>);
