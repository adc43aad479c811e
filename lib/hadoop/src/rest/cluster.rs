//! The cluster as a whole: the ResourceManager itself, nodes, labels, totals.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{one_or_many, or_default};
use crate::yarn::{ApplicationId, Resource};

/// The ResourceManager that answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Start, milliseconds since 1970. New application ids carry it.
    pub started_on: i64,
    /// Its service state, such as `STARTED`.
    #[serde(default)]
    pub state: String,
    /// `ACTIVE` or `STANDBY`; `ACTIVE` without high availability, too.
    #[serde(default)]
    pub ha_state: String,
    /// Version of YARN.
    #[serde(default)]
    pub resource_manager_version: String,
}

/// A new application id, and what its containers may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApplication {
    /// The id to submit under.
    pub id: ApplicationId,
    /// The largest container that the cluster gives.
    pub maximum: Resource,
}

/// Totals of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterMetrics {
    /// Nodes that take containers.
    pub active_nodes: u32,
    /// Nodes that are known, in whatever state.
    pub total_nodes: u32,
    /// Memory of the active nodes, in mebibytes.
    #[serde(rename = "totalMB")]
    pub total_mb: i64,
    /// Memory that is free, in mebibytes.
    #[serde(rename = "availableMB")]
    pub available_mb: i64,
    /// Virtual cores of the active nodes.
    pub total_virtual_cores: i64,
    /// Virtual cores that are free.
    pub available_virtual_cores: i64,
    /// Containers that run.
    pub containers_allocated: u32,
    /// Containers that are asked for and not given yet.
    pub containers_pending: u32,
    /// Applications that run.
    pub apps_running: u32,
    /// Applications that wait.
    pub apps_pending: u32,
}

/// A NodeManager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `host:port` of its RPC.
    pub id: String,
    /// Its host name.
    pub host: String,
    /// `host:port` of its web pages; empty while it is lost.
    pub http_address: String,
    /// Its rack, such as `/default-rack`.
    pub rack: String,
    /// `RUNNING`, `UNHEALTHY`, `LOST` and so on (YARN's `NodeState`).
    pub state: String,
    /// Its labels; none is the default partition.
    pub labels: Vec<String>,
    /// Containers on it.
    pub containers: u32,
    /// What is in use.
    pub used: Resource,
    /// What is free.
    pub available: Resource,
    /// What its health check says; empty when healthy.
    pub health_report: String,
}

impl Node {
    /// What it has: used and free together.
    pub fn total(&self) -> Resource {
        Resource::new(
            self.used.memory_mb.saturating_add(self.available.memory_mb),
            self.used.vcores.saturating_add(self.available.vcores),
        )
    }

    /// Whether it takes containers.
    pub fn is_running(&self) -> bool {
        self.state == "RUNNING"
    }
}

/// A label that nodes can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLabel {
    /// Its name; empty for the default partition.
    pub name: String,
    /// Whether only those who ask for it get containers there.
    pub exclusive: bool,
    /// Active nodes that have it.
    pub active_nodes: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeJson {
    id: String,
    #[serde(deserialize_with = "or_default")]
    node_host_name: String,
    #[serde(rename = "nodeHTTPAddress", deserialize_with = "or_default")]
    node_http_address: String,
    #[serde(deserialize_with = "or_default")]
    rack: String,
    #[serde(deserialize_with = "or_default")]
    state: String,
    #[serde(deserialize_with = "one_or_many")]
    node_labels: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    num_containers: u32,
    #[serde(rename = "usedMemoryMB", deserialize_with = "or_default")]
    used_memory_mb: i64,
    #[serde(rename = "availMemoryMB", deserialize_with = "or_default")]
    avail_memory_mb: i64,
    #[serde(deserialize_with = "or_default")]
    used_virtual_cores: i64,
    #[serde(deserialize_with = "or_default")]
    available_virtual_cores: i64,
    #[serde(deserialize_with = "or_default")]
    health_report: String,
}

/// Negative amounts, as of a node that was made smaller while in use, become 0.
pub(super) fn resource(memory_mb: i64, vcores: i64) -> Resource {
    Resource::new(u64::try_from(memory_mb).unwrap_or(0), u32::try_from(vcores.max(0)).unwrap_or(u32::MAX))
}

impl From<NodeJson> for Node {
    fn from(json: NodeJson) -> Self {
        Self {
            used: resource(json.used_memory_mb, json.used_virtual_cores),
            available: resource(json.avail_memory_mb, json.available_virtual_cores),
            id: json.id,
            host: json.node_host_name,
            http_address: json.node_http_address,
            rack: json.rack,
            state: json.state,
            labels: json.node_labels,
            containers: json.num_containers,
            health_report: json.health_report,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeLabelJson {
    #[serde(deserialize_with = "or_default")]
    name: String,
    exclusivity: Option<bool>,
    #[serde(rename = "activeNMs")]
    active_nms: Option<u32>,
}

impl From<NodeLabelJson> for NodeLabel {
    fn from(json: NodeLabelJson) -> Self {
        Self {
            name: json.name,
            exclusive: json.exclusivity.unwrap_or(true),
            active_nodes: json.active_nms.unwrap_or(0),
        }
    }
}

/// `{"memory":…,"vCores":…,"resourceInformations":{"resourceInformation":[{"name":…,"value":…}]}}`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceJson {
    #[serde(deserialize_with = "or_default")]
    memory: i64,
    #[serde(deserialize_with = "or_default")]
    v_cores: i64,
    #[serde(deserialize_with = "or_default")]
    resource_informations: ResourceInformations,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceInformations {
    #[serde(deserialize_with = "one_or_many")]
    resource_information: Vec<ResourceInformation>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ResourceInformation {
    name: String,
    value: i64,
}

impl From<ResourceJson> for Resource {
    fn from(json: ResourceJson) -> Self {
        let informations = json.resource_informations.resource_information.into_iter();
        let other: BTreeMap<String, u64> = informations
            .filter(|information| !matches!(information.name.as_str(), "memory-mb" | "vcores"))
            .map(|information| (information.name, u64::try_from(information.value).unwrap_or(0)))
            .collect();
        Resource { other, ..resource(json.memory, json.v_cores) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_in_any_state() {
        let text = r#"{"rack":"/default-rack","state":"RUNNING","id":"localhost:32013","nodeHostName":"localhost",
            "nodeHTTPAddress":"localhost:32015","healthReport":"","numContainers":2,"usedMemoryMB":1024,"availMemoryMB":7168,
            "usedVirtualCores":2,"availableVirtualCores":-1,"nodeLabels":"gpu","allocationTags":{}}"#;
        let node = Node::from(serde_json::from_str::<NodeJson>(text).unwrap());
        assert!(node.is_running());
        assert_eq!((node.total(), node.labels.as_slice()), (Resource::new(8192, 2), ["gpu".to_owned()].as_slice()));
        let lost = Node::from(serde_json::from_str::<NodeJson>(r#"{"id":"h:1","state":"LOST"}"#).unwrap());
        assert!(!lost.is_running() && lost.http_address.is_empty());
    }

    #[test]
    fn a_resource_keeps_its_further_types() {
        let text = r#"{"memory":8192,"vCores":8,"resourceInformations":{"resourceInformation":[{"name":"memory-mb","value":8192},
            {"name":"vcores","value":8},{"name":"yarn.io/gpu","value":2}]}}"#;
        let resource = Resource::from(serde_json::from_str::<ResourceJson>(text).unwrap());
        assert_eq!(resource.to_string(), "8192 MB, 8 vcores, 2 yarn.io/gpu");
    }
}
