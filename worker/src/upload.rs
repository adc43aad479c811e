//! Writes a subtask's part of a checkpoint in the background, and reports it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_checkpoint::{SharedFile, StateFile};
use flumen_fs::{FileSystems, FsError, FsPath};
use flumen_model::checkpoint::{
    Barrier, CheckpointId, InFlight, KeyedState, ListState, OperatorSnapshot, SnapshotKind, SnapshotTimes, StateHandle,
    StateLocation, SubtaskSnapshot,
};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::OperatorId;
use flumen_state::{CanonicalBlocks, PendingSnapshot, SnapshotBytes, SnapshotFile, StateError};
use flumen_wire::control::FromWorker;
use tokio::io::AsyncReadExt as _;

use crate::checkpoint::{ListPart, Overtaken, Snapshot};
use crate::local_copies::LocalCopies;
use crate::operator::{TaskError, TaskResult};
use crate::restore::Restored;
use crate::sources::file_failure;
use crate::subtask::SubtaskContext;
use crate::transfer;

/// How long the subtask's own part of a snapshot took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) first_barrier: Instant,
    pub(crate) begun: Instant,
    pub(crate) sync: Duration,
    pub(crate) unaligned: bool,
}

/// Bytes of a local file that are handed to the file system at once.
const PIECE: usize = 1 << 20;

type SharedFiles = HashMap<(OperatorId, String), StateHandle>;

/// Files that earlier checkpoints of a subtask have written and later ones may refer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uploaded(Arc<Mutex<UploadedFiles>>);

#[derive(Debug, Default)]
struct UploadedFiles {
    /// By checkpoints that are not complete: whether their files will stay is not known yet.
    pending: BTreeMap<CheckpointId, SharedFiles>,
    /// Of the last complete checkpoint.
    complete: SharedFiles,
    /// What local copies there are of checkpoints that are not complete.
    copies: BTreeMap<CheckpointId, Vec<StateHandle>>,
}

impl Uploaded {
    /// What the checkpoint has that a subtask starts from: a backend that goes on with those files has them under the
    /// names of their parts.
    pub(crate) fn restored(restored: &Restored) -> Self {
        let is_shared = |handle: &&StateHandle| matches!(handle.location, StateLocation::File { shared: true, .. });
        let parts = restored.all_keyed().flat_map(|(operator, state)| {
            let shared = state.parts.iter().filter(move |(_, handle)| is_shared(handle));
            shared.map(move |(name, handle)| ((operator, name.clone()), handle.clone()))
        });
        let files = UploadedFiles { complete: parts.collect(), ..UploadedFiles::default() };
        Self(Arc::new(Mutex::new(files)))
    }

    /// A checkpoint is complete: its files stay, and those of older ones may go.
    pub(crate) fn completed(&self, checkpoint: CheckpointId, local: Option<LocalCopies>) {
        let mut files = self.lock();
        if let Some(local) = local
            && let Some(kept) = files.copies.get(&checkpoint)
        {
            let newer = files.copies.range(checkpoint..).flat_map(|(_, handles)| handles);
            local.retain(newer.chain(kept));
            files.copies.retain(|other, _| *other >= checkpoint);
        }
        if let Some(complete) = files.pending.remove(&checkpoint) {
            files.complete = complete;
        }
        files.pending.retain(|pending, _| *pending > checkpoint);
    }

    /// A checkpoint will never be complete: its files go.
    pub(crate) fn aborted(&self, checkpoint: CheckpointId) {
        let mut files = self.lock();
        files.pending.remove(&checkpoint);
        files.copies.remove(&checkpoint);
    }

    /// A checkpoint is taken that refers to no earlier file, and neither do later ones. Once it is complete, what the job started
    /// from may be removed; and a later barrier may be here before the news of that.
    fn begin_anew(&self) {
        self.lock().complete.clear();
    }

    fn keep(&self, checkpoint: CheckpointId, written: &SubtaskSnapshot) {
        let keyed = written.operators.values().flat_map(|operator| &operator.keyed);
        let handles = keyed.flat_map(|state| state.parts.values()).cloned().collect();
        self.lock().copies.insert(checkpoint, handles);
    }

    fn find(&self, operator: OperatorId, name: &str) -> Option<StateHandle> {
        self.lock().complete.get(&(operator, name.to_owned())).cloned()
    }

    fn add(&self, checkpoint: CheckpointId, files: SharedFiles) {
        self.lock().pending.insert(checkpoint, files);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, UploadedFiles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands a snapshot to a thread that writes it and reports to the JobMaster.
pub(crate) fn start(context: &SubtaskContext, snapshot: Snapshot, timing: Timing, uploaded: &Uploaded) {
    if snapshot.barrier().kind == SnapshotKind::FullCheckpoint {
        uploaded.begin_anew();
    }
    let (context, uploaded) = (context.clone(), uploaded.clone());
    let runtime = context.worker.runtime.clone();
    // A thread of its own: the bytes of a running snapshot come from the subtask at its own pace.
    runtime.clone().spawn_blocking(move || {
        let checkpoint = snapshot.barrier().checkpoint;
        let start_delay_ms = (u64::try_from(context.worker.time.now()).unwrap_or(0))
            .saturating_sub(snapshot.barrier().triggered_ms)
            .saturating_sub(timing.first_barrier.elapsed().as_millis() as u64);
        let async_begun = Instant::now();
        let (attempt, subtask) = (context.attempt, context.id);
        let report = match runtime.block_on(write(&context, snapshot, &uploaded)) {
            Ok((snapshot, written_bytes)) => FromWorker::CheckpointAck {
                attempt,
                subtask,
                checkpoint,
                times: SnapshotTimes {
                    start_delay_ms,
                    alignment_ms: (timing.begun - timing.first_barrier).as_millis() as u64,
                    sync_ms: timing.sync.as_millis() as u64,
                    async_ms: async_begun.elapsed().as_millis() as u64,
                    written_bytes,
                    unaligned: timing.unaligned || !snapshot.in_flight.is_empty(),
                },
                snapshot: Box::new(snapshot),
            },
            Err(error) => FromWorker::CheckpointDeclined { attempt, subtask, checkpoint, failure: failure(error) },
        };
        context.report(report);
    });
}

fn failure(error: TaskError) -> Failure {
    match error {
        TaskError::Canceled => Failure::new(Blame::Flumen, "the subtask ended before its snapshot was written"),
        TaskError::Failed { blame, message } => Failure::new(blame, message),
        TaskError::Restore { message } => Failure::new(Blame::Outside, message),
    }
}

/// Writes everything: returns what was written where, and the bytes written.
pub(crate) async fn write(
    context: &SubtaskContext,
    snapshot: Snapshot,
    uploaded: &Uploaded,
) -> TaskResult<(SubtaskSnapshot, u64)> {
    let (barrier, parts) = snapshot.into_parts();
    let files = &context.worker.files;
    let wrong = |error: FsError| file_failure(format!("writing checkpoint {}", barrier.checkpoint), &error);
    let directory: FsPath = barrier.directory.parse().map_err(wrong)?;
    let mut file = StateFile::new(files, &directory, context.worker.state.inline_below).map_err(wrong)?;
    let mut written = SubtaskSnapshot::default();
    let local = context.local_copies().filter(|_| !barrier.kind.is_savepoint());
    let mut upload = Upload {
        files,
        local,
        barrier: &barrier,
        directory: &directory,
        uploaded,
        transfers: context.worker.state.transfers,
        shared: HashMap::new(),
        bytes: 0,
    };
    let result = async {
        for wait in parts.before_ack {
            wait.await?;
        }
        for (operator, pending) in parts.keyed {
            let state = upload.keyed(operator, pending, &mut file).await?;
            written.operators.entry(operator).or_default().keyed.push(state);
        }
        for ((operator, name), part) in parts.lists {
            let state = list(part, &mut file).await.map_err(wrong)?;
            let snapshot: &mut OperatorSnapshot = written.operators.entry(operator).or_default();
            snapshot.lists.entry(name).or_default().push(state);
        }
        let mut overtaken = parts.overtaken;
        for later in parts.later {
            // Its subtask has ended, or was told that the checkpoint is given up.
            overtaken.append(later.await.map_err(|_| TaskError::Canceled)?);
        }
        written.in_flight = in_flight(overtaken, context.id.index, &mut file).await.map_err(wrong)?;
        Ok(())
    };
    if let Err(error) = result.await {
        file.abandon().await;
        return Err(error);
    }
    let private = file.close().await.map_err(wrong)?;
    let Upload { shared, bytes, .. } = upload;
    uploaded.add(barrier.checkpoint, shared);
    uploaded.keep(barrier.checkpoint, &written);
    Ok((written, private + bytes))
}

async fn list(part: ListPart, file: &mut StateFile) -> Result<ListState, FsError> {
    let ListPart { redistribution, schema, bytes, ends } = part;
    Ok(ListState { redistribution, schema, items: file.add(bytes.into()).await?, start: 0, ends })
}

async fn in_flight(overtaken: Overtaken, me: u32, file: &mut StateFile) -> Result<Vec<InFlight>, FsError> {
    let mut flights = Vec::new();
    for run in overtaken.runs {
        flights.push(InFlight {
            edge: run.origin.edge,
            source: run.origin.source,
            target: run.target.unwrap_or(me),
            timed: run.timed,
            records: file.add(run.bytes.into()).await?,
        });
    }
    Ok(flights)
}

/// What a local copy came to: without one, the next recovery reads the checkpoint itself.
fn noted<R>(result: std::io::Result<R>) -> Option<R> {
    result.inspect_err(|error| tracing::warn!(%error, "no local copy of a checkpoint could be kept")).ok()
}

struct Upload<'a> {
    files: &'a FileSystems,
    local: Option<LocalCopies>,
    barrier: &'a Barrier,
    directory: &'a FsPath,
    uploaded: &'a Uploaded,
    /// Files that are written at the same time.
    transfers: usize,
    shared: SharedFiles,
    bytes: u64,
}

impl Upload<'_> {
    async fn keyed(
        &mut self,
        operator: OperatorId,
        pending: PendingSnapshot,
        file: &mut StateFile,
    ) -> TaskResult<KeyedState> {
        let wrong = |error: FsError| file_failure(format!("writing checkpoint {}", self.barrier.checkpoint), &error);
        let format = pending.format();
        let mut parts = BTreeMap::new();
        match pending.source {
            SnapshotBytes::Canonical(blocks) => {
                let mut copy = self.local.as_ref().and_then(|copies| noted(copies.create()));
                let mut section = file.section();
                for piece in pieces(blocks) {
                    let piece = piece?;
                    copy = copy.and_then(|mut copy| {
                        noted(piece.iter().try_for_each(|block| copy.write(block))).map(|()| copy)
                    });
                    section.write_all(piece).await.map_err(wrong)?;
                }
                let handle = section.finish().await.map_err(wrong)?;
                if let Some(copy) = copy.filter(|_| !matches!(handle.location, StateLocation::Inline(_))) {
                    noted(copy.finish(&handle));
                }
                parts.insert("state".to_owned(), handle);
            }
            SnapshotBytes::Files(mut source) => {
                let mut new = Vec::new();
                for local in source.files()? {
                    match self.known(operator, local) {
                        Some(handle) => drop(parts.insert(local.name.clone(), handle)),
                        None => new.push(local.clone()),
                    }
                }
                parts.extend(self.files(operator, new).await?);
            }
        }
        Ok(KeyedState { format, groups: pending.groups, parts })
    }

    /// Where an earlier checkpoint has a file of a backend that this one may refer to.
    fn known(&mut self, operator: OperatorId, local: &SnapshotFile) -> Option<StateHandle> {
        let name = local.shared_as.as_ref().filter(|_| self.barrier.kind.may_share())?;
        let handle = self.uploaded.find(operator, name)?;
        self.shared.insert((operator, name.clone()), handle.clone());
        Some(handle)
    }

    /// Writes files of a backend, some at a time: names of the parts, and where they are.
    async fn files(
        &mut self,
        operator: OperatorId,
        files: Vec<SnapshotFile>,
    ) -> TaskResult<Vec<(String, StateHandle)>> {
        let what = format!("writing checkpoint {}", self.barrier.checkpoint);
        let shared_directory: FsPath =
            self.barrier.shared_directory.parse().map_err(|error| file_failure(&what, &error))?;
        let shares = |local: &SnapshotFile| local.shared_as.is_some() && !self.barrier.kind.is_savepoint();
        let written = transfer::each(files, self.transfers, |local| {
            let shared = shares(&local);
            let directory = if shared { shared_directory.clone() } else { self.directory.clone() };
            write_file(self.files.clone(), directory, local, shared, what.clone())
        });
        let mut parts = Vec::new();
        for (local, handle) in written.await? {
            self.bytes += handle.length;
            if let Some(copies) = &self.local {
                noted(copies.link(&local.path, &handle));
            }
            if let Some(name) = local.shared_as.as_ref().filter(|_| shares(&local)) {
                self.shared.insert((operator, name.clone()), handle.clone());
            }
            parts.push((local.name, handle));
        }
        Ok(parts)
    }
}

/// Copies a local file into a checkpoint's directory. `what` is for errors.
async fn write_file(
    files: FileSystems,
    directory: FsPath,
    local: SnapshotFile,
    shared: bool,
    what: String,
) -> TaskResult<(SnapshotFile, StateHandle)> {
    let wrong = |error: FsError| file_failure(&what, &error);
    let unreadable = |error: std::io::Error| {
        TaskError::caused_by(Blame::Outside, format!("reading `{}`", local.path.display()), &error)
    };
    let mut from = tokio::fs::File::open(&local.path).await.map_err(unreadable)?;
    let mut to = SharedFile::create(&files, &directory).await.map_err(wrong)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if (&mut from).take(PIECE as u64).read_to_end(&mut piece).await.map_err(unreadable)? == 0 {
            break;
        }
        to.write(Bytes::from(piece)).await.map_err(wrong)?;
    }
    let handle = to.close(shared).await.map_err(wrong)?;
    Ok((local, handle))
}

/// Puts blocks together: each write to a file system is a way to another thread and back.
fn pieces(blocks: CanonicalBlocks) -> impl Iterator<Item = Result<Vec<Bytes>, StateError>> {
    let spare = blocks.spare().clone();
    let mut blocks = blocks.fuse();
    std::iter::from_fn(move || {
        let (mut piece, mut length) = (Vec::new(), 0);
        while length < PIECE {
            match blocks.next() {
                Some(Ok(block)) => {
                    length += block.len();
                    piece.push(Bytes::from_owner(spare.lend(block)));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!piece.is_empty()).then_some(Ok(piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subtask::WorkerContext;
    use flumen_fs::FsOptions;
    use flumen_model::checkpoint::Alignment;
    use flumen_model::ids::{ExecutionAttempt, SubtaskId, VertexId};

    fn barrier(checkpoint: u64, kind: SnapshotKind) -> Barrier {
        Barrier {
            checkpoint: CheckpointId(checkpoint),
            kind,
            alignment: Alignment::Aligned,
            triggered_ms: 0,
            directory: "file:///nowhere".into(),
            shared_directory: "file:///nowhere".into(),
        }
    }

    #[test]
    fn nothing_refers_to_what_the_job_started_from_once_a_full_checkpoint_was_taken() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let worker = WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), runtime.handle().clone());
        let (reports, mut reported) = tokio::sync::mpsc::channel(2);
        let id = SubtaskId { vertex: VertexId(1), index: 0 };
        let context = SubtaskContext::new(id, ExecutionAttempt(0), 1, reports, worker);
        let operator = OperatorId(1);
        let handle = StateHandle { location: StateLocation::Inline(vec![]), length: 0, checksum: 0 };
        let complete = [((operator, "rows".to_owned()), handle)].into();
        let uploaded = Uploaded(Arc::new(Mutex::new(UploadedFiles { complete, ..UploadedFiles::default() })));
        let now = Instant::now();
        let timing = Timing { first_barrier: now, begun: now, sync: Duration::ZERO, unaligned: false };
        start(&context, Snapshot::new(barrier(1, SnapshotKind::Checkpoint)), timing, &uploaded);
        assert!(uploaded.find(operator, "rows").is_some());
        start(&context, Snapshot::new(barrier(2, SnapshotKind::FullCheckpoint)), timing, &uploaded);
        assert!(uploaded.find(operator, "rows").is_none());
        for _ in 0..2 {
            assert!(matches!(reported.blocking_recv(), Some(FromWorker::CheckpointAck { .. })));
        }
    }
}
