//! The JobGraph as Flink's plan.

use flumen_jobmaster::JobDetails;
use flumen_model::ids::{JobId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, RuntimeMode};
use serde::Serialize;

/// `JobPlanInfo`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct JobPlan {
    plan: Plan,
}

/// The plan itself.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    jid: String,
    name: String,
    #[serde(rename = "type")]
    job_type: &'static str,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: String,
    parallelism: u32,
    operator: &'static str,
    operator_strategy: &'static str,
    /// HTML, as in Flink.
    description: String,
    /// Sources have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Input>,
    optimizer_properties: Empty,
}

#[derive(Debug, Serialize)]
struct Input {
    num: usize,
    id: String,
    ship_strategy: &'static str,
    exchange: &'static str,
}

#[derive(Debug, Serialize)]
struct Empty {}

/// Flink's name of how a job emits its results.
pub(super) fn job_type(mode: RuntimeMode) -> &'static str {
    match mode {
        RuntimeMode::Streaming => "STREAMING",
        RuntimeMode::Batch => "BATCH",
    }
}

impl JobPlan {
    pub(in crate::rest) fn new(job: &JobDetails) -> Self {
        Self { plan: Plan::new(job) }
    }

    /// That of a job that does not run (yet).
    pub(in crate::rest) fn of_graph(job: JobId, graph: &JobGraph) -> Self {
        let vertices = graph.vertices.iter();
        let nodes = vertices.map(|vertex| Node::new(vertex.id, &vertex.name, vertex.parallelism, &graph.edges));
        let plan = Plan {
            jid: job.to_string(),
            name: graph.name.clone(),
            job_type: job_type(graph.mode),
            nodes: nodes.collect(),
        };
        Self { plan }
    }
}

impl Plan {
    pub(super) fn new(job: &JobDetails) -> Self {
        Self {
            jid: job.job.to_string(),
            name: job.name.clone(),
            job_type: job_type(job.mode),
            nodes: job
                .vertices
                .iter()
                .map(|vertex| Node::new(vertex.id, &vertex.name, vertex.parallelism, &job.edges))
                .collect(),
        }
    }
}

impl Node {
    fn new(id: VertexId, name: &str, parallelism: u32, edges: &[JobEdge]) -> Self {
        let inputs = edges.iter().filter(|edge| edge.target == id);
        let input = |(num, edge): (usize, &JobEdge)| Input {
            num,
            id: edge.source.to_string(),
            ship_strategy: edge.partitioner.ship_strategy(),
            exchange: "pipelined_bounded",
        };
        Self {
            id: id.to_string(),
            parallelism,
            operator: "",
            operator_strategy: "",
            description: html(name),
            inputs: inputs.enumerate().map(input).collect(),
            optimizer_properties: Empty {},
        }
    }
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("<br/>"),
            '\\' => escaped.push_str("&#92;"),
            c => escaped.push(c),
        }
    }
    escaped
}
