//! The JobGraph: what a program asks for, after chaining. Made by the program itself (role `plan`), checked again by every
//! worker (fingerprint), executed by the JobMaster.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Configuration;
use crate::ids::{OperatorId, VertexId};

/// A job: vertices in topological order and the edges between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    /// The job's name, as given to `execute`.
    pub name: String,
    /// Whether results are emitted at the end of the input or on every update.
    pub mode: RuntimeMode,
    /// Chains of operators, upstream before downstream.
    pub vertices: Vec<JobVertex>,
    /// Exchanges between vertices.
    pub edges: Vec<JobEdge>,
    /// Directories that the job creates and that must not hold anything when it starts: the sinks' outputs.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Options that the program sets itself; they win over the submitted configuration.
    #[serde(default)]
    pub properties: std::collections::BTreeMap<String, String>,
}

/// Flink's `execution.runtime-mode`, decided (AUTOMATIC is resolved when the graph is made).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuntimeMode {
    /// A keyed aggregate emits on every update.
    Streaming,
    /// All input is bounded; a keyed aggregate emits once per key, at the end.
    Batch,
}

/// A chain of operators that runs in one thread per subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobVertex {
    /// Derived from the operators' ids and the structure.
    pub id: VertexId,
    /// The operators' names joined by ` -> `, as Flink shows a chain.
    pub name: String,
    /// The chained operators, upstream first.
    pub operators: Vec<OperatorInfo>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups: the bound of every later parallelism.
    pub max_parallelism: u32,
    /// Set when the chain starts with a source.
    #[serde(default)]
    pub source: Option<SourceInfo>,
}

/// One operator of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorInfo {
    /// Under this id its state is found again.
    pub id: OperatorId,
    /// As shown to the user: `Flat Map`, `Source: Text File`.
    pub name: String,
    /// The user's `uid`, if one was set.
    #[serde(default)]
    pub uid: Option<String>,
    /// Schemas of the states that it declares (`lib/state`), by state name. What an operator declares only while it runs is
    /// not in here.
    #[serde(default)]
    pub states: std::collections::BTreeMap<String, String>,
}

/// What the JobMaster has to know of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// True when the source ends by itself.
    pub bounded: bool,
    /// Pieces of input that subtasks ask for one after another, in the source's own encoding (opaque to the JobMaster). A
    /// source without splits produces from its subtask index alone.
    #[serde(default)]
    pub splits: Vec<String>,
}

/// An exchange of records between two vertices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEdge {
    /// Where the records come from.
    pub source: VertexId,
    /// Where they go.
    pub target: VertexId,
    /// Which subtask of the target gets a record.
    pub partitioner: Partitioner,
    /// Which of the source's outputs this is, counted per source vertex from 0 in the order of this list: two edges between
    /// the same two vertices stay apart by it.
    pub output: u32,
}

/// How records are distributed over the subtasks of the target, with Flink's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Partitioner {
    /// Subtask `i` sends to subtask `i`; both sides have the same parallelism.
    Forward,
    /// By the key's group.
    Hash,
    /// Round robin over all.
    Rebalance,
    /// At random over all.
    Shuffle,
    /// Every record to all.
    Broadcast,
}

impl Partitioner {
    /// The target subtasks that source subtask `index` has a channel to.
    pub fn targets(self, index: u32, target_parallelism: u32) -> std::ops::Range<u32> {
        match self {
            Self::Forward => index..index + 1,
            Self::Hash | Self::Rebalance | Self::Shuffle | Self::Broadcast => 0..target_parallelism,
        }
    }

    /// Flink's word for it in a plan (`ship_strategy`).
    pub fn ship_strategy(self) -> &'static str {
        match self {
            Self::Forward => "FORWARD",
            Self::Hash => "HASH",
            Self::Rebalance => "REBALANCE",
            Self::Shuffle => "SHUFFLE",
            Self::Broadcast => "BROADCAST",
        }
    }
}

/// Where two programs that should be the same differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphMismatch {
    /// A vertex is not the same.
    #[error(
        "the program built another graph here than when it was submitted: vertex {index} is `{here}`, submitted was `{submitted}`; a program must build the same graph from the same arguments in every process"
    )]
    Vertex {
        /// Its place in the list of vertices, from 0.
        index: usize,
        /// What this process built.
        here: String,
        /// What was submitted.
        submitted: String,
    },
    /// The vertices agree, their connections do not.
    #[error(
        "the program built other connections between the same vertices here than when it was submitted; a program must build the same graph from the same arguments in every process"
    )]
    Edges,
}

impl JobGraph {
    /// The job's configuration: what was submitted, where what the program sets itself wins.
    pub fn configuration(&self, submitted: &Configuration) -> Configuration {
        let mut configuration = submitted.clone();
        for (key, value) in &self.properties {
            configuration.set(key, value);
        }
        configuration
    }

    /// The vertex of that id.
    pub fn vertex(&self, id: VertexId) -> Option<&JobVertex> {
        self.vertices.iter().find(|v| v.id == id)
    }

    /// The edges into a vertex, in the order of its channels.
    pub fn inputs(&self, id: VertexId) -> impl Iterator<Item = &JobEdge> {
        self.edges.iter().filter(move |e| e.target == id)
    }

    /// The edges out of a vertex, in the order of its outputs.
    pub fn outputs_of(&self, id: VertexId) -> impl Iterator<Item = &JobEdge> {
        self.edges.iter().filter(move |e| e.source == id)
    }

    /// True when every source ends by itself.
    pub fn is_bounded(&self) -> bool {
        self.vertices.iter().filter_map(|v| v.source.as_ref()).all(|s| s.bounded)
    }

    /// The slots that the job needs with slot sharing: its largest parallelism.
    pub fn slots(&self) -> u32 {
        self.vertices.iter().map(|v| v.parallelism).max().unwrap_or(0)
    }

    /// A hash of the structure (ids, names, parallelism, edges), not of the splits: two processes with the same
    /// fingerprint run the same program.
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for v in &self.vertices {
            text.push_str(&vertex_shape(v));
            text.push('\n');
        }
        for e in &self.edges {
            text.push_str(&format!("{}>{} {:?} {}\n", e.source, e.target, e.partitioner, e.output));
        }
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }

    /// Checks that `here`, built by this process, is the submitted graph.
    pub fn same_structure(&self, here: &JobGraph) -> Result<(), GraphMismatch> {
        let none = || "nothing".to_owned();
        for index in 0..self.vertices.len().max(here.vertices.len()) {
            let submitted = self.vertices.get(index).map(vertex_shape);
            let built = here.vertices.get(index).map(vertex_shape);
            if submitted != built {
                return Err(GraphMismatch::Vertex {
                    index,
                    here: built.unwrap_or_else(none),
                    submitted: submitted.unwrap_or_else(none),
                });
            }
        }
        if self.edges == here.edges { Ok(()) } else { Err(GraphMismatch::Edges) }
    }
}

fn vertex_shape(v: &JobVertex) -> String {
    format!("{} (parallelism {} of {}, {})", v.name, v.parallelism, v.max_parallelism, v.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(names: &[&str]) -> JobGraph {
        JobGraph {
            name: "j".into(),
            mode: RuntimeMode::Batch,
            vertices: names
                .iter()
                .enumerate()
                .map(|(i, name)| JobVertex {
                    id: VertexId(i as u128),
                    name: (*name).into(),
                    operators: vec![],
                    parallelism: 2,
                    max_parallelism: 128,
                    source: None,
                })
                .collect(),
            edges: vec![],
            outputs: vec![],
            properties: Default::default(),
        }
    }

    #[test]
    fn a_different_program_is_named_by_its_first_differing_vertex() {
        let submitted = graph(&["Source", "Map", "Sink"]);
        assert_eq!(submitted.same_structure(&graph(&["Source", "Map", "Sink"])), Ok(()));
        let error = submitted.same_structure(&graph(&["Source", "Filter", "Sink"])).unwrap_err().to_string();
        assert!(error.contains("vertex 1 is `Filter") && error.contains("submitted was `Map"), "{error}");
        let error = submitted.same_structure(&graph(&["Source", "Map"])).unwrap_err().to_string();
        assert!(error.contains("vertex 2 is `nothing`"), "{error}");
        assert_ne!(submitted.fingerprint(), graph(&["Source", "Filter", "Sink"]).fingerprint());
    }

    #[test]
    fn splits_do_not_change_the_fingerprint() {
        let mut with_splits = graph(&["Source"]);
        with_splits.vertices[0].source = Some(SourceInfo { bounded: true, splits: vec!["a".into()] });
        assert_eq!(with_splits.fingerprint(), graph(&["Source"]).fingerprint());
    }
}
