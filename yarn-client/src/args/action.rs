//! The actions that concern jobs that run: `list`, `cancel`, `stop`, `savepoint`, `checkpoint`. Options and names may stand in
//! any order.

use clap::CommandFactory as _;
use flumen_model::ids::JobId;

use super::flags::{self, flags, rewrite};
use super::help::{self, About};
use super::options::{Place, YarnOptions};
use super::{Command, UsageError};

/// What is to be done about which job.
#[derive(Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub verb: Verb,
    /// Where.
    pub place: Place,
    /// Say nothing but results and errors.
    pub quiet: bool,
}

/// See [`Action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Show jobs.
    List {
        /// Those that run. Without any choice: those that run and those that are scheduled.
        running: bool,
        /// Those that wait.
        scheduled: bool,
        /// All, those that are over included.
        all: bool,
        /// As JSON.
        json: bool,
    },
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

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct List {
    /// Jobs that run or restart
    #[arg(short = 'r', long = "running")]
    running: bool,
    /// Jobs that wait for their start
    #[arg(short = 's', long = "scheduled")]
    scheduled: bool,
    /// All jobs, those that are over included
    #[arg(short = 'a', long = "all")]
    all: bool,
    /// Print one line of JSON: [{"jid", "name", "state", "start-time", "duration", "application"}]
    #[arg(long = "json")]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Cancel {
    /// Take a savepoint before, in the directory that follows or in the configured one; `stop` is the better way
    #[arg(short = 's', long = "withSavepoint")]
    with_savepoint: bool,
    #[command(flatten)]
    common: Common,
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
    /// CANONICAL or NATIVE, which mean the same here: a savepoint of one format, for any backend and parallelism
    #[arg(long = "type", value_name = "format")]
    format: Option<String>,
    #[command(flatten)]
    common: Common,
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
    /// CANONICAL or NATIVE, which mean the same here: a savepoint of one format, for any backend and parallelism
    #[arg(long = "type", value_name = "format")]
    format: Option<String>,
    /// Accepted and ignored: a savepoint is removed without its program
    #[arg(short = 'j', long = "jarfile", value_name = "file")]
    jar: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct Checkpoint {
    /// Refer to no earlier checkpoint
    #[arg(long = "full")]
    full: bool,
    #[command(flatten)]
    common: Common,
}

/// What every action takes.
#[derive(Debug, Default, clap::Args)]
struct Common {
    /// Say nothing but results and errors
    #[arg(short = 'q', long = "sysoutLogging")]
    quiet: bool,
    #[command(flatten)]
    place: Place,
    /// Accepted everywhere, as in Flink; nothing is started here.
    #[command(flatten)]
    _yarn: YarnOptions,
}

/// Takes the words after one of these actions apart; `None` when it is another action.
pub(super) fn parse(action: &str, words: &[String]) -> Option<Result<Command, UsageError>> {
    Some(match action {
        "list" => taken::<List>(words).and_then(|(o, names)| {
            help_or(o.common, LIST, || {
                let [] = exactly(names, LIST)?;
                Ok(Verb::List { running: o.running, scheduled: o.scheduled, all: o.all, json: o.json })
            })
        }),
        "cancel" => {
            taken::<Cancel>(words).and_then(|(o, names)| help_or(o.common, CANCEL, || cancel(o.with_savepoint, names)))
        }
        "stop" => taken::<Stop>(words).and_then(|(o, names)| {
            help_or(o.common, STOP, || {
                known_format(o.format.as_deref())?;
                let [job] = exactly(names, STOP)?;
                Ok(Verb::Stop { job: job_id(&job)?, directory: o.directory, drain: o.drain, detached: o.detached })
            })
        }),
        "savepoint" => taken::<Savepoint>(words).and_then(|(o, names)| {
            help_or(o.common, SAVEPOINT, || {
                known_format(o.format.as_deref())?;
                savepoint(o.dispose, o.detached, names)
            })
        }),
        "checkpoint" => taken::<Checkpoint>(words).and_then(|(o, names)| {
            help_or(o.common, CHECKPOINT, || {
                let [job] = exactly(names, CHECKPOINT)?;
                Ok(Verb::Checkpoint { job: job_id(&job)?, full: o.full })
            })
        }),
        _ => return None,
    })
}

/// The actions of this module.
pub(super) const ALL: [About; 5] = [LIST, CANCEL, STOP, SAVEPOINT, CHECKPOINT];

const LIST: About =
    About { name: "list", syntax: "", purpose: "lists jobs that run or wait", command: List::command, starts: false };
const CANCEL: About = About {
    name: "cancel",
    syntax: "<job id>",
    purpose: "cancels a job, with -s after a savepoint",
    command: Cancel::command,
    ..LIST
};
const STOP: About =
    About { name: "stop", syntax: "<job id>", purpose: "stops a job with a savepoint", command: Stop::command, ..LIST };
const SAVEPOINT: About = About {
    name: "savepoint",
    syntax: "<job id> [<directory>], or flink savepoint -d <path>",
    purpose: "takes a savepoint of a job, or disposes of one",
    command: Savepoint::command,
    ..LIST
};
const CHECKPOINT: About = About {
    name: "checkpoint",
    syntax: "<job id>",
    purpose: "takes a checkpoint of a job",
    command: Checkpoint::command,
    ..LIST
};

fn help_or(
    common: Common,
    about: About,
    verb: impl FnOnce() -> Result<Verb, UsageError>,
) -> Result<Command, UsageError> {
    if common.place.help {
        return Ok(Command::Print(help::of(&about)));
    }
    Ok(Command::Act(Box::new(Action { verb: verb()?, place: common.place, quiet: common.quiet })))
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
    Ok((flags::read(rewritten)?, names))
}

fn exactly<const N: usize>(names: Vec<String>, about: About) -> Result<[String; N], UsageError> {
    names.try_into().map_err(|names: Vec<String>| match names.get(N..).filter(|beyond| !beyond.is_empty()) {
        Some(beyond) => UsageError(format!("`{}` is too much: {}", beyond.join(" "), usage(about))),
        None => UsageError(format!("no job was named: {}", usage(about))),
    })
}

fn usage(about: About) -> String {
    format!("flink {} [OPTIONS] {}", about.name, about.syntax).trim_end().to_owned()
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
    let [job] = exactly(names, CANCEL)?;
    Ok(Verb::Cancel { job: job_id(&job)?, savepoint: with_savepoint.then_some(directory) })
}

fn savepoint(dispose: Option<String>, detached: bool, mut names: Vec<String>) -> Result<Verb, UsageError> {
    if let Some(path) = dispose {
        let [] = exactly(names, SAVEPOINT)?;
        return Ok(Verb::Dispose { path });
    }
    let directory = if names.len() == 2 { names.pop() } else { None };
    let [job] = exactly(names, SAVEPOINT)?;
    Ok(Verb::Savepoint { job: job_id(&job)?, directory, detached })
}

/// Both of Flink's formats are taken for the one there is.
fn known_format(format: Option<&str>) -> Result<(), UsageError> {
    let known = |format: &str| ["canonical", "native"].iter().any(|known| format.eq_ignore_ascii_case(known));
    match format {
        Some(format) if !known(format) => {
            Err(UsageError(format!("-type is `{format}`: CANONICAL and NATIVE are allowed, and mean the same here")))
        }
        Some(_) | None => Ok(()),
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
            ("savepoint --type NATIVE JOB", Verb::Savepoint { job, directory: None, detached: false }),
            ("stop JOB", Verb::Stop { job, directory: None, drain: false, detached: false }),
            ("stop -d -p hdfs:///sp JOB", Verb::Stop { job, directory: dir(), drain: true, detached: false }),
            ("stop JOB --drain", Verb::Stop { job, directory: None, drain: true, detached: false }),
            ("checkpoint JOB -full", Verb::Checkpoint { job, full: true }),
            ("checkpoint JOB", Verb::Checkpoint { job, full: false }),
            ("list", Verb::List { running: false, scheduled: false, all: false, json: false }),
            ("list -r -s --json", Verb::List { running: true, scheduled: true, all: false, json: true }),
            ("list --all -yid a -ynm ignored", Verb::List { running: false, scheduled: false, all: true, json: false }),
            ("cancel JOB", Verb::Cancel { job, savepoint: None }),
            ("cancel -s JOB", Verb::Cancel { job, savepoint: Some(None) }),
            ("cancel -s hdfs:///sp JOB", Verb::Cancel { job, savepoint: Some(dir()) }),
            ("cancel JOB -s hdfs:///sp", Verb::Cancel { job, savepoint: Some(dir()) }),
        ] {
            assert_eq!(parsed(line).unwrap().verb, verb, "{line}");
        }
        let action = parsed("stop -yid application_1_1 -D a=b -yDc=d JOB").unwrap();
        assert_eq!(action.place.application.as_deref(), Some("application_1_1"));
        assert_eq!((action.place.properties, action.place.yarn_properties), (vec!["a=b".into()], vec!["c=d".into()]));
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (line, part) in [
            ("list x", "`x` is too much: flink list [OPTIONS]"),
            ("stop", "no job was named: flink stop [OPTIONS] <job id>"),
            ("stop JOB x y", "`x y` is too much"),
            ("stop 12", "not a job id"),
            ("savepoint -d", "needs a value"),
            ("savepoint -d a JOB", "flink savepoint -d <path>"),
            ("savepoint -type binary JOB", "-type is `binary`: CANONICAL and NATIVE are allowed"),
            ("cancel hdfs:///sp JOB", "is too much"),
            ("checkpoint -ful JOB", "did you mean `--full`"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let help = super::super::parse(["savepoint".into(), "-h".into()]).unwrap();
        assert!(matches!(help, Command::Print(text) if text.contains("--dispose <path>")));
    }
}
