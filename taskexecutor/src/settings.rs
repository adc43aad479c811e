//! What a TaskExecutor takes from the application's configuration.

use std::path::PathBuf;
use std::time::Duration;

use flumen_log::Limits;
use flumen_model::config::{BadConfiguration, ConfigValue as _, Configuration, Directories, MemorySize};
use flumen_model::options::{deployment, high_availability, memory};

use crate::tmp_dirs;

/// The values, read once at the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Silence of the JobManager after which it is given up, and of a worker after which it is killed (`heartbeat.timeout`).
    pub heartbeat_timeout: Duration,
    /// Time for which workers go on without a JobManager, if there may be another one (`taskexecutor.leader-lost-timeout`).
    pub leader_lost_timeout: Duration,
    /// Time from a worker's start to its first message (`worker.start.timeout`).
    pub worker_start_timeout: Duration,
    /// Bytes that all workers together may use: the container's without `taskmanager.memory.framework.size`.
    pub worker_memory: u64,
    /// Where workers spill to.
    pub tmp_parents: Vec<PathBuf>,
    /// Size and number of log files (`env.log.file.size`, `env.log.max`).
    pub log_limits: Limits,
    /// Jobs that are over whose logs are kept (`env.log.workers.max`).
    pub logs_kept: u32,
    /// Level of the log (`env.log.level`).
    pub log_level: String,
}

/// Why no worker can run with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value is not of its option's form.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// The container is too small.
    #[error(
        "the container has {container}, of which taskmanager.memory.framework.size keeps {overhead} for the TaskExecutor: nothing is left for workers; raise taskmanager.memory.process.size (-ytm)"
    )]
    NoMemory {
        /// Of the container.
        container: MemorySize,
        /// Kept for the TaskExecutor.
        overhead: MemorySize,
    },
}

impl Settings {
    /// Reads them. `container` is the container's memory in bytes, `local_dirs` YARN's `LOCAL_DIRS`.
    pub fn read(
        configuration: &Configuration,
        container: u64,
        local_dirs: Option<&str>,
    ) -> Result<Self, SettingsError> {
        let overhead = configuration.get(&memory::TASKEXECUTOR_OVERHEAD)?;
        if container <= overhead.0 {
            return Err(SettingsError::NoMemory { container: MemorySize(container), overhead });
        }
        let tmp_dirs = configuration.find(&memory::TMP_DIRS)?.unwrap_or_default();
        let local_dirs = local_dirs.and_then(Directories::read).unwrap_or_default();
        Ok(Self {
            heartbeat_timeout: configuration.get(&deployment::HEARTBEAT_TIMEOUT)?,
            leader_lost_timeout: configuration.get(&high_availability::LEADER_LOST_TIMEOUT)?,
            worker_start_timeout: configuration.get(&deployment::WORKER_START_TIMEOUT)?,
            worker_memory: container - overhead.0,
            tmp_parents: tmp_dirs::parents(tmp_dirs, local_dirs, &std::env::temp_dir()),
            log_limits: Limits {
                file_size: configuration.get(&deployment::LOG_FILE_SIZE)?.0,
                files: configuration.get(&deployment::LOG_FILES)?,
            },
            logs_kept: configuration.get(&deployment::LOG_WORKERS)?,
            log_level: configuration.get(&deployment::LOG_LEVEL)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_what_the_taskexecutor_leaves() {
        let mut configuration = Configuration::new();
        let settings = Settings::read(&configuration, 512 << 20, Some("/local")).unwrap();
        assert_eq!(settings.worker_memory, 464 << 20);
        assert_eq!(settings.tmp_parents, [PathBuf::from("/local")]);
        assert_eq!(settings.heartbeat_timeout, Duration::from_secs(30));

        configuration.put(&memory::TASKEXECUTOR_OVERHEAD, "512 mb");
        let error = Settings::read(&configuration, 512 << 20, None).unwrap_err().to_string();
        assert!(error.contains("has 512 mb") && error.contains("-ytm"), "{error}");
    }
}
