//! Checkpoints, their settings and what the subtasks did for them.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_jobmaster::{
    CheckpointEntry, CheckpointSettings, CheckpointStatistics, CheckpointStatus, RestoredCheckpoint, Retention,
    SubtaskCheckpoint, Timestamp, VertexCheckpoint,
};
use flumen_model::checkpoint::{Alignment, SnapshotKind};
use flumen_model::config::Configuration;
use flumen_model::options::checkpointing;
use serde::Serialize;

use super::summary::Summary;
use super::{ms, ms_or_none};

/// `CheckpointingStatistics`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Checkpoints {
    counts: Counts,
    summary: Summaries,
    latest: Latest,
    history: Vec<Checkpoint>,
}

#[derive(Debug, Serialize)]
struct Counts {
    restored: u64,
    total: u64,
    in_progress: u64,
    completed: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Summaries {
    checkpointed_size: Summary,
    state_size: Summary,
    end_to_end_duration: Summary,
    alignment_buffered: Summary,
    processed_data: Summary,
    persisted_data: Summary,
}

#[derive(Debug, Serialize)]
struct Latest {
    completed: Option<Checkpoint>,
    savepoint: Option<Checkpoint>,
    failed: Option<Checkpoint>,
    restored: Option<Restored>,
}

#[derive(Debug, Serialize)]
struct Restored {
    id: u64,
    restore_timestamp: i64,
    is_savepoint: bool,
    external_path: String,
}

/// `CheckpointStatistics`; bytes of records in barriers' way are not counted.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Checkpoint {
    #[serde(rename = "className")]
    class: &'static str,
    id: u64,
    status: &'static str,
    is_savepoint: bool,
    #[serde(rename = "savepointFormat")]
    savepoint_format: Option<&'static str>,
    trigger_timestamp: i64,
    latest_ack_timestamp: i64,
    checkpointed_size: u64,
    state_size: u64,
    end_to_end_duration: u64,
    alignment_buffered: u64,
    processed_data: u64,
    persisted_data: u64,
    num_subtasks: u32,
    num_acknowledged_subtasks: u32,
    checkpoint_type: &'static str,
    tasks: BTreeMap<String, Task>,
    #[serde(flatten)]
    end: End,
}

/// What only an ended checkpoint has.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum End {
    InProgress {},
    Completed { external_path: String, discarded: bool },
    Failed { failure_timestamp: i64, failure_message: String },
}

/// `TaskCheckpointStatistics`.
#[derive(Debug, Serialize)]
struct Task {
    id: u64,
    status: &'static str,
    latest_ack_timestamp: i64,
    checkpointed_size: u64,
    state_size: u64,
    end_to_end_duration: u64,
    alignment_buffered: u64,
    processed_data: u64,
    persisted_data: u64,
    num_subtasks: usize,
    num_acknowledged_subtasks: u32,
}

/// `TaskCheckpointStatisticsWithSubtaskDetails`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct TaskWithSubtasks {
    #[serde(flatten)]
    task: Task,
    summary: TaskSummary,
    subtasks: Vec<Subtask>,
}

#[derive(Debug, Serialize)]
struct TaskSummary {
    checkpointed_size: Summary,
    state_size: Summary,
    end_to_end_duration: Summary,
    checkpoint_duration: Durations<Summary>,
    alignment: AlignmentFigures<Summary>,
    start_delay: Summary,
}

#[derive(Debug, Serialize)]
struct Durations<T> {
    sync: T,
    r#async: T,
}

#[derive(Debug, Serialize)]
struct AlignmentFigures<T> {
    buffered: T,
    processed: T,
    persisted: T,
    duration: T,
}

/// `SubtaskCheckpointStatistics`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Subtask {
    Completed {
        #[serde(rename = "className")]
        class: &'static str,
        index: usize,
        status: &'static str,
        ack_timestamp: i64,
        end_to_end_duration: u64,
        checkpointed_size: u64,
        state_size: u64,
        checkpoint: Durations<u64>,
        alignment: AlignmentFigures<u64>,
        start_delay: u64,
        unaligned_checkpoint: bool,
        aborted: bool,
    },
    Pending {
        #[serde(rename = "className")]
        class: &'static str,
        index: usize,
        status: &'static str,
    },
}

/// `CheckpointConfigInfo`.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct CheckpointConfig {
    mode: &'static str,
    interval: u64,
    timeout: u64,
    min_pause: u64,
    max_concurrent: u32,
    externalization: Externalization,
    state_backend: &'static str,
    checkpoint_storage: &'static str,
    unaligned_checkpoints: bool,
    tolerable_failed_checkpoints: u32,
    aligned_checkpoint_timeout: u64,
    checkpoints_after_tasks_finish: bool,
    state_changelog_enabled: bool,
    changelog_periodic_materialization_interval: u64,
    changelog_storage: Option<String>,
}

#[derive(Debug, Serialize)]
struct Externalization {
    enabled: bool,
    delete_on_cancellation: bool,
}

impl Checkpoints {
    pub(in crate::rest) fn new(statistics: &CheckpointStatistics) -> Self {
        let settings = &statistics.settings;
        let completed: Vec<_> =
            statistics.history.iter().filter(|entry| entry.status == CheckpointStatus::Completed).collect();
        let summary = |of: fn(&CheckpointEntry) -> u64| Summary::of(completed.iter().map(|entry| of(entry)));
        let shown = |entry: &Option<CheckpointEntry>| entry.as_ref().map(|entry| Checkpoint::new(entry, settings));
        let counts = &statistics.counts;
        Self {
            counts: Counts {
                restored: counts.restored,
                total: counts.total,
                in_progress: counts.in_progress,
                completed: counts.completed,
                failed: counts.failed,
            },
            summary: Summaries {
                checkpointed_size: summary(|entry| entry.written_bytes),
                state_size: summary(|entry| entry.state_bytes),
                end_to_end_duration: summary(CheckpointEntry::duration_ms),
                alignment_buffered: summary(|_| 0),
                processed_data: summary(|_| 0),
                persisted_data: summary(|_| 0),
            },
            latest: Latest {
                completed: shown(&statistics.latest_completed),
                savepoint: shown(&statistics.latest_savepoint),
                failed: shown(&statistics.latest_failed),
                restored: statistics.latest_restored.as_ref().map(Restored::new),
            },
            history: statistics.history.iter().map(|entry| Checkpoint::new(entry, settings)).collect(),
        }
    }
}

impl Restored {
    fn new(restored: &RestoredCheckpoint) -> Self {
        Self {
            id: restored.id.0,
            restore_timestamp: ms(restored.at),
            is_savepoint: restored.kind.is_savepoint(),
            external_path: restored.directory.clone(),
        }
    }
}

fn status(entry: &CheckpointEntry) -> &'static str {
    match entry.status {
        CheckpointStatus::InProgress => "IN_PROGRESS",
        CheckpointStatus::Completed => "COMPLETED",
        CheckpointStatus::Failed(_) => "FAILED",
    }
}

impl Checkpoint {
    /// As in lists: without its tasks.
    fn new(entry: &CheckpointEntry, settings: &CheckpointSettings) -> Self {
        let end = match &entry.status {
            CheckpointStatus::InProgress => End::InProgress {},
            CheckpointStatus::Completed => {
                End::Completed { external_path: entry.directory.clone(), discarded: entry.discarded }
            }
            CheckpointStatus::Failed(failure) => {
                End::Failed { failure_timestamp: ms_or_none(entry.end), failure_message: failure.to_string() }
            }
        };
        let class = match end {
            End::InProgress {} => "in_progress",
            End::Completed { .. } => "completed",
            End::Failed { .. } => "failed",
        };
        let is_savepoint = entry.kind.is_savepoint();
        Self {
            class,
            id: entry.id.0,
            status: status(entry),
            is_savepoint,
            savepoint_format: is_savepoint.then_some("CANONICAL"),
            trigger_timestamp: ms(entry.triggered),
            latest_ack_timestamp: ms_or_none(entry.latest_ack),
            checkpointed_size: entry.written_bytes,
            state_size: entry.state_bytes,
            end_to_end_duration: entry.duration_ms(),
            alignment_buffered: 0,
            processed_data: 0,
            persisted_data: 0,
            num_subtasks: entry.subtasks(),
            num_acknowledged_subtasks: entry.acknowledged(),
            checkpoint_type: match (entry.kind, settings.alignment_of(entry.kind)) {
                (SnapshotKind::Savepoint, _) => "SAVEPOINT",
                (SnapshotKind::StopWithSavepoint, _) => "SYNC_SAVEPOINT",
                (_, Alignment::Unaligned | Alignment::AlignedUntil(_)) => "UNALIGNED_CHECKPOINT",
                (_, Alignment::Aligned | Alignment::Unblocked) => "CHECKPOINT",
            },
            tasks: BTreeMap::new(),
            end,
        }
    }

    /// As on its own page.
    pub(in crate::rest) fn with_tasks(entry: &CheckpointEntry, settings: &CheckpointSettings) -> Self {
        let task = |task: &VertexCheckpoint| (task.vertex.to_string(), Task::new(entry, task));
        Self { tasks: entry.vertices.iter().map(task).collect(), ..Self::new(entry, settings) }
    }
}

impl Task {
    fn new(entry: &CheckpointEntry, task: &VertexCheckpoint) -> Self {
        let done = || task.subtasks.iter().flatten();
        let latest: Option<Timestamp> = done().map(|subtask| subtask.acknowledged).max();
        Self {
            id: entry.id.0,
            status: status(entry),
            latest_ack_timestamp: ms_or_none(latest),
            checkpointed_size: done().map(|subtask| subtask.times.written_bytes).sum(),
            state_size: done().map(|subtask| subtask.state_bytes).sum(),
            end_to_end_duration: done().map(|subtask| subtask.end_to_end_ms).max().unwrap_or(0),
            alignment_buffered: 0,
            processed_data: 0,
            persisted_data: 0,
            num_subtasks: task.subtasks.len(),
            num_acknowledged_subtasks: task.acknowledged(),
        }
    }
}

impl TaskWithSubtasks {
    pub(in crate::rest) fn new(entry: &CheckpointEntry, task: &VertexCheckpoint) -> Self {
        let summary = |of: fn(&SubtaskCheckpoint) -> u64| Summary::of(task.subtasks.iter().flatten().map(of));
        Self {
            task: Task::new(entry, task),
            summary: TaskSummary {
                checkpointed_size: summary(|subtask| subtask.times.written_bytes),
                state_size: summary(|subtask| subtask.state_bytes),
                end_to_end_duration: summary(|subtask| subtask.end_to_end_ms),
                checkpoint_duration: Durations {
                    sync: summary(|subtask| subtask.times.sync_ms),
                    r#async: summary(|subtask| subtask.times.async_ms),
                },
                alignment: AlignmentFigures {
                    buffered: summary(|_| 0),
                    processed: summary(|_| 0),
                    persisted: summary(|_| 0),
                    duration: summary(|subtask| subtask.times.alignment_ms),
                },
                start_delay: summary(|subtask| subtask.times.start_delay_ms),
            },
            subtasks: task.subtasks.iter().enumerate().map(|(index, done)| Subtask::new(index, *done)).collect(),
        }
    }
}

impl Subtask {
    fn new(index: usize, done: Option<SubtaskCheckpoint>) -> Self {
        let Some(done) = done else { return Self::Pending { class: "pending", index, status: "pending_or_failed" } };
        Self::Completed {
            class: "completed",
            index,
            status: "completed",
            ack_timestamp: ms(done.acknowledged),
            end_to_end_duration: done.end_to_end_ms,
            checkpointed_size: done.times.written_bytes,
            state_size: done.state_bytes,
            checkpoint: Durations { sync: done.times.sync_ms, r#async: done.times.async_ms },
            alignment: AlignmentFigures { buffered: 0, processed: 0, persisted: 0, duration: done.times.alignment_ms },
            start_delay: done.times.start_delay_ms,
            unaligned_checkpoint: done.times.unaligned,
            aborted: false,
        }
    }
}

impl CheckpointConfig {
    pub(in crate::rest) fn new(settings: &CheckpointSettings, configuration: &Configuration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let backend = configuration.get(&checkpointing::STATE_BACKEND).unwrap_or_default();
        Self {
            mode: if settings.exactly_once { "exactly_once" } else { "at_least_once" },
            // Flink's number for «never».
            interval: settings.interval.map_or(i64::MAX as u64, millis),
            timeout: millis(settings.timeout),
            min_pause: millis(settings.min_pause),
            max_concurrent: settings.max_concurrent,
            externalization: Externalization {
                enabled: settings.retention != Retention::NoExternalized,
                delete_on_cancellation: settings.retention != Retention::RetainOnCancellation,
            },
            state_backend: match backend.as_str() {
                "rocksdb" => "EmbeddedRocksDBStateBackend",
                _ => "HashMapStateBackend",
            },
            checkpoint_storage: "FileSystemCheckpointStorage",
            unaligned_checkpoints: matches!(settings.alignment, Alignment::Unaligned | Alignment::AlignedUntil(_)),
            tolerable_failed_checkpoints: settings.tolerable_failures,
            aligned_checkpoint_timeout: match settings.alignment {
                Alignment::AlignedUntil(wait) => wait,
                Alignment::Aligned | Alignment::Unaligned | Alignment::Unblocked => 0,
            },
            checkpoints_after_tasks_finish: true,
            state_changelog_enabled: false,
            changelog_periodic_materialization_interval: 0,
            changelog_storage: None,
        }
    }
}
