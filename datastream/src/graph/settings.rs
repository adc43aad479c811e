//! What of the configuration and the environment decides about the graph.

use std::collections::{BTreeMap, HashMap};

use flumen_model::checkpoint::CompletedCheckpoint;
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::OperatorId;
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_model::options::{checkpointing, execution};

use crate::error::{Error, Result};
use crate::graph::node::{Node, Work};

/// See the module.
pub(crate) struct GraphSettings {
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: Option<u32>,
    pub(crate) chaining: bool,
    mode: String,
    /// Whether an interval for checkpoints is set.
    pub(crate) periodic_checkpoints: bool,
    pub(crate) former: Former,
    /// What the program sets of the job's options.
    pub(crate) properties: BTreeMap<String, String>,
}

/// Numbers of key groups that are fixed already, by operator: those of the snapshot that the job starts from, or in a
/// worker those of the submitted graph.
#[derive(Debug, Default)]
pub(crate) struct Former(HashMap<OperatorId, u32>);

impl Former {
    /// Those of a snapshot.
    pub(crate) fn of_checkpoint(checkpoint: &CompletedCheckpoint) -> Self {
        let operators = checkpoint.vertices.iter().flat_map(|vertex| {
            let max = vertex.max_parallelism;
            vertex.operators.iter().map(move |operator| (operator.id, max))
        });
        Self(operators.collect())
    }

    /// Those of a graph.
    pub(crate) fn of_graph(graph: &JobGraph) -> Self {
        let operators = graph.vertices.iter().flat_map(|vertex| {
            let max = vertex.max_parallelism;
            vertex.operators.iter().map(move |operator| (operator.id, max))
        });
        Self(operators.collect())
    }

    pub(crate) fn max_parallelism(&self, operator: OperatorId) -> Option<u32> {
        self.0.get(&operator).copied()
    }
}

impl GraphSettings {
    /// `parallelism` and `mode` are what the program set itself; they win.
    pub(crate) fn read(
        configuration: &Configuration,
        parallelism: Option<u32>,
        mode: Option<RuntimeMode>,
    ) -> Result<Self, BadConfiguration> {
        Ok(Self {
            parallelism: match parallelism {
                Some(parallelism) => parallelism,
                None => configuration.get(&execution::PARALLELISM)?,
            },
            max_parallelism: configuration.find(&execution::MAX_PARALLELISM)?,
            chaining: configuration.get(&execution::OPERATOR_CHAINING)?,
            mode: match mode {
                Some(RuntimeMode::Batch) => "BATCH".to_owned(),
                Some(RuntimeMode::Streaming) => "STREAMING".to_owned(),
                None => configuration.get(&execution::RUNTIME_MODE)?,
            },
            periodic_checkpoints: configuration
                .find(&checkpointing::INTERVAL)?
                .is_some_and(|interval| !interval.is_zero()),
            former: Former::default(),
            properties: BTreeMap::new(),
        })
    }

    /// Resolves AUTOMATIC.
    pub(crate) fn runtime_mode(&self, nodes: &[Node]) -> Result<RuntimeMode> {
        let wanted = &self.mode;
        let unbounded = nodes.iter().find(|node| matches!(node.work, Work::Source { bounded: false, .. }));
        match (wanted.to_ascii_uppercase().as_str(), unbounded) {
            ("STREAMING", _) | ("AUTOMATIC", Some(_)) => Ok(RuntimeMode::Streaming),
            ("BATCH" | "AUTOMATIC", None) => Ok(RuntimeMode::Batch),
            ("BATCH", Some(source)) => Err(Error::Program(format!(
                "`{}` never ends, and execution.runtime-mode is BATCH: set it to STREAMING or AUTOMATIC",
                source.name
            ))),
            _ => Err(Error::Program(format!(
                "execution.runtime-mode is `{wanted}`; STREAMING, BATCH and AUTOMATIC are allowed"
            ))),
        }
    }
}
