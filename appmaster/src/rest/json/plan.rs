//! The JobGraph as Flink's plan.

use flumen_jobmaster::{JobDetails, VertexDetails};
use flumen_model::job_graph::RuntimeMode;
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
}

impl Plan {
    pub(super) fn new(job: &JobDetails) -> Self {
        Self {
            jid: job.job.to_string(),
            name: job.name.clone(),
            job_type: job_type(job.mode),
            nodes: job.vertices.iter().map(|vertex| Node::new(vertex, job)).collect(),
        }
    }
}

impl Node {
    fn new(vertex: &VertexDetails, job: &JobDetails) -> Self {
        let inputs = job.edges.iter().filter(|edge| edge.target == vertex.id);
        let input = |(num, edge): (usize, &flumen_model::job_graph::JobEdge)| Input {
            num,
            id: edge.source.to_string(),
            ship_strategy: edge.partitioner.ship_strategy(),
            exchange: "pipelined_bounded",
        };
        Self {
            id: vertex.id.to_string(),
            parallelism: vertex.parallelism,
            operator: "",
            operator_strategy: "",
            description: html(&vertex.name),
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
