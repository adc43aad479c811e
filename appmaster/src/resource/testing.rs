//! Containers for tests.

use flumen_hadoop::yarn::{
    ApplicationAttemptId, Container, ContainerId, ContainerState, ContainerStatus, NodeId, Resource,
};

/// Container number `n` of some application's first attempt.
pub(crate) fn container_id(n: i64) -> ContainerId {
    let attempt: ApplicationAttemptId = "appattempt_1795228637142_0003_000001".parse().unwrap();
    ContainerId { attempt, id: n }
}

/// Container number `n`, given for the wish of that number.
pub(crate) fn container(n: i64, wish: i64) -> Container {
    Container {
        id: container_id(n),
        node: NodeId { host: "node1".into(), port: 8041 },
        node_http_address: "node1:8042".into(),
        resource: Resource::new(1024, 1),
        priority: 1,
        token: None,
        allocation_request_id: wish,
    }
}

/// The completed status of container number `n`.
pub(crate) fn status(n: i64, exit_code: i32, diagnostics: &str) -> ContainerStatus {
    let diagnostics = diagnostics.to_owned();
    ContainerStatus { id: container_id(n), state: ContainerState::Complete, exit_code, diagnostics }
}
