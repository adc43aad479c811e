//! What of the configuration concerns checkpoints.

use std::time::Duration;

use flumen_model::checkpoint::{Alignment, SnapshotKind};
use flumen_model::config::{BadConfiguration, ConfigOption, Configuration};
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_model::options::checkpointing as options;

/// When checkpoints are taken, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// Time between the starts of two checkpoints; `None`: none are taken but on request. Never 0.
    pub interval: Option<Duration>,
    /// Under this directory each job writes into one of its own. A driver may fill in a default; without any the job
    /// fails as soon as it needs one.
    pub directory: Option<String>,
    /// Where savepoints go for which no directory is given.
    pub savepoint_directory: Option<String>,
    /// Shortest time between the end of a checkpoint and the start of the next.
    pub min_pause: Duration,
    /// Time after which an unfinished one is given up.
    pub timeout: Duration,
    /// Whether barriers keep records apart that are before and behind them.
    pub exactly_once: bool,
    /// Failures in a row that do not fail the job.
    pub tolerable_failures: u32,
    /// Checkpoints that may be under way at the same time; at least 1.
    pub max_concurrent: u32,
    /// Completed checkpoints that are kept; at least 1.
    pub retained: u32,
    /// Which of them are left when the job is over.
    pub retention: Retention,
    /// How barriers of checkpoints pass records; those of savepoints never overtake any.
    pub alignment: Alignment,
    /// What the job may do with the snapshot that it starts from.
    pub claim: ClaimMode,
    /// Whether state of operators that the program no longer has is left behind.
    pub ignore_unclaimed: bool,
    /// Finished checkpoints whose figures are kept.
    pub history: u32,
    /// True in batch execution, where no snapshots are taken.
    pub batch: bool,
}

/// `execution.checkpointing.externalized-checkpoint-retention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Kept unless the job has finished.
    RetainOnCancellation,
    /// Kept when the job has failed.
    DeleteOnCancellation,
    /// Never kept.
    NoExternalized,
}

/// `execution.state-recovery.claim-mode`. LEGACY is read as NO_CLAIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMode {
    /// The snapshot stays the user's; the first checkpoint refers to nothing of it.
    NoClaim,
    /// It is the job's, and removed when it is no longer needed.
    Claim,
}

impl CheckpointSettings {
    /// Reads the options.
    pub(super) fn read(conf: &Configuration, graph: &JobGraph) -> Result<Self, BadConfiguration> {
        let batch = graph.mode == RuntimeMode::Batch;
        let exactly_once = name(
            conf,
            &options::MODE,
            &[("EXACTLY_ONCE", true), ("AT_LEAST_ONCE", false)],
            "EXACTLY_ONCE or AT_LEAST_ONCE",
        )?;
        let aligned_timeout = conf.get(&options::ALIGNED_TIMEOUT)?;
        let alignment = match (exactly_once, conf.get(&options::UNALIGNED)?) {
            (false, _) => Alignment::Unblocked,
            (true, false) => Alignment::Aligned,
            (true, true) if aligned_timeout.is_zero() => Alignment::Unaligned,
            (true, true) => {
                Alignment::AlignedUntil(u64::try_from(aligned_timeout.as_millis()).unwrap_or(u64::MAX).max(1))
            }
        };
        let min_pause = conf.get(&options::MIN_PAUSE)?;
        // As in Flink: a pause between two leaves no room for a third, and a barrier overtakes records, not barriers.
        let one = !min_pause.is_zero() || matches!(alignment, Alignment::Unaligned | Alignment::AlignedUntil(_));
        Ok(Self {
            interval: conf.find(&options::INTERVAL)?.filter(|interval| !interval.is_zero() && !batch),
            directory: conf.find(&options::CHECKPOINT_DIRECTORY)?,
            savepoint_directory: conf.find(&options::SAVEPOINT_DIRECTORY)?,
            min_pause,
            timeout: conf.get(&options::TIMEOUT)?,
            exactly_once,
            tolerable_failures: conf.get(&options::TOLERABLE_FAILURES)?,
            max_concurrent: if one { 1 } else { conf.get(&options::MAX_CONCURRENT)?.max(1) },
            retained: conf.get(&options::RETAINED)?.max(1),
            retention: name(
                conf,
                &options::EXTERNALIZED_RETENTION,
                &[
                    ("RETAIN_ON_CANCELLATION", Retention::RetainOnCancellation),
                    ("DELETE_ON_CANCELLATION", Retention::DeleteOnCancellation),
                    ("NO_EXTERNALIZED_CHECKPOINTS", Retention::NoExternalized),
                ],
                "RETAIN_ON_CANCELLATION, DELETE_ON_CANCELLATION or NO_EXTERNALIZED_CHECKPOINTS",
            )?,
            alignment,
            claim: name(
                conf,
                &options::CLAIM_MODE,
                &[("NO_CLAIM", ClaimMode::NoClaim), ("LEGACY", ClaimMode::NoClaim), ("CLAIM", ClaimMode::Claim)],
                "NO_CLAIM, CLAIM or LEGACY",
            )?,
            ignore_unclaimed: conf.get(&options::IGNORE_UNCLAIMED)?,
            history: conf.get(&options::HISTORY)?,
            batch,
        })
    }

    /// How the barriers of a snapshot pass records.
    pub fn alignment_of(&self, kind: SnapshotKind) -> Alignment {
        match (kind.is_savepoint(), self.exactly_once) {
            (true, true) => Alignment::Aligned,
            (true, false) | (false, _) => self.alignment,
        }
    }
}

/// Reads an option that takes one of some names.
fn name<T: Copy>(
    conf: &Configuration,
    option: &ConfigOption<String>,
    names: &[(&str, T)],
    expected: &str,
) -> Result<T, BadConfiguration> {
    let text = conf.get(option)?;
    // Flink writes these names with underscores, and some of its documents with hyphens.
    let plain = text.trim().replace('-', "_");
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(&plain)).map(|(_, value)| *value);
    found.ok_or_else(|| BadConfiguration::Value {
        key: option.key.to_owned(),
        value: text,
        expected: expected.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mode: RuntimeMode, options: &[(&str, &str)]) -> Result<CheckpointSettings, BadConfiguration> {
        let mut conf = Configuration::new();
        for (key, value) in options {
            conf.set(*key, *value);
        }
        let graph = JobGraph {
            name: "j".into(),
            mode,
            vertices: vec![],
            edges: vec![],
            outputs: vec![],
            properties: Default::default(),
        };
        CheckpointSettings::read(&conf, &graph)
    }

    #[test]
    fn nothing_set_means_no_periodic_checkpoints() {
        let settings = read(RuntimeMode::Streaming, &[]).unwrap();
        assert_eq!((settings.interval, settings.directory), (None, None));
        assert_eq!((settings.retained, settings.max_concurrent, settings.tolerable_failures), (1, 1, 0));
        assert_eq!((settings.retention, settings.claim), (Retention::NoExternalized, ClaimMode::NoClaim));
    }

    #[test]
    fn batch_execution_takes_no_checkpoints() {
        let interval = [("execution.checkpointing.interval", "1 s")];
        assert_eq!(read(RuntimeMode::Batch, &interval).unwrap().interval, None);
        assert_eq!(read(RuntimeMode::Streaming, &interval).unwrap().interval, Some(Duration::from_secs(1)));
    }

    #[test]
    fn how_barriers_pass_records_follows_from_three_options() {
        let unaligned = ("execution.checkpointing.unaligned", "true");
        let timeout = ("execution.checkpointing.aligned-checkpoint-timeout", "30 s");
        let table: &[(&[(&str, &str)], Alignment)] = &[
            (&[], Alignment::Aligned),
            (&[timeout], Alignment::Aligned),
            (&[unaligned], Alignment::Unaligned),
            (&[unaligned, timeout], Alignment::AlignedUntil(30_000)),
            (&[unaligned, ("execution.checkpointing.mode", "at-least-once")], Alignment::Unblocked),
        ];
        for (options, expected) in table {
            let settings = read(RuntimeMode::Streaming, options).unwrap();
            assert_eq!(settings.alignment_of(SnapshotKind::Checkpoint), *expected, "{options:?}");
            let savepoint = settings.alignment_of(SnapshotKind::Savepoint);
            assert_eq!(savepoint == Alignment::Aligned, settings.exactly_once, "{options:?}");
        }
    }

    #[test]
    fn a_pause_or_unaligned_barriers_allow_one_checkpoint_at_a_time() {
        let three = ("execution.checkpointing.max-concurrent-checkpoints", "3");
        assert_eq!(read(RuntimeMode::Streaming, &[three]).unwrap().max_concurrent, 3);
        for other in [("execution.checkpointing.min-pause", "1 s"), ("execution.checkpointing.unaligned", "true")] {
            assert_eq!(read(RuntimeMode::Streaming, &[three, other]).unwrap().max_concurrent, 1);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = read(RuntimeMode::Streaming, &[("execution.savepoint-restore-mode", "STEAL")]).unwrap_err();
        assert!(error.to_string().contains("NO_CLAIM, CLAIM or LEGACY"), "{error}");
    }
}
