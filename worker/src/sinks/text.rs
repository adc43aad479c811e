//! To text files. A job that takes checkpoints writes parts that appear with them ([`crate::sinks::file`]); any other writes
//! one part per subtask, in place only once the job has finished ([`flumen_fs::output`]).

use std::fmt::Write as _;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FsError, FsPath, output};
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::operator::{Push, Signal, TaskError, TaskResult};
use crate::sinks::file::{BasePathBucketAssigner, FileSink, OnCheckpointRollingPolicy, SimpleStringEncoder};
use crate::sources::file_failure;
use crate::subtask::SubtaskContext;

/// How a record looks in a line of text: texts and numbers as they are, tuples as `(a,b)`, sequences as `[a, b]`, as Flink
/// prints them. Other types: `map` them to a `String` first, or implement this.
pub trait AsText {
    /// Appends the text.
    fn write_text(&self, out: &mut String);
}

macro_rules! displayed {
    ($($type:ty),*) => {$(
        impl AsText for $type {
            fn write_text(&self, out: &mut String) {
                // Writing to a String can't fail.
                let _ = write!(out, "{self}");
            }
        }
    )*};
}
displayed!(bool, char, f32, f64);

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl AsText for $type {
            fn write_text(&self, out: &mut String) {
                write_integer(i128::from(*self), out);
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl AsText for usize {
    fn write_text(&self, out: &mut String) {
        (*self as u64).write_text(out);
    }
}

/// A number per record is on the hot path of a streaming sink, where the formatting machinery costs more than the digits.
fn write_integer(number: i128, out: &mut String) {
    let mut digits = [0u8; 40];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs() as u64;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

impl AsText for String {
    fn write_text(&self, out: &mut String) {
        out.push_str(self);
    }
}

impl<T: AsText> AsText for Option<T> {
    fn write_text(&self, out: &mut String) {
        match self {
            Some(value) => value.write_text(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: AsText> AsText for Vec<T> {
    fn write_text(&self, out: &mut String) {
        out.push('[');
        for (i, item) in self.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            item.write_text(out);
        }
        out.push(']');
    }
}

macro_rules! tuples {
    ($(($first:ident $($rest:ident)*))*) => {$(
        impl<$first: AsText $(, $rest: AsText)*> AsText for ($first, $($rest,)*) {
            #[allow(non_snake_case, reason = "the type parameters name the fields")]
            fn write_text(&self, out: &mut String) {
                let ($first, $($rest,)*) = self;
                out.push('(');
                $first.write_text(out);
                $(out.push(','); $rest.write_text(out);)*
                out.push(')');
            }
        }
    )*};
}
tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// Bytes that are handed to the file system at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that wait while one is written.
const CHUNKS_WAITING: usize = 2;

/// The sink of `write_as_text` in one subtask: one line a record, in the directory `output`.
///
/// With checkpoints it is the file sink, and nothing but: `output` must not be in
/// [`JobGraph::outputs`](flumen_model::job_graph::JobGraph::outputs) then, because nothing is left to be done for the job as a
/// whole. A start without a checkpoint refuses a directory that holds anything.
///
/// # Errors
/// Those of the file system.
pub fn open<T: AsText + 'static>(
    output: &str,
    context: &SubtaskContext,
    operator: OperatorId,
) -> TaskResult<Box<dyn Push<T>>> {
    if context.worker.checkpointing {
        let sink = FileSink::for_row_format(output, SimpleStringEncoder::new())
            .with_bucket_assigner(BasePathBucketAssigner)
            .with_rolling_policy(OnCheckpointRollingPolicy);
        return sink.exclusive().open(context, operator);
    }
    Ok(Box::new(TextSink::open(output, context)?))
}

/// Writes one line a record into this subtask's part.
pub struct TextSink {
    context: SubtaskContext,
    path: FsPath,
    lines: String,
    chunks: Option<mpsc::Sender<Bytes>>,
    writer: JoinHandle<Result<(), FsError>>,
}

impl TextSink {
    /// Creates the part of this subtask and attempt under the directory `output`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(output: &str, context: &SubtaskContext) -> TaskResult<Self> {
        let failed = |error: &FsError| file_failure(format!("opening an output in `{output}`"), error);
        let files = &context.worker.files;
        let directory = files.resolve(output).map_err(|error| failed(&error))?;
        let path = output::temporary_part(&directory, context.attempt.0, context.id.index);
        let fs = files.get(&path).map_err(|error| failed(&error))?;
        let create = async { fs.create(&path, &CreateOptions::overwriting()).await };
        let mut file = context.block_on(create)?.map_err(|error| failed(&error))?;
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
        let writer = context.worker.runtime.spawn(async move {
            while let Some(chunk) = chunks.recv().await {
                if chunk.is_empty() {
                    return file.close().await;
                }
                file.write(chunk).await?;
            }
            // The subtask ended without saying that the file is complete: it stays incomplete.
            Ok(())
        });
        let context = context.clone();
        Ok(Self { context, path, lines: String::new(), chunks: Some(sender), writer })
    }

    /// An empty chunk says that the file is complete.
    fn hand_over(&mut self, chunk: Bytes) -> TaskResult {
        let Some(chunks) = &self.chunks else { return Ok(()) };
        if self.context.block_on(chunks.send(chunk))?.is_err() {
            return self.finish();
        }
        Ok(())
    }

    /// Waits for the writer's end.
    fn finish(&mut self) -> TaskResult {
        self.chunks = None;
        match self.context.block_on(&mut self.writer)? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(file_failure(format!("writing `{}`", self.path), &error)),
            Err(error) => Err(TaskError::caused_by(Blame::Flumen, format!("writing `{}`", self.path), &error)),
        }
    }
}

impl<T: AsText> Push<T> for TextSink {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        for (record, _) in batch.drain() {
            record.write_text(&mut self.lines);
            self.lines.push('\n');
        }
        if self.lines.len() < CHUNK_BYTES {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.lines, String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8));
        self.hand_over(chunk.into())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        // Before the end the part is not visible, whatever is flushed.
        let Signal::End = signal else { return Ok(()) };
        let rest = std::mem::take(&mut self.lines);
        if !rest.is_empty() {
            self.hand_over(rest.into())?;
        }
        self.hand_over(Bytes::new())?;
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_look_as_flink_prints_them() {
        let mut out = String::new();
        (("to".to_owned(), 2u64), vec![-1i64, i64::MIN], None::<u8>, 1.5f64, u64::MAX).write_text(&mut out);
        assert_eq!(out, "((to,2),[-1, -9223372036854775808],null,1.5,18446744073709551615)");
    }
}
