//! The executable `flumen-taskexecutor`; see the library for what it does.

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use flumen_log::Logging;
use flumen_taskexecutor::arguments::Arguments;
use flumen_taskexecutor::executor::{self, Options};
use flumen_wire::control::{ExecutorInfo, PROTOCOL_VERSION};
use flumen_wire::tls::{InternalTls, SECURITY_FILE};
use tokio::signal::unix::{SignalKind, signal};

/// Name of the log file in the container's log directory, as Flink's.
const LOG_FILE: &str = "taskmanager.log";

/// The exit code for arguments that can't be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::from(USAGE);
        }
    };
    match logging_and_run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the TaskExecutor ends: {error:#}");
            // For the NodeManager, which shows the end of standard error.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn logging_and_run(arguments: Arguments) -> anyhow::Result<()> {
    let logging = flumen_log::init(&flumen_log::Options::for_container(LOG_FILE))?;
    tracing::info!(id = %arguments.id, pid = std::process::id(), "TaskExecutor starts");
    let options = options(arguments, logging)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let outcome = executor::run(options, termination()?).await?;
        tracing::info!(?outcome, "the TaskExecutor ends");
        Ok(())
    })
}

fn options(arguments: Arguments, logging: Logging) -> anyhow::Result<Options> {
    let directory = std::env::current_dir().context("the working directory can't be told")?;
    let security_file = directory.join(SECURITY_FILE);
    let (tls, security) = tls(&security_file, arguments.no_tls)?;
    Ok(Options {
        jobmanager: arguments.jobmanager,
        tls,
        security,
        info: ExecutorInfo {
            protocol: PROTOCOL_VERSION,
            id: arguments.id,
            slots: arguments.slots,
            host: arguments.host,
            pid: std::process::id(),
            memory: arguments.memory,
            cpu_cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        },
        log_dir: flumen_log::container_log_dir().unwrap_or_else(|| directory.clone()),
        local_dirs: std::env::var("LOCAL_DIRS").ok(),
        directory,
        logging: Some(logging),
    })
}

/// TLS with the application's file, unless it was switched off.
fn tls(file: &Path, off: bool) -> anyhow::Result<(InternalTls, Option<String>)> {
    if off {
        return Ok((InternalTls::disabled(), None));
    }
    anyhow::ensure!(
        file.try_exists().with_context(|| format!("security file `{}` can't be looked at", file.display()))?,
        "security file `{}` is missing: the application was not shipped completely (or start with --no-tls)",
        file.display()
    );
    let path = file.to_str().context("the working directory's name is no text")?;
    Ok((InternalTls::from_file(file)?, Some(path.to_owned())))
}

/// Done at SIGTERM (the NodeManager) or SIGINT (a terminal).
fn termination() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be received")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
