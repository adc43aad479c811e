//! How a refusal is told: what was asked, what the cluster has, what would fit.

use std::fmt;

use super::Demand;

/// Why a cluster could never run a job.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The queue takes no applications.
    #[error("queue `{queue}` {problem}; queues that take applications: {}", listed(usable))]
    Queue {
        /// As it was named.
        queue: String,
        /// What is wrong with it.
        problem: String,
        /// Full names of those that could be used.
        usable: Vec<String>,
    },
    /// A container is larger than the scheduler allows.
    #[error(
        "the {container} asks for {asked} {what}, the cluster grants at most {limit} to a container: lower it with {flag}"
    )]
    Limit {
        /// `jobmanager` or `taskmanager`.
        container: &'static str,
        /// Unit and kind.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// What is allowed.
        limit: u64,
        /// The flag that changes it.
        flag: String,
    },
    /// No usable node at all.
    #[error("the cluster has no running NodeManager: nothing can run there now")]
    NoNodes,
    /// No node wears the label.
    #[error("no running node has the label `{label}`; labels of running nodes: {}", listed(known))]
    Label {
        /// The label.
        label: String,
        /// Labels that nodes have.
        known: Vec<String>,
    },
    /// The container fits on no node, even an empty one.
    #[error(
        "the {container}'s container of {mb} MB and {vcores} virtual cores fits on no node; the largest, {}, has {} MB and {} \
         virtual cores: lower it with {flag}",
        largest.0, largest.1, largest.2
    )]
    NoNodeFits {
        /// `jobmanager` or `taskmanager`.
        container: &'static str,
        /// Its memory, rounded as the scheduler does.
        mb: u64,
        /// Its virtual cores.
        vcores: u64,
        /// Id, memory and cores of the largest node.
        largest: (String, u64, u64),
        /// The flag that changes it.
        flag: &'static str,
    },
    /// Everything together is larger than the cluster.
    #[error("{0}")]
    Insufficient(Box<Insufficient>),
}

/// A demand that is larger than the cluster, and what would fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Insufficient {
    /// What was asked.
    pub demand: Demand,
    /// TaskExecutors that would fit into the empty cluster.
    pub possible: u64,
    /// Usable nodes.
    pub nodes: u64,
    /// Their memory, in MB.
    pub memory_mb: u64,
    /// Their virtual cores.
    pub vcores: u64,
    /// Queue and the memory in MB that it may use, when that is less than the cluster.
    pub queue_bound_mb: Option<(String, u64)>,
    /// The largest parallelism that fits with everything else as it is; 0: none.
    pub parallelism: u64,
    /// The largest memory of a TaskManager in MB with which everything fits.
    pub executor_mb: Option<u64>,
    /// The smallest number of slots of each with which everything fits.
    pub slots_per_executor: Option<u64>,
}

impl fmt::Display for Insufficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let demand = &self.demand;
        let spelling = demand.spelling;
        write!(
            f,
            "the cluster can never hold this {}: {} slots at {} for each TaskManager ask for {} TaskManagers of {} MB and {} \
             virtual cores and a JobManager of {} MB; the cluster (usable nodes: {}) has {} MB and {} virtual cores",
            spelling.what(),
            demand.slots,
            demand.slots_per_executor,
            demand.executors(),
            demand.executor_mb,
            demand.executor_vcores,
            demand.master_mb,
            self.nodes,
            self.memory_mb,
            self.vcores,
        )?;
        if let Some((queue, mb)) = &self.queue_bound_mb {
            write!(f, ", of which queue `{queue}` may use {mb} MB")?;
        }
        write!(f, ", room for {} such TaskManagers", self.possible)?;
        let mut fitting = Vec::new();
        if self.parallelism > 0 {
            fitting.push(spelling.fewer_slots(self.parallelism));
        }
        if let Some(mb) = self.executor_mb {
            fitting.push(format!("TaskManagers of {mb} MB ({} {mb})", spelling.taskmanager_memory()));
        }
        if let Some(slots) = self.slots_per_executor {
            fitting.push(format!("{slots} slots for each TaskManager ({} {slots})", spelling.slots()));
        }
        match fitting.is_empty() {
            true => Ok(()),
            false => write!(f, ". What would fit: {}", fitting.join(", or ")),
        }
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
