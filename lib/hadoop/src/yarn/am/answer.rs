//! Answers of the ResourceManager as plain types.

use super::{AllocateResponse, Preemption, Registration};
use crate::yarn::messages::{
    AllocateResponseProto, PreemptionContainerProto, PreemptionMessageProto, RegisterApplicationMasterResponseProto,
};
use crate::yarn::{ContainerId, DecodeError, Resource, required};

/// An answer to a registration. Tokens are left to the client.
pub(super) fn registration(answer: RegisterApplicationMasterResponseProto) -> Result<Registration, DecodeError> {
    Ok(Registration {
        maximum_capability: answer.maximum_capability.map(Resource::from).unwrap_or_default(),
        queue: answer.queue.unwrap_or_default(),
        containers_from_previous_attempts: all(answer.containers_from_previous_attempts)?,
        resource_types: answer.resource_types.into_iter().map(Into::into).collect(),
        already_registered: false,
    })
}

fn all<P, T: TryFrom<P, Error = DecodeError>>(messages: Vec<P>) -> Result<Vec<T>, DecodeError> {
    messages.into_iter().map(T::try_from).collect()
}

/// An answer to a heartbeat with its id. Tokens are left to the client.
pub(super) fn heartbeat(answer: AllocateResponseProto) -> Result<(i32, AllocateResponse), DecodeError> {
    let response_id = required(answer.response_id, "AllocateResponse.response_id")?;
    let response = AllocateResponse {
        allocated: all(answer.allocated_containers)?,
        completed: all(answer.completed_container_statuses)?,
        containers_from_previous_attempts: all(answer.containers_from_previous_attempts)?,
        updated_nodes: all(answer.updated_nodes)?,
        headroom: answer.limit.map(Resource::from),
        cluster_nodes: answer.num_cluster_nodes.unwrap_or(0).max(0).unsigned_abs(),
        preemption: answer.preempt.map(preemption).transpose()?,
        reregistered: false,
    };
    Ok((response_id, response))
}

fn preemption(message: PreemptionMessageProto) -> Result<Preemption, DecodeError> {
    let ids = |containers: Vec<PreemptionContainerProto>| -> Result<Vec<ContainerId>, DecodeError> {
        containers.into_iter().map(|c| required(c.id, "PreemptionContainer.id")?.try_into()).collect()
    };
    let strict = message.strict_contract.unwrap_or_default();
    let contract = message.contract.unwrap_or_default();
    let wanted = contract.resource.into_iter().filter_map(|entry| {
        let row = entry.resource?;
        let count = row.num_containers.unwrap_or(0).max(0).unsigned_abs();
        Some((row.capability.map(Resource::from).unwrap_or_default(), count))
    });
    Ok(Preemption { wanted: wanted.collect(), strict: ids(strict.container)?, candidates: ids(contract.container)? })
}
