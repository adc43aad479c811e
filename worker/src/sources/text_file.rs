//! Text files by lines, in parallel by byte range.
//!
//! A split `start..end` owns the lines that *begin* in it: a reader with `start > 0` skips to the first line that begins
//! at or after `start`, and reads its last line to its end, past `end`. So each line has one owner, however the ranges cut it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use flumen_fs::{FileReader, FileSystems, FsError, FsPath};
use flumen_model::checkpoint::Redistribution;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use tokio::sync::mpsc;

use crate::batch::{Batch, NO_TIME};
use crate::operator::{TaskError, TaskResult};
use crate::sources::socket::line_text;
use crate::sources::{Position, Source, SourceStatus, file_failure};
use crate::subtask::SubtaskContext;

/// Bytes of one read: two of them are on the way while a third is worked on.
const CHUNK_BYTES: u64 = 1 << 20;
/// First read past the end of the split, where most often a few bytes are wanted.
const TAIL_BYTES: u64 = 64 << 10;
const CHUNKS_AHEAD: usize = 2;
/// Text of one batch: what a batch of short lines has.
const BATCH_BYTES: usize = 64 << 10;
/// A longer line is taken for a file that is no text.
const LINE_BYTES_MAX: usize = 256 << 20;

/// A byte range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSplit {
    /// The file, as a full path.
    pub path: String,
    /// First byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl TextSplit {
    /// The split as it travels in the JobGraph.
    pub fn encode(&self) -> String {
        format!("{} {} {}", self.start, self.end, self.path)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (start, end) = (number()?, number()?);
        Some(Self { start, end, path: parts.next()?.to_owned() })
    }

    fn decode_or_fail(text: &str) -> TaskResult<Self> {
        Self::decode(text)
            .ok_or_else(|| TaskError::failed(Blame::Flumen, format!("a split that is none was handed out: `{text}`")))
    }
}

/// Cuts a file of `length` bytes into ranges of about `split_bytes`. The last one may be half as long again rather than
/// being followed by a tiny one. An empty file has no split.
pub fn split_file(path: &FsPath, length: u64, split_bytes: u64) -> Vec<TextSplit> {
    let mut splits = Vec::new();
    let mut start = 0;
    while start < length {
        let left = length - start;
        let end = if left <= split_bytes + split_bytes / 2 { length } else { start + split_bytes };
        splits.push(TextSplit { path: path.to_string(), start, end });
        start = end;
    }
    splits
}

/// The splits of a file, of the files directly in a directory, or of all that match a pattern (`*`, `?`, `[…]`, `{…}`).
/// Names that start with `_` or `.` are left out, as Hadoop does, unless the input names the file itself.
///
/// # Errors
/// [`FsError::NotFound`] when there is no such file, or nothing matches the pattern.
pub async fn enumerate(files: &FileSystems, input: &str, split_bytes: u64) -> Result<Vec<TextSplit>, FsError> {
    let path = files.resolve(input)?;
    let fs = files.get(&path)?;
    let found = match fs.status(&path).await {
        Ok(status) => vec![status],
        Err(error) if error.is_not_found() => {
            let mut matching = fs.glob(&path).await?;
            matching.retain(|status| !is_hidden(&status.path));
            matching
        }
        Err(error) => return Err(error),
    };
    if found.is_empty() {
        return Err(FsError::NotFound { path: path.to_string() });
    }
    let mut splits = Vec::new();
    for status in found {
        if status.is_dir {
            for entry in fs.list(&status.path).await? {
                if !entry.is_dir && !is_hidden(&entry.path) {
                    splits.extend(split_file(&entry.path, entry.len, split_bytes));
                }
            }
        } else {
            splits.extend(split_file(&status.path, status.len, split_bytes));
        }
    }
    Ok(splits)
}

fn is_hidden(path: &FsPath) -> bool {
    path.name().starts_with(['_', '.'])
}

/// Asks for one split after another and emits their lines.
pub struct TextFileSource {
    /// What a checkpoint left to read, before anything is asked for.
    left: VecDeque<TextSplit>,
    /// Whether an answer is due.
    requested: bool,
    lines: Option<SplitLines>,
}

/// To look for an answer that a wake-up announces anyway.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

impl TextFileSource {
    /// A source that first reads what the checkpoint that the subtask starts from says is left.
    ///
    /// # Errors
    /// The position in the checkpoint is none.
    pub fn new(context: &SubtaskContext, operator: OperatorId) -> TaskResult<Self> {
        let restored = context.restored_list(operator, Position::NAME).unwrap_or_default();
        let left = restored.iter().map(|item| TextSplit::decode_or_fail(&String::from_utf8_lossy(item)));
        Ok(Self { left: left.collect::<TaskResult<_>>()?, requested: false, lines: None })
    }
}

impl Source<String> for TextFileSource {
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<String>) -> TaskResult<SourceStatus> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                let split = match self.left.pop_front() {
                    Some(split) => split,
                    None => {
                        if !std::mem::replace(&mut self.requested, true) {
                            context.splits.request()?;
                        }
                        let Some(answer) = context.splits.take() else { return Ok(SourceStatus::Idle(ANSWER_WAIT)) };
                        let Some(split) = answer else { return Ok(SourceStatus::End) };
                        // The next one is asked for while this one is read.
                        context.splits.request()?;
                        TextSplit::decode_or_fail(&split)?
                    }
                };
                none.insert(SplitLines::open(split, context)?)
            }
        };
        if !lines.read_batch(context, out)? {
            self.lines = None;
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&mut self, context: &SubtaskContext) -> TaskResult<Position> {
        let current = self.lines.iter().map(SplitLines::rest);
        let read_later = self.left.iter().cloned();
        let mut items: Vec<_> = current.chain(read_later).map(|split| split.encode().into_bytes()).collect();
        items.extend(context.splits.waiting().into_iter().map(String::into_bytes));
        Ok(Position { items, schema: String::new(), redistribution: Redistribution::Split })
    }
}

/// The lines that one split owns.
struct SplitLines {
    split: TextSplit,
    chunks: mpsc::Receiver<Result<Bytes, FsError>>,
    chunk: Bytes,
    /// Position of the first byte of `chunk` in the file.
    position: u64,
    /// Start of the current line, as far as it lies in earlier chunks.
    carry: Vec<u8>,
    /// The bytes up to the next line end belong to the split before.
    skipping: bool,
}

impl SplitLines {
    fn open(split: TextSplit, context: &SubtaskContext) -> TaskResult<Self> {
        let failure = |error: &FsError| file_failure(format!("opening `{}`", split.path), error);
        let path: FsPath = split.path.parse().map_err(|error| failure(&error))?;
        let fs = context.worker.files.get(&path).map_err(|error| failure(&error))?;
        let reader = context.block_on(fs.open(&path))?.map_err(|error| failure(&error))?;
        // One byte earlier: if it ends a line, the first line is ours.
        let position = split.start.saturating_sub(1);
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        context.worker.runtime.spawn(read_ahead(reader, position, split.end, sender));
        let skipping = split.start > 0;
        Ok(Self { split, chunks, chunk: Bytes::new(), position, carry: Vec::new(), skipping })
    }

    /// The part of the split whose lines were not given out yet. It begins with a line, or with the middle of one that
    /// belongs to the split before.
    fn rest(&self) -> TextSplit {
        let start = if self.skipping { self.split.start } else { self.position - self.carry.len() as u64 };
        TextSplit { start: start.min(self.split.end), ..self.split.clone() }
    }

    /// Appends about a batch of lines; false when the split has no more.
    fn read_batch(&mut self, context: &SubtaskContext, out: &mut Batch<String>) -> TaskResult<bool> {
        let mut text_bytes = 0;
        while out.len() < context.batch_records && text_bytes < BATCH_BYTES {
            // Where the current line begins.
            if !self.skipping && self.position - self.carry.len() as u64 >= self.split.end {
                return Ok(false);
            }
            let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
                if !self.next_chunk(context)? {
                    if !self.carry.is_empty() && !self.skipping {
                        out.push(line_text(&std::mem::take(&mut self.carry)), NO_TIME);
                    }
                    return Ok(false);
                }
                continue;
            };
            let line = self.chunk.split_to(end + 1);
            self.position += line.len() as u64;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            text_bytes += line.len() + self.carry.len();
            if self.carry.is_empty() {
                out.push(line_text(&line), NO_TIME);
            } else {
                self.carry.extend_from_slice(&line);
                out.push(line_text(&std::mem::take(&mut self.carry)), NO_TIME);
            }
        }
        Ok(true)
    }

    /// Keeps what is left of the chunk for the line that goes on, and takes the next one; false at the end of the file.
    fn next_chunk(&mut self, context: &SubtaskContext) -> TaskResult<bool> {
        self.position += self.chunk.len() as u64;
        if !self.skipping {
            self.carry.extend_from_slice(&self.chunk);
        }
        if self.carry.len() > LINE_BYTES_MAX {
            let at = self.position - self.carry.len() as u64;
            let text = format!(
                "`{}` has a line of more than {LINE_BYTES_MAX} bytes at byte {at}: is it a text file?",
                self.split.path
            );
            return Err(TaskError::failed(Blame::User, text));
        }
        // A chunk that is there needs no trip to the runtime.
        let next = match self.chunks.try_recv() {
            Ok(chunk) => Some(chunk),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) => context.block_on(self.chunks.recv())?,
        };
        match next {
            None => {
                self.chunk = Bytes::new();
                Ok(false)
            }
            Some(Ok(chunk)) => {
                self.chunk = chunk;
                Ok(true)
            }
            Some(Err(error)) => {
                Err(file_failure(format!("reading `{}` at byte {}", self.split.path, self.position), &error))
            }
        }
    }
}

/// Reads chunks while the subtask works on earlier ones; ends at the end of the file or when nobody wants more.
async fn read_ahead(
    mut reader: Box<dyn FileReader>,
    mut position: u64,
    end: u64,
    chunks: mpsc::Sender<Result<Bytes, FsError>>,
) {
    let mut tail = TAIL_BYTES;
    loop {
        // Waiting for room first: past the end nothing is read that nobody asked for, but for what the queue holds.
        let Ok(room) = chunks.reserve().await else { return };
        let length = if position < end {
            CHUNK_BYTES.min(end - position)
        } else {
            tail = (tail * 2).min(CHUNK_BYTES);
            tail / 2
        };
        match reader.read_at(position, length as usize).await {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => {
                position += chunk.len() as u64;
                room.send(Ok(chunk));
            }
            Err(error) => return room.send(Err(error)),
        }
    }
}
