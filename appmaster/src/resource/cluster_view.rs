//! How large the cluster is, from the web services of YARN's ResourceManager: what the line of an ApplicationMaster does not
//! tell.

use flumen_hadoop::conf::Configuration;
use flumen_hadoop::rest::{Node, Queue, ResourceManagerClient, RmError, RmOptions};
use flumen_hadoop::yarn::Resource;
use flumen_model::text::with_causes;

use super::fit::Cluster;

/// Tells whether the scheduler counts cores. It is set in the ResourceManager's own files, so that one is asked.
const CALCULATOR: &str = "yarn.scheduler.capacity.resource-calculator";

/// What is looked at.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Where the ResourceManagers are.
    pub hadoop: Configuration,
    /// Who asks.
    pub user: String,
    /// The application's queue: its path, or the last part of it.
    pub queue: String,
    /// The label of the nodes that are asked for.
    pub node_label: Option<String>,
}

impl ClusterView {
    /// Looks; `None` when YARN does not tell, because it is away or demands Kerberos.
    pub async fn inspect(self) -> Option<Cluster> {
        match self.look().await {
            Ok(cluster) => Some(cluster),
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "YARN does not tell how large the cluster is");
                None
            }
        }
    }

    async fn look(&self) -> Result<Cluster, RmError> {
        let client = ResourceManagerClient::new(RmOptions::from_configuration(&self.hadoop, Some(self.user.clone()))?)?;
        let nodes = client.nodes().await?;
        let queues = client.queues().await?;
        let calculator = client.configuration_value(CALCULATOR).await.ok().flatten();
        let calculator = calculator.or_else(|| self.hadoop.get_raw(CALCULATOR).map(str::to_owned));
        let counts_cores = calculator.is_some_and(|name| name.ends_with("DominantResourceCalculator"));
        Ok(cluster(&nodes, &queues, &self.queue, self.node_label.as_deref(), counts_cores))
    }
}

/// The part of the cluster that the application could use if it were empty. Where in doubt it is taken for larger.
fn cluster(nodes: &[Node], root: &Queue, queue: &str, node_label: Option<&str>, counts_cores: bool) -> Cluster {
    let usable = |node: &&Node| {
        node.is_running() && node_label.is_none_or(|label| node.labels.iter().any(|other| other == label))
    };
    let nodes: Vec<Resource> = nodes.iter().filter(usable).map(Node::total).collect();
    // The shares of a queue in labelled nodes are not told.
    let share = if node_label.is_none() { share_of(root, queue) } else { None };
    let queue_limit = share.filter(|share| *share < 1.0).map(|share| {
        let memory: u64 = nodes.iter().map(|node| node.memory_mb).sum();
        let vcores: u32 = nodes.iter().map(|node| node.vcores).sum();
        Resource::new((memory as f64 * share).ceil() as u64, (f64::from(vcores) * share).ceil() as u32)
    });
    Cluster { nodes, queue_limit, counts_cores }
}

/// The largest share of the cluster that a queue may have: its share of its parent, and so on up to the root.
fn share_of(queue: &Queue, wanted: &str) -> Option<f64> {
    let own = queue.max_capacity_percent.unwrap_or(100.0) / 100.0;
    if queue.path == wanted || queue.is_leaf() && queue.name == wanted {
        return Some(own);
    }
    queue.children.iter().find_map(|child| share_of(child, wanted)).map(|below| own * below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(state: &str, labels: &[&str], used: u64, available: u64) -> Node {
        Node {
            id: "n:1".into(),
            host: "n".into(),
            http_address: String::new(),
            rack: "/r".into(),
            state: state.into(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            containers: 0,
            used: Resource::new(used, 1),
            available: Resource::new(available, 3),
            health_report: String::new(),
        }
    }

    fn queue(path: &str, max: f64, children: Vec<Queue>) -> Queue {
        let name = path.rsplit('.').next().unwrap().to_owned();
        Queue { name, path: path.into(), max_capacity_percent: Some(max), children, ..Queue::default() }
    }

    fn queues() -> Queue {
        let prod = queue("root.prod", 50.0, vec![queue("root.prod.etl", 50.0, vec![])]);
        queue("root", 100.0, vec![queue("root.default", 100.0, vec![]), prod])
    }

    #[test]
    fn nodes_count_whole_and_only_while_they_run() {
        let nodes = [node("RUNNING", &[], 3000, 5000), node("LOST", &[], 0, 8000), node("RUNNING", &["gpu"], 0, 4000)];
        let seen = cluster(&nodes, &queues(), "root.default", None, true);
        assert_eq!(seen.nodes, [Resource::new(8000, 4), Resource::new(4000, 4)]);
        assert_eq!((seen.queue_limit, seen.counts_cores), (None, true));
        let labelled = cluster(&nodes, &queues(), "root.prod.etl", Some("gpu"), true);
        assert_eq!((labelled.nodes, labelled.queue_limit), (vec![Resource::new(4000, 4)], None));
    }

    #[test]
    fn a_queues_share_is_that_of_all_queues_above() {
        let nodes = [node("RUNNING", &[], 0, 8000)];
        for name in ["root.prod.etl", "etl"] {
            let seen = cluster(&nodes, &queues(), name, None, false);
            assert_eq!(seen.queue_limit, Some(Resource::new(2000, 1)), "{name}");
        }
        assert_eq!(cluster(&nodes, &queues(), "root.unknown", None, false).queue_limit, None);
    }
}
