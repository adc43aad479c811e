//! Would the cluster run this job? Decided before anything is uploaded, from facts that [`crate::cluster`] fetched. Pure.

mod message;
mod shortage;
#[cfg(test)]
mod tests;

pub use message::{Insufficient, Refusal};
pub use shortage::shortage;

use crate::spelling::Spelling;

/// What the cluster is, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterFacts {
    /// Largest container that the scheduler grants, in MB; `None` when the cluster did not say.
    pub max_memory_mb: Option<u64>,
    /// Most virtual cores that the scheduler grants to a container.
    pub max_vcores: Option<u64>,
    /// Requests are rounded up to multiples of this, in MB; 1 when it is not known.
    pub min_memory_mb: u64,
    /// Whether the scheduler counts virtual cores at all. Stock Hadoop schedules by memory alone.
    pub schedules_vcores: bool,
    /// All queues that the cluster shows; empty when it shows none.
    pub queues: Vec<QueueFacts>,
    /// Usable nodes.
    pub nodes: Vec<NodeFacts>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueFacts {
    /// Its last name: `default`.
    pub name: String,
    /// Its full name: `root.default`.
    pub path: String,
    /// Whether applications can be submitted to it.
    pub is_leaf: bool,
    /// Its state; only `RUNNING` takes applications.
    pub state: String,
    /// The largest share of the cluster that it may use, in percent; `None` when it has no such bound.
    pub max_capacity_percent: Option<f64>,
    /// The most memory that it may use, in MB; `None` when it has no such bound.
    pub max_memory_mb: Option<u64>,
}

/// One usable node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// `host:port`.
    pub id: String,
    /// Memory for containers, in MB.
    pub memory_mb: u64,
    /// Of which is in use now.
    pub used_memory_mb: u64,
    /// Virtual cores for containers.
    pub vcores: u64,
    /// Of which are in use now.
    pub used_vcores: u64,
    /// Its node labels; empty: the default partition.
    pub labels: Vec<String>,
}

/// What a job asks for, or a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// How the command that asks spells its options.
    pub spelling: Spelling,
    /// The queue that was named.
    pub queue: Option<String>,
    /// Node label of the ApplicationMaster's container.
    pub label: Option<String>,
    /// Node label of the TaskExecutors' containers.
    pub executor_label: Option<String>,
    /// Memory of the ApplicationMaster's container, in MB.
    pub master_mb: u64,
    /// Its virtual cores.
    pub master_vcores: u64,
    /// Memory of one TaskExecutor's container, in MB.
    pub executor_mb: u64,
    /// Its virtual cores.
    pub executor_vcores: u64,
    /// Slots that the job needs: its largest parallelism.
    pub slots: u64,
    /// Slots of each TaskExecutor.
    pub slots_per_executor: u64,
}

impl Demand {
    /// Containers for TaskExecutors.
    pub fn executors(&self) -> u64 {
        self.slots.div_ceil(self.slots_per_executor.max(1))
    }
}

/// Checks a demand against the cluster. Returns notes for the user: the job can run, but not at once.
///
/// # Errors
/// The first reason why the cluster could never run it.
pub fn check(demand: &Demand, cluster: &ClusterFacts) -> Result<Vec<String>, Refusal> {
    let queue = queue(demand.queue.as_deref(), &cluster.queues)?;
    container_limits(demand, cluster)?;
    let master_nodes = labelled(cluster, demand.label.as_deref())?;
    let executor_nodes = labelled(cluster, demand.executor_label.as_deref())?;
    one_node_fits(
        "jobmanager",
        demand.master_mb,
        demand.master_vcores,
        demand.spelling.jobmanager_memory(),
        cluster,
        &master_nodes,
    )?;
    one_node_fits(
        "taskmanager",
        demand.executor_mb,
        demand.executor_vcores,
        demand.spelling.taskmanager_memory(),
        cluster,
        &executor_nodes,
    )?;
    let same_nodes = demand.label == demand.executor_label;
    let room = Room { cluster, nodes: &executor_nodes, same_nodes, queue };
    let possible = room.executors(demand, demand.executor_mb, demand.executor_vcores, |_| (0, 0));
    if possible < demand.executors() {
        return Err(Refusal::Insufficient(Box::new(room.insufficient(demand, possible))));
    }
    let now = room.executors(demand, demand.executor_mb, demand.executor_vcores, |n| (n.used_memory_mb, n.used_vcores));
    if now < demand.executors() {
        return Ok(vec![format!(
            "the cluster has room for {now} of the {} TaskManagers now: the job waits until other applications release the rest",
            demand.executors()
        )]);
    }
    Ok(Vec::new())
}

/// The named queue, found by its name or full name; `None` when none was named.
fn queue<'a>(wanted: Option<&str>, queues: &'a [QueueFacts]) -> Result<Option<&'a QueueFacts>, Refusal> {
    let named = |name: &str| queues.iter().find(|q| q.path == name || q.name == name);
    let Some(wanted) = wanted else { return Ok(named("root.default")) };
    if queues.is_empty() {
        return Ok(None);
    }
    let usable = queues.iter().filter(|q| q.is_leaf && q.state == "RUNNING").map(|q| q.path.clone()).collect();
    let refused = |problem: String| Refusal::Queue { queue: wanted.to_owned(), problem, usable };
    match named(wanted) {
        None => Err(refused("does not exist".to_owned())),
        Some(queue) if !queue.is_leaf => {
            Err(refused("has queues below it and takes no applications itself".to_owned()))
        }
        Some(queue) if queue.state != "RUNNING" => Err(refused(format!("is {}", queue.state))),
        Some(queue) => Ok(Some(queue)),
    }
}

fn container_limits(demand: &Demand, cluster: &ClusterFacts) -> Result<(), Refusal> {
    let spelling = demand.spelling;
    let vcores = format!("{} or -D yarn.containers.vcores=", spelling.slots());
    let asks = [
        ("jobmanager", "MB of memory", demand.master_mb, cluster.max_memory_mb, spelling.jobmanager_memory()),
        ("jobmanager", "virtual cores", demand.master_vcores, cluster.max_vcores, "-D yarn.appmaster.vcores="),
        ("taskmanager", "MB of memory", demand.executor_mb, cluster.max_memory_mb, spelling.taskmanager_memory()),
        ("taskmanager", "virtual cores", demand.executor_vcores, cluster.max_vcores, &vcores),
    ];
    for (container, what, asked, limit, flag) in asks {
        if let Some(limit) = limit.filter(|&limit| asked > limit) {
            return Err(Refusal::Limit { container, what, asked, limit, flag: flag.to_owned() });
        }
    }
    Ok(())
}

fn labelled<'a>(cluster: &'a ClusterFacts, label: Option<&str>) -> Result<Vec<&'a NodeFacts>, Refusal> {
    if cluster.nodes.is_empty() {
        return Err(Refusal::NoNodes);
    }
    let wears = |node: &&NodeFacts| match label {
        Some(label) => node.labels.iter().any(|l| l == label),
        None => node.labels.iter().all(String::is_empty),
    };
    let nodes: Vec<_> = cluster.nodes.iter().filter(wears).collect();
    match label {
        Some(label) if nodes.is_empty() => {
            let mut known: Vec<_> =
                cluster.nodes.iter().flat_map(|n| n.labels.clone()).filter(|l| !l.is_empty()).collect();
            known.sort();
            known.dedup();
            Err(Refusal::Label { label: label.to_owned(), known })
        }
        // Without a label the queue's own default label decides, which may lead to labelled nodes.
        None if nodes.is_empty() => Ok(cluster.nodes.iter().collect()),
        _ => Ok(nodes),
    }
}

fn one_node_fits(
    container: &'static str,
    mb: u64,
    vcores: u64,
    flag: &'static str,
    cluster: &ClusterFacts,
    nodes: &[&NodeFacts],
) -> Result<(), Refusal> {
    let mb = rounded(mb, cluster);
    let fits = |n: &&NodeFacts| n.memory_mb >= mb && (!cluster.schedules_vcores || n.vcores >= vcores);
    if nodes.iter().any(fits) {
        return Ok(());
    }
    let largest = nodes.iter().max_by_key(|n| n.memory_mb);
    Err(Refusal::NoNodeFits {
        container,
        mb,
        vcores,
        largest: largest.map(|n| (n.id.clone(), n.memory_mb, n.vcores)).unwrap_or_default(),
        flag,
    })
}

fn rounded(mb: u64, cluster: &ClusterFacts) -> u64 {
    mb.max(1).next_multiple_of(cluster.min_memory_mb.max(1))
}

/// The room that an application of this queue can ever have.
struct Room<'a> {
    cluster: &'a ClusterFacts,
    /// For TaskExecutors.
    nodes: &'a [&'a NodeFacts],
    /// Whether the ApplicationMaster takes its room from them.
    same_nodes: bool,
    queue: Option<&'a QueueFacts>,
}

impl Room<'_> {
    /// TaskExecutors of the given size that fit beside the ApplicationMaster, when of each node `taken` is in use.
    fn executors(&self, demand: &Demand, mb: u64, vcores: u64, taken: impl Fn(&NodeFacts) -> (u64, u64)) -> u64 {
        let mb = rounded(mb, self.cluster);
        let master = rounded(demand.master_mb, self.cluster);
        let free = |node: &NodeFacts| {
            let (used_mb, used_vcores) = taken(node);
            (node.memory_mb.saturating_sub(used_mb), node.vcores.saturating_sub(used_vcores))
        };
        let count = |memory: u64, cores: u64| match self.cluster.schedules_vcores {
            true => (memory / mb).min(cores / vcores.max(1)),
            false => memory / mb,
        };
        let all: u64 = self.nodes.iter().map(|n| free(n)).map(|(memory, cores)| count(memory, cores)).sum();
        // The ApplicationMaster stands where it costs the fewest TaskExecutors.
        let cost = |node: &&NodeFacts| {
            let (memory, cores) = free(node);
            let memory_left = memory.checked_sub(master)?;
            let cores_left = match self.cluster.schedules_vcores {
                true => cores.checked_sub(demand.master_vcores)?,
                false => cores,
            };
            Some(count(memory, cores) - count(memory_left, cores_left))
        };
        let on_nodes = match self.same_nodes {
            true => self.nodes.iter().filter_map(cost).min().map_or(0, |cost| all - cost),
            false => all,
        };
        on_nodes.min(self.queue_bound().map_or(u64::MAX, |bound| bound.saturating_sub(master) / mb))
    }

    /// Memory that the queue may ever use, in MB.
    fn queue_bound(&self) -> Option<u64> {
        let cluster = self.cluster.nodes.iter().map(|n| n.memory_mb).sum::<u64>();
        let queue = self.queue?;
        let share = queue.max_capacity_percent.map(|percent| (cluster as f64 * percent / 100.0) as u64);
        share.into_iter().chain(queue.max_memory_mb).min().filter(|&mb| mb < cluster)
    }

    /// Says what is missing and what would fit instead.
    fn insufficient(&self, demand: &Demand, possible: u64) -> Insufficient {
        let fits = |mb: u64| self.executors(demand, mb, demand.executor_vcores, |_| (0, 0)) >= demand.executors();
        // The largest smaller container with which the same number fits; fits() only changes once on the way down.
        let (mut low, mut high) = (0, demand.executor_mb);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        let slots_per_executor = (possible > 0).then(|| demand.slots.div_ceil(possible));
        let most = self.cluster.max_vcores.unwrap_or(u64::MAX);
        let mut labels = self.nodes.first().map(|n| n.labels.clone()).unwrap_or_default();
        labels.retain(|label| !label.is_empty());
        Insufficient {
            demand: demand.clone(),
            possible,
            nodes: self.nodes.len() as u64,
            memory_mb: self.nodes.iter().map(|n| n.memory_mb).sum(),
            vcores: self.nodes.iter().map(|n| n.vcores).sum(),
            queue_bound_mb: self.queue_bound().zip(self.queue).map(|(mb, queue)| (queue.path.clone(), mb)),
            parallelism: possible * demand.slots_per_executor,
            executor_mb: (low >= SMALLEST_EXECUTOR_MB).then_some(low),
            slots_per_executor: slots_per_executor.filter(|&slots| slots <= most),
        }
    }
}

/// A TaskExecutor below this is not worth suggesting.
const SMALLEST_EXECUTOR_MB: u64 = 128;
