//! The input that source subtasks ask for piece by piece.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use flumen_model::ids::{SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;

use crate::details::SplitProgress;

/// The splits of all sources, and which of them the current attempt has handed out.
#[derive(Debug)]
pub(crate) struct Splits {
    sources: HashMap<VertexId, Source>,
    /// Subtasks that are reading a split: asking for the next one, or finishing, completes it.
    reading: HashSet<SubtaskId>,
}

#[derive(Debug)]
struct Source {
    all: Vec<Arc<str>>,
    queue: VecDeque<Arc<str>>,
    done: u64,
}

impl Splits {
    /// Takes the splits out of a graph: the JobMaster keeps them, workers get the graph without.
    pub(crate) fn take_from(graph: &mut JobGraph) -> Self {
        let mut sources = HashMap::new();
        for vertex in &mut graph.vertices {
            let Some(source) = &mut vertex.source else { continue };
            let all: Vec<Arc<str>> = source.splits.drain(..).map(Arc::from).collect();
            sources.insert(vertex.id, Source { queue: all.iter().cloned().collect(), all, done: 0 });
        }
        Self { sources, reading: HashSet::new() }
    }

    /// Puts every split back, for the next attempt.
    pub(crate) fn reset(&mut self) {
        self.reading.clear();
        for source in self.sources.values_mut() {
            source.queue = source.all.iter().cloned().collect();
            source.done = 0;
        }
    }

    /// The next split for a subtask; `None` when its vertex has no more (or never had any).
    pub(crate) fn next(&mut self, subtask: SubtaskId) -> Option<String> {
        self.complete(subtask);
        let split = self.sources.get_mut(&subtask.vertex)?.queue.pop_front()?;
        self.reading.insert(subtask);
        Some(split.to_string())
    }

    /// The subtask has read its split to the end.
    pub(crate) fn complete(&mut self, subtask: SubtaskId) {
        if self.reading.remove(&subtask)
            && let Some(source) = self.sources.get_mut(&subtask.vertex)
        {
            source.done += 1;
        }
    }

    /// How far a vertex is; `None` when it has no splits.
    pub(crate) fn progress(&self, vertex: VertexId) -> Option<SplitProgress> {
        let source = self.sources.get(&vertex).filter(|source| !source.all.is_empty())?;
        Some(SplitProgress { done: source.done, total: source.all.len() as u64 })
    }

    /// Share of all splits that were read, from 0 to 1; `None` when there are none.
    pub(crate) fn share(&self) -> Option<f64> {
        let total: usize = self.sources.values().map(|source| source.all.len()).sum();
        let done: u64 = self.sources.values().map(|source| source.done).sum();
        (total > 0).then(|| done as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::job_graph::{JobVertex, RuntimeMode, SourceInfo};

    fn graph(splits: &[&str]) -> JobGraph {
        let vertex = |id, source| JobVertex {
            id: VertexId(id),
            name: "v".into(),
            operators: vec![],
            parallelism: 2,
            max_parallelism: 128,
            source,
        };
        let splits = splits.iter().map(|s| (*s).to_owned()).collect();
        JobGraph {
            name: "j".into(),
            mode: RuntimeMode::Batch,
            vertices: vec![vertex(1, Some(SourceInfo { bounded: true, splits })), vertex(2, None)],
            edges: vec![],
            outputs: vec![],
            properties: Default::default(),
        }
    }

    fn subtask(vertex: u128, index: u32) -> SubtaskId {
        SubtaskId { vertex: VertexId(vertex), index }
    }

    #[test]
    fn splits_are_handed_out_once_in_order_and_again_after_a_reset() {
        let mut graph = graph(&["a", "b", "c"]);
        let mut splits = Splits::take_from(&mut graph);
        assert!(graph.vertices[0].source.as_ref().unwrap().splits.is_empty());
        for _ in 0..2 {
            assert_eq!(splits.next(subtask(1, 0)).as_deref(), Some("a"));
            assert_eq!(splits.next(subtask(1, 1)).as_deref(), Some("b"));
            assert_eq!(splits.next(subtask(1, 0)).as_deref(), Some("c"));
            assert_eq!(splits.next(subtask(1, 1)), None);
            assert_eq!(splits.next(subtask(1, 1)), None);
            splits.reset();
        }
    }

    #[test]
    fn a_split_is_done_when_its_reader_asks_again_or_ends() {
        let mut splits = Splits::take_from(&mut graph(&["a", "b"]));
        let done = |splits: &Splits| splits.progress(VertexId(1)).unwrap().done;
        splits.next(subtask(1, 0));
        assert_eq!((done(&splits), splits.share()), (0, Some(0.0)));
        splits.next(subtask(1, 0));
        assert_eq!((done(&splits), splits.share()), (1, Some(0.5)));
        splits.complete(subtask(1, 0));
        splits.complete(subtask(1, 0));
        assert_eq!((done(&splits), splits.share()), (2, Some(1.0)));
    }

    #[test]
    fn a_vertex_without_splits_has_none_to_give_and_no_progress() {
        let mut splits = Splits::take_from(&mut graph(&[]));
        for vertex in [1, 2, 9] {
            assert_eq!(splits.next(subtask(vertex, 0)), None);
            assert_eq!(splits.progress(VertexId(vertex)), None);
        }
        assert_eq!(splits.share(), None);
    }
}
