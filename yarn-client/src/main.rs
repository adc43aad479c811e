//! The command `flink`: takes a program, asks it for its JobGraph, and has it run, here or on YARN; starts sessions, and asks
//! about what runs.
//!
//! In: a command line, Flink's configuration, Hadoop's configuration. Out: jobs and sessions that run, messages, an exit
//! code (0: done as asked, 1: anything else). The way of a `flink run` is the order of the modules; everything named
//! pure decides, [`per_job`], [`in_session`], [`session`] and [`act`] do.

mod args;
mod meaning;

mod installation;
mod program;

mod info;
mod query;

mod locate;
mod properties;

mod deploy;
mod diagnostics;
mod in_session;
mod per_job;
mod session;

mod act;
mod list;

mod attach;
mod cluster;
mod hadoop;
mod identity;
mod interrupts;
mod kept;
mod leader;
mod rest;
mod rest_token;
mod ship;
mod stage;
mod submit;
mod sweep;
mod validate;
mod verdict;
mod watch;

mod report;
mod spelling;
mod timings;

use std::process::ExitCode;

use anyhow::Context as _;
use flumen_model::config::Configuration;
use flumen_model::options::yarn;
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Action, Command, Options, Session, Typed};
use crate::deploy::ProgramFile;
use crate::meaning::{Address, Run, Target};
use crate::properties::PropertiesFile;
use crate::report::Reporter;
use crate::timings::Timings;

fn main() -> ExitCode {
    let timings = Timings::start();
    log_to_stderr();
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let command = args::command_name(&words);
    let (quiet, done) = match args::parse(words) {
        Ok(Command::Print(text)) => {
            Reporter::new(false).result(&text);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Info(typed)) => (typed.options.quiet, info(&typed)),
        Ok(Command::Act(action)) => (action.quiet, act(&action)),
        Ok(Command::Run(typed)) => (typed.options.quiet, run(&typed, &timings)),
        Ok(Command::RunApplication(typed)) => (typed.options.quiet, run_application(&typed, &timings)),
        Ok(Command::Session(session)) => (false, run_session(&session, &timings)),
        Err(error) => (false, Err(error.into())),
    };
    let reporter = Reporter::new(quiet);
    if let Some(line) = timings.line() {
        reporter.timings(&line);
    }
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            reporter.error(command, &error);
            ExitCode::FAILURE
        }
    }
}

/// Logs of the libraries, for those who set `RUST_LOG`; the user's messages come from [`report`].
fn log_to_stderr() {
    let filter = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    if let Some(filter) = filter {
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}

/// One thread for everything that waits; hashing and reading files have their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't be set up")
}

fn run(typed: &Typed, timings: &Timings) -> anyhow::Result<bool> {
    let file = installation::configuration()?;
    let reporter = Reporter::new(typed.options.quiet);
    if typed.options.yarn.query {
        return query(&typed.options, file, &reporter);
    }
    let run = meaning::run(typed, file.clone())?;
    let run = match run.target {
        Target::Session(Address::Remembered) => with_sessions_properties(typed, file, run)?,
        _ => run,
    };
    carried_out(&run, &reporter, timings)
}

/// What `-D` said when the session of the properties file was started holds for its jobs, too, under what is said now.
fn with_sessions_properties(typed: &Typed, mut file: Configuration, run: Run) -> anyhow::Result<Run> {
    // Whatever is wrong with the file is told when the session is looked for.
    let Ok(Some(remembered)) = PropertiesFile::of(&run.configuration, &identity::user())?.read() else {
        return Ok(run);
    };
    for property in remembered.dynamic_properties.iter().filter(|property| concerns_jobs(property)) {
        file.set_property(property)?;
    }
    Ok(meaning::run(typed, file)?)
}

/// Not where jobs run, how they are waited for, or what YARN is asked for.
fn concerns_jobs(property: &str) -> bool {
    !["yarn.", "execution.target", "execution.attached"].iter().any(|key| property.starts_with(key))
}

fn run_application(typed: &Typed, timings: &Timings) -> anyhow::Result<bool> {
    let run = meaning::run_application(typed, installation::configuration()?)?;
    carried_out(&run, &Reporter::new(typed.options.quiet), timings)
}

fn carried_out(run: &Run, reporter: &Reporter, timings: &Timings) -> anyhow::Result<bool> {
    run.notes.iter().for_each(|note| reporter.note(note));
    match &run.target {
        Target::Local => match &run.program {
            ProgramFile::Local(path) => Err(program::run_here(path, &run.arguments, &run.configuration)),
            ProgramFile::Remote(url) => anyhow::bail!("program `{url}` is not on this machine"),
        },
        Target::YarnPerJob => runtime()?.block_on(Box::pin(per_job::run(run, reporter, timings))),
        Target::YarnApplication => runtime()?.block_on(Box::pin(per_job::run_application(run, reporter, timings))),
        Target::Session(address) => runtime()?.block_on(Box::pin(in_session::run(run, address, reporter, timings))),
    }
}

fn run_session(typed: &Session, timings: &Timings) -> anyhow::Result<bool> {
    let file = installation::configuration()?;
    let reporter = Reporter::new(false);
    if typed.options.yarn.query {
        return query(&typed.options, file, &reporter);
    }
    let run = meaning::session(typed, file)?;
    run.notes.iter().for_each(|note| reporter.note(note));
    runtime()?.block_on(Box::pin(session::run(&run, &reporter, timings)))
}

fn info(typed: &Typed) -> anyhow::Result<bool> {
    let (path, configuration) = meaning::info(typed, installation::configuration()?)?;
    let hadoop = hadoop::load_if_any(&configuration)?.expanded();
    let setup = ProgramSetup { protocol: PROTOCOL_VERSION, configuration, hadoop, worker: None };
    let graph = runtime()?.block_on(program::plan(&path, &typed.arguments, &setup))?;
    let line = "-".repeat(62);
    let plan = serde_json::to_string(&info::plan_json(&graph))?;
    Reporter::new(false)
        .result(&format!("----------------------- Execution Plan -----------------------\n{plan}\n{line}"));
    Ok(true)
}

fn act(action: &Action) -> anyhow::Result<bool> {
    let (configuration, address) = meaning::of_action(&action.place, installation::configuration()?)?;
    let reporter = Reporter::new(action.quiet);
    runtime()?.block_on(Box::pin(act::act(&action.verb, &address, &configuration, &reporter)))
}

fn query(options: &Options, file: Configuration, reporter: &Reporter) -> anyhow::Result<bool> {
    let configuration = meaning::merged(spelling::Spelling::Flink, options, file)?;
    let hadoop = hadoop::load(&configuration)?;
    let limit = configuration.get(&yarn::CONNECT_TIMEOUT)?;
    let cluster = cluster::Cluster::new(&hadoop, &identity::user(), limit)?;
    let facts = runtime()?.block_on(Box::pin(cluster.facts()))?;
    reporter.result(&query::table(&facts));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_was_started_with_does_not_send_its_jobs_elsewhere() {
        for (property, concerns) in [
            ("state.backend.type=rocksdb", true),
            ("parallelism.default=4", true),
            ("yarn.application.id=application_1_1", false),
            ("execution.target=yarn-per-job", false),
            ("execution.attached=false", false),
            ("execution.checkpointing.interval=1s", true),
        ] {
            assert_eq!(concerns_jobs(property), concerns, "{property}");
        }
    }
}
