//! The actions that concern a job that runs: `cancel`, `stop`, `savepoint`, `checkpoint`. Options and names may stand in any
//! order.

use clap::CommandFactory as _;
use flumen_model::ids::JobId;

use super::{Command, UsageError, flags, listed, rewrite, usage};

/// What is to be done about which job.
#[derive(Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub verb: Verb,
    /// Where.
    pub options: ActionOptions,
}

/// See [`Action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Cancel a job.
    Cancel {
        /// Which.
        job: JobId,
        /// After a savepoint, in this directory (`None`: the configured one).
        savepoint: Option<Option<String>>,
    },
    /// Stop a job with a savepoint.
    Stop {
        /// Which.
        job: JobId,
        /// Where the savepoint goes; `None`: the configured directory.
        directory: Option<String>,
        /// Whether windows and timers fire first.
        drain: bool,
        /// Whether to wait for it.
        detached: bool,
    },
    /// Take a savepoint.
    Savepoint {
        /// Of which job.
        job: JobId,
        /// Where it goes; `None`: the configured directory.
        directory: Option<String>,
        /// Whether to wait for it.
        detached: bool,
    },
    /// Remove a savepoint.
    Dispose {
        /// Its directory or metadata file.
        path: String,
    },
    /// Take a checkpoint.
    Checkpoint {
        /// Of which job.
        job: JobId,
        /// Whether it refers to no earlier one.
        full: bool,
    },
}

/// Where the job is to be found.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ActionOptions {
    /// The job's YARN application; it is looked for when this is not given
    #[arg(long = "yarnapplicationId", alias = "yid", value_name = "id")]
    pub application: Option<String>,
    /// A configuration value, key=value; may be repeated
    #[arg(short = 'D', value_name = "key=value")]
    pub properties: Vec<String>,
    /// A configuration value, key=value; may be repeated
    #[arg(id = "yarn-properties", long = "yD", value_name = "key=value")]
    pub yarn_properties: Vec<String>,
    /// yarn-cluster: nothing else is there
    #[arg(short = 'm', long = "jobmanager", value_name = "where")]
    pub jobmanager: Option<String>,
    /// yarn-per-job: nothing else is there
    #[arg(short = 't', short_alias = 'e', long = "target", alias = "executor", value_name = "target")]
    pub target: Option<String>,
    /// Say nothing but results and errors
    #[arg(short = 'q', long = "sysoutLogging")]
    pub quiet: bool,
    /// Show this help
    #[arg(short = 'h', long = "help", alias = "yh", alias = "yarnhelp")]
    pub help: bool,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Cancel {
    /// Take a savepoint before, in the directory that follows or in the configured one; `stop` is the better way
    #[arg(short = 's', long = "withSavepoint")]
    with_savepoint: bool,
    #[command(flatten)]
    common: ActionOptions,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Stop {
    /// Directory of the savepoint (default: state.savepoints.dir)
    #[arg(short = 'p', long = "savepointPath", value_name = "directory")]
    directory: Option<String>,
    /// End the sources first, so that windows and timers fire
    #[arg(short = 'd', long = "drain")]
    drain: bool,
    /// Do not wait for the savepoint
    #[arg(long = "detached")]
    detached: bool,
    /// Accepted: CANONICAL is the format there is
    #[arg(long = "type", value_name = "format")]
    format: Option<String>,
    #[command(flatten)]
    common: ActionOptions,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Savepoint {
    /// Remove this savepoint
    #[arg(short = 'd', long = "dispose", value_name = "path")]
    dispose: Option<String>,
    /// Do not wait for the savepoint
    #[arg(long = "detached")]
    detached: bool,
    /// Accepted: CANONICAL is the format there is
    #[arg(long = "type", value_name = "format")]
    format: Option<String>,
    /// Accepted and ignored: a savepoint is removed without its program
    #[arg(short = 'j', long = "jarfile", value_name = "file")]
    jar: Option<String>,
    #[command(flatten)]
    common: ActionOptions,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Checkpoint {
    /// Refer to no earlier checkpoint
    #[arg(long = "full")]
    full: bool,
    #[command(flatten)]
    common: ActionOptions,
}

/// Takes the words after one of these actions apart; `None` when it is another action.
pub(super) fn parse(action: &str, words: &[String]) -> Option<Result<Command, UsageError>> {
    Some(match action {
        "cancel" => taken::<Cancel>(words)
            .and_then(|(o, names)| help_or(o.common, Usage::CANCEL, |_| cancel(o.with_savepoint, names))),
        "stop" => taken::<Stop>(words).and_then(|(o, names)| {
            help_or(o.common, Usage::STOP, |_| {
                canonical(o.format.as_deref())?;
                let [job] = exactly(names, Usage::STOP)?;
                Ok(Verb::Stop { job: job_id(&job)?, directory: o.directory, drain: o.drain, detached: o.detached })
            })
        }),
        "savepoint" => taken::<Savepoint>(words).and_then(|(o, names)| {
            help_or(o.common, Usage::SAVEPOINT, |_| {
                canonical(o.format.as_deref())?;
                savepoint(o.dispose, o.detached, names)
            })
        }),
        "checkpoint" => taken::<Checkpoint>(words).and_then(|(o, names)| {
            help_or(o.common, Usage::CHECKPOINT, |_| {
                let [job] = exactly(names, Usage::CHECKPOINT)?;
                Ok(Verb::Checkpoint { job: job_id(&job)?, full: o.full })
            })
        }),
        _ => return None,
    })
}

/// How an action is called, and the options that it has.
#[derive(Clone, Copy)]
struct Usage {
    line: &'static str,
    command: fn() -> clap::Command,
}

impl Usage {
    const CANCEL: Self = Self { line: "flink cancel [OPTIONS] <job id>", command: Cancel::command };
    const STOP: Self = Self { line: "flink stop [OPTIONS] <job id>", command: Stop::command };
    const SAVEPOINT: Self = Self {
        line: "flink savepoint [OPTIONS] <job id> [<directory>], or flink savepoint -d <path>",
        command: Savepoint::command,
    };
    const CHECKPOINT: Self = Self { line: "flink checkpoint [OPTIONS] <job id>", command: Checkpoint::command };
}

fn help_or(
    options: ActionOptions,
    usage: Usage,
    verb: impl FnOnce(()) -> Result<Verb, UsageError>,
) -> Result<Command, UsageError> {
    if options.help {
        let text = format!("{}\n\nOptions:\n{}", usage.line, listed(&flags(&(usage.command)())));
        return Ok(Command::Print(text.trim_end().to_owned()));
    }
    Ok(Command::Act(Box::new(Action { verb: verb(())?, options })))
}

/// The options, and the words that belong to none.
fn taken<T: clap::Parser>(words: &[String]) -> Result<(T, Vec<String>), UsageError> {
    let flags = flags(&T::command());
    let (mut rewritten, mut names) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            rewritten.push(rewrite(&flags, word, &mut words)?);
        } else {
            names.push(word.clone());
        }
    }
    let matches = T::command().try_get_matches_from(rewritten).map_err(|error| usage(&error))?;
    Ok((T::from_arg_matches(&matches).map_err(|error| usage(&error))?, names))
}

fn exactly<const N: usize>(names: Vec<String>, usage: Usage) -> Result<[String; N], UsageError> {
    names.try_into().map_err(|names: Vec<String>| {
        UsageError(format!("{} instead of {N} names were given: {}", names.len(), usage.line))
    })
}

fn job_id(text: &str) -> Result<JobId, UsageError> {
    text.parse().map_err(|error: flumen_model::ids::BadId| UsageError(error.to_string()))
}

/// `-s` may be followed by a directory or not, so the directory is the name that is no job id.
fn cancel(with_savepoint: bool, mut names: Vec<String>) -> Result<Verb, UsageError> {
    let directory = match names.len() {
        2 if with_savepoint => names.iter().position(|name| name.parse::<JobId>().is_err()).map(|at| names.remove(at)),
        _ => None,
    };
    let [job] = exactly(names, Usage::CANCEL)?;
    Ok(Verb::Cancel { job: job_id(&job)?, savepoint: with_savepoint.then_some(directory) })
}

fn savepoint(dispose: Option<String>, detached: bool, mut names: Vec<String>) -> Result<Verb, UsageError> {
    if let Some(path) = dispose {
        let [] = exactly(names, Usage::SAVEPOINT)?;
        return Ok(Verb::Dispose { path });
    }
    let directory = if names.len() == 2 { names.pop() } else { None };
    let [job] = exactly(names, Usage::SAVEPOINT)?;
    Ok(Verb::Savepoint { job: job_id(&job)?, directory, detached })
}

fn canonical(format: Option<&str>) -> Result<(), UsageError> {
    match format {
        None => Ok(()),
        Some(format) if format.eq_ignore_ascii_case("canonical") => Ok(()),
        Some(format) => Err(UsageError(format!("-type {format}: savepoints have the format CANONICAL"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "000000000000000000000000000000ab";

    fn parsed(line: &str) -> Result<Action, String> {
        let line = line.replace("JOB", JOB);
        match super::super::parse(line.split_whitespace().map(Into::into)) {
            Ok(Command::Act(action)) => Ok(*action),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.0),
        }
    }

    #[test]
    fn options_and_names_stand_in_any_order() {
        let job = JobId(0xab);
        let dir = || Some("hdfs:///sp".to_owned());
        for (line, verb) in [
            ("savepoint JOB", Verb::Savepoint { job, directory: None, detached: false }),
            ("savepoint JOB hdfs:///sp -yid a", Verb::Savepoint { job, directory: dir(), detached: false }),
            ("savepoint -yid a -detached JOB hdfs:///sp", Verb::Savepoint { job, directory: dir(), detached: true }),
            ("savepoint -d hdfs:///sp", Verb::Dispose { path: "hdfs:///sp".into() }),
            ("savepoint -dispose=hdfs:///sp", Verb::Dispose { path: "hdfs:///sp".into() }),
            ("savepoint -type canonical JOB", Verb::Savepoint { job, directory: None, detached: false }),
            ("stop JOB", Verb::Stop { job, directory: None, drain: false, detached: false }),
            ("stop -d -p hdfs:///sp JOB", Verb::Stop { job, directory: dir(), drain: true, detached: false }),
            ("stop JOB --drain", Verb::Stop { job, directory: None, drain: true, detached: false }),
            ("checkpoint JOB -full", Verb::Checkpoint { job, full: true }),
            ("checkpoint JOB", Verb::Checkpoint { job, full: false }),
            ("cancel JOB", Verb::Cancel { job, savepoint: None }),
            ("cancel -s JOB", Verb::Cancel { job, savepoint: Some(None) }),
            ("cancel -s hdfs:///sp JOB", Verb::Cancel { job, savepoint: Some(dir()) }),
            ("cancel JOB -s hdfs:///sp", Verb::Cancel { job, savepoint: Some(dir()) }),
        ] {
            assert_eq!(parsed(line).unwrap().verb, verb, "{line}");
        }
        let action = parsed("stop -yid application_1_1 -D a=b -yDc=d JOB").unwrap();
        assert_eq!(action.options.application.as_deref(), Some("application_1_1"));
        assert_eq!(
            (action.options.properties, action.options.yarn_properties),
            (vec!["a=b".into()], vec!["c=d".into()])
        );
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (line, part) in [
            ("stop", "flink stop [OPTIONS] <job id>"),
            ("stop JOB JOB", "2 instead of 1"),
            ("stop 12", "not a job id"),
            ("savepoint -d", "needs a value"),
            ("savepoint -d a JOB", "flink savepoint -d <path>"),
            ("savepoint -type native JOB", "CANONICAL"),
            ("cancel hdfs:///sp JOB", "2 instead of 1"),
            ("checkpoint -ful JOB", "did you mean"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let help = super::super::parse(["savepoint".into(), "-h".into()]).unwrap();
        assert!(matches!(help, Command::Print(text) if text.contains("--dispose <path>")));
    }
}
