//! The directories that a sink writes to, and the part in progress of each.

use std::sync::Arc;

use flumen_fs::{FileSystem, FsPath};
use flumen_model::failure::Blame;
use hashbrown::HashMap;
use uuid::Uuid;

use super::OutputFileConfig;
use super::commit::PendingPart;
use super::part::PartWriter;
use super::pending::ClosedPart;
use super::rolling::PartFileInfo;
use super::shared::Shared;
use crate::batch::EventTime;
use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskContext;

/// Bytes of a part that are handed to the file system at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes that wait in the buckets of a sink until they make a chunk. Beyond it the largest go before they are full.
const BUFFERED_MAX: usize = 8 << 20;
/// Bytes handed over and not written at which records wait.
const IN_FLIGHT_MAX: usize = 4 << 20;
/// The same for a barrier, which should not wait: only when several came while nothing was written.
const IN_FLIGHT_MAX_AT_BARRIER: usize = 4 * IN_FLIGHT_MAX;
/// With more buckets than this, a buffer is not kept at the size of a chunk when it is empty.
const BUCKETS_WITH_ROOM: usize = 4;

/// One directory.
pub(super) struct Bucket {
    id: String,
    directory: FsPath,
    uid: Uuid,
    /// Parts begun so far.
    parts: u64,
    /// Whether it got a record since the last barrier.
    used: bool,
    open: Option<OpenPart>,
}

struct OpenPart {
    writer: PartWriter,
    in_progress: FsPath,
    target: FsPath,
    buffer: Vec<u8>,
    size: u64,
    created: EventTime,
    updated: EventTime,
}

/// See the module.
pub(super) struct Buckets {
    context: SubtaskContext,
    fs: Arc<dyn FileSystem>,
    base: FsPath,
    names: OutputFileConfig,
    shared: Arc<Shared>,
    list: Vec<Bucket>,
    by_id: HashMap<String, usize, foldhash::fast::RandomState>,
    /// The bucket of the last record.
    last: usize,
    /// Bytes in all buffers.
    buffered: usize,
}

impl Buckets {
    pub(super) fn new(
        context: &SubtaskContext,
        fs: &Arc<dyn FileSystem>,
        base: FsPath,
        names: OutputFileConfig,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            context: context.clone(),
            fs: Arc::clone(fs),
            base,
            names,
            shared: Arc::clone(shared),
            list: Vec::new(),
            by_id: HashMap::default(),
            last: 0,
            buffered: 0,
        }
    }

    /// Index of a bucket, which is made if it is new.
    #[inline]
    pub(super) fn find(&mut self, id: &str) -> TaskResult<usize> {
        // The C library compares texts without a byte slowly when their pointers lead nowhere, as Rust's may: 150 ns.
        if self.list.get(self.last).is_some_and(|bucket| id.is_empty() && bucket.id.is_empty() || bucket.id == id) {
            return Ok(self.last);
        }
        self.last = match self.by_id.get(id) {
            Some(index) => *index,
            None => self.make(id)?,
        };
        Ok(self.last)
    }

    fn make(&mut self, id: &str) -> TaskResult<usize> {
        // A name from a record must not lead out of the sink's directory.
        if id.contains('\0') || id.split('/').any(|name| matches!(name, "." | "..")) {
            let message = format!("`{id}` is no bucket of `{}`: names like `.` and `..` are not allowed", self.base);
            return Err(TaskError::failed(Blame::User, message));
        }
        self.list.push(Bucket {
            id: id.to_owned(),
            directory: self.base.join(id),
            uid: Uuid::new_v4(),
            parts: 0,
            used: false,
            open: None,
        });
        let index = self.list.len() - 1;
        self.by_id.insert(id.to_owned(), index);
        Ok(index)
    }

    /// What a rolling policy is told; `None` when no part is open.
    #[inline]
    pub(super) fn info(&self, bucket: usize) -> Option<PartFileInfo<'_>> {
        let bucket = &self.list[bucket];
        bucket.open.as_ref().map(|part| PartFileInfo {
            bucket_id: &bucket.id,
            creation_time: part.created,
            last_update_time: part.updated,
            size: part.size,
        })
    }

    /// Appends a record to the bucket's part, which is begun if there is none.
    #[inline]
    pub(super) fn append(
        &mut self,
        index: usize,
        now: EventTime,
        encode: impl FnOnce(&mut Vec<u8>) -> TaskResult,
    ) -> TaskResult {
        let bucket = &mut self.list[index];
        let part = match &mut bucket.open {
            Some(part) => part,
            None => {
                bucket.used = true;
                let name = format!("{}-{}-{}{}", self.names.prefix, bucket.uid, bucket.parts, self.names.suffix);
                bucket.parts += 1;
                let in_progress = bucket.directory.join(format!(".{name}.inprogress.{}", Uuid::new_v4()));
                let writer = PartWriter::start(&self.context, &self.fs, in_progress.clone(), &self.shared);
                let target = bucket.directory.join(name);
                let buffer = Vec::new();
                bucket.open.insert(OpenPart {
                    writer,
                    in_progress,
                    target,
                    buffer,
                    size: 0,
                    created: now,
                    updated: now,
                })
            }
        };
        let before = part.buffer.len();
        encode(&mut part.buffer)?;
        let bytes = part.buffer.len() - before;
        part.size += bytes as u64;
        part.updated = now;
        self.buffered += bytes;
        if part.buffer.len() >= CHUNK_BYTES {
            self.hand_over(index, IN_FLIGHT_MAX)?;
        }
        if self.buffered >= BUFFERED_MAX { self.relieve() } else { Ok(()) }
    }

    /// Hands the bucket's buffer over.
    fn hand_over(&mut self, index: usize, below: usize) -> TaskResult {
        let room = if self.list.len() <= BUCKETS_WITH_ROOM { CHUNK_BYTES + CHUNK_BYTES / 8 } else { 0 };
        if let Some(part) = &mut self.list[index].open
            && !part.buffer.is_empty()
        {
            self.buffered -= part.buffer.len();
            let chunk = std::mem::replace(&mut part.buffer, Vec::with_capacity(room));
            part.writer.write(&self.shared, chunk, below)?;
        }
        Ok(())
    }

    /// Many buckets hold a little each: hands over what is more than their average, at least half of all.
    fn relieve(&mut self) -> TaskResult {
        let open = self.list.iter().filter(|bucket| bucket.open.is_some()).count();
        let average = self.buffered / open.max(1);
        for index in 0..self.list.len() {
            if self.list[index].open.as_ref().is_some_and(|part| part.buffer.len() >= average) {
                self.hand_over(index, IN_FLIGHT_MAX)?;
            }
        }
        Ok(())
    }

    /// Closes the bucket's part, if one is open.
    pub(super) fn roll(&mut self, index: usize) -> TaskResult<Option<ClosedPart>> {
        self.close(index, IN_FLIGHT_MAX)
    }

    fn close(&mut self, index: usize, below: usize) -> TaskResult<Option<ClosedPart>> {
        let Some(mut part) = self.list[index].open.take() else { return Ok(None) };
        if !part.buffer.is_empty() {
            self.buffered -= part.buffer.len();
            part.writer.write(&self.shared, std::mem::take(&mut part.buffer), below)?;
        }
        let complete = part.writer.close(&self.shared)?;
        let part = PendingPart { in_progress: part.in_progress, target: part.target, length: part.size };
        Ok(Some(ClosedPart { part, complete }))
    }

    /// Closes all parts, and forgets buckets that got no record since the last barrier.
    pub(super) fn barrier(&mut self, mut closed: impl FnMut(ClosedPart)) -> TaskResult {
        for index in 0..self.list.len() {
            if let Some(part) = self.close(index, IN_FLIGHT_MAX_AT_BARRIER)? {
                closed(part);
            }
        }
        self.list.retain_mut(|bucket| std::mem::take(&mut bucket.used));
        self.by_id.clear();
        self.by_id.extend(self.list.iter().enumerate().map(|(index, bucket)| (bucket.id.clone(), index)));
        self.last = 0;
        Ok(())
    }

    /// Buckets with a part in progress.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> + use<> {
        let open: Vec<usize> = (0..self.list.len()).filter(|index| self.list[*index].open.is_some()).collect();
        open.into_iter()
    }
}
