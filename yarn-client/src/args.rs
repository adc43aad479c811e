//! What was typed: the command line, taken apart but not yet interpreted ([`crate::meaning`] does that).
//!
//! Flink's flags have several letters behind one dash (`-yjm`), which clap does not know. So every option up to the
//! program is first rewritten to `--long=value`; whatever follows the program is the program's own and is not looked at.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _};

mod action;

pub use action::{Action, ActionOptions, Verb};

/// What `flink` was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run a program.
    Run(Box<Typed>),
    /// Print a program's plan.
    Info(Box<Typed>),
    /// Do something about a job that runs.
    Act(Box<Action>),
    /// Print this text.
    Print(String),
}

/// The command line of `run` and `info`, as typed.
#[derive(Debug)]
pub struct Typed {
    /// The options before the program.
    pub options: Options,
    /// The program; `None` when none was named.
    pub program: Option<PathBuf>,
    /// Everything after the program.
    pub arguments: Vec<String>,
}

/// A command line that says nothing sensible; the text is for the user.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The options, with Flink's names. The comments are the help text.
#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
pub struct Options {
    /// Where to run: yarn-cluster or local
    #[arg(short = 'm', long = "jobmanager", value_name = "where")]
    pub jobmanager: Option<String>,
    /// Where to run: yarn-per-job or local (same as -D execution.target=…; the old form is -e)
    #[arg(short = 't', short_alias = 'e', long = "target", alias = "executor", value_name = "target")]
    pub target: Option<String>,
    /// Return as soon as the job runs
    #[arg(short = 'd', long = "detached")]
    pub detached: bool,
    /// Cancel the job when this attached client is interrupted or vanishes
    #[arg(long = "shutdownOnAttachedExit", alias = "sae")]
    pub shutdown_on_attached_exit: bool,
    /// Parallelism of operators for which the program sets none
    #[arg(short = 'p', long = "parallelism", value_name = "number")]
    pub parallelism: Option<u32>,
    /// A configuration value, key=value; may be repeated
    #[arg(short = 'D', value_name = "key=value")]
    pub properties: Vec<String>,
    /// Say nothing but results and errors
    #[arg(short = 'q', long = "sysoutLogging")]
    pub quiet: bool,
    /// Accepted and ignored: a native program has one entry point
    #[arg(short = 'c', long = "class", value_name = "class")]
    pub class: Option<String>,
    /// Accepted and ignored: a native program carries what it links
    #[arg(short = 'C', long = "classpath", value_name = "url")]
    pub classpath: Vec<String>,
    /// Savepoint or retained checkpoint to start from: its directory or its _metadata file
    #[arg(short = 's', long = "fromSavepoint", value_name = "path")]
    pub from_savepoint: Option<String>,
    /// Leave state behind of operators that the program no longer has
    #[arg(short = 'n', long = "allowNonRestoredState")]
    pub allow_non_restored_state: bool,
    /// What the job may do with what it starts from: NO_CLAIM, CLAIM or LEGACY
    #[arg(long = "claimMode", aliases = ["cm", "restoreMode", "rm"], value_name = "mode")]
    pub claim_mode: Option<String>,
    /// Namespace of high availability (high-availability.cluster-id)
    #[arg(short = 'z', long = "zookeeperNamespace", value_name = "namespace")]
    pub namespace: Option<String>,
    /// Show this help
    #[arg(short = 'h', long = "help", alias = "yh", alias = "yarnhelp")]
    pub help: bool,
    /// Options of -m yarn-cluster.
    #[command(flatten)]
    pub yarn: YarnOptions,
}

/// The options that concern YARN.
#[derive(Debug, Default, Args)]
pub struct YarnOptions {
    /// Memory of the JobManager's container, in MB unless it has a unit
    #[arg(long = "yarnjobManagerMemory", alias = "yjm", value_name = "size")]
    pub jobmanager_memory: Option<String>,
    /// Memory of a TaskManager's container, in MB unless it has a unit
    #[arg(long = "yarntaskManagerMemory", alias = "ytm", value_name = "size")]
    pub taskmanager_memory: Option<String>,
    /// Slots of each TaskManager
    #[arg(long = "yarnslots", alias = "ys", value_name = "number")]
    pub slots: Option<u32>,
    /// Queue of the application
    #[arg(long = "yarnqueue", alias = "yqu", value_name = "queue")]
    pub queue: Option<String>,
    /// Name of the application
    #[arg(long = "yarnname", alias = "ynm", value_name = "name")]
    pub name: Option<String>,
    /// Type of the application
    #[arg(long = "yarnapplicationType", alias = "yat", value_name = "type")]
    pub application_type: Option<String>,
    /// Node label of the application's containers
    #[arg(long = "yarnnodeLabel", alias = "ynl", value_name = "label")]
    pub node_label: Option<String>,
    /// A file or directory to ship to every container; may be repeated
    #[arg(long = "yarnship", alias = "yt", value_name = "path")]
    pub ship: Vec<String>,
    /// A configuration value, key=value; may be repeated
    #[arg(id = "yarn-properties", long = "yD", value_name = "key=value")]
    pub properties: Vec<String>,
    /// Show the cluster's nodes, memory, cores and queues
    #[arg(long = "yarnquery", alias = "yq")]
    pub query: bool,
    /// The same as -d
    #[arg(id = "yarndetached", long = "yarndetached", alias = "yd")]
    pub detached: bool,
    /// The same as -z
    #[arg(id = "yarnzookeeperNamespace", long = "yarnzookeeperNamespace", alias = "yz", value_name = "namespace")]
    pub namespace: Option<String>,
    /// Accepted and ignored: the number of containers follows from the parallelism
    #[arg(long = "yarncontainer", alias = "yn", value_name = "number")]
    pub containers: Option<String>,
    /// Accepted and ignored: Flumen's own executables are found beside this one
    #[arg(long = "yarnjar", alias = "yj", value_name = "path")]
    pub jar: Option<String>,
    /// Accepted and ignored: streaming is the default
    #[arg(long = "yarnstreaming", alias = "yst")]
    pub streaming: bool,
    /// Not there yet: submit to a running session
    #[arg(long = "yarnapplicationId", alias = "yid", value_name = "id")]
    pub application_id: Option<String>,
}

/// Flink's actions that Flumen does not have yet.
const LATER: [&str; 2] = ["list", "run-application"];

/// Takes a command line apart; `arguments` starts after the executable's name.
///
/// # Errors
/// [`UsageError`] for unknown actions and flags, missing values and values of the wrong form.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut words = Vec::new();
    for word in arguments {
        words.push(word.into_string().map_err(|word| UsageError(format!("argument {word:?} is not valid UTF-8")))?);
    }
    let (action, rest) = match words.split_first() {
        Some((action, rest)) => (action.as_str(), rest),
        None => return Err(UsageError(format!("no action was given\n\n{}", overview()))),
    };
    match action {
        "run" => options(rest).map(|typed| help_or(typed, "run", Command::Run)),
        "info" => options(rest).map(|typed| help_or(typed, "info", Command::Info)),
        "-h" | "--help" | "help" => Ok(Command::Print(overview())),
        "-v" | "--version" => Ok(Command::Print(format!("Version: {}", env!("CARGO_PKG_VERSION")))),
        later if LATER.contains(&later) => {
            Err(UsageError(format!("action `{later}` is not there yet\n\n{}", overview())))
        }
        other => match action::parse(other, rest) {
            Some(command) => command,
            None => Err(UsageError(format!("`{other}` is not an action\n\n{}", overview()))),
        },
    }
}

fn help_or(typed: Typed, action: &str, command: fn(Box<Typed>) -> Command) -> Command {
    if typed.options.help { Command::Print(help(action)) } else { command(Box::new(typed)) }
}

fn options(words: &[String]) -> Result<Typed, UsageError> {
    let flags = flags(&Options::command());
    let mut rewritten = Vec::new();
    let mut words = words.iter();
    let mut program = None;
    while let Some(word) = words.next() {
        if word == "--" {
            program = words.next();
            break;
        }
        if !word.starts_with('-') || word == "-" {
            program = Some(word);
            break;
        }
        rewritten.push(rewrite(&flags, word, &mut words)?);
    }
    let matches = Options::command().try_get_matches_from(rewritten).map_err(|error| usage(&error))?;
    let options = Options::from_arg_matches(&matches).map_err(|error| usage(&error))?;
    Ok(Typed { options, program: program.map(PathBuf::from), arguments: words.cloned().collect() })
}

/// An option as clap takes it; its value may be the next of the words.
fn rewrite<'a>(flags: &[Flag], word: &str, words: &mut impl Iterator<Item = &'a String>) -> Result<String, UsageError> {
    let (flag, attached) = find(flags, word)?;
    match (flag.takes_value, attached) {
        (false, None) => Ok(flag.canonical.clone()),
        (false, Some(_)) => Err(UsageError(format!("`{word}`: {} takes no value", flag.shown()))),
        (true, Some(value)) => Ok(format!("{}={value}", flag.canonical)),
        (true, None) => match words.next() {
            Some(value) => Ok(format!("{}={value}", flag.canonical)),
            None => Err(UsageError(format!("{} needs a value", flag.shown()))),
        },
    }
}

fn usage(error: &clap::Error) -> UsageError {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    UsageError(first.strip_prefix("error: ").unwrap_or(first).to_owned())
}

/// One option with all its names, without dashes.
struct Flag {
    /// As clap takes it: `--long` or `-x`.
    canonical: String,
    names: Vec<String>,
    takes_value: bool,
    value_name: String,
    help: String,
}

impl Flag {
    /// `-yjm,--yarnjobManagerMemory`, as Flink's help shows it.
    fn shown(&self) -> String {
        self.names.iter().map(|name| dashed(name)).collect::<Vec<_>>().join(",")
    }
}

/// Names of up to three letters stand behind one dash, as in Flink.
fn dashed(name: &str) -> String {
    if name.len() <= 3 { format!("-{name}") } else { format!("--{name}") }
}

fn flags(command: &clap::Command) -> Vec<Flag> {
    let mut flags = Vec::new();
    for arg in command.get_arguments() {
        let mut names: Vec<String> =
            arg.get_short_and_visible_aliases().unwrap_or_default().iter().map(char::to_string).collect();
        names.extend(arg.get_all_short_aliases().unwrap_or_default().iter().map(char::to_string));
        names.extend(arg.get_all_aliases().unwrap_or_default().iter().map(|&name| name.to_owned()));
        names.extend(arg.get_long().map(str::to_owned));
        names.sort_by_key(|name| name.len() > 3);
        let canonical = match (arg.get_long(), arg.get_short()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            (None, None) => continue,
        };
        let value_name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        flags.push(Flag {
            canonical,
            names,
            takes_value: arg.get_action().takes_values(),
            value_name: value_name.unwrap_or_default(),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        });
    }
    flags
}

/// The flag of a word and the value that is attached to it: `-yjm`, `--yarnslots=2`, `-Dkey=value`, `-p4`.
fn find<'a, 'w>(flags: &'a [Flag], word: &'w str) -> Result<(&'a Flag, Option<&'w str>), UsageError> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let named = |name: &str| flags.iter().find(|flag| flag.names.iter().any(|n| n == name));
    if let Some(flag) = named(name) {
        return Ok((flag, value));
    }
    let number = body.strip_prefix('p').filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    for (name, value) in [("yD", body.strip_prefix("yD")), ("D", body.strip_prefix('D')), ("p", number)] {
        if let (Some(flag), Some(value)) = (named(name), value) {
            return Ok((flag, Some(value)));
        }
    }
    let nearest = flags.iter().flat_map(|flag| &flag.names).min_by_key(|known| distance(name, known));
    let hint = nearest.map(|name| format!("; did you mean `{}`?", dashed(name))).unwrap_or_default();
    Err(UsageError(format!(
        "unknown option `{word}`{hint} (options of the program stand after the program; `flink run --help` lists all)"
    )))
}

/// Levenshtein's distance, upper and lower case being half a step apart (counted in halves).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).map(|i| i * 2).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = (i + 1) * 2;
        for (j, &y) in b.iter().enumerate() {
            let differ = if x == y { 0 } else { 2 - usize::from(x.eq_ignore_ascii_case(&y)) };
            let best = (corner + differ).min(row[j] + 2).min(row[j + 1] + 2);
            corner = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

fn overview() -> String {
    "flink <ACTION> [OPTIONS] [ARGUMENTS]\n\n\
     Actions:\n  \
     run         runs a program, here or on YARN\n  \
     info        shows the plan of a program as JSON\n  \
     cancel      cancels a job, with -s after a savepoint\n  \
     stop        stops a job with a savepoint\n  \
     savepoint   takes a savepoint of a job, or disposes of one\n  \
     checkpoint  takes a checkpoint of a job\n  \
     --version   shows the version\n\n\
     `flink <ACTION> --help` lists the options."
        .to_owned()
}

fn help(action: &str) -> String {
    let mut text = format!("flink {action} [OPTIONS] <program> [arguments of the program]\n\nOptions:\n");
    text.push_str(&listed(&flags(&Options::command())));
    text.push_str("\nExample: flink run -m yarn-cluster -p 2 ./wordcount --input hdfs:///in.txt --output hdfs:///out");
    text
}

/// One line for each option.
fn listed(flags: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let value = if flag.takes_value { format!(" <{}>", flag.value_name) } else { String::new() };
        format!("  {:<48} {}\n", flag.shown() + &value, flag.help)
    };
    flags.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Typed, UsageError> {
        match parse(format!("run {line}").split_whitespace().map(OsString::from))? {
            Command::Run(typed) => Ok(*typed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_the_program_belongs_to_the_program() {
        let typed = run("-p 4 -sae ./wordcount -p 7 -sae --input=a -- -yn x").unwrap();
        assert_eq!((typed.options.parallelism, typed.options.shutdown_on_attached_exit), (Some(4), true));
        assert_eq!(typed.program, Some("./wordcount".into()));
        assert_eq!(typed.arguments, ["-p", "7", "-sae", "--input=a", "--", "-yn", "x"]);
    }

    #[test]
    fn flags_of_one_dash_and_several_letters_are_understood_in_all_their_forms() {
        for line in
            ["-yjm 512 x", "-yjm=512 x", "--yarnjobManagerMemory 512 x", "--yarnjobManagerMemory=512 x", "--yjm 512 x"]
        {
            assert_eq!(run(line).unwrap().options.yarn.jobmanager_memory.as_deref(), Some("512"), "{line}");
        }
        let typed =
            run("-m yarn-cluster -yn 2 -ynm name -yqu q -yat t -ynl l -ys 3 -ytm 2g -yt a -yt b -yst -yd -yz n -q x")
                .unwrap();
        let (yarn, options) = (&typed.options.yarn, &typed.options);
        assert_eq!(options.jobmanager.as_deref(), Some("yarn-cluster"));
        assert_eq!(
            (yarn.containers.as_deref(), yarn.name.as_deref(), yarn.queue.as_deref()),
            (Some("2"), Some("name"), Some("q"))
        );
        assert_eq!((yarn.slots, yarn.taskmanager_memory.as_deref(), yarn.ship.len()), (Some(3), Some("2g"), 2));
        assert!(yarn.streaming && yarn.detached && options.quiet && !yarn.query);
        assert_eq!(run("-e local x").unwrap().options.target.as_deref(), Some("local"));
        assert_eq!(run("-p4 x").unwrap().options.parallelism, Some(4));
    }

    #[test]
    fn properties_may_be_attached_or_not_and_may_hold_anything() {
        let typed = run("-Da=1 -D b=-2 -yDc=d=e -yD f -p 1 -p 2 x").unwrap();
        assert_eq!(typed.options.properties, ["a=1", "b=-2"]);
        assert_eq!(typed.options.yarn.properties, ["c=d=e", "f"]);
        assert_eq!(typed.options.parallelism, Some(2), "the last one wins");
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (line, part) in [
            ("-yjn 5 x", "did you mean `-yjm`"),
            ("--yarnquee q x", "did you mean `--yarnqueue`"),
            ("--detatched x", "did you mean `--detached`"),
            ("-YTM 5 x", "did you mean `-ytm`"),
            ("-p", "-p,--parallelism needs a value"),
            ("-p many x", "many"),
            ("-d=1 x", "takes no value"),
        ] {
            let error = run(line).unwrap_err().0;
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn other_actions_say_that_they_are_not_there() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert!(parse("list -r").unwrap_err().0.contains("not there yet"));
        assert!(matches!(parse(&format!("stop {:032x}", 7)).unwrap(), Command::Act(_)));
        assert!(parse("rum x").unwrap_err().0.contains("not an action"));
        assert!(parse("").unwrap_err().0.contains("no action"));
        assert!(matches!(parse("--version").unwrap(), Command::Print(text) if text.starts_with("Version: ")));
        for line in ["run -h", "run -yh", "info --help", "--help"] {
            assert!(matches!(parse(line).unwrap(), Command::Print(_)), "{line}");
        }
        let Command::Print(help) = parse("run -h").unwrap() else { panic!() };
        assert!(help.contains("-yjm,--yarnjobManagerMemory <size>"), "{help}");
    }
}
