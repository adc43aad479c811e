//! The options, with Flink's names. The comments are the help text.

use clap::Args;

/// Headings of Flink's help.
pub const GENERIC: &str = "Options for Generic CLI mode";
/// See [`GENERIC`].
pub const YARN: &str = "Options for yarn-cluster mode";

/// The options of `run`, `run-application` and `info`.
#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
pub struct Options {
    /// Return as soon as the job runs
    #[arg(short = 'd', long = "detached")]
    pub detached: bool,
    /// Cancel the job when this attached client is interrupted or vanishes
    #[arg(long = "shutdownOnAttachedExit", alias = "sae")]
    pub shutdown_on_attached_exit: bool,
    /// Parallelism of operators for which the program sets none
    #[arg(short = 'p', long = "parallelism", value_name = "number")]
    pub parallelism: Option<u32>,
    /// Savepoint or retained checkpoint to start from: its directory or its _metadata file
    #[arg(short = 's', long = "fromSavepoint", value_name = "path")]
    pub from_savepoint: Option<String>,
    /// Leave state behind of operators that the program no longer has
    #[arg(short = 'n', long = "allowNonRestoredState")]
    pub allow_non_restored_state: bool,
    /// What the job may do with what it starts from: NO_CLAIM, CLAIM or LEGACY
    #[arg(long = "claimMode", aliases = ["cm", "restoreMode", "rm"], value_name = "mode")]
    pub claim_mode: Option<String>,
    /// The program, instead of naming it behind the options
    #[arg(short = 'j', long = "jarfile", value_name = "program")]
    pub program: Option<String>,
    /// One more argument of the program, instead of naming it behind the program; may be repeated
    #[arg(short = 'a', long = "arguments", value_name = "argument")]
    pub arguments: Vec<String>,
    /// Say nothing but results and errors
    #[arg(short = 'q', long = "sysoutLogging")]
    pub quiet: bool,
    /// Accepted and ignored: a native program has one entry point
    #[arg(short = 'c', long = "class", value_name = "class")]
    pub class: Option<String>,
    /// Accepted and ignored: a native program carries what it links
    #[arg(short = 'C', long = "classpath", value_name = "url")]
    pub classpath: Vec<String>,
    /// Refused, as everything of Python is: a program is a native executable
    #[arg(long = "python", aliases = ["py", "pyfs", "pyFiles", "pym", "pyModule", "pyreq", "pyRequirements", "pyarch",
        "pyArchives", "pyexec", "pyExecutable", "pyclientexec", "pyClientExecutable", "pypath", "pyPythonPath"],
        value_name = "file")]
    pub python: Option<String>,
    /// Where the job runs.
    #[command(flatten)]
    pub place: Place,
    /// Options of applications that are started.
    #[command(flatten)]
    pub yarn: YarnOptions,
}

/// Where a JobManager is, and configuration: what every action takes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub struct Place {
    /// Show this help
    #[arg(short = 'h', long = "help", alias = "yh", alias = "yarnhelp")]
    pub help: bool,
    /// A configuration value, key=value; may be repeated
    #[arg(short = 'D', value_name = "key=value", help_heading = GENERIC)]
    pub properties: Vec<String>,
    /// Where to: yarn-session, yarn-application, yarn-per-job, remote or local (same as -D execution.target=…; the old form is -e)
    #[arg(short = 't', short_alias = 'e', long = "target", alias = "executor", value_name = "target", help_heading = GENERIC)]
    pub target: Option<String>,
    /// A JobManager's address, host:port; or yarn-cluster: an application of its own for this job; or local
    #[arg(short = 'm', long = "jobmanager", value_name = "address", help_heading = YARN)]
    pub jobmanager: Option<String>,
    /// The session, or the job's own application (same as -D yarn.application.id=…)
    #[arg(long = "yarnapplicationId", alias = "yid", value_name = "id", help_heading = YARN)]
    pub application: Option<String>,
    /// Namespace of high availability (high-availability.cluster-id)
    #[arg(short = 'z', long = "zookeeperNamespace", value_name = "namespace", help_heading = YARN)]
    pub namespace: Option<String>,
    /// The same as -z
    #[arg(long = "yarnzookeeperNamespace", alias = "yz", value_name = "namespace", help_heading = YARN)]
    pub yarn_namespace: Option<String>,
    /// A configuration value, key=value; may be repeated
    #[arg(id = "yarn-properties", long = "yD", value_name = "key=value", help_heading = YARN)]
    pub yarn_properties: Vec<String>,
}

/// The options that concern a YARN application that is started.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
pub struct YarnOptions {
    /// Memory of the JobManager's container, in MB unless it has a unit
    #[arg(long = "yarnjobManagerMemory", alias = "yjm", value_name = "size", help_heading = YARN)]
    pub jobmanager_memory: Option<String>,
    /// Memory of a TaskManager's container, in MB unless it has a unit
    #[arg(long = "yarntaskManagerMemory", alias = "ytm", value_name = "size", help_heading = YARN)]
    pub taskmanager_memory: Option<String>,
    /// Slots of each TaskManager
    #[arg(long = "yarnslots", alias = "ys", value_name = "number", help_heading = YARN)]
    pub slots: Option<u32>,
    /// Queue of the application
    #[arg(long = "yarnqueue", alias = "yqu", value_name = "queue", help_heading = YARN)]
    pub queue: Option<String>,
    /// Name of the application
    #[arg(long = "yarnname", alias = "ynm", value_name = "name", help_heading = YARN)]
    pub name: Option<String>,
    /// Type of the application
    #[arg(long = "yarnapplicationType", alias = "yat", value_name = "type", help_heading = YARN)]
    pub application_type: Option<String>,
    /// Node label of the application's containers
    #[arg(long = "yarnnodeLabel", alias = "ynl", value_name = "label", help_heading = YARN)]
    pub node_label: Option<String>,
    /// A file or directory to ship to every container; may be repeated
    #[arg(long = "yarnship", alias = "yt", value_name = "path", help_heading = YARN)]
    pub ship: Vec<String>,
    /// Show the cluster's nodes, memory, cores and queues
    #[arg(long = "yarnquery", alias = "yq", help_heading = YARN)]
    pub query: bool,
    /// The same as -d
    #[arg(id = "yarndetached", long = "yarndetached", alias = "yd", help_heading = YARN)]
    pub detached: bool,
    /// Accepted and ignored: the number of containers follows from the parallelism
    #[arg(long = "yarncontainer", alias = "yn", value_name = "number", help_heading = YARN)]
    pub containers: Option<String>,
    /// Accepted and ignored: Flumen's own executables are found beside this one
    #[arg(id = "yarnjar", long = "yarnjar", alias = "yj", value_name = "path", help_heading = YARN)]
    pub jar: Option<String>,
    /// Accepted and ignored: streaming is the default
    #[arg(long = "yarnstreaming", alias = "yst", help_heading = YARN)]
    pub streaming: bool,
}

/// [`YarnOptions`] alone, for those who list them.
#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
pub struct YarnOptionsOnly {
    #[command(flatten)]
    options: YarnOptions,
}
