//! The command `flink`: takes a program, asks it for its JobGraph, and has it run, here or as a YARN application.
//!
//! In: a command line, Flink's configuration, Hadoop's configuration. Out: an application that runs, messages, an exit
//! code (0: done as asked, 1: anything else). The way of a `flink run` is the order of the modules; everything named
//! pure decides, [`per_job`] acts.

mod args;
mod meaning;

mod installation;
mod program;

mod info;
mod query;

mod act;
mod application;

mod per_job;

mod attach;
mod cluster;
mod hadoop;
mod identity;
mod interrupts;
mod job;
mod rest_token;
mod ship;
mod stage;
mod submit;
mod sweep;
mod validate;
mod verdict;

mod report;
mod timings;

use std::process::ExitCode;

use anyhow::Context as _;
use flumen_model::options::yarn;
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Action, Command, Typed};
use crate::meaning::{Run, Target};
use crate::report::Reporter;
use crate::timings::Timings;

fn main() -> ExitCode {
    let timings = Timings::start();
    log_to_stderr();
    let (quiet, done) = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Print(text)) => {
            Reporter::new(false).result(&text);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Info(typed)) => (typed.options.quiet, info(*typed)),
        Ok(Command::Act(action)) => (action.options.quiet, act(&action)),
        Ok(Command::Run(typed)) => (typed.options.quiet, run(*typed, &timings)),
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
            reporter.error(&error);
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

fn run(typed: Typed, timings: &Timings) -> anyhow::Result<bool> {
    let file = installation::configuration()?;
    let reporter = Reporter::new(typed.options.quiet);
    if typed.options.yarn.query {
        return query(&typed, file, &reporter);
    }
    let run = meaning::run(typed, file)?;
    run.notes.iter().for_each(|note| reporter.note(note));
    match run.target {
        Target::Local => {
            let Run { program, arguments, configuration, .. } = &run;
            Err(program::run_here(program, arguments, configuration))
        }
        Target::YarnPerJob => runtime()?.block_on(Box::pin(per_job::run(&run, &reporter, timings))),
    }
}

fn info(typed: Typed) -> anyhow::Result<bool> {
    let (path, arguments, configuration) = meaning::info(typed, installation::configuration()?)?;
    let hadoop = hadoop::load_if_any(&configuration)?.expanded();
    let setup = ProgramSetup { protocol: PROTOCOL_VERSION, configuration, hadoop, worker: None };
    let graph = runtime()?.block_on(program::plan(&path, &arguments, &setup))?;
    let line = "-".repeat(62);
    let plan = serde_json::to_string(&info::plan_json(&graph))?;
    Reporter::new(false)
        .result(&format!("----------------------- Execution Plan -----------------------\n{plan}\n{line}"));
    Ok(true)
}

fn act(action: &Action) -> anyhow::Result<bool> {
    let configuration = meaning::of_action(&action.options, installation::configuration()?)?;
    let reporter = Reporter::new(action.options.quiet);
    let application = action.options.application.as_deref();
    runtime()?.block_on(Box::pin(act::act(&action.verb, application, &configuration, &reporter)))
}

fn query(typed: &Typed, file: flumen_model::config::Configuration, reporter: &Reporter) -> anyhow::Result<bool> {
    let configuration = meaning::merged(&typed.options, file)?;
    let hadoop = hadoop::load(&configuration)?;
    let limit = configuration.get(&yarn::CONNECT_TIMEOUT)?;
    let cluster = cluster::Cluster::new(&hadoop, &identity::user(), limit)?;
    let facts = runtime()?.block_on(Box::pin(cluster.facts()))?;
    reporter.result(&query::table(&facts));
    Ok(true)
}
