//! What was typed: the command line, taken apart but not yet interpreted ([`crate::meaning`] does that).
//!
//! Flink's flags have several letters behind one dash (`-yjm`); [`flags`] makes them what clap takes. Whatever follows the
//! program is the program's own and is not looked at.

use std::ffi::OsString;

use clap::CommandFactory as _;

mod action;
mod completion;
mod flags;
mod help;
mod options;
mod session;

pub use action::{Action, Verb};
pub use options::{Options, Place, YarnOptions};
pub use session::Session;

use help::About;

/// What `flink` was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run a program.
    Run(Box<Typed>),
    /// Run a program in an application of its own, where it is planned, too.
    RunApplication(Box<Typed>),
    /// Print a program's plan.
    Info(Box<Typed>),
    /// Start a session, or attach to one.
    Session(Box<Session>),
    /// Do something about jobs that run.
    Act(Box<Action>),
    /// Print this text.
    Print(String),
}

/// The command line of `run`, `run-application` and `info`, as typed.
#[derive(Debug)]
pub struct Typed {
    /// The options before the program.
    pub options: Options,
    /// The program; `None` when none was named.
    pub program: Option<String>,
    /// Everything after the program.
    pub arguments: Vec<String>,
}

/// A command line that says nothing sensible; the text is for the user.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The action that `yarn-session.sh` calls; not shown.
const SESSION: &str = "yarn-session";

const PROGRAM: &str = "<program> [arguments of the program]";

const RUN: About = About {
    name: "run",
    syntax: PROGRAM,
    purpose: "runs a program: in a session, in a YARN application of its own, or here",
    command: Options::command,
    starts: true,
};
const RUN_APPLICATION: About = About {
    name: "run-application",
    purpose: "runs a program in a YARN application of its own that also plans it (-t yarn-application)",
    ..RUN
};
const INFO: About = About { name: "info", purpose: "shows the plan of a program as JSON", starts: false, ..RUN };

/// All actions with options, in the order of the help.
fn actions() -> Vec<About> {
    let mut all = vec![RUN, RUN_APPLICATION, INFO];
    all.extend(action::ALL);
    all
}

/// What the user has typed to come here, for errors.
pub fn command_name(arguments: &[OsString]) -> &'static str {
    match arguments.first().and_then(|action| action.to_str()) {
        Some(SESSION) => "yarn-session.sh",
        _ => "flink",
    }
}

/// Takes a command line apart; `arguments` starts after the executable's name.
///
/// # Errors
/// [`UsageError`] for unknown actions and flags, missing values and values of the wrong form.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut words = Vec::new();
    for word in arguments {
        words.push(word.into_string().map_err(|word| UsageError(format!("argument {word:?} is not valid UTF-8")))?);
    }
    let overview = || help::overview(&actions());
    let (action, rest) = match words.split_first() {
        Some((action, rest)) => (action.as_str(), rest),
        None => return Err(UsageError(format!("no action was given\n\n{}", overview()))),
    };
    match action {
        "run" => options(rest).map(|typed| help_or(typed, &RUN, Command::Run)),
        "run-application" => options(rest).map(|typed| help_or(typed, &RUN_APPLICATION, Command::RunApplication)),
        "info" => options(rest).map(|typed| help_or(typed, &INFO, Command::Info)),
        SESSION => session::parse(rest),
        "completion" => completion::parse(rest).map(Command::Print),
        "-h" | "--help" | "help" => Ok(Command::Print(overview())),
        "-v" | "--version" => Ok(Command::Print(format!("Version: {}", env!("CARGO_PKG_VERSION")))),
        other => match action::parse(other, rest) {
            Some(command) => command,
            None => Err(UsageError(format!("`{other}` is not an action\n\n{}", overview()))),
        },
    }
}

fn help_or(typed: Typed, action: &About, command: fn(Box<Typed>) -> Command) -> Command {
    if typed.options.place.help {
        let example = "Example: flink run -m yarn-cluster -p 2 ./wordcount --input hdfs:///in.txt --output hdfs:///out";
        return Command::Print(format!("{}\n\n{example}", help::of(action)));
    }
    command(Box::new(typed))
}

fn options(words: &[String]) -> Result<Typed, UsageError> {
    let known = flags::flags(&Options::command());
    let mut rewritten = Vec::new();
    let mut words = words.iter();
    let mut bare = None;
    while let Some(word) = words.next() {
        if word == "--" {
            bare = words.next();
            break;
        }
        if !word.starts_with('-') || word == "-" {
            bare = Some(word);
            break;
        }
        rewritten.push(flags::rewrite(&known, word, &mut words)?);
    }
    let mut options: Options = flags::read(rewritten)?;
    let mut arguments = std::mem::take(&mut options.arguments);
    let program = match (options.program.take(), bare) {
        // With -j, what follows the options are arguments already.
        (Some(program), bare) => {
            arguments.extend(bare.cloned());
            Some(program)
        }
        (None, bare) => bare.cloned(),
    };
    arguments.extend(words.cloned());
    Ok(Typed { options, program, arguments })
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
        assert_eq!(typed.program, Some("./wordcount".to_owned()));
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
        assert_eq!(options.place.jobmanager.as_deref(), Some("yarn-cluster"));
        assert_eq!(
            (yarn.containers.as_deref(), yarn.name.as_deref(), yarn.queue.as_deref()),
            (Some("2"), Some("name"), Some("q"))
        );
        assert_eq!((yarn.slots, yarn.taskmanager_memory.as_deref(), yarn.ship.len()), (Some(3), Some("2g"), 2));
        assert!(yarn.streaming && yarn.detached && options.quiet && !yarn.query);
        assert_eq!(run("-e local x").unwrap().options.place.target.as_deref(), Some("local"));
        assert_eq!(run("-p4 x").unwrap().options.parallelism, Some(4));
    }

    #[test]
    fn properties_may_be_attached_or_not_and_may_hold_anything() {
        let typed = run("-Da=1 -D b=-2 -yDc=d=e -yD f -p 1 -p 2 x").unwrap();
        assert_eq!(typed.options.place.properties, ["a=1", "b=-2"]);
        assert_eq!(typed.options.place.yarn_properties, ["c=d=e", "f"]);
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
            ("-p many x", "-p,--parallelism is `many`, which is not a whole number"),
            ("-d=1 x", "takes no value"),
        ] {
            let error = run(line).unwrap_err().0;
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn program_and_arguments_may_be_options() {
        for line in ["-j ./wc -a x -a y", "-a x ./wc y", "./wc x y", "-j ./wc -- x y", "-j ./wc -a x y"] {
            let typed = run(line).unwrap();
            assert_eq!(typed.program.as_deref(), Some("./wc"), "{line}");
            assert_eq!(typed.arguments, ["x", "y"], "{line}");
        }
    }

    #[test]
    fn every_action_has_its_help_and_others_are_named() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from));
        assert!(matches!(parse(&format!("stop {:032x}", 7)).unwrap(), Command::Act(_)));
        assert!(parse("rum x").unwrap_err().0.contains("not an action"));
        assert!(parse("").unwrap_err().0.contains("no action"));
        assert!(matches!(parse("--version").unwrap(), Command::Print(text) if text.starts_with("Version: ")));
        for line in ["run -h", "run -yh", "info --help", "--help", "yarn-session -h"] {
            assert!(matches!(parse(line).unwrap(), Command::Print(_)), "{line}");
        }
        let Command::Print(all) = parse("--help").unwrap() else { panic!() };
        for action in actions() {
            let Command::Print(help) = parse(&format!("{} -h", action.name)).unwrap() else { panic!() };
            for part in [
                &format!("\"{}\" action options:\n", action.name),
                "Options for Generic CLI mode:\n  -D <key=value>",
                "Options for yarn-cluster mode:\n",
                "Default mode",
                "-yid,--yarnapplicationId <id>",
            ] {
                assert!(help.contains(part), "{part}: {help}");
            }
            assert_eq!(help.contains("-yjm,--yarnjobManagerMemory <size>"), action.starts, "{help}");
            assert!(all.contains(&format!("\n  {} ", action.name)), "{all}");
        }
    }
}
