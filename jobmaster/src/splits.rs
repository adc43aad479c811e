//! The input that source subtasks ask for piece by piece.
//!
//! What was handed out since a checkpoint was triggered is not part of it: it returns to the queue when its readers are
//! restored from that checkpoint. What was handed out before is in the readers' own state, since a worker gives splits and
//! triggers to a subtask in the order in which they were sent.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use flumen_model::checkpoint::{CheckpointId, SourceProgress};
use flumen_model::ids::{SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;

use crate::details::SplitProgress;

/// The splits of all sources, and who was given which.
#[derive(Debug)]
pub(crate) struct Splits {
    sources: HashMap<VertexId, Source>,
    /// Subtasks that are reading a split: asking for the next one, or finishing, completes it.
    reading: HashSet<SubtaskId>,
    /// How many splits of any source were ever handed out: the time of this module.
    clock: u64,
    /// When each checkpoint was triggered.
    triggered: BTreeMap<CheckpointId, u64>,
}

/// Subtasks can't go back to a checkpoint of a former JobManager without the others that share their splits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "checkpoint {checkpoint} is of a former JobManager, of whom it is not known which subtasks were given which splits after \
     it, so that they can only go back to it together: cancel the job, and start it from that checkpoint (-s)"
)]
pub(crate) struct ReadersUnknown {
    pub(crate) checkpoint: CheckpointId,
}

#[derive(Debug, Default)]
struct Source {
    /// The checkpoint of a former life at which the queue began.
    began_at: Option<CheckpointId>,
    total: u64,
    queue: VecDeque<Arc<str>>,
    /// Splits that may return to the queue, in the order in which they were handed out.
    handed_out: Vec<HandedOut>,
}

#[derive(Debug)]
struct HandedOut {
    at: u64,
    to: SubtaskId,
    split: Arc<str>,
}

impl Splits {
    /// Takes the splits out of a graph: the JobMaster keeps them, workers get the graph without.
    pub(crate) fn take_from(graph: &mut JobGraph) -> Self {
        let mut sources = HashMap::new();
        for vertex in &mut graph.vertices {
            let Some(source) = &mut vertex.source else { continue };
            let queue: VecDeque<Arc<str>> = source.splits.drain(..).map(Arc::from).collect();
            sources.insert(vertex.id, Source { total: queue.len() as u64, queue, ..Source::default() });
        }
        Self { sources, reading: HashSet::new(), clock: 0, triggered: BTreeMap::new() }
    }

    /// Begins where a checkpoint of a former life of the job was: its splits, not those of the graph.
    pub(crate) fn begin_at(&mut self, checkpoint: CheckpointId, vertex: VertexId, progress: &SourceProgress) {
        if let Some(source) = self.sources.get_mut(&vertex) {
            source.began_at = Some(checkpoint);
            source.handed_out.clear();
            source.queue = progress.remaining.iter().map(|split| Arc::from(split.as_str())).collect();
            source.total = progress.handed_out + progress.remaining.len() as u64;
        }
    }

    /// Some subtasks go on that were given these since the queue was as it is: takes them out of it. False, and nothing
    /// changes, when one is not in it.
    pub(crate) fn adopt(&mut self, given: &[(SubtaskId, Vec<String>)]) -> bool {
        let mut wanted: HashMap<VertexId, HashMap<&str, usize>> = HashMap::new();
        for (subtask, splits) in given {
            for split in splits {
                *wanted.entry(subtask.vertex).or_default().entry(split).or_default() += 1;
            }
        }
        let mut queues = HashMap::new();
        for (vertex, mut wanted) in wanted {
            let Some(source) = self.sources.get(&vertex) else { return false };
            let mut queue = source.queue.clone();
            queue.retain(|split| match wanted.get_mut(&**split) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                Some(_) | None => true,
            });
            if wanted.values().any(|missing| *missing > 0) {
                return false;
            }
            queues.insert(vertex, queue);
        }
        for (vertex, queue) in queues {
            if let Some(source) = self.sources.get_mut(&vertex) {
                source.queue = queue;
            }
        }
        for (subtask, splits) in given {
            let Some(source) = self.sources.get_mut(&subtask.vertex) else { continue };
            for split in splits {
                source.handed_out.push(HandedOut { at: self.clock, to: *subtask, split: Arc::from(split.as_str()) });
                self.clock += 1;
            }
        }
        true
    }

    /// Sources whose queues begin after a checkpoint of a former life, which is older than the one that they began at: some
    /// subtasks have to go back to it because the newer one turned out to be damaged.
    pub(crate) fn begun_after(&self, checkpoint: CheckpointId) -> impl Iterator<Item = VertexId> {
        let known = self.triggered.contains_key(&checkpoint);
        let after = move |source: &Source| !known && source.began_at.is_some_and(|began_at| began_at != checkpoint);
        self.sources.iter().filter(move |(_, source)| after(source)).map(|(vertex, _)| *vertex)
    }

    /// The subtask is in the middle of a split.
    pub(crate) fn reads(&mut self, subtask: SubtaskId) {
        self.reading.insert(subtask);
    }

    /// The next split for a subtask; `None` when its vertex has no more (or never had any).
    pub(crate) fn next(&mut self, subtask: SubtaskId) -> Option<String> {
        self.complete(subtask);
        let source = self.sources.get_mut(&subtask.vertex)?;
        let split = source.queue.pop_front()?;
        source.handed_out.push(HandedOut { at: self.clock, to: subtask, split: Arc::clone(&split) });
        self.clock += 1;
        self.reading.insert(subtask);
        Some(split.to_string())
    }

    /// The subtask has read its split to the end.
    pub(crate) fn complete(&mut self, subtask: SubtaskId) {
        self.reading.remove(&subtask);
    }

    /// Notes that a checkpoint is triggered now, and gives what belongs into it.
    pub(crate) fn trigger(&mut self, checkpoint: CheckpointId) -> BTreeMap<VertexId, SourceProgress> {
        self.triggered.insert(checkpoint, self.clock);
        let with_splits = self.sources.iter().filter(|(_, source)| source.total > 0);
        with_splits
            .map(|(vertex, source)| {
                let remaining: Vec<String> = source.queue.iter().map(ToString::to_string).collect();
                (*vertex, SourceProgress { handed_out: source.total - remaining.len() as u64, remaining })
            })
            .collect()
    }

    /// Some subtasks begin anew, from a checkpoint or, without one, from the beginning: what they were given since
    /// returns to the queue.
    pub(crate) fn restore(&mut self, checkpoint: Option<CheckpointId>, subtasks: &[SubtaskId]) {
        let since = checkpoint.and_then(|id| self.triggered.get(&id).copied()).unwrap_or(0);
        let subtasks: HashSet<SubtaskId> = subtasks.iter().copied().collect();
        self.reading.retain(|subtask| !subtasks.contains(subtask));
        for source in self.sources.values_mut() {
            let returns = |handed: &HandedOut| handed.at >= since && subtasks.contains(&handed.to);
            let (returned, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut source.handed_out).into_iter().partition(returns);
            source.handed_out = kept;
            returned.into_iter().rev().for_each(|handed| source.queue.push_front(handed.split));
            // Whoever had been given something before reads on in it, as far as can be known here.
            let reads_on = source.handed_out.iter().map(|handed| handed.to).filter(|to| subtasks.contains(to));
            self.reading.extend(reads_on);
        }
    }

    /// Forgets what no restore can need any more: `restorable` are the checkpoints that subtasks may be restored from,
    /// `pending` those that may become such. Without any restorable one they begin at the beginning.
    pub(crate) fn keep(&mut self, restorable: &[CheckpointId], pending: &[CheckpointId]) {
        self.triggered.retain(|id, _| restorable.contains(id) || pending.contains(id));
        let since = |id: &CheckpointId| self.triggered.get(id).copied().unwrap_or(0);
        let oldest = restorable.iter().map(since).min().unwrap_or(0);
        for source in self.sources.values_mut() {
            source.handed_out.retain(|handed| handed.at >= oldest);
        }
    }

    /// How far a vertex is; `None` when it has no splits.
    pub(crate) fn progress(&self, vertex: VertexId) -> Option<SplitProgress> {
        let source = self.sources.get(&vertex).filter(|source| source.total > 0)?;
        let reading = self.reading.iter().filter(|subtask| subtask.vertex == vertex).count() as u64;
        let done = source.total.saturating_sub(source.queue.len() as u64 + reading);
        Some(SplitProgress { done, total: source.total })
    }

    /// Share of all splits that were read, from 0 to 1; `None` when there are none.
    pub(crate) fn share(&self) -> Option<f64> {
        let each = self.sources.keys().filter_map(|vertex| self.progress(*vertex));
        let (done, total) = each.fold((0, 0), |(done, total), of| (done + of.done, total + of.total));
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
            splits.restore(None, &[subtask(1, 0), subtask(1, 1)]);
        }
    }

    #[test]
    fn after_a_restore_only_what_the_restored_were_given_since_the_trigger_is_handed_out_again() {
        let mut splits = Splits::take_from(&mut graph(&["a", "b", "c", "d", "e", "f"]));
        let (one, other) = (subtask(1, 0), subtask(1, 1));
        splits.next(one);
        let progress = splits.trigger(CheckpointId(7)).remove(&VertexId(1)).unwrap();
        assert_eq!((progress.handed_out, progress.remaining.join("")), (1, "bcdef".to_owned()));
        splits.next(one);
        splits.next(other);
        splits.next(one);
        splits.restore(Some(CheckpointId(7)), &[one]);
        let rest: Vec<_> = std::iter::from_fn(|| splits.next(one)).collect();
        assert_eq!(rest, ["b", "d", "e", "f"], "c is with the other, a in the checkpoint");
        splits.restore(Some(CheckpointId(7)), &[one, other]);
        let rest: Vec<_> = std::iter::from_fn(|| splits.next(one)).collect();
        assert_eq!(rest.len(), 5, "all of them now: {rest:?}");
    }

    #[test]
    fn an_older_checkpoint_gives_back_more_and_a_forgotten_one_frees_memory() {
        let mut splits = Splits::take_from(&mut graph(&["a", "b", "c"]));
        for checkpoint in 1..=2 {
            splits.trigger(CheckpointId(checkpoint));
            splits.next(subtask(1, 0));
        }
        splits.restore(Some(CheckpointId(1)), &[subtask(1, 0)]);
        assert_eq!(splits.next(subtask(1, 0)).as_deref(), Some("a"));
        splits.next(subtask(1, 0));
        splits.trigger(CheckpointId(3));
        splits.next(subtask(1, 0));
        splits.keep(&[], &[CheckpointId(3)]);
        assert_eq!(splits.sources[&VertexId(1)].handed_out.len(), 3, "3 may never be complete");
        splits.keep(&[CheckpointId(3)], &[]);
        assert_eq!(splits.sources[&VertexId(1)].handed_out.len(), 1);
        splits.restore(Some(CheckpointId(3)), &[subtask(1, 0)]);
        assert_eq!(splits.next(subtask(1, 0)).as_deref(), Some("c"));
    }

    #[test]
    fn a_job_goes_on_with_the_splits_of_its_former_life() {
        let mut splits = Splits::take_from(&mut graph(&["a", "b", "c"]));
        splits.begin_at(CheckpointId(3), VertexId(1), &SourceProgress { remaining: vec!["x".into()], handed_out: 4 });
        assert_eq!(splits.next(subtask(1, 0)).as_deref(), Some("x"));
        assert_eq!(splits.next(subtask(1, 0)), None);
        assert_eq!(splits.progress(VertexId(1)), Some(SplitProgress { done: 5, total: 5 }));
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
