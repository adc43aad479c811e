//! What this process is: a program of its own, the plan of a submission, or a worker.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use flumen_model::config::Configuration;
use flumen_model::options::deployment;
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup, ROLE_VARIABLE, WorkerSetup};
use flumen_wire::frame;
use tracing::Level;

use crate::error::{Error, Result};

/// Environment variable with the effective configuration (a JSON object) of an embedded run that `flink run -t local`
/// started.
const CONFIGURATION_VARIABLE: &str = "FLUMEN_CONFIGURATION";

/// The other side sends its first frame at once.
const SETUP_LIMIT: Duration = Duration::from_secs(60);

/// The role, and what came with it.
#[derive(Clone)]
pub(crate) enum Role {
    /// Run the job right here.
    Embedded,
    /// Say what would run, then exit.
    Plan(Control),
    /// Run the subtasks that one is told to.
    Worker(Control, Arc<WorkerSetup>),
}

/// The socket to whoever started this process; taken once, by `execute`.
#[derive(Clone)]
pub(crate) struct Control(Arc<Mutex<Option<UnixStream>>>);

impl Control {
    /// The socket, the first time.
    pub(crate) fn take(&self) -> Option<UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The role with the set-up that the program builds its graph with.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) role: Role,
    pub(crate) setup: Arc<ProgramSetup>,
}

/// Finds out the role of this process. Asked again, the answer is the same.
pub(crate) fn start() -> Result<Start> {
    static START: OnceLock<Start> = OnceLock::new();
    if let Some(start) = START.get() {
        return Ok(start.clone());
    }
    let start = find_out()?;
    Ok(START.get_or_init(|| start).clone())
}

fn find_out() -> Result<Start> {
    let Ok(role) = std::env::var(ROLE_VARIABLE) else {
        log_to_stderr("warn");
        let hadoop = flumen_fs::hadoop_properties(|name| std::env::var(name).ok()).unwrap_or_else(|error| {
            // A program that never looks at HDFS needs none; one that does is told again, path by path.
            tracing::warn!("HDFS is reached without Hadoop's configuration, which can't be read: {error}");
            None
        });
        let setup = ProgramSetup {
            protocol: PROTOCOL_VERSION,
            configuration: local_configuration()?,
            hadoop: hadoop.unwrap_or_default(),
            worker: None,
        };
        return Ok(Start { role: Role::Embedded, setup: Arc::new(setup) });
    };
    // Before `execute` nobody reads the control socket, so its end would not be seen while the user's code runs.
    let tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let problem = |problem: String| Error::Role { role: role.clone(), problem };
    let io = |error: std::io::Error| problem(format!("its standard input is no control socket: {error}"));
    let mut control = take_over_stdin().map_err(io)?;
    control.set_read_timeout(Some(SETUP_LIMIT)).map_err(io)?;
    let setup: ProgramSetup = frame::read_blocking(&mut control)
        .map_err(|error| problem(format!("its set-up could not be read: {error}")))?
        .ok_or_else(|| problem("it was given no set-up".to_owned()))?;
    control.set_read_timeout(None).map_err(io)?;
    match role.as_str() {
        // Somebody's terminal.
        "plan" => log_to_stderr("warn"),
        _ => log_to_stderr(&setup.configuration.get(&deployment::LOG_LEVEL)?),
    }
    if let Err(error) = tied {
        tracing::warn!(%error, "this process may outlive the one that started it");
    }
    if setup.protocol != PROTOCOL_VERSION {
        let text = format!(
            "the cluster speaks version {} of the protocol and the program version {PROTOCOL_VERSION}: build it against the cluster's version of Flumen",
            setup.protocol
        );
        return Err(problem(text));
    }
    let control = Control(Arc::new(Mutex::new(Some(control))));
    let role = match (role.as_str(), &setup.worker) {
        ("plan", _) => Role::Plan(control),
        ("worker", Some(worker)) => Role::Worker(control, Arc::new(worker.clone())),
        _ => return Err(problem("that is no role, or it was given another role's set-up".to_owned())),
    };
    Ok(Start { role, setup: Arc::new(setup) })
}

/// The control socket is standard input: nothing else has to be inherited. The user's code gets an empty one instead.
fn take_over_stdin() -> std::io::Result<UnixStream> {
    let stdin = std::io::stdin();
    let control = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    control.peer_addr()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(control)
}

fn local_configuration() -> Result<Configuration> {
    let Ok(text) = std::env::var(CONFIGURATION_VARIABLE) else { return Ok(Configuration::new()) };
    serde_json::from_str(&text)
        .map_err(|error| Error::Program(format!("{CONFIGURATION_VARIABLE} is not a JSON object of texts: {error}")))
}

/// Unless the program has set up its own logging. `RUST_LOG` wins over the configured level.
fn log_to_stderr(level: &str) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.or_else(|| level.parse().ok()).unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
