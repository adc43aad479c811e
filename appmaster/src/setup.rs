//! Everything that is made before the application registers with YARN, from the staged description and the environment.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use flumen_fs::{FileSystems, FsError, FsOptions};
use flumen_ha::{Addresses, HaSettings};
use flumen_hadoop::token::Credentials;
use flumen_hadoop::yarn::{LaunchContext, LaunchError, RegistrationRequest, Resource};
use flumen_jobmaster::Settings;
use flumen_log::LogDirectory;
use flumen_model::config::{BadConfiguration, Configuration, MemorySize};
use flumen_model::options::{deployment, execution, memory, rest as rest_options, yarn};
use flumen_staging::ContentCache;
use flumen_wire::application::{APPLICATION_FILE, Application, Purpose, StagedFile};
use flumen_wire::control::PROTOCOL_VERSION;
use flumen_wire::tls::{InternalTls, SECURITY_FILE, SecurityError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::clock;
use crate::dispatcher::ArchiveLimits;
use crate::environment::Environment;
use crate::executors::{ExecutorServer, Me};
use crate::high_availability::{Kept, Lead, LeadError};
use crate::outputs::Staging;
use crate::ports::{self, BindError, Ports};
use crate::resource::launch::{self, TaskExecutor};
use crate::resource::manager::Profile;
use crate::resource::slots::Reserve;
use crate::resource::standby;
use crate::resource::yarn::Intervals;
use crate::rest::idle::{Closing, IDLE_LIMIT};
use crate::rest::{self, Jars, Limits, RestOptions, RestRequest, RestState};

/// Questions of REST that may wait for the main loop, which answers each at once.
const REST_REQUESTS_MAX: usize = 64;

/// Why an application can't begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The staged description can't be read.
    #[error("file {APPLICATION_FILE} can't be read")]
    Read(#[source] std::io::Error),
    /// It is no description of an application.
    #[error("file {APPLICATION_FILE} can't be understood: the client may be of another version of Flumen")]
    Malformed(#[source] serde_json::Error),
    /// It is of another version.
    #[error(
        "the client speaks version {0} of Flumen's protocol, this ApplicationMaster {PROTOCOL_VERSION}: use one version"
    )]
    Version(u32),
    /// An option has a value that it can't have.
    #[error(transparent)]
    Configuration(#[from] BadConfiguration),
    /// The application's certificate is of no use.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// A port can't be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A path is none, or its file system is not known.
    #[error(transparent)]
    Files(#[from] FsError),
    /// It does not lead, or can't use what a former leader left.
    #[error("no high availability")]
    Lead(#[from] LeadError),
    /// The log can't be kept as configured.
    #[error(transparent)]
    Log(#[from] flumen_log::LogError),
    /// TaskExecutors' containers can't be described to YARN.
    #[error("the containers of the TaskExecutors can't be described to YARN")]
    Launch(#[from] LaunchError),
}

/// What the main loop is made of.
pub struct Parts {
    /// TaskExecutors' connections.
    pub executors: ExecutorServer,
    /// Requests of REST.
    pub requests: mpsc::Receiver<RestRequest>,
    /// How to register with YARN.
    pub registration: RegistrationRequest,
    /// What containers run.
    pub context: LaunchContext,
    /// What containers to ask for.
    pub profile: Profile,
    /// How often to speak to YARN.
    pub intervals: Intervals,
    /// How much of jobs that are over is kept.
    pub archive: ArchiveLimits,
    /// What a former leader left.
    pub kept: Kept,
    /// Where this leader is.
    pub addresses: Addresses,
    /// The standby JobManager, if there is to be one.
    pub standby: Option<StandbyParts>,
}

/// How a standby JobManager is come by.
pub struct StandbyParts {
    /// What container to ask for.
    pub wanted: standby::Wanted,
    /// What it runs.
    pub context: LaunchContext,
}

/// Reads the staged description from the working directory.
///
/// # Errors
/// [`SetupError`].
pub fn application() -> Result<Application, SetupError> {
    let text = std::fs::read(APPLICATION_FILE).map_err(SetupError::Read)?;
    let application: Application = serde_json::from_slice(&text).map_err(SetupError::Malformed)?;
    if application.protocol != PROTOCOL_VERSION {
        return Err(SetupError::Version(application.protocol));
    }
    Ok(application)
}

/// The file systems as the application's user sees them.
///
/// # Errors
/// [`SetupError`].
pub fn files(application: &Application) -> Result<FileSystems, SetupError> {
    let options = FsOptions {
        default_scheme: application.configuration.find(&execution::DEFAULT_SCHEME)?,
        hadoop: Some(application.hadoop.clone()),
        user: Some(application.user.clone()),
        ..FsOptions::default()
    };
    Ok(FileSystems::new(options)?)
}

/// The application's staging directory.
///
/// # Errors
/// [`SetupError`].
pub fn staging(application: &Application, files: &FileSystems) -> Result<Staging, SetupError> {
    Ok(Staging::new(files.clone(), &application.staging)?)
}

/// Binds the ports, reads all options and what a former leader left. Nothing is told to YARN yet.
///
/// # Errors
/// [`SetupError`]: the application has to be ended with it.
pub async fn parts(
    environment: &Environment,
    application: &Application,
    credentials: &Credentials,
    files: &FileSystems,
    lead: &Lead,
    attempt: u32,
) -> Result<Parts, SetupError> {
    let conf = &application.configuration;
    match &application.purpose {
        // The job's options are read again when it begins; what is wrong with them ends the application before it costs more.
        Purpose::Job(submission) => drop(Settings::read(&submission.configuration, &submission.graph)?),
        Purpose::Session | Purpose::Program(_) => {}
    }
    let mut profile = profile(conf, &application.user, matches!(application.purpose, Purpose::Session))?;
    if lead.is_on() {
        profile.former_timeout = Some(conf.get(&yarn::PREVIOUS_WORKER_RECOVERY)?);
    }
    let archive = ArchiveLimits::read(conf)?;
    let intervals = Intervals {
        awaiting: conf.get(&yarn::CONTAINER_REQUEST_HEARTBEAT)?,
        idle: conf.get(&yarn::HEARTBEAT_INTERVAL)?,
    };

    let kept = lead.kept().await?;
    let stands_by = HaSettings::read(conf, "").and_then(|settings| settings.standby(conf)).map_err(LeadError::from)?;
    let me = Me { epoch: lead.epoch(), attempt, doubts: stands_by.then(|| lead.clone()) };
    let (executors, rpc_port) = executor_server(environment, application, me).await?;
    let (rest_port, requests) = serve_rest(environment, application, files, &executors).await?;
    let host = &environment.host;
    let registration = RegistrationRequest {
        host: host.clone(),
        rpc_port: Some(rest_port),
        tracking_url: format!("http://{}", at_port(host, rest_port)),
    };
    let executor = TaskExecutor {
        jobmanager: at_port(host, rpc_port),
        slots: profile.slots.get(),
        memory: profile.container.memory_mb << 20,
        tls: conf.get(&deployment::INTERNAL_SSL)?,
    };
    let context = launch::context(application, &executor, credentials)?;
    tracing::info!(jobmanager = executor.jobmanager, rest = registration.tracking_url, "listening");
    let addresses = Addresses { internal: executor.jobmanager, rest: at_port(host, rest_port) };
    let standby = match stands_by {
        true => Some(standby_parts(environment, application, credentials, files, &profile).await?),
        false => None,
    };
    Ok(Parts { executors, requests, registration, context, profile, intervals, archive, kept, addresses, standby })
}

async fn standby_parts(
    environment: &Environment,
    application: &Application,
    credentials: &Credentials,
    files: &FileSystems,
    profile: &Profile,
) -> Result<StandbyParts, SetupError> {
    let path = files.resolve(&application.staging)?.join(APPLICATION_FILE);
    let status = files.get(&path)?.status(&path).await?;
    let description = StagedFile {
        link: APPLICATION_FILE.to_owned(),
        url: path.to_string(),
        size: status.len,
        modified_ms: status.modified_ms,
        archive: false,
        cached: false,
    };
    let wanted = standby::Wanted {
        container: profile.appmaster.clone(),
        node_label: application.configuration.find(&yarn::NODE_LABEL)?,
        own_host: environment.host.clone(),
        registration_timeout: profile.registration_timeout,
        former_timeout: profile.former_timeout.unwrap_or_default(),
    };
    Ok(StandbyParts { wanted, context: launch::standby_context(application, description, credentials)? })
}

/// `host:port`, with brackets around an address of IPv6.
fn at_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn executor_server(
    environment: &Environment,
    application: &Application,
    me: Me,
) -> Result<(ExecutorServer, u16), SetupError> {
    let conf = &application.configuration;
    let tls = match conf.get(&deployment::INTERNAL_SSL)? {
        true => InternalTls::from_file(Path::new(SECURITY_FILE))?,
        false => InternalTls::disabled(),
    };
    let ports = ports_of(deployment::JOBMANAGER_PORT.key, conf.find(&deployment::JOBMANAGER_PORT)?)?;
    let address = ports::address_of(&environment.host).await?;
    let bind = async |at| {
        let (conf, hadoop) = (conf.clone(), application.hadoop.clone());
        ExecutorServer::bind(at, tls.clone(), me.clone(), conf, hadoop).await
    };
    Ok(ports.bind("TaskExecutors (jobmanager.rpc.port)", address, bind).await?)
}

async fn serve_rest(
    environment: &Environment,
    application: &Application,
    files: &FileSystems,
    executors: &ExecutorServer,
) -> Result<(u16, mpsc::Receiver<RestRequest>), SetupError> {
    let conf = &application.configuration;
    let (ports, address) = rest_ports(environment, conf).await?;
    let listener = ports.bind("REST (rest.bind-port)", address, async |at| TcpListener::bind(at).await).await?;
    let port = listener
        .local_addr()
        .map_err(|cause| BindError::Bind { purpose: "REST (rest.bind-port)", address, ports, cause })?
        .port();
    let (sender, requests) = mpsc::channel(REST_REQUESTS_MAX);
    let options = RestOptions {
        token: application.rest_token.clone(),
        authorization: conf.get(&rest_options::AUTHORIZATION)?,
        configuration: conf.clone(),
        log_dir: flumen_log::container_log_dir().map(LogDirectory::new),
        executor_logs: executors.logs(),
        elsewhere: executors.elsewhere(),
        jars: jars(application, files)?,
        files: files.clone(),
        clock: clock::timestamp,
    };
    let router = rest::router(RestState::new(options, sender));
    // Ends with the process: it has to answer to the very end.
    tokio::spawn(async move {
        let listener = Closing { listener, limit: IDLE_LIMIT };
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the REST interface ended");
        }
    });
    Ok((port, requests))
}

/// Where REST is to be, and the ports that it may have.
async fn rest_ports(environment: &Environment, conf: &Configuration) -> Result<(Ports, IpAddr), SetupError> {
    let ports = ports_of(deployment::REST_PORT.key, conf.find(&deployment::REST_PORT)?)?;
    let host = conf.find(&deployment::REST_BIND_ADDRESS)?.unwrap_or_else(|| environment.host.clone());
    Ok((ports, ports::address_of(&host).await?))
}

/// Where the web page of a standby JobManager is: its `host:port`. None if there is but one port for REST, which a leader on this
/// node may need.
///
/// # Errors
/// None of the ports is free, or an option has a wrong value.
pub async fn page_listener(
    environment: &Environment,
    conf: &Configuration,
) -> Result<Option<(std::net::TcpListener, String)>, SetupError> {
    let (ports, address) = rest_ports(environment, conf).await?;
    if ports.is_single() {
        return Ok(None);
    }
    let bind = async |at| TcpListener::bind(at).await?.into_std();
    let listener = ports.bind("the standby JobManager's page (rest.bind-port)", address, bind).await?;
    let port = listener.local_addr().map_err(SetupError::Read)?.port();
    Ok(Some((listener, at_port(&environment.host, port))))
}

/// What takes programs over REST; only sessions do.
fn jars(application: &Application, files: &FileSystems) -> Result<Option<Jars>, SetupError> {
    let conf = &application.configuration;
    if !matches!(application.purpose, Purpose::Session) || !conf.get(&rest_options::WEB_SUBMIT)? {
        return Ok(None);
    }
    let staging = files.resolve(&application.staging)?;
    let Some(root) = staging.parent() else { return Ok(None) };
    let cache = ContentCache::new(files.get(&root)?, root, flumen_staging::replication(conf)?);
    // The container's working directory, unless there is another one.
    let upload_dir = conf.find(&rest_options::UPLOAD_DIR)?.unwrap_or_else(|| ".".to_owned());
    let upload_dir = std::path::absolute(upload_dir).map_err(SetupError::Read)?;
    let limits = Limits {
        upload_bytes: conf.get(&rest_options::MAX_CONTENT_LENGTH)?.0,
        // The other half is for the session itself.
        planning_memory: MemorySize(conf.get(&memory::JOBMANAGER_PROCESS)?.0 / 2),
    };
    Ok(Some(Jars::new(&upload_dir, cache, conf.clone(), application.hadoop.clone(), limits)))
}

fn ports_of(key: &str, text: Option<String>) -> Result<Ports, BadConfiguration> {
    text.map_or_else(|| Ok(Ports::any()), |text| Ports::parse(key, &text))
}

/// What containers to ask for, from the options.
fn profile(conf: &Configuration, user: &str, session: bool) -> Result<Profile, BadConfiguration> {
    let slots: u32 = conf.get(&deployment::TASK_SLOTS)?;
    let slots = NonZeroU32::new(slots).ok_or_else(|| BadConfiguration::Value {
        key: deployment::TASK_SLOTS.key.to_owned(),
        value: slots.to_string(),
        expected: "at least 1".to_owned(),
    })?;
    let vcores = match u32::try_from(conf.get(&yarn::CONTAINER_VCORES)?) {
        Ok(vcores) if vcores > 0 => vcores,
        _ => slots.get(),
    };
    let label = match conf.find(&yarn::TASKMANAGER_NODE_LABEL)? {
        Some(label) => Some(label),
        None => conf.find(&yarn::NODE_LABEL)?,
    };
    Ok(Profile {
        container: Resource::new(conf.get(&memory::TASKMANAGER_PROCESS)?.mib_rounded_up(), vcores),
        slots,
        reserve: reserve(conf, session)?,
        node_label: label,
        failures_per_minute_max: conf.get(&yarn::START_WORKER_MAX_FAILURES)?,
        registration_timeout: conf.get(&yarn::REGISTRATION_TIMEOUT)?,
        former_timeout: None,
        fit_grace: conf.get(&yarn::ALLOCATION_GRACE)?,
        appmaster: Resource::new(
            conf.get(&memory::JOBMANAGER_PROCESS)?.mib_rounded_up(),
            conf.get(&yarn::APPMASTER_VCORES)?,
        ),
        user: user.to_owned(),
    })
}

fn reserve(conf: &Configuration, session: bool) -> Result<Reserve, BadConfiguration> {
    let (slots_min, slots_max) = (conf.get(&deployment::SLOTS_MIN)?, conf.get(&deployment::SLOTS_MAX)?);
    if slots_min > slots_max {
        return Err(BadConfiguration::Value {
            key: deployment::SLOTS_MIN.key.to_owned(),
            value: slots_min.to_string(),
            expected: format!("at most {}, which is {slots_max}", deployment::SLOTS_MAX.key),
        });
    }
    Ok(Reserve {
        standing: session,
        slots_min,
        slots_max,
        spares: conf.get(&deployment::REDUNDANT_TASKMANAGERS)?,
        idle_timeout: if session { conf.get(&deployment::TASKMANAGER_TIMEOUT)? } else { Duration::ZERO },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_follows_the_options() {
        let mut conf = Configuration::new();
        let default = profile(&conf, "alice", false).unwrap();
        assert_eq!((default.container, default.slots.get()), (Resource::new(1024, 1), 1));
        assert_eq!(default.appmaster, Resource::new(256, 1));
        conf.put(&deployment::TASK_SLOTS, 3);
        conf.put(&memory::TASKMANAGER_PROCESS, "1000000 kb");
        conf.put(&yarn::NODE_LABEL, "fast");
        let three = profile(&conf, "alice", false).unwrap();
        assert_eq!(three.container, Resource::new(977, 3));
        assert_eq!(three.node_label.as_deref(), Some("fast"));
        conf.put(&yarn::CONTAINER_VCORES, 2);
        conf.put(&yarn::TASKMANAGER_NODE_LABEL, "faster");
        let labelled = profile(&conf, "alice", false).unwrap();
        assert_eq!((labelled.container.vcores, labelled.node_label.as_deref()), (2, Some("faster")));
        conf.put(&deployment::TASK_SLOTS, 0);
        assert!(profile(&conf, "alice", false).unwrap_err().to_string().contains("taskmanager.numberOfTaskSlots"));
    }

    #[test]
    fn only_a_session_keeps_idle_executors() {
        let mut conf = Configuration::new();
        assert_eq!(profile(&conf, "alice", false).unwrap().reserve, Reserve::none());
        let session = profile(&conf, "alice", true).unwrap().reserve;
        assert_eq!((session.standing, session.idle_timeout), (true, Duration::from_secs(30)));
        conf.put(&deployment::SLOTS_MAX, 3);
        conf.put(&deployment::REDUNDANT_TASKMANAGERS, 2);
        let limited = profile(&conf, "alice", false).unwrap().reserve;
        assert_eq!((limited.slots_max, limited.spares), (3, 2));
        conf.put(&deployment::SLOTS_MIN, 4);
        let error = profile(&conf, "alice", true).unwrap_err().to_string();
        assert!(error.contains("slotmanager.number-of-slots.min"), "{error}");
    }

    #[test]
    fn hosts_that_are_addresses_of_ipv6_get_brackets() {
        assert_eq!(at_port("node1", 80), "node1:80");
        assert_eq!(at_port("::1", 80), "[::1]:80");
    }
}
