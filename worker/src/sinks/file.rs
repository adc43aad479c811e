//! To part files that appear exactly once: the file sink, as Flink's `FileSink`.
//!
//! Records are encoded into the part of their bucket (a directory below the sink's). A part is written under a name that
//! readers leave out, closed at the latest at the next barrier, listed in the checkpoint, and renamed to its final name
//! when that checkpoint is complete. What a checkpoint lists is renamed again after a restore from it; what was written
//! after it stays under the name that nobody reads.
//!
//! Start reading at [`FileSink`], then `operator` (what happens when), `part` (one file) and `commit` (the rename).
//! `docs/formats/file-sink.md` says what is left in the directory.

mod operator;

mod bucket;
mod date_pattern;
mod encoder;
mod rolling;

mod buckets;
mod commit;
mod part;
mod pending;
mod shared;

use std::time::Duration;

use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;

pub use bucket::{BasePathBucketAssigner, BucketAssigner, BucketContext, DateTimeBucketAssigner, Zone};
pub use date_pattern::BadDatePattern;
pub use encoder::{Encoder, SimpleStringEncoder, SinkError};
pub use rolling::{DefaultRollingPolicy, OnCheckpointRollingPolicy, PartFileInfo, RollingPolicy};

use self::operator::FileWriter;
use crate::operator::{Push, TaskError, TaskResult};
use crate::subtask::SubtaskContext;

/// How parts are named: `<prefix>-<uid>-<counter><suffix>`. The uid is random, made anew by every bucket of every
/// execution, so no two parts ever have the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFileConfig {
    prefix: String,
    suffix: String,
}

impl Default for OutputFileConfig {
    /// The prefix `part`, no suffix.
    fn default() -> Self {
        Self { prefix: "part".to_owned(), suffix: String::new() }
    }
}

impl OutputFileConfig {
    /// With another start of the names. Readers leave out names that start with `.` or `_`.
    #[must_use]
    pub fn with_part_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// With an end of the names, such as `.csv`.
    #[must_use]
    pub fn with_part_suffix(self, suffix: &str) -> Self {
        Self { suffix: suffix.to_owned(), ..self }
    }

    fn check(&self) -> TaskResult {
        let wrong = |text: &str| text.contains(['/', '\0']);
        if self.prefix.is_empty() || wrong(&self.prefix) || wrong(&self.suffix) {
            let message = format!(
                "parts can't be named `{}-…{}`: the prefix must not be empty, and neither may hold a slash",
                self.prefix, self.suffix
            );
            return Err(TaskError::failed(Blame::User, message));
        }
        Ok(())
    }
}

/// What it means when, after a restore, a part of the checkpoint is neither in progress nor in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingParts {
    /// Data was lost: the job fails.
    #[default]
    Lost,
    /// A reader has moved or removed the finished part: the job goes on, and its log says so.
    Consumed,
}

/// Writes records to part files, each record exactly once if the job takes checkpoints.
///
/// ```
/// use flumen_worker::sinks::file::{DefaultRollingPolicy, FileSink, OutputFileConfig, SimpleStringEncoder};
/// let sink = FileSink::for_row_format("hdfs:///out", SimpleStringEncoder::new())
///     .with_rolling_policy(DefaultRollingPolicy::default().with_max_part_size(64 << 20))
///     .with_output_file_config(OutputFileConfig::default().with_part_suffix(".txt"));
/// # let _ = sink;
/// ```
///
/// * **With checkpoints** parts appear when a checkpoint is complete. Every barrier closes the parts in progress, whatever
///   the rolling policy says: a file that is closed needs no truncation after a restore.
/// * **Without checkpoints** (batch, or streaming without an interval) the parts of a subtask appear when it has had all of
///   its input, and none if it fails before. A job that is restarted after some of its subtasks had finished writes
///   their records again.
#[derive(Debug, Clone)]
pub struct FileSink<E, A = DateTimeBucketAssigner, R = DefaultRollingPolicy> {
    path: String,
    encoder: E,
    assigner: A,
    policy: R,
    names: OutputFileConfig,
    check_interval: Duration,
    missing: MissingParts,
    /// Refuse a directory that holds anything when the sink does not start from a checkpoint.
    exclusive: bool,
}

impl<E> FileSink<E> {
    /// A sink that encodes record by record into parts below the directory `path`: in one bucket for each hour of
    /// processing time (`yyyy-MM-dd--HH`), rolled at 128 MB, after 60 s, and after 60 s without a record.
    pub fn for_row_format(path: impl Into<String>, encoder: E) -> Self {
        Self {
            path: path.into(),
            encoder,
            assigner: DateTimeBucketAssigner::default(),
            policy: DefaultRollingPolicy::default(),
            names: OutputFileConfig::default(),
            check_interval: Duration::from_secs(60),
            missing: MissingParts::default(),
            exclusive: false,
        }
    }
}

impl<E, A, R> FileSink<E, A, R> {
    /// With another choice of the bucket of a record: one of this module, or a closure from the record and its
    /// [`BucketContext`] to the name of the directory.
    #[must_use]
    pub fn with_bucket_assigner<B>(self, assigner: B) -> FileSink<E, B, R> {
        let Self { path, encoder, assigner: _, policy, names, check_interval, missing, exclusive } = self;
        FileSink { path, encoder, assigner, policy, names, check_interval, missing, exclusive }
    }

    /// With another choice of when a part is closed between two barriers.
    #[must_use]
    pub fn with_rolling_policy<P>(self, policy: P) -> FileSink<E, A, P> {
        let Self { path, encoder, assigner, policy: _, names, check_interval, missing, exclusive } = self;
        FileSink { path, encoder, assigner, policy, names, check_interval, missing, exclusive }
    }

    /// With other names of the parts.
    #[must_use]
    pub fn with_output_file_config(self, names: OutputFileConfig) -> Self {
        Self { names, ..self }
    }

    /// With another interval in which the rolling policy is asked about parts that get no records. 60 s unless set.
    #[must_use]
    pub fn with_bucket_check_interval(self, interval: Duration) -> Self {
        Self { check_interval: interval.max(Duration::from_millis(1)), ..self }
    }

    /// With another meaning of parts that are gone after a restore: say [`MissingParts::Consumed`] when readers move
    /// finished parts away.
    #[must_use]
    pub fn with_missing_parts(self, missing: MissingParts) -> Self {
        Self { missing, ..self }
    }

    /// Refuses a directory with visible entries unless the sink starts from a checkpoint.
    #[must_use]
    pub(crate) fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// The sink of one subtask; what the checkpoint lists from which it starts is being committed when this returns.
    ///
    /// # Errors
    /// [`Blame::User`]: the path, the names or the state are not usable. Those of the file system come later.
    pub fn open<T>(&self, context: &SubtaskContext, operator: OperatorId) -> TaskResult<Box<dyn Push<T>>>
    where
        T: 'static,
        E: Encoder<T>,
        A: BucketAssigner<T>,
        R: RollingPolicy<T>,
    {
        self.names.check()?;
        Ok(Box::new(FileWriter::open(self, context, operator)?))
    }
}
