//! `-yq`: the cluster's nodes, memory, virtual cores and queues, as Flink prints them.

use std::fmt::Write as _;

use crate::validate::ClusterFacts;

/// The table.
pub fn table(facts: &ClusterFacts) -> String {
    let mut text = format!("NodeManagers in the cluster: {}\n", facts.nodes.len());
    let line = "-".repeat(60);
    for node in &facts.nodes {
        let _ = writeln!(text, "{line}\n{:<24}| {}", "NodeManager", node.id);
        let _ = writeln!(text, "{:<24}| {} MB, {} MB in use", "Memory", node.memory_mb, node.used_memory_mb);
        let _ = writeln!(text, "{:<24}| {}, {} in use", "Virtual cores", node.vcores, node.used_vcores);
        let labels: Vec<&str> = node.labels.iter().map(String::as_str).filter(|label| !label.is_empty()).collect();
        if !labels.is_empty() {
            let _ = writeln!(text, "{:<24}| {}", "Labels", labels.join(", "));
        }
    }
    let memory: u64 = facts.nodes.iter().map(|node| node.memory_mb).sum();
    let vcores: u64 = facts.nodes.iter().map(|node| node.vcores).sum();
    let _ = writeln!(text, "{line}\nSummary: memory {memory} MB, virtual cores {vcores}");
    for queue in &facts.queues {
        let kind = if queue.is_leaf { "" } else { ", has queues below it" };
        let most = queue.max_capacity_percent.map(|percent| format!(", at most {percent:.1} %")).unwrap_or_default();
        let _ = writeln!(text, "Queue: {}, {}{most}{kind}", queue.path, queue.state);
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{NodeFacts, QueueFacts};

    #[test]
    fn nodes_sums_and_queues_are_listed() {
        let node = |id: &str, labels| NodeFacts {
            id: id.into(),
            memory_mb: 8192,
            used_memory_mb: 1024,
            vcores: 8,
            used_vcores: 1,
            labels,
        };
        let queue = QueueFacts {
            name: "default".into(),
            path: "root.default".into(),
            is_leaf: true,
            state: "RUNNING".into(),
            max_capacity_percent: Some(50.0),
            max_memory_mb: None,
        };
        let nodes = vec![node("a:1", vec![String::new()]), node("b:1", vec!["gpu".into()])];
        let text = table(&ClusterFacts { nodes, queues: vec![queue], ..ClusterFacts::default() });
        for part in [
            "in the cluster: 2",
            "a:1",
            "8192 MB, 1024 MB in use",
            "Labels                  | gpu",
            "memory 16384 MB, virtual cores 16",
            "Queue: root.default, RUNNING, at most 50.0 %",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
