//! Containers, resources and nodes as an ApplicationMaster sees them.

use std::collections::BTreeMap;

use prost::Message;

use super::messages::{
    AmRmTokenIdentifierProto, ContainerProto, ContainerStatusProto, NodeReportProto, ResourceInformationProto,
    ResourceProto, ResourceTypeInfoProto,
};
use super::{ApplicationAttemptId, ContainerId, DecodeError, NodeId, required};
use crate::token::Token;

/// Exit codes that YARN itself gives to a container (`ContainerExitStatus`). 0 is success, 128 + n death by signal n.
pub mod exit_code {
    /// Never ran: localization failed, for instance. The diagnostics tell why.
    pub const INVALID: i32 = -1000;
    /// Released by the application, or its node was lost.
    pub const ABORTED: i32 = -100;
    /// The node's disks failed.
    pub const DISKS_FAILED: i32 = -101;
    /// Taken away for another application.
    pub const PREEMPTED: i32 = -102;
    /// Used more virtual memory than it had asked for.
    pub const KILLED_EXCEEDED_VMEM: i32 = -103;
    /// Used more physical memory than it had asked for.
    pub const KILLED_EXCEEDED_PMEM: i32 = -104;
    /// Stopped by the ApplicationMaster.
    pub const KILLED_BY_APPMASTER: i32 = -105;
    /// Stopped by the ResourceManager.
    pub const KILLED_BY_RESOURCEMANAGER: i32 = -106;
    /// Stopped because the application had ended.
    pub const KILLED_AFTER_APP_COMPLETION: i32 = -107;
}

/// An amount of resources. Order: memory, then cores.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Memory in mebibytes.
    pub memory_mb: u64,
    /// Virtual cores.
    pub vcores: u32,
    /// Further resource types by name, as `yarn.io/gpu`, in the unit of [`ResourceType::units`]. The ResourceManager
    /// silently ignores a type that it does not know: compare with [`super::Registration::resource_types`] first.
    pub other: BTreeMap<String, u64>,
}

impl Resource {
    /// Memory and cores alone.
    pub fn new(memory_mb: u64, vcores: u32) -> Self {
        Self { memory_mb, vcores, other: BTreeMap::new() }
    }

    /// Whether this much fits into `limit`, each type by itself. A type that `limit` lacks counts as 0 there.
    pub fn fits_in(&self, limit: &Self) -> bool {
        self.memory_mb <= limit.memory_mb
            && self.vcores <= limit.vcores
            && self.other.iter().all(|(name, amount)| *amount <= limit.other.get(name).copied().unwrap_or(0))
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB, {} vcores", self.memory_mb, self.vcores)?;
        self.other.iter().try_for_each(|(name, amount)| write!(f, ", {amount} {name}"))
    }
}

/// Names under which the ResourceManager repeats memory and cores in its map of all types.
const MEMORY_AND_CORES: [&str; 2] = ["memory-mb", "vcores"];

impl From<ResourceProto> for Resource {
    /// Negative numbers, which a headroom may have, become 0.
    fn from(proto: ResourceProto) -> Self {
        let other = proto
            .resource_value_map
            .into_iter()
            .filter(|info| !MEMORY_AND_CORES.contains(&info.key.as_str()))
            .map(|info| (info.key, info.value.unwrap_or(0).max(0) as u64))
            .collect();
        Self {
            memory_mb: proto.memory.unwrap_or(0).max(0) as u64,
            vcores: proto.virtual_cores.unwrap_or(0).max(0) as u32,
            other,
        }
    }
}

impl From<&Resource> for ResourceProto {
    fn from(resource: &Resource) -> Self {
        let saturated = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        Self {
            memory: Some(saturated(resource.memory_mb)),
            virtual_cores: Some(i32::try_from(resource.vcores).unwrap_or(i32::MAX)),
            resource_value_map: resource
                .other
                .iter()
                .map(|(name, amount)| ResourceInformationProto {
                    key: name.clone(),
                    value: Some(saturated(*amount)),
                    units: Some(String::new()),
                    kind: Some(0),
                })
                .collect(),
        }
    }
}

/// A resource type that the ResourceManager knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceType {
    /// As `memory-mb`, `vcores`, `yarn.io/gpu`.
    pub name: String,
    /// As `Mi`; empty for a plain count.
    pub units: String,
}

impl From<ResourceTypeInfoProto> for ResourceType {
    fn from(proto: ResourceTypeInfoProto) -> Self {
        Self { name: proto.name, units: proto.units.unwrap_or_default() }
    }
}

/// A container that the ResourceManager gave to this application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// The NodeManager that is to run it, or runs it.
    pub node: NodeId,
    /// `host:port` of that NodeManager's web pages; empty when not told.
    pub node_http_address: String,
    /// What it got: the asked amount rounded up by the scheduler.
    pub resource: Resource,
    /// The priority that it was asked with.
    pub priority: i32,
    /// The token that proves to the NodeManager that the container was given; passed on at the start.
    pub token: Option<Token>,
    /// [`super::ContainerAsk::allocation_request_id`] of the ask that it answers; -1 if that had none.
    pub allocation_request_id: i64,
}

impl TryFrom<ContainerProto> for Container {
    type Error = DecodeError;

    fn try_from(proto: ContainerProto) -> Result<Self, DecodeError> {
        let allocation_request_id = proto.allocation_request_id();
        Ok(Self {
            id: required(proto.id, "Container.id")?.try_into()?,
            node: required(proto.node_id, "Container.nodeId")?.try_into()?,
            node_http_address: proto.node_http_address.unwrap_or_default(),
            resource: proto.resource.map(Resource::from).unwrap_or_default(),
            priority: proto.priority.and_then(|p| p.priority).unwrap_or(0),
            token: proto.container_token.map(Token::from),
            allocation_request_id,
        })
    }
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Accepted, being localized or queued.
    New,
    /// Its process runs.
    Running,
    /// It has ended.
    Complete,
}

/// State of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The container.
    pub id: ContainerId,
    /// What it is doing.
    pub state: ContainerState,
    /// Its exit code once complete, see [`exit_code`]; -1000 before.
    pub exit_code: i32,
    /// YARN's text on the end of the container, with the last bytes of its standard error.
    pub diagnostics: String,
}

impl TryFrom<ContainerStatusProto> for ContainerStatus {
    type Error = DecodeError;

    fn try_from(proto: ContainerStatusProto) -> Result<Self, DecodeError> {
        let exit_code = proto.exit_status();
        let state = match required(proto.state, "ContainerStatus.state")? {
            1 => ContainerState::New,
            2 => ContainerState::Running,
            3 => ContainerState::Complete,
            other => return Err(DecodeError::out_of_range("ContainerStatus.state", other.into())),
        };
        Ok(Self {
            id: required(proto.container_id, "ContainerStatus.container_id")?.try_into()?,
            state,
            exit_code,
            diagnostics: proto.diagnostics.unwrap_or_default(),
        })
    }
}

/// What the ResourceManager thinks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Takes containers.
    Running,
    /// Lives, but takes no new containers: its health script or its disks say so.
    Unhealthy,
    /// Ends its containers, takes no new ones.
    Decommissioning,
    /// Gone: lost, decommissioned, shut down, or back under another identity. Its containers have ended or will be
    /// reported so.
    Gone,
    /// New, or a state that this library does not know.
    Other,
}

/// A node whose state changed since the last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatedNode {
    /// The node.
    pub node: NodeId,
    /// Its new state.
    pub state: NodeState,
    /// What its health check says; empty when healthy.
    pub health_report: String,
}

impl TryFrom<NodeReportProto> for UpdatedNode {
    type Error = DecodeError;

    fn try_from(proto: NodeReportProto) -> Result<Self, DecodeError> {
        let state = match proto.node_state {
            Some(2) => NodeState::Running,
            Some(3) => NodeState::Unhealthy,
            Some(7) => NodeState::Decommissioning,
            Some(4 | 5 | 6 | 8) => NodeState::Gone,
            _ => NodeState::Other,
        };
        Ok(Self {
            node: required(proto.node_id, "NodeReport.nodeId")?.try_into()?,
            state,
            health_report: proto.health_report.unwrap_or_default(),
        })
    }
}

/// The application attempt that a token of kind [`crate::token::AM_RM_TOKEN`] was made for: an ApplicationMaster's own.
pub fn am_rm_attempt(token: &Token) -> Result<ApplicationAttemptId, DecodeError> {
    let identifier = AmRmTokenIdentifierProto::decode(token.identifier.as_slice())
        .map_err(|cause| DecodeError::Protobuf("the identifier of the AM-RM token", cause))?;
    required(identifier.app_attempt_id, "AMRMTokenIdentifier.appAttemptId")?.try_into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::Credentials;

    #[test]
    fn the_token_tells_the_attempt() {
        let file = include_bytes!("../../tests/fixtures/am_only.writable");
        let credentials = Credentials::from_bytes(file).unwrap();
        let attempt = am_rm_attempt(credentials.am_rm_token().unwrap()).unwrap();
        assert_eq!(attempt.to_string(), "appattempt_1795228637142_0003_000001");
    }

    #[test]
    fn a_resource_keeps_its_further_types_and_drops_the_repeated_ones() {
        let info =
            |key: &str, value| ResourceInformationProto { key: key.into(), value: Some(value), ..Default::default() };
        let proto = ResourceProto {
            memory: Some(1024),
            virtual_cores: Some(-1),
            resource_value_map: vec![info("memory-mb", 1024), info("vcores", 2), info("yarn.io/gpu", 3)],
        };
        let resource = Resource::from(proto);
        assert_eq!(resource.to_string(), "1024 MB, 0 vcores, 3 yarn.io/gpu");
        assert_eq!(Resource::from(ResourceProto::from(&resource)), resource);
        assert!(!resource.fits_in(&Resource::new(2048, 4)));
        assert!(Resource::new(1024, 1).fits_in(&Resource::new(1024, 1)));
        assert!(!Resource::new(1025, 1).fits_in(&Resource::new(1024, 1)));
    }

    #[test]
    fn a_status_without_exit_code_means_that_it_never_ran() {
        let id = ContainerId { attempt: attempt(), id: 2 };
        let proto = ContainerStatusProto { container_id: Some(id.into()), state: Some(3), ..Default::default() };
        assert_eq!(ContainerStatus::try_from(proto.clone()).unwrap().exit_code, exit_code::INVALID);
        let error = ContainerStatus::try_from(ContainerStatusProto { state: Some(9), ..proto }).unwrap_err();
        assert_eq!(error.to_string(), "field ContainerStatus.state has the impossible value 9");
    }

    fn attempt() -> ApplicationAttemptId {
        "appattempt_1795228637142_0003_000001".parse().unwrap()
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>) {
            let token = Token { identifier: bytes.clone(), password: vec![], kind: String::new(), service: String::new() };
            let _ = am_rm_attempt(&token);
            let _ = ContainerProto::decode(bytes.as_slice()).map(Container::try_from);
            let _ = ContainerStatusProto::decode(bytes.as_slice()).map(ContainerStatus::try_from);
            let _ = NodeReportProto::decode(bytes.as_slice()).map(UpdatedNode::try_from);
            let _ = ResourceProto::decode(bytes.as_slice()).map(Resource::from);
        }
    }
}
