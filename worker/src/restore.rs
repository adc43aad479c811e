//! What a subtask starts with after a restore.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flumen_checkpoint::{CheckpointError, open_handle, open_state_file, read_handle};
use flumen_fs::{FileReader, FileSystems};
use flumen_model::checkpoint::{
    CheckpointId, InFlight, KeyedState, ListState, Redistribution, StateHandle, StateLocation, SubtaskRestore,
};
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use flumen_state::{PartCopy, SnapshotReader, StateError, StateErrorKind};
use tokio::task::JoinHandle;

use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskContext;
use crate::transfer;

/// The pieces of a checkpoint that concern one subtask. Lists and records in flight are read; keyed state is read by its
/// backend.
#[derive(Debug, Default)]
pub struct Restored {
    checkpoint: Option<CheckpointId>,
    lists: HashMap<(OperatorId, String), Vec<Bytes>>,
    /// How the lists with a schema were written, and how many of their items so.
    kinds: HashMap<(OperatorId, String), Vec<(Written, usize)>>,
    keyed: HashMap<OperatorId, Vec<KeyedState>>,
    in_flight: Mutex<Vec<(InFlight, Bytes)>>,
}

/// How items were written: what becomes of them on restore, and their schema.
pub(crate) type Written = (Redistribution, String);

impl Restored {
    /// Reads what a subtask starts with.
    ///
    /// # Errors
    /// [`TaskError::Restore`]: a file is missing, torn or altered; it is named. Others of the file system.
    pub fn load(restore: SubtaskRestore, context: &SubtaskContext) -> TaskResult<Self> {
        let files = context.worker.files.clone();
        let checkpoint = restore.checkpoint;
        let load = async {
            let mut restored = Self { checkpoint: Some(checkpoint), ..Self::default() };
            for (operator, snapshot) in restore.state.operators {
                restored.keyed.insert(operator, snapshot.keyed);
                for (name, lists) in snapshot.lists {
                    let (mut items, mut kinds) = (Vec::new(), Vec::new());
                    for list in lists {
                        let before = items.len();
                        read_list(&files, &list, &mut items).await?;
                        if !list.schema.is_empty() {
                            add_written(&mut kinds, (list.redistribution, list.schema), items.len() - before);
                        }
                    }
                    if !kinds.is_empty() {
                        restored.kinds.insert((operator, name.clone()), kinds);
                    }
                    restored.lists.insert((operator, name), items);
                }
            }
            let mut in_flight = Vec::new();
            for flight in restore.state.in_flight {
                let records = read_handle(&files, &flight.records).await?;
                in_flight.push((flight, records));
            }
            restored.in_flight = Mutex::new(in_flight);
            Ok::<_, CheckpointError>(restored)
        };
        context.block_on(load)?.map_err(|error| {
            let message = format!("restoring checkpoint {checkpoint}: {error}");
            // A file system that does not answer is no reason to take an older checkpoint.
            match error.is_about_the_checkpoint() {
                true => TaskError::Restore { message },
                false => TaskError::failed(Blame::Outside, message),
            }
        })
    }

    /// The checkpoint that it starts from; `None` when it starts empty.
    pub fn checkpoint(&self) -> Option<CheckpointId> {
        self.checkpoint
    }

    /// The items of a list state; `None` when the subtask does not start from a checkpoint.
    pub fn list(&self, operator: OperatorId, name: &str) -> Option<Vec<Bytes>> {
        self.checkpoint?;
        Some(self.lists.get(&(operator, name.to_owned())).cloned().unwrap_or_default())
    }

    /// The lists of an operator that have schemas: name, how they were written, items. A list of which subtasks have written
    /// their parts in different ways comes once for each of these.
    pub(crate) fn with_schemas(&self, operator: OperatorId) -> impl Iterator<Item = (&str, &Written, &[Bytes])> {
        let own = self.kinds.iter().filter(move |((of, _), _)| *of == operator);
        own.flat_map(|(id, kinds)| {
            let mut left = self.lists.get(id).map_or(&[][..], Vec::as_slice);
            kinds.iter().map(move |(written, count)| {
                let (items, rest) = left.split_at((*count).min(left.len()));
                left = rest;
                (id.1.as_str(), written, items)
            })
        })
    }

    /// The keyed state of an operator.
    pub fn keyed(&self, operator: OperatorId) -> &[KeyedState] {
        self.keyed.get(&operator).map_or(&[], Vec::as_slice)
    }

    /// The keyed state of all operators.
    pub(crate) fn all_keyed(&self) -> impl Iterator<Item = (OperatorId, &KeyedState)> {
        self.keyed.iter().flat_map(|(operator, states)| states.iter().map(|state| (*operator, state)))
    }

    pub(crate) fn take_in_flight(&self, edge: u32) -> Vec<(InFlight, Bytes)> {
        let mut all = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let (wanted, rest) = std::mem::take(&mut *all).into_iter().partition(|(flight, _)| flight.edge == edge);
        *all = rest;
        wanted
    }
}

/// Notes how the next `count` items were written.
fn add_written(kinds: &mut Vec<(Written, usize)>, written: Written, count: usize) {
    match kinds.last_mut().filter(|(last, _)| *last == written) {
        Some((_, items)) => *items += count,
        None => kinds.push((written, count)),
    }
}

/// Appends the items of a list, which may be a part of what its handle leads to.
async fn read_list(files: &FileSystems, list: &ListState, items: &mut Vec<Bytes>) -> Result<(), CheckpointError> {
    if list.ends.is_empty() {
        return Ok(());
    }
    let bytes = read_handle(files, &list.items).await?;
    let mut start = list.start as usize;
    for end in &list.ends {
        let end = *end as usize;
        if start > end || end > bytes.len() {
            let path = "the list state's own description".to_owned();
            return Err(CheckpointError::StateAltered { path, offset: start as u64, end: end as u64 });
        }
        items.push(bytes.slice(start..end));
        start = end;
    }
    Ok(())
}

/// Whether a part of keyed state that could not be read is the checkpoint's own fault: it is not there, ends before it should,
/// or is not what was written. A file system that does not answer, and a local disk that is full or broken, say nothing about
/// the checkpoint: an older one must not be taken for that.
pub(crate) fn condemns(error: &io::Error) -> bool {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<CheckpointError>()) {
        Some(error) => error.is_about_the_checkpoint(),
        None => error.kind() == io::ErrorKind::UnexpectedEof,
    }
}

/// Reads the parts of keyed state where a backend asks for them.
pub(crate) struct HandleParts {
    context: SubtaskContext,
    parts: BTreeMap<String, StateHandle>,
    /// The part that was read last, and a piece of it.
    open: Option<OpenPart>,
}

/// Where a part is read.
enum PartFile {
    Checkpoint(Box<dyn FileReader>),
    LocalCopy(Arc<File>),
}

/// A piece that is being read, in a task of its own, and where it begins in its part.
struct Reading {
    start: u64,
    piece: JoinHandle<(PartFile, io::Result<Bytes>)>,
}

struct OpenPart {
    name: String,
    /// Where the part begins in the file.
    offset: u64,
    /// Where it goes on, when nothing is being read.
    file: Option<PartFile>,
    /// What will be wanted next.
    ahead: Option<Reading>,
    start: u64,
    piece: Bytes,
}

impl PartFile {
    /// Reads a piece, which may be shorter at the end of the file.
    async fn read(mut self, at: u64) -> (Self, io::Result<Bytes>) {
        let piece = match &mut self {
            Self::Checkpoint(file) => {
                file.read_at(at, PIECE).await.map_err(|error| io::Error::other(CheckpointError::from(error)))
            }
            Self::LocalCopy(file) => {
                let file = Arc::clone(file);
                transfer::blocking(move || read_piece(&file, at)).await
            }
        };
        (self, piece)
    }
}

/// Bytes read at once: backends read a part from its start to its end, in small steps.
const PIECE: usize = 1 << 20;

impl HandleParts {
    pub(crate) fn new(state: &KeyedState, context: &SubtaskContext) -> Self {
        Self { context: context.clone(), parts: state.parts.clone(), open: None }
    }

    /// Copies bytes of a part from a position in it.
    fn read(&mut self, part: &str, handle: &StateHandle, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.name != part) {
            self.open = Some(self.open(part, handle)?);
        }
        let Some(mut open) = self.open.take() else { return Err(io::ErrorKind::NotFound.into()) };
        let mut copied = 0;
        while copied < buffer.len() {
            let at = position + copied as u64;
            let known =
                at.checked_sub(open.start).and_then(|at| open.piece.get(at as usize..)).filter(|k| !k.is_empty());
            let Some(known) = known else {
                self.next_piece(&mut open, at, handle.length)?;
                if open.piece.is_empty() {
                    let file = match &handle.location {
                        StateLocation::File { path, .. } => path,
                        StateLocation::Inline(_) => "the metadata",
                    };
                    let text = format!("part `{part}` in `{file}` ends at byte {at} of {}", handle.length);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                continue;
            };
            let count = known.len().min(buffer.len() - copied);
            buffer[copied..copied + count].copy_from_slice(&known[..count]);
            copied += count;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Reads the piece at a position. The next one is read meanwhile, when this one came next as well.
    fn next_piece(&self, open: &mut OpenPart, at: u64, length: u64) -> io::Result<()> {
        let in_order = at == open.start + open.piece.len() as u64;
        let (mut file, mut ready) = (open.file.take(), None);
        if let Some(Reading { start, piece }) = open.ahead.take() {
            let (read_from, piece) = self.joined(piece)?;
            file = Some(read_from);
            ready = (start == at).then_some(piece);
        }
        if ready.is_none() {
            let file_there = file.take().ok_or(io::ErrorKind::NotFound)?;
            let reading = self.begin(file_there, open.offset + at);
            let (read_from, piece) = self.joined(reading)?;
            (file, ready) = (Some(read_from), Some(piece));
        }
        (open.start, open.piece) = (at, ready.transpose()?.unwrap_or_default());
        let next = at + open.piece.len() as u64;
        if in_order && next < length && !open.piece.is_empty() {
            let file = file.take().ok_or(io::ErrorKind::NotFound)?;
            open.ahead = Some(Reading { start: next, piece: self.begin(file, open.offset + next) });
        }
        open.file = file;
        Ok(())
    }

    fn begin(&self, file: PartFile, at: u64) -> JoinHandle<(PartFile, io::Result<Bytes>)> {
        self.context.worker.runtime.spawn(file.read(at))
    }

    fn joined<R>(&self, task: JoinHandle<R>) -> io::Result<R> {
        let interrupted = |_| io::Error::from(io::ErrorKind::Interrupted);
        self.context.block_on(task).map_err(interrupted)?.map_err(io::Error::other)
    }

    /// Opens the local copy of a part if there is one, else the checkpoint's file.
    fn open(&self, part: &str, handle: &StateHandle) -> io::Result<OpenPart> {
        let StateLocation::File { path, offset, .. } = &handle.location else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let copy = self.context.local_copies().and_then(|copies| copies.find(handle));
        let (file, offset) = match copy.map(File::open) {
            Some(Ok(copy)) => (PartFile::LocalCopy(Arc::new(copy)), 0),
            Some(Err(_)) | None => {
                let end = offset.saturating_add(handle.length);
                (PartFile::Checkpoint(self.wait(open_state_file(&self.context.worker.files, path, end))?), *offset)
            }
        };
        let local = matches!(file, PartFile::LocalCopy(_));
        tracing::debug!(subtask = %self.context.id, part, local, bytes = handle.length, "restoring");
        Ok(OpenPart { name: part.to_owned(), offset, file: Some(file), ahead: None, start: 0, piece: Bytes::new() })
    }

    /// What a file system said stays in the error, for [`condemns`].
    fn wait<R>(&self, work: impl Future<Output = Result<R, CheckpointError>>) -> io::Result<R> {
        let interrupted = |_| io::Error::from(io::ErrorKind::Interrupted);
        self.context.block_on(work).map_err(interrupted)?.map_err(io::Error::other)
    }
}

impl SnapshotReader for HandleParts {
    /// Several at a time. Those that there is a local copy of are links to it, or copies where the file will change; all others
    /// come from the checkpoint, and their checksums are compared.
    fn copy(&mut self, parts: &[PartCopy]) -> Result<(), StateError> {
        let mut wanted = Vec::new();
        for copy in parts {
            let missing = || StateErrorKind::Read { part: copy.part.clone(), source: no_such_part() };
            wanted.push((copy.clone(), self.parts.get(&copy.part).cloned().ok_or_else(missing)?));
        }
        let context = self.context.clone();
        let copied =
            self.context.block_on(transfer::each(wanted, context.worker.state.transfers, move |(copy, handle)| {
                copy_part(context.clone(), copy, handle)
            }));
        let Ok(copied) = copied else {
            let source = io::ErrorKind::Interrupted.into();
            return Err(StateErrorKind::Read { part: "all".to_owned(), source }.into());
        };
        copied.map(drop)
    }

    fn read_exact_at(&mut self, part: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let handle = self.parts.get(part).cloned().ok_or_else(no_such_part)?;
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > handle.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let StateLocation::Inline(bytes) = &handle.location {
            let found = bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        self.read(part, &handle, offset, buffer)
    }
}

/// The checkpoint's own description lacks it.
fn no_such_part() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the checkpoint has no such part")
}

/// Makes a local file of a part.
async fn copy_part(context: SubtaskContext, copy: PartCopy, handle: StateHandle) -> Result<(), StateError> {
    let PartCopy { part, path, immutable, directory, .. } = copy;
    let failed = |source| StateError::from(StateErrorKind::Read { part: part.clone(), source });
    let local = context.local_copies().filter(|_| !matches!(handle.location, StateLocation::Inline(_)));
    if let Some(found) = local.and_then(|copies| copies.find(&handle)) {
        let to = path.clone();
        let taken = writing(&directory, move || take_local(&found, &to, immutable)).await;
        if taken.is_ok() {
            tracing::debug!(subtask = %context.id, part, local = true, bytes = handle.length, "restoring");
            return Ok(());
        }
    }
    tracing::debug!(subtask = %context.id, part, local = false, bytes = handle.length, "restoring");
    let damaged = |error: CheckpointError| failed(io::Error::other(error));
    let mut from = open_handle(&context.worker.files, &handle).await.map_err(damaged)?;
    let what = format!("restoring the local file {}", path.display());
    let unwritten = |error| StateError::of_local_file(what.as_str(), error);
    let mut file = writing(&directory, move || File::create_new(path)).await.map_err(unwritten)?;
    while let Some(piece) = from.next().await.map_err(damaged)? {
        file = writing(&directory, move || file.write_all(&piece).map(|()| file)).await.map_err(unwritten)?;
    }
    Ok(())
}

/// Does something in a directory, which stays until that is done: it goes on when nobody waits for it any more.
async fn writing<R: Send + 'static>(
    directory: &Arc<dyn Any + Send + Sync>,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    let directory = Arc::clone(directory);
    transfer::blocking(move || {
        let done = work();
        drop(directory);
        done
    })
    .await
}

/// Makes a file of a local copy. Whoever gets a link must not change the file.
fn take_local(copy: &Path, to: &Path, immutable: bool) -> io::Result<()> {
    if immutable && std::fs::hard_link(copy, to).is_ok() {
        return Ok(());
    }
    let copied = std::fs::copy(copy, to).map(drop);
    if copied.is_err() {
        // The checkpoint's own file takes its place.
        let _ = std::fs::remove_file(to);
    }
    copied
}

fn read_piece(file: &File, at: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE];
    let count = file.read_at(&mut piece, at)?;
    piece.truncate(count);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use flumen_fs::FsOptions;
    use flumen_model::checkpoint::{KeyGroupRange, KeyedFormat};
    use flumen_model::ids::{ExecutionAttempt, SubtaskId, VertexId};
    use tokio::sync::mpsc;

    use super::*;
    use crate::subtask::WorkerContext;

    fn context(runtime: &tokio::runtime::Runtime) -> SubtaskContext {
        let worker = WorkerContext::new(FileSystems::new(FsOptions::default()).unwrap(), runtime.handle().clone());
        let id = SubtaskId { vertex: VertexId(1), index: 0 };
        SubtaskContext::new(id, ExecutionAttempt(0), 1, mpsc::channel(1).0, worker)
    }

    #[test]
    fn the_directory_of_a_copy_that_is_given_up_stays_until_nothing_is_written_there_any_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let _in_runtime = runtime.enter();
        let (free, busy) = std::sync::mpsc::sync_channel::<()>(0);
        runtime.spawn_blocking(move || busy.recv());
        // The checksum of nothing.
        let checksum = 0x2d06_8005_38d3_94c2;
        let handle = StateHandle { length: 0, checksum, location: StateLocation::Inline(Vec::new()) };
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_owned();
        let (part, path) = ("000007.sst".to_owned(), place.join("000007.sst"));
        let copy = PartCopy { part, length: 0, path, immutable: true, directory: Arc::new(directory) };
        let mut copied = Box::pin(copy_part(context(&runtime), copy, handle));
        let mut waiting = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(copied.as_mut().poll(&mut waiting).is_pending(), "there is no thread for it");
        drop(copied);
        assert!(place.try_exists().unwrap());
        drop(free);
        // One thread does it all in turn.
        runtime.block_on(runtime.spawn_blocking(|| ())).unwrap();
        assert!(!place.try_exists().unwrap());
    }

    #[test]
    fn a_part_is_read_as_it_was_written_in_order_and_elsewhere_and_not_beyond_its_end() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (before, length) = (1000, 5 * PIECE + 12_345);
        let bytes: Vec<u8> =
            (0..(before + length + 500) as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let path = directory.path().join("state");
        std::fs::write(&path, &bytes).unwrap();
        let location =
            StateLocation::File { path: format!("file://{}", path.display()), offset: before as u64, shared: false };
        let handle = StateHandle { location, length: length as u64, checksum: 0 };
        let groups = KeyGroupRange { start: 0, end: 1 };
        let parts = [("state".to_owned(), handle)].into();
        let state = KeyedState { format: KeyedFormat::Canonical, groups, parts };
        let mut reader = HandleParts::new(&state, &context(&runtime));
        let mut check = |from: usize, count: usize| {
            let mut buffer = vec![0; count];
            let read = reader.read_exact_at("state", from as u64, &mut buffer);
            if from + count > length {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                return;
            }
            read.unwrap();
            assert!(buffer == bytes[before + from..][..count], "{count} bytes from {from}");
        };
        // As backends do: the beginning, the end, then everything in order.
        check(0, 24);
        check(length - 32, 32);
        (0..length).step_by(70_000).for_each(|from| check(from, 70_000.min(length - from)));
        check(3 * PIECE, 2 * PIECE);
        check(PIECE - 1, 2);
        check(length - 1, 1);
        check(length - 1, 2);
        check(0, length);
    }
}
