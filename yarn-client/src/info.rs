//! `flink info`: the plan as JSON, in the shape that Flink's visualizer takes.

use flumen_model::job_graph::JobGraph;
use serde_json::{Value, json};

/// The plan of a graph: one node for each vertex, with the exchanges into it.
pub fn plan_json(graph: &JobGraph) -> Value {
    let nodes: Vec<Value> = graph
        .vertices
        .iter()
        .map(|vertex| {
            let sink = graph.outputs_of(vertex.id).next().is_none();
            let pact = match (&vertex.source, sink) {
                (Some(_), _) => "Data Source",
                (None, true) => "Data Sink",
                (None, false) => "Operator",
            };
            let mut node = json!({
                "id": vertex.id,
                "type": vertex.name,
                "pact": pact,
                "contents": vertex.name,
                "parallelism": vertex.parallelism,
            });
            let predecessors: Vec<Value> = graph
                .inputs(vertex.id)
                .map(|edge| {
                    let ship_strategy = edge.partitioner.ship_strategy();
                    json!({ "id": edge.source, "ship_strategy": ship_strategy, "side": "second" })
                })
                .collect();
            if !predecessors.is_empty() {
                node["predecessors"] = Value::Array(predecessors);
            }
            node
        })
        .collect();
    json!({ "nodes": nodes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::ids::VertexId;
    use flumen_model::job_graph::{JobEdge, JobVertex, Partitioner, RuntimeMode, SourceInfo};

    #[test]
    fn a_plan_has_flinks_shape() {
        let vertex = |id, name: &str, source| JobVertex {
            id: VertexId(id),
            name: name.into(),
            operators: vec![],
            parallelism: 2,
            max_parallelism: 128,
            source,
        };
        let source = Some(SourceInfo { bounded: true, splits: vec![] });
        let graph = JobGraph {
            name: "job".into(),
            mode: RuntimeMode::Batch,
            vertices: vec![vertex(1, "Source -> Flat Map", source), vertex(2, "Sum -> Sink", None)],
            edges: vec![JobEdge {
                source: VertexId(1),
                target: VertexId(2),
                partitioner: Partitioner::Hash,
                output: 0,
            }],
            outputs: vec![],
            properties: Default::default(),
        };
        let expected = json!({"nodes": [
            {"id": VertexId(1), "type": "Source -> Flat Map", "pact": "Data Source", "contents": "Source -> Flat Map",
             "parallelism": 2},
            {"id": VertexId(2), "type": "Sum -> Sink", "pact": "Data Sink", "contents": "Sum -> Sink", "parallelism": 2,
             "predecessors": [{"id": VertexId(1), "ship_strategy": "HASH", "side": "second"}]},
        ]});
        assert_eq!(plan_json(&graph), expected);
    }
}
