//! Checkpoints in files, and who gets what of them.

use std::path::Path;

use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, KeyGroupRange, ListState, OperatorSnapshot, Redistribution, SnapshotKind,
    SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::SubtaskId;
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::operator::TaskResult;
use flumen_worker::subtask::SubtaskContext;
use tokio::sync::oneshot;

use crate::world::{MAX_PARALLELISM, OPERATOR, VERTEX, runtime};

/// An empty snapshot, to be written below a directory.
pub(crate) fn begin(checkpoint: CheckpointId, directory: &Path) -> Snapshot {
    let place = |name: &str| format!("file://{}", directory.join(name).to_str().unwrap());
    std::fs::create_dir_all(directory.join("shared")).unwrap();
    std::fs::create_dir_all(directory.join(format!("chk-{checkpoint}"))).unwrap();
    Snapshot::new(Barrier {
        checkpoint,
        kind: SnapshotKind::Checkpoint,
        alignment: Alignment::Aligned,
        triggered_ms: 0,
        directory: place(&format!("chk-{checkpoint}")),
        shared_directory: place("shared"),
    })
}

/// A snapshot that is being written in the background.
pub(crate) struct Writing(oneshot::Receiver<TaskResult<SubtaskSnapshot>>);

impl Writing {
    pub(crate) fn start(snapshot: Snapshot, context: &SubtaskContext) -> Self {
        let (sender, receiver) = oneshot::channel();
        let context = context.clone();
        runtime().spawn_blocking(move || {
            let written = runtime().block_on(snapshot.write(&context));
            let _ = sender.send(written);
            context.handle.wake();
        });
        Self(receiver)
    }

    /// What was written, once it is.
    pub(crate) fn written(&mut self) -> TaskResult<Option<SubtaskSnapshot>> {
        match self.0.try_recv() {
            Ok(written) => written.map(Some),
            Err(oneshot::error::TryRecvError::Empty) => Ok(None),
            Err(oneshot::error::TryRecvError::Closed) => panic!("writing the snapshot panicked"),
        }
    }
}

/// What each of so many new subtasks begins with, in their order.
pub(crate) fn assign(checkpoint: CheckpointId, former: &[SubtaskSnapshot], parallelism: u32) -> Vec<SubtaskRestore> {
    let mut items = 0;
    let mut restores: Vec<OperatorSnapshot> = (0..parallelism).map(|_| OperatorSnapshot::default()).collect();
    for (number, operator) in former.iter().enumerate().filter_map(|(n, s)| Some((n, s.operators.get(&OPERATOR)?))) {
        for (index, restore) in restores.iter_mut().enumerate() {
            let groups = KeyGroupRange::of_subtask(index as u32, parallelism, MAX_PARALLELISM);
            restore.keyed.extend(operator.keyed.iter().filter(|keyed| keyed.groups.overlaps(groups)).cloned());
        }
        for (name, list) in operator.lists.iter().flat_map(|(name, lists)| lists.iter().map(move |list| (name, list))) {
            let mut give = |index: usize, list: ListState| {
                restores[index].lists.entry(name.clone()).or_default().push(list);
            };
            match list.redistribution {
                Redistribution::Split => {
                    for item in single_items(list) {
                        give(items % parallelism as usize, item);
                        items += 1;
                    }
                }
                Redistribution::Union => (0..parallelism as usize).for_each(|index| give(index, list.clone())),
                Redistribution::Broadcast => (0..parallelism as usize)
                    .filter(|index| index % former.len() == number)
                    .for_each(|index| give(index, list.clone())),
            }
        }
    }
    let restore = |(index, operator)| SubtaskRestore {
        subtask: SubtaskId { vertex: VERTEX, index: index as u32 },
        checkpoint,
        state: SubtaskSnapshot { operators: [(OPERATOR, operator)].into(), in_flight: Vec::new() },
    };
    restores.into_iter().enumerate().map(restore).collect()
}

/// A list as lists of one item each.
fn single_items(list: &ListState) -> impl Iterator<Item = ListState> + '_ {
    let starts = std::iter::once(list.start).chain(list.ends.iter().copied());
    starts.zip(&list.ends).map(|(start, end)| ListState { start, ends: vec![*end], ..list.clone() })
}
