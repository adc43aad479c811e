//! Log set-up of the long-lived processes (ApplicationMaster, TaskExecutor) and the files that they log to.
//!
//! In: events of `tracing` and `log`, the captured output of workers. Out: lines in files of the container's log directory
//! that never grow beyond a size. Start at [`init`]; [`RollingFile`] is what everything is written through.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

pub use directory::{LogDirectory, LogFile};
pub use rolling::{Limits, RollingFile, SharedFile};

mod directory;
mod rolling;

mod panics;

/// How a process logs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the log file; `None`: standard error.
    pub dir: Option<PathBuf>,
    /// The file's name, with Flink's names: `jobmanager.log`, `taskmanager.log`.
    pub file_name: String,
    /// `error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,flumen_worker=debug`.
    pub level: String,
    /// Bytes at which the file is rolled.
    pub file_size: u64,
    /// Rolled files that are kept.
    pub files: u32,
}

impl Options {
    /// `taskmanager.log` or the like in the container's log directory, with the defaults of `env.log.*`: 64 mb, 5 files,
    /// level info. What a process starts with that does not know its configuration yet.
    pub fn for_container(file_name: &str) -> Self {
        Self {
            dir: container_log_dir(),
            file_name: file_name.to_owned(),
            level: "info".to_owned(),
            file_size: 64 << 20,
            files: 5,
        }
    }
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error(
        "option `env.log.level`: `{level}` is not a level (error, warn, info, debug, trace) or filters such as `info,flumen_worker=debug`"
    )]
    Level {
        /// What was written.
        level: String,
    },
    /// The file can't be opened.
    #[error("log file `{path}` can't be opened")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Something else in this process has set up logging before.
    #[error("logging was set up twice in one process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
    /// The set-up is gone: the process is ending.
    #[error("the log level can't be changed any more")]
    Ended(#[source] reload::Error),
}

/// The logging of this process, for changes once the configuration is known.
#[derive(Clone)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
    file: Option<SharedFile>,
}

/// Sets up the logging of this process, once: events of `tracing` and of `log` become lines of time (UTC), level, target,
/// text and fields; a panic becomes an error line as well as the usual text on standard error.
///
/// # Errors
/// [`LogError`]; nothing was set up then, except that [`LogError::Twice`] leaves the former set-up in place.
pub fn init(options: &Options) -> Result<Logging, LogError> {
    let (filter, reload) = reload::Layer::new(filters(&options.level)?);
    let file = match &options.dir {
        None => None,
        Some(dir) => {
            let path = dir.join(&options.file_name);
            let limits = Limits { file_size: options.file_size, files: options.files };
            let file = RollingFile::open(&path, limits).map_err(|cause| LogError::File { path, cause })?;
            Some(SharedFile::new(file))
        }
    };
    let writer = match &file {
        Some(file) => BoxMakeWriter::new(file.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(LogError::Twice)?;
    panics::log_panics();
    Ok(Logging { filter: reload, file })
}

impl Logging {
    /// Changes level and limits, as `env.log.level`, `env.log.file.size` and `env.log.max` say.
    ///
    /// # Errors
    /// [`LogError::Level`], [`LogError::Ended`]; nothing was changed then.
    pub fn reconfigure(&self, level: &str, limits: Limits) -> Result<(), LogError> {
        self.filter.reload(filters(level)?).map_err(LogError::Ended)?;
        if let Some(file) = &self.file {
            file.set_limits(limits);
        }
        Ok(())
    }
}

/// A word without `=` must be a level: the library would take any other for a module, and then log nothing else.
fn filters(level: &str) -> Result<Targets, LogError> {
    let bad = || LogError::Level { level: level.to_owned() };
    let parts = || level.split(',').map(str::trim);
    if parts().any(|part| part.is_empty() || (!part.contains('=') && part.parse::<LevelFilter>().is_err())) {
        return Err(bad());
    }
    parts().collect::<Vec<_>>().join(",").parse().map_err(|_| bad())
}

/// The log directory that YARN gave this container: the first of the comma-separated list in `LOG_DIRS`. `None` outside
/// of a container.
pub fn container_log_dir() -> Option<PathBuf> {
    first_dir(std::env::var_os("LOG_DIRS").as_deref())
}

fn first_dir(list: Option<&OsStr>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let first = list?.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).find(|dir| !dir.is_empty())?;
    Some(Path::new(OsStr::from_bytes(first)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_yarns_log_directories_is_used() {
        for (list, dir) in [
            (None, None),
            (Some(""), None),
            (Some("/logs/c1"), Some("/logs/c1")),
            (Some("/logs/c1,/other/c1"), Some("/logs/c1")),
            (Some(" /logs/c1 ,/other/c1"), Some("/logs/c1")),
            (Some(",/other/c1"), Some("/other/c1")),
        ] {
            assert_eq!(first_dir(list.map(OsStr::new)), dir.map(PathBuf::from), "{list:?}");
        }
    }

    #[test]
    fn a_level_is_a_word_or_a_list_of_filters_and_nothing_else() {
        for level in ["info", "WARN", "info, flumen_worker=debug", "off", " debug "] {
            assert!(filters(level).is_ok(), "{level}");
        }
        for level in ["", "loud", "info,", "info,flumen_worker", "info,flumen_worker=loud"] {
            let error = filters(level).unwrap_err().to_string();
            assert!(error.contains(&format!("`{level}` is not a level")), "{error}");
        }
    }
}
