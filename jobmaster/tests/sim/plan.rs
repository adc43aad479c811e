//! What one simulated job is and what happens to it, chosen by its seed.

use std::collections::BTreeMap;

use flumen_model::config::Configuration;
use flumen_model::ids::{OperatorId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, OperatorInfo, Partitioner, RuntimeMode, SourceInfo};

use super::random::Random;

pub const SOURCE: VertexId = VertexId(1);
pub const COUNT: VertexId = VertexId(2);
pub const SINK: VertexId = VertexId(3);
pub const MAX_PARALLELISM: u32 = 8;

/// How a user stops the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWish {
    Never,
    Stop,
    Drain,
}

#[derive(Debug, Clone)]
pub struct Plan {
    /// With a keyed count between source and sink; else both are joined by a forward exchange, and each subtask of the
    /// one is a region with its counterpart.
    pub keyed: bool,
    pub parallelism: (u32, u32),
    /// In a second life, if there is one.
    pub rescaled: (u32, u32),
    pub splits: Vec<(u64, u64)>,
    pub keys: u64,
    pub options: Vec<(String, String)>,
    /// Milliseconds at which something breaks.
    pub faults: Vec<u64>,
    /// Milliseconds at which the JobManager dies, or is cut off and goes on (true).
    pub leader_losses: Vec<(u64, bool)>,
    pub savepoints: Vec<u64>,
    pub stop: (StopWish, u64),
    /// How many of a hundred checkpoints can't be stored.
    pub storage_failures: u64,
    pub slots: u32,
    /// Receivers take their time, so that records wait for barriers to overtake them.
    pub slow: bool,
    /// Longest way of a message, milliseconds.
    pub latency: u64,
}

impl Plan {
    pub fn of(random: &mut Random) -> Self {
        let keyed = random.percent(70);
        let mut scale = || {
            let (source, count) = (random.between(1, 3) as u32, random.between(1, 3) as u32);
            if keyed { (source, count) } else { (source, source) }
        };
        let (parallelism, rescaled) = (scale(), scale());
        let mut at = 0;
        let splits = (0..random.between(1, 8)).map(|_| {
            let begin = at;
            at += random.between(1, 40);
            (begin, at)
        });
        let splits: Vec<(u64, u64)> = splits.collect();
        let option = |key: &str, value: String| (key.to_owned(), value);
        let options = vec![
            option("execution.checkpointing.dir", "/cp".into()),
            option("execution.checkpointing.savepoint-dir", "/sp".into()),
            option("execution.checkpointing.interval", format!("{} ms", random.between(20, 400))),
            option("execution.checkpointing.min-pause", format!("{} ms", random.between(0, 1) * 30)),
            option("execution.checkpointing.timeout", format!("{} ms", random.between(100, 3000))),
            option("execution.checkpointing.max-concurrent-checkpoints", random.between(1, 3).to_string()),
            option("execution.checkpointing.num-retained", random.between(1, 3).to_string()),
            option("execution.checkpointing.tolerable-failed-checkpoints", random.between(0, 3).to_string()),
            option("execution.checkpointing.unaligned.enabled", random.percent(50).to_string()),
            option(
                "execution.checkpointing.aligned-checkpoint-timeout",
                format!("{} ms", random.between(0, 1) * random.between(1, 100)),
            ),
            option("jobmanager.execution.failover-strategy", if random.percent(75) { "region" } else { "full" }.into()),
            option("restart-strategy.type", "fixed-delay".into()),
            option("restart-strategy.fixed-delay.attempts", "1000000".into()),
            option("restart-strategy.fixed-delay.delay", format!("{} ms", random.between(0, 3) * 50)),
        ];
        let moments =
            |random: &mut Random, most| (0..random.between(0, most)).map(|_| random.between(0, 1500)).collect();
        let leader_losses: Vec<u64> = moments(random, 3);
        let leader_losses = leader_losses.into_iter().map(|at| (at, random.percent(50))).collect();
        // In some worlds nothing breaks but JobManagers.
        let faults = if random.percent(30) { Vec::new() } else { moments(random, 6) };
        let savepoints = moments(random, 2);
        let wish = match random.between(0, 9) {
            0..=5 => StopWish::Never,
            6 | 7 => StopWish::Stop,
            _ => StopWish::Drain,
        };
        Self {
            keyed,
            parallelism,
            rescaled,
            splits,
            keys: random.between(1, 9),
            options,
            faults,
            leader_losses,
            savepoints,
            stop: (wish, random.between(0, 900)),
            storage_failures: random.between(0, 1) * 20,
            slots: random.between(1, 3) as u32,
            slow: random.percent(60),
            latency: random.between(1, 30),
        }
    }

    pub fn records(&self) -> u64 {
        self.splits.last().map_or(0, |(_, end)| *end)
    }

    pub fn configuration(&self) -> Configuration {
        let mut conf = Configuration::new();
        for (key, value) in &self.options {
            conf.set(key, value);
        }
        conf
    }

    pub fn graph(&self, (source, count): (u32, u32)) -> JobGraph {
        let vertex = |id: VertexId, name: &str, parallelism, source| JobVertex {
            id,
            name: name.into(),
            operators: vec![OperatorInfo {
                id: OperatorId(id.0),
                name: name.into(),
                uid: None,
                states: BTreeMap::new(),
            }],
            parallelism,
            max_parallelism: MAX_PARALLELISM,
            source,
        };
        let edge = |source, target, partitioner| JobEdge { source, target, partitioner, output: 0 };
        let splits = self.splits.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
        let head = vertex(SOURCE, "Source", source, Some(SourceInfo { bounded: true, splits }));
        let sink = vertex(SINK, "Sink", count, None);
        let (vertices, edges) = match self.keyed {
            true => (
                vec![head, vertex(COUNT, "Count", count, None), sink],
                vec![edge(SOURCE, COUNT, Partitioner::Hash), edge(COUNT, SINK, Partitioner::Forward)],
            ),
            false => (vec![head, sink], vec![edge(SOURCE, SINK, Partitioner::Forward)]),
        };
        JobGraph {
            name: "simulated".into(),
            mode: RuntimeMode::Streaming,
            vertices,
            edges,
            outputs: vec![],
            properties: BTreeMap::new(),
        }
    }
}
