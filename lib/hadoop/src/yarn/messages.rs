//! The protobuf messages that the ApplicationMaster and NodeManager protocols need, as in Hadoop 3.4's
//! `yarn_protos.proto` and `yarn_service_protos.proto`; fields that nothing here reads or writes are left out.
//! `optional` stands wherever Hadoop has it, because prost would not send a plain field that is zero.

use prost::Message;

pub(crate) use crate::token::messages::TokenProto;

// ---- ids

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ApplicationIdProto {
    #[prost(int32, optional, tag = "1")]
    pub id: Option<i32>,
    #[prost(int64, optional, tag = "2")]
    pub cluster_timestamp: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ApplicationAttemptIdProto {
    #[prost(message, optional, tag = "1")]
    pub application_id: Option<ApplicationIdProto>,
    #[prost(int32, optional, tag = "2")]
    pub attempt_id: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ContainerIdProto {
    #[prost(message, optional, tag = "2")]
    pub app_attempt_id: Option<ApplicationAttemptIdProto>,
    #[prost(int64, optional, tag = "3")]
    pub id: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeIdProto {
    #[prost(string, optional, tag = "1")]
    pub host: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// Identifier of the token between an ApplicationMaster and its ResourceManager.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AmRmTokenIdentifierProto {
    #[prost(message, optional, tag = "1")]
    pub app_attempt_id: Option<ApplicationAttemptIdProto>,
    #[prost(int32, optional, tag = "2")]
    pub key_id: Option<i32>,
}

// ---- resources and containers

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResourceProto {
    /// Mebibytes.
    #[prost(int64, optional, tag = "1")]
    pub memory: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    pub virtual_cores: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    pub resource_value_map: Vec<ResourceInformationProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResourceInformationProto {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int64, optional, tag = "2")]
    pub value: Option<i64>,
    #[prost(string, optional, tag = "3")]
    pub units: Option<String>,
    #[prost(int32, optional, tag = "4")]
    pub kind: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResourceTypeInfoProto {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(string, optional, tag = "2")]
    pub units: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct PriorityProto {
    #[prost(int32, optional, tag = "1")]
    pub priority: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerProto {
    #[prost(message, optional, tag = "1")]
    pub id: Option<ContainerIdProto>,
    #[prost(message, optional, tag = "2")]
    pub node_id: Option<NodeIdProto>,
    #[prost(string, optional, tag = "3")]
    pub node_http_address: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub resource: Option<ResourceProto>,
    #[prost(message, optional, tag = "5")]
    pub priority: Option<PriorityProto>,
    #[prost(message, optional, tag = "6")]
    pub container_token: Option<TokenProto>,
    #[prost(int64, optional, tag = "8", default = "-1")]
    pub allocation_request_id: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerStatusProto {
    #[prost(message, optional, tag = "1")]
    pub container_id: Option<ContainerIdProto>,
    /// 1 new, 2 running, 3 complete.
    #[prost(int32, optional, tag = "2")]
    pub state: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub diagnostics: Option<String>,
    #[prost(int32, optional, tag = "4", default = "-1000")]
    pub exit_status: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeReportProto {
    #[prost(message, optional, tag = "1")]
    pub node_id: Option<NodeIdProto>,
    #[prost(int32, optional, tag = "7")]
    pub node_state: Option<i32>,
    #[prost(string, optional, tag = "8")]
    pub health_report: Option<String>,
}

// ---- ApplicationMasterProtocol

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RegisterApplicationMasterRequestProto {
    #[prost(string, optional, tag = "1")]
    pub host: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub rpc_port: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub tracking_url: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RegisterApplicationMasterResponseProto {
    #[prost(message, optional, tag = "1")]
    pub maximum_capability: Option<ResourceProto>,
    #[prost(message, repeated, tag = "4")]
    pub containers_from_previous_attempts: Vec<ContainerProto>,
    #[prost(string, optional, tag = "5")]
    pub queue: Option<String>,
    #[prost(message, repeated, tag = "6")]
    pub nm_tokens_from_previous_attempts: Vec<NmTokenProto>,
    #[prost(message, repeated, tag = "9")]
    pub resource_types: Vec<ResourceTypeInfoProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NmTokenProto {
    #[prost(message, optional, tag = "1")]
    pub node_id: Option<NodeIdProto>,
    #[prost(message, optional, tag = "2")]
    pub token: Option<TokenProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResourceRequestProto {
    #[prost(message, optional, tag = "1")]
    pub priority: Option<PriorityProto>,
    #[prost(string, optional, tag = "2")]
    pub resource_name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub capability: Option<ResourceProto>,
    #[prost(int32, optional, tag = "4")]
    pub num_containers: Option<i32>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub relax_locality: Option<bool>,
    #[prost(string, optional, tag = "6")]
    pub node_label_expression: Option<String>,
    #[prost(int64, optional, tag = "8", default = "-1")]
    pub allocation_request_id: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ResourceBlacklistRequestProto {
    #[prost(string, repeated, tag = "1")]
    pub blacklist_additions: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub blacklist_removals: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AllocateRequestProto {
    #[prost(message, repeated, tag = "1")]
    pub ask: Vec<ResourceRequestProto>,
    #[prost(message, repeated, tag = "2")]
    pub release: Vec<ContainerIdProto>,
    #[prost(message, optional, tag = "3")]
    pub blacklist_request: Option<ResourceBlacklistRequestProto>,
    #[prost(int32, optional, tag = "4")]
    pub response_id: Option<i32>,
    #[prost(float, optional, tag = "5")]
    pub progress: Option<f32>,
    #[prost(string, optional, tag = "11")]
    pub tracking_url: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AllocateResponseProto {
    /// 1 resync, 2 shut down.
    #[prost(int32, optional, tag = "1")]
    pub a_m_command: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub response_id: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    pub allocated_containers: Vec<ContainerProto>,
    #[prost(message, repeated, tag = "4")]
    pub completed_container_statuses: Vec<ContainerStatusProto>,
    #[prost(message, optional, tag = "5")]
    pub limit: Option<ResourceProto>,
    #[prost(message, repeated, tag = "6")]
    pub updated_nodes: Vec<NodeReportProto>,
    #[prost(int32, optional, tag = "7")]
    pub num_cluster_nodes: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub preempt: Option<PreemptionMessageProto>,
    #[prost(message, repeated, tag = "9")]
    pub nm_tokens: Vec<NmTokenProto>,
    #[prost(message, optional, tag = "12")]
    pub am_rm_token: Option<TokenProto>,
    #[prost(message, repeated, tag = "17")]
    pub containers_from_previous_attempts: Vec<ContainerProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PreemptionMessageProto {
    #[prost(message, optional, tag = "1")]
    pub strict_contract: Option<StrictPreemptionContractProto>,
    #[prost(message, optional, tag = "2")]
    pub contract: Option<PreemptionContractProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StrictPreemptionContractProto {
    #[prost(message, repeated, tag = "1")]
    pub container: Vec<PreemptionContainerProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PreemptionContractProto {
    #[prost(message, repeated, tag = "1")]
    pub resource: Vec<PreemptionResourceRequestProto>,
    #[prost(message, repeated, tag = "2")]
    pub container: Vec<PreemptionContainerProto>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct PreemptionContainerProto {
    #[prost(message, optional, tag = "1")]
    pub id: Option<ContainerIdProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PreemptionResourceRequestProto {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<ResourceRequestProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FinishApplicationMasterRequestProto {
    #[prost(string, optional, tag = "1")]
    pub diagnostics: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub tracking_url: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub final_application_status: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct FinishApplicationMasterResponseProto {
    #[prost(bool, optional, tag = "1")]
    pub is_unregistered: Option<bool>,
}

// ---- ContainerManagementProtocol

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct UrlProto {
    #[prost(string, optional, tag = "1")]
    pub scheme: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub host: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub port: Option<i32>,
    #[prost(string, optional, tag = "4")]
    pub file: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LocalResourceProto {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<UrlProto>,
    #[prost(int64, optional, tag = "2")]
    pub size: Option<i64>,
    #[prost(int64, optional, tag = "3")]
    pub timestamp: Option<i64>,
    #[prost(int32, optional, tag = "4")]
    pub kind: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub visibility: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StringLocalResourceMapProto {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<LocalResourceProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StringStringMapProto {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ApplicationAclMapProto {
    /// 1 view, 2 modify.
    #[prost(int32, optional, tag = "1")]
    pub access_type: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub acl: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerLaunchContextProto {
    #[prost(message, repeated, tag = "1")]
    pub local_resources: Vec<StringLocalResourceMapProto>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub tokens: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub environment: Vec<StringStringMapProto>,
    #[prost(string, repeated, tag = "5")]
    pub command: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub application_acls: Vec<ApplicationAclMapProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StartContainerRequestProto {
    #[prost(message, optional, tag = "1")]
    pub container_launch_context: Option<ContainerLaunchContextProto>,
    #[prost(message, optional, tag = "2")]
    pub container_token: Option<TokenProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StartContainersRequestProto {
    #[prost(message, repeated, tag = "1")]
    pub start_container_request: Vec<StartContainerRequestProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StartContainersResponseProto {
    #[prost(message, repeated, tag = "2")]
    pub succeeded_requests: Vec<ContainerIdProto>,
    #[prost(message, repeated, tag = "3")]
    pub failed_requests: Vec<ContainerExceptionMapProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerIdsRequestProto {
    #[prost(message, repeated, tag = "1")]
    pub container_id: Vec<ContainerIdProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StopContainersResponseProto {
    #[prost(message, repeated, tag = "1")]
    pub succeeded_requests: Vec<ContainerIdProto>,
    #[prost(message, repeated, tag = "2")]
    pub failed_requests: Vec<ContainerExceptionMapProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetContainerStatusesResponseProto {
    #[prost(message, repeated, tag = "1")]
    pub status: Vec<ContainerStatusProto>,
    #[prost(message, repeated, tag = "2")]
    pub failed_requests: Vec<ContainerExceptionMapProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerExceptionMapProto {
    #[prost(message, optional, tag = "1")]
    pub container_id: Option<ContainerIdProto>,
    #[prost(message, optional, tag = "2")]
    pub exception: Option<SerializedExceptionProto>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SerializedExceptionProto {
    #[prost(string, optional, tag = "1")]
    pub message: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub class_name: Option<String>,
}
