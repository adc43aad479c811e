//! The ApplicationMaster of one application on YARN: `flink run` stages what it needs. With the argument `standby` it is the
//! JobManager that waits for the ApplicationMaster's death.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use flumen_appmaster::standby::{Standby, Then};
use flumen_wire::standby::STANDBY_ARGUMENT;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let stands_by = std::env::args().nth(1).as_deref() == Some(STANDBY_ARGUMENT);
    match if stands_by { stand_by() } else { run() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn run() -> anyhow::Result<()> {
    runtime()?.block_on(flumen_appmaster::run::run())
}

/// Each turn has a runtime of its own: with it everything ends that a turn has begun.
fn stand_by() -> anyhow::Result<()> {
    let mut standby = Standby::begin()?;
    loop {
        let runtime = runtime()?;
        let then = runtime.block_on(standby.turn());
        runtime.shutdown_background();
        if then? == Then::End {
            return Ok(());
        }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    let built: io::Result<Runtime> = Builder::new_current_thread().enable_all().build();
    built.context("no runtime for tasks")
}

/// YARN shows the last lines of standard error in the diagnostics of an attempt that ended without its consent.
#[expect(clippy::print_stderr, reason = "there may be no log yet, and standard error is what YARN shows")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("flumen-appmaster: {error:#}");
    ExitCode::FAILURE
}
