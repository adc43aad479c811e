//! The ApplicationMaster of one application on YARN. It takes no arguments: `flink run` stages what it needs.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("no runtime for tasks")),
    };
    match runtime.block_on(flumen_appmaster::run::run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// YARN shows the last lines of standard error in the diagnostics of an attempt that ended without its consent.
#[expect(clippy::print_stderr, reason = "there may be no log yet, and standard error is what YARN shows")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("flumen-appmaster: {error:#}");
    ExitCode::FAILURE
}
