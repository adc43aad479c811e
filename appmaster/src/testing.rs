//! An application for tests.

use flumen_model::config::Configuration;
use flumen_model::ids::{JobId, VertexId};
use flumen_model::job_graph::{JobGraph, JobVertex, RuntimeMode};
use flumen_wire::application::{Application, JobSubmission, Program, Purpose};
use flumen_wire::control::PROTOCOL_VERSION;

/// A job of one vertex with two subtasks.
pub(crate) fn application() -> Application {
    let vertex = JobVertex {
        id: VertexId(1),
        name: "Source".into(),
        operators: vec![],
        parallelism: 2,
        max_parallelism: 128,
        source: None,
    };
    let job = JobSubmission {
        protocol: PROTOCOL_VERSION,
        job: JobId(7),
        graph: JobGraph {
            name: "test".into(),
            mode: RuntimeMode::Batch,
            vertices: vec![vertex],
            edges: vec![],
            outputs: vec!["/out".into()],
            properties: Default::default(),
        },
        program: Program::localized("program"),
        arguments: vec!["--input".into(), "x".into()],
        configuration: Configuration::new(),
        client_heartbeat: false,
        accepted_ms: None,
    };
    Application {
        protocol: PROTOCOL_VERSION,
        purpose: Purpose::Job(Box::new(job)),
        configuration: Configuration::new(),
        hadoop: Default::default(),
        user: "alice".into(),
        staging: "file:///staging".into(),
        resources: vec![],
        master_resources: vec![],
        rest_token: "secret".into(),
    }
}
