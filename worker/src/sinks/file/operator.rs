//! The file sink of one subtask: what happens when.
//!
//! | | |
//! |---|---|
//! | record | into the buffer of its bucket's part; full buffers are handed to the part's writer |
//! | barrier | all parts are closed, and listed in the snapshot, which counts once the files are complete |
//! | checkpoint complete | what was listed up to it is renamed, in the background |
//! | checkpoint aborted | nothing: what was listed for it is listed by the next one |
//! | start from a checkpoint | what it lists is renamed, in the background |
//! | end of input | all parts are closed; the last barrier lists them |
//! | close | waits for the renames; without checkpoints, renames |

use std::sync::Arc;

use flumen_fs::FsError;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;

use super::buckets::Buckets;
use super::encoder::SinkError;
use super::pending::Pending;
use super::shared::Shared;
use super::{BucketAssigner, BucketContext, Encoder, FileSink, RollingPolicy};
use crate::batch::{Batch, EventTime, NO_TIME};
use crate::operator::{Push, Signal, TaskError, TaskResult};
use crate::sources::file_failure;
use crate::subtask::SubtaskContext;

/// See the module.
pub(super) struct FileWriter<E, A, R> {
    context: SubtaskContext,
    encoder: E,
    assigner: A,
    policy: R,
    /// As the user wrote it, for messages.
    path: String,
    buckets: Buckets,
    pending: Pending,
    shared: Arc<Shared>,
    watermark: EventTime,
    /// In milliseconds.
    check_interval: i64,
    /// When the rolling policy is next asked about all parts; `None` while none is open.
    next_check: Option<EventTime>,
}

impl<E: Clone, A: Clone, R: Clone> FileWriter<E, A, R> {
    pub(super) fn open(sink: &FileSink<E, A, R>, context: &SubtaskContext, operator: OperatorId) -> TaskResult<Self> {
        let failed = |error: FsError| file_failure(format!("opening the file sink `{}`", sink.path), &error);
        let files = &context.worker.files;
        let base = files.resolve(&sink.path).map_err(failed)?;
        let fs = files.get(&base).map_err(failed)?;
        if sink.exclusive && context.restored.checkpoint().is_none() {
            let claim = async {
                fs.mkdirs(&base, None).await?;
                let entries = fs.list(&base).await?;
                match entries.iter().find(|entry| !entry.path.name().starts_with(['.', '_'])) {
                    Some(_) => Err(FsError::AlreadyExists { path: base.to_string() }),
                    None => Ok(()),
                }
            };
            context.block_on(claim)?.map_err(failed)?;
        }
        let shared = Arc::new(Shared::new(Arc::clone(&context.handle)));
        let mut pending = Pending::new(context, operator, &fs, &shared, sink.missing);
        pending.restore()?;
        Ok(Self {
            context: context.clone(),
            encoder: sink.encoder.clone(),
            assigner: sink.assigner.clone(),
            policy: sink.policy.clone(),
            path: sink.path.clone(),
            buckets: Buckets::new(context, &fs, base, sink.names.clone(), &shared),
            pending,
            shared,
            watermark: NO_TIME,
            check_interval: i64::try_from(sink.check_interval.as_millis()).unwrap_or(i64::MAX),
            next_check: None,
        })
    }
}

fn user_error(what: &str, path: &str, error: &SinkError) -> TaskError {
    TaskError::caused_by(Blame::User, format!("{what} for the file sink `{path}`"), &**error)
}

impl<E, A, R> FileWriter<E, A, R> {
    /// Asks the rolling policy about all parts when it is time to.
    fn check_parts<T>(&mut self, now: EventTime) -> TaskResult
    where
        R: RollingPolicy<T>,
    {
        for bucket in self.buckets.open() {
            let info = self.buckets.info(bucket);
            if info.is_some_and(|info| self.policy.should_roll_on_processing_time(&info, now))
                && let Some(closed) = self.buckets.roll(bucket)?
            {
                self.pending.add(closed);
            }
        }
        Ok(())
    }

    fn close_parts(&mut self) -> TaskResult {
        self.next_check = None;
        self.buckets.barrier(|closed| self.pending.add(closed))
    }
}

impl<T, E: Encoder<T>, A: BucketAssigner<T>, R: RollingPolicy<T>> Push<T> for FileWriter<E, A, R> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.shared.check()?;
        let Self { encoder, assigner, policy, path, buckets, pending, watermark, .. } = self;
        let now = self.context.worker.time.now();
        for (record, time) in batch.drain() {
            let event_time = (time != NO_TIME).then_some(time);
            let context = BucketContext { event_time, watermark: *watermark, processing_time: now };
            let id = assigner
                .bucket_id(&record, &context)
                .map_err(|error| user_error("choosing the bucket of a record", path, &error))?;
            let bucket = buckets.find(&id)?;
            if buckets.info(bucket).is_some_and(|info| policy.should_roll_on_event(&info, &record))
                && let Some(closed) = buckets.roll(bucket)?
            {
                pending.add(closed);
            }
            buckets.append(bucket, now, |out| {
                encoder.encode(&record, out).map_err(|error| user_error("encoding a record", path, &error))
            })?;
        }
        if self.next_check.is_none() {
            self.next_check = Some(now.saturating_add(self.check_interval));
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.shared.check()?;
        match signal {
            Signal::Watermark(time) => self.watermark = time,
            Signal::Barrier(snapshot) => {
                self.close_parts()?;
                self.pending.barrier(snapshot)?;
            }
            Signal::Completed(checkpoint) => self.pending.completed(checkpoint)?,
            Signal::Time(clock) => {
                if self.next_check.is_some_and(|at| at <= clock.now) {
                    self.check_parts(clock.now)?;
                    self.next_check = Some(clock.now.saturating_add(self.check_interval));
                }
                if let Some(at) = self.next_check {
                    clock.call_at(at);
                }
            }
            Signal::End => self.close_parts()?,
            Signal::Close => {
                if !self.context.worker.checkpointing {
                    self.pending.complete_all()?;
                }
                self.pending.finish()?;
            }
            // What a checkpoint that failed lists is listed by the next one. Nothing becomes visible by flushing.
            Signal::Aborted(_)
            | Signal::Align(..)
            | Signal::Idle(_)
            | Signal::Split(_)
            | Signal::Flush
            | Signal::Resume
            | Signal::Background(_) => {}
        }
        Ok(())
    }
}
