//! What the command line means: options and configuration file merged into one [`Run`]. Pure.

use std::fmt::Display;

use flumen_model::config::{BadConfiguration, ConfigOption, ConfigValue, Configuration, MemorySize};
use flumen_model::options::{checkpointing, deployment, execution, memory, yarn};

mod address;

pub use address::{Address, Target};

use crate::args::{Options, Place, Session, Typed, YarnOptions};
use crate::deploy::ProgramFile;
use crate::spelling::Spelling;

/// A JobManager's container below this holds little more than its program.
const MASTER_LEAST: MemorySize = MemorySize(64 << 20);

/// Key under which `-z` and `-yz` are kept.
const CLUSTER_ID: &str = "high-availability.cluster-id";

/// One run, ready to be carried out.
#[derive(Debug)]
pub struct Run {
    /// Where.
    pub target: Target,
    /// The program's file.
    pub program: ProgramFile,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The effective configuration: file, then `-D`, then the dedicated flags.
    pub configuration: Configuration,
    /// Whether the client stays until the job ends.
    pub attached: bool,
    /// Whether the job is cancelled when the attached client ends.
    pub shutdown_on_exit: bool,
    /// One line each for the user: what was accepted but has no effect.
    pub notes: Vec<String>,
}

/// A session that is to be started or attached to.
#[derive(Debug)]
pub struct SessionRun {
    /// The running session to attach to; `None`: a new one.
    pub application: Option<String>,
    /// The effective configuration.
    pub configuration: Configuration,
    /// What `-D` said, for the properties file.
    pub dynamic_properties: Vec<String>,
    /// Whether the client stays until the session ends.
    pub attached: bool,
    /// One line each for the user: what was accepted but has no effect.
    pub notes: Vec<String>,
}

/// Why the command line can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum MeaningError {
    /// No program was named.
    #[error("no program was named: flink {action} [OPTIONS] <program> [arguments of the program]")]
    NoProgram {
        /// `run`, `run-application` or `info`.
        action: &'static str,
    },
    /// `flink info` has to start the program.
    #[error("program `{0}` is not on this machine, so its plan can't be asked for here")]
    NotHere(ProgramFile),
    /// `flink run-application` with another target.
    #[error("`flink run-application` has the target yarn-application, not `{0}`: `flink run` has the others")]
    NoApplication(String),
    /// A TaskExecutor's container would have nothing left for the job.
    #[error(
        "a TaskManager of {container} (-tm, -ytm: taskmanager.memory.process.size) leaves nothing for the job: {own} are for \
         the TaskManager itself (taskmanager.memory.framework.size)"
    )]
    NoRoomForWorkers {
        /// The container's memory.
        container: MemorySize,
        /// What the TaskExecutor keeps.
        own: MemorySize,
    },
    /// The ApplicationMaster would be killed with its first jobs.
    #[error(
        "a JobManager of {0} (-jm, -yjm: jobmanager.memory.process.size) is too small: it needs {MASTER_LEAST} at least"
    )]
    SmallMaster(MemorySize),
    /// A target of Flink that Flumen does not have.
    #[error(
        "target `{0}` (-t, execution.target) is not there: yarn-session, yarn-application, yarn-per-job, remote and local are"
    )]
    UnknownTarget(String),
    /// `-m` is no address.
    #[error("-m,--jobmanager is `{0}`: the host:port of a session, yarn-cluster or local is expected")]
    BadAddress(String),
    /// An application's id is none.
    #[error(
        "`{0}` is no id of a YARN application (-yid, yarn.application.id): application_<number>_<number> is expected"
    )]
    BadApplication(String),
    /// The target `remote` without an address.
    #[error("the target `remote` needs the address of a JobManager: -m host:port, or rest.address and rest.port")]
    NoRestAddress,
    /// An action about jobs that run where nothing stays.
    #[error("with the target `local` a job runs in the program's own process: there is no JobManager to ask")]
    NothingLocal,
    /// Sessions are on YARN.
    #[error("yarn-session.sh starts sessions on YARN: `-m {0}` is not possible, `-m yarn-cluster` is the default")]
    SessionElsewhere(String),
    /// Two flags disagree.
    #[error("`{one}` and `{other}` contradict each other: give one of them")]
    Contradiction {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// Programs in Python.
    #[error(
        "Python programs (-py… `{0}`) can't be run: a program is a native executable that is built with the crate `flumen`"
    )]
    Python(String),
    /// A number must not be zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// A value is malformed.
    #[error("the configuration can't be used")]
    Configuration(#[from] BadConfiguration),
}

/// Merges what was typed over the configuration file.
///
/// # Errors
/// See [`MeaningError`].
pub fn run(typed: &Typed, file: Configuration) -> Result<Run, MeaningError> {
    let configuration = merged(Spelling::Flink, &typed.options, file)?;
    let target = address::target(&typed.options.place, &configuration)?;
    meant(typed, configuration, target, "run")
}

/// The same for `flink run-application`, which has one target.
///
/// # Errors
/// See [`MeaningError`].
pub fn run_application(typed: &Typed, file: Configuration) -> Result<Run, MeaningError> {
    let configuration = merged(Spelling::Flink, &typed.options, file)?;
    if let Some(other) = typed.options.place.target.as_deref().filter(|target| *target != "yarn-application") {
        return Err(MeaningError::NoApplication(other.to_owned()));
    }
    meant(typed, configuration, Target::YarnApplication, "run-application")
}

fn meant(
    typed: &Typed,
    configuration: Configuration,
    target: Target,
    action: &'static str,
) -> Result<Run, MeaningError> {
    let Typed { options, program, arguments } = typed;
    if let Some(python) = &options.python {
        return Err(MeaningError::Python(python.clone()));
    }
    let detached = options.detached || options.yarn.detached;
    let mut attached = !detached && configuration.get(&deployment::ATTACHED)?;
    let mut shutdown_on_exit = configuration.get(&deployment::SHUTDOWN_ON_ATTACHED_EXIT)?;
    let mut notes = notes(options);
    if target == Target::YarnApplication {
        // As in Flink: the application is nobody's, once it runs.
        (attached, shutdown_on_exit) = (false, false);
    }
    if shutdown_on_exit && !attached {
        notes.push("-sae has no effect on a detached job".to_owned());
    }
    if target == Target::Local && detached {
        notes.push("-d has no effect with the target `local`: the job runs in this process".to_owned());
    }
    check(&configuration)?;
    let program = program.as_deref().ok_or(MeaningError::NoProgram { action })?;
    Ok(Run {
        target,
        program: ProgramFile::named(program),
        arguments: arguments.clone(),
        configuration,
        attached,
        shutdown_on_exit: shutdown_on_exit && attached,
        notes,
    })
}

/// The configuration and program of `flink info`, which needs no target.
///
/// # Errors
/// See [`MeaningError`].
pub fn info(typed: &Typed, file: Configuration) -> Result<(std::path::PathBuf, Configuration), MeaningError> {
    let configuration = merged(Spelling::Flink, &typed.options, file)?;
    check(&configuration)?;
    match ProgramFile::named(typed.program.as_deref().ok_or(MeaningError::NoProgram { action: "info" })?) {
        ProgramFile::Local(path) => Ok((path, configuration)),
        remote @ ProgramFile::Remote(_) => Err(MeaningError::NotHere(remote)),
    }
}

/// What a command line of `yarn-session.sh` means.
///
/// # Errors
/// See [`MeaningError`].
pub fn session(typed: &Session, file: Configuration) -> Result<SessionRun, MeaningError> {
    let options = &typed.options;
    if let Some(other) = options.place.jobmanager.as_deref().filter(|m| *m != "yarn-cluster") {
        return Err(MeaningError::SessionElsewhere(other.to_owned()));
    }
    let configuration = merged(Spelling::YarnSession, options, file)?;
    // Only the flag attaches: a configured id is where jobs go.
    let application = match &options.place.application {
        Some(_) => match address::address(&options.place, &Configuration::new())? {
            Address::Application(id) => Some(id),
            Address::At(_) | Address::Remembered | Address::Any => None,
        },
        None => None,
    };
    if application.is_none() {
        check(&configuration)?;
    }
    let yarn = &options.yarn;
    let ignored = [
        (yarn.containers.is_some(), "-n is ignored: containers are started for the slots that jobs need"),
        (yarn.jar.is_some(), "-j is ignored: Flumen's own executables are found beside `flink`, or in FLUMEN_LIB_DIR"),
        (yarn.streaming, "-st is ignored: streaming is the default"),
        (typed.flip6, "-f6 is ignored: there is no other mode"),
    ];
    Ok(SessionRun {
        application,
        attached: !options.detached && configuration.get(&deployment::ATTACHED)?,
        dynamic_properties: options.place.properties.clone(),
        configuration,
        notes: noted(&ignored),
    })
}

/// The configuration and the JobManager of an action about jobs that run.
///
/// # Errors
/// See [`MeaningError`].
pub fn of_action(place: &Place, configuration: Configuration) -> Result<(Configuration, Address), MeaningError> {
    let configuration = placed(place, configuration)?;
    let address = address::address(place, &configuration)?;
    Ok((configuration, address))
}

/// The configuration with `-D` and what else says where over it.
fn placed(place: &Place, mut configuration: Configuration) -> Result<Configuration, BadConfiguration> {
    for property in place.properties.iter().chain(&place.yarn_properties) {
        configuration.set_property(property)?;
    }
    if let Some(namespace) = place.namespace.as_ref().or(place.yarn_namespace.as_ref()) {
        configuration.set(CLUSTER_ID, namespace);
    }
    Ok(configuration)
}

/// The configuration with `-D` and the dedicated flags over it; `spelling` is that of the command that was typed.
///
/// # Errors
/// [`MeaningError::Configuration`] and [`MeaningError::Zero`].
pub fn merged(
    spelling: Spelling,
    options: &Options,
    configuration: Configuration,
) -> Result<Configuration, MeaningError> {
    let mut configuration = placed(&options.place, configuration)?;
    let conf = &mut configuration;
    put(conf, &execution::PARALLELISM, options.parallelism);
    put(conf, &checkpointing::SAVEPOINT_PATH, options.from_savepoint.as_ref());
    put(conf, &checkpointing::IGNORE_UNCLAIMED, options.allow_non_restored_state.then_some(true));
    put(conf, &checkpointing::CLAIM_MODE, claim_mode(options.claim_mode.as_deref())?);
    if options.detached || options.yarn.detached {
        conf.put(&deployment::ATTACHED, false);
    }
    if options.shutdown_on_attached_exit {
        conf.put(&deployment::SHUTDOWN_ON_ATTACHED_EXIT, true);
    }
    let YarnOptions { jobmanager_memory, taskmanager_memory, slots, queue, name, .. } = &options.yarn;
    put(conf, &memory::JOBMANAGER_PROCESS, megabytes(spelling.jobmanager_memory(), jobmanager_memory.as_deref())?);
    put(conf, &memory::TASKMANAGER_PROCESS, megabytes(spelling.taskmanager_memory(), taskmanager_memory.as_deref())?);
    put(conf, &deployment::TASK_SLOTS, *slots);
    put(conf, &yarn::QUEUE, queue.as_ref());
    put(conf, &yarn::APPLICATION_NAME, name.as_ref());
    put(conf, &yarn::APPLICATION_TYPE, options.yarn.application_type.as_ref());
    put(conf, &yarn::NODE_LABEL, options.yarn.node_label.as_ref());
    if !options.yarn.ship.is_empty() {
        let shipped = conf.find(&yarn::SHIP_FILES)?.into_iter().chain(options.yarn.ship.iter().cloned());
        let shipped = shipped.collect::<Vec<_>>().join(";");
        conf.put(&yarn::SHIP_FILES, shipped);
    }
    Ok(configuration)
}

fn put<T>(configuration: &mut Configuration, option: &ConfigOption<T>, value: Option<impl Display>) {
    if let Some(value) = value {
        configuration.put(option, value);
    }
}

/// Checked here, so that a mistake is found before anything is done.
fn claim_mode(text: Option<&str>) -> Result<Option<String>, BadConfiguration> {
    let Some(text) = text else { return Ok(None) };
    let mode = text.trim().to_ascii_uppercase().replace('-', "_");
    match mode.as_str() {
        "NO_CLAIM" | "CLAIM" | "LEGACY" => Ok(Some(mode)),
        _ => Err(BadConfiguration::Value {
            key: "-cm,--claimMode".to_owned(),
            value: text.to_owned(),
            expected: "NO_CLAIM, CLAIM or LEGACY".to_owned(),
        }),
    }
}

/// Flink's rule: a number without a unit is in megabytes.
fn megabytes(flag: &str, text: Option<&str>) -> Result<Option<MemorySize>, BadConfiguration> {
    let Some(text) = text.map(str::trim) else { return Ok(None) };
    let size = match text.parse::<u64>() {
        Ok(number) => number.checked_mul(1 << 20).map(MemorySize),
        Err(_) => MemorySize::read(text),
    };
    match size {
        Some(size) => Ok(Some(size)),
        None => Err(BadConfiguration::Value {
            key: flag.to_owned(),
            value: text.to_owned(),
            expected: "a size such as `1024` (megabytes), `1024m` or `2g`".to_owned(),
        }),
    }
}

fn notes(options: &Options) -> Vec<String> {
    let yarn = &options.yarn;
    let ignored = [
        (options.class.is_some(), "-c is ignored: a native program has one entry point"),
        (!options.classpath.is_empty(), "-C is ignored: a native program carries what it links; -yt ships files"),
        (yarn.containers.is_some(), "-yn is ignored: the number of containers follows from parallelism and -ys"),
        (yarn.jar.is_some(), "-yj is ignored: Flumen's own executables are found beside `flink`, or in FLUMEN_LIB_DIR"),
        (yarn.streaming, "-yst is ignored: streaming is the default"),
    ];
    noted(&ignored)
}

fn noted(ignored: &[(bool, &str)]) -> Vec<String> {
    ignored.iter().filter(|(given, _)| *given).map(|(_, note)| (*note).to_owned()).collect()
}

/// Reads what the client will rely on, so that a malformed value is reported before anything is done.
fn check(configuration: &Configuration) -> Result<(), MeaningError> {
    let master = configuration.get(&memory::JOBMANAGER_PROCESS)?;
    if master < MASTER_LEAST {
        return Err(MeaningError::SmallMaster(master));
    }
    let (container, own) =
        (configuration.get(&memory::TASKMANAGER_PROCESS)?, configuration.get(&memory::TASKEXECUTOR_OVERHEAD)?);
    if container <= own {
        return Err(MeaningError::NoRoomForWorkers { container, own });
    }
    if configuration.get(&deployment::TASK_SLOTS)? == 0 {
        return Err(MeaningError::Zero(
            "the number of slots (yarn-session.sh -s, flink run -ys: taskmanager.numberOfTaskSlots)",
        ));
    }
    if configuration.get(&execution::PARALLELISM)? == 0 {
        return Err(MeaningError::Zero("the parallelism (-p, parallelism.default)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};

    fn meant(line: &str, file: &str) -> Result<Run, MeaningError> {
        let Command::Run(typed) = parse(format!("run {line}").split_whitespace().map(Into::into)).unwrap() else {
            panic!()
        };
        run(&typed, Configuration::from_conf_text(file).unwrap())
    }

    #[test]
    fn what_can_not_be_carried_out_is_refused_before_anything_is_done() {
        for (line, part) in [
            ("-m yarn-cluster -ytm 48 x", "leaves nothing for the job"),
            ("-m yarn-cluster -yjm 63 x", "needs 64 mb at least"),
            ("-t local", "no program"),
            ("-t local -p 0 x", "at least 1"),
            ("-t local -ys 0 x", "at least 1"),
            ("-t local -py job.py x", "`job.py`"),
        ] {
            let error = meant(line, "").unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn an_application_is_left_alone_once_it_runs() {
        let applied = |line: &str| {
            let line = format!("run-application {line}");
            let Command::RunApplication(typed) = parse(line.split_whitespace().map(Into::into)).unwrap() else {
                panic!()
            };
            run_application(&typed, Configuration::new())
        };
        for line in ["-t yarn-application -sae hdfs:///bin/x a b", "hdfs:///bin/x a b"] {
            let run = applied(line).unwrap();
            assert_eq!((run.target, run.attached, run.shutdown_on_exit), (Target::YarnApplication, false, false));
            assert_eq!(run.program, ProgramFile::Remote("hdfs:///bin/x".into()));
            assert_eq!(run.arguments, ["a", "b"]);
        }
        assert!(applied("-t yarn-session x").unwrap_err().to_string().contains("`yarn-session`"));
    }

    #[test]
    fn a_session_takes_the_options_of_a_run_and_notes_what_it_ignores() {
        let meant = |line: &str| {
            let line = format!("yarn-session {line}");
            let Command::Session(typed) = parse(line.split_whitespace().map(Into::into)).unwrap() else { panic!() };
            session(&typed, Configuration::new())
        };
        let run = meant("-jm 300 -tm 2g -s 3 -nm n -qu q -Da=b -D c -z ns -n 4 -st -j x -f6").unwrap();
        assert_eq!(run.configuration.get(&memory::JOBMANAGER_PROCESS).unwrap(), MemorySize::from_mib(300));
        assert_eq!(run.configuration.get(&deployment::TASK_SLOTS).unwrap(), 3);
        assert_eq!(run.configuration.raw("yarn.application.name"), Some("n"));
        assert_eq!(run.configuration.raw(CLUSTER_ID), Some("ns"));
        assert_eq!((run.dynamic_properties, run.notes.len(), run.attached), (vec!["a=b".into(), "c".into()], 4, true));
        assert!(!meant("-d").unwrap().attached);
        assert_eq!(meant("-id application_1_2").unwrap().application.as_deref(), Some("application_1_2"));
        assert!(meant("-id 1_2").unwrap_err().to_string().contains("`1_2`"));
        assert!(meant("-m node:1").unwrap_err().to_string().contains("yarn-cluster"));
        assert!(meant("-tm 48").unwrap_err().to_string().contains("leaves nothing"));
    }

    #[test]
    fn flags_win_over_dynamic_properties_and_those_over_the_file() {
        let file = "parallelism.default: 1\ntaskmanager.numberOfTaskSlots: 1\nyarn.ship-files: a\nkept: 1";
        let line =
            "-m yarn-cluster -D parallelism.default=2 -yD taskmanager.numberOfTaskSlots=2 -p 3 -ys 4 -yt b -yt c x";
        let conf = meant(line, file).unwrap().configuration;
        assert_eq!(conf.get(&execution::PARALLELISM).unwrap(), 3);
        assert_eq!(conf.get(&deployment::TASK_SLOTS).unwrap(), 4);
        assert_eq!(conf.raw("yarn.ship-files"), Some("a;b;c"));
        assert_eq!(conf.raw("kept"), Some("1"));
    }

    #[test]
    fn what_a_job_starts_from_is_part_of_its_configuration() {
        let conf = meant("-t local -s hdfs:///sp/1 -n -cm claim x", "").unwrap().configuration;
        assert!(conf.get(&checkpointing::IGNORE_UNCLAIMED).unwrap());
        assert_eq!(conf.find(&checkpointing::SAVEPOINT_PATH).unwrap().as_deref(), Some("hdfs:///sp/1"));
        assert_eq!(conf.get(&checkpointing::CLAIM_MODE).unwrap(), "CLAIM");
        let error = meant("-t local -s hdfs:///sp -cm KEEP x", "").unwrap_err();
        assert!(format!("{error:?}").contains("NO_CLAIM, CLAIM or LEGACY"), "{error:?}");
        let conf = meant("-t local x", "execution.state-recovery.path: a").unwrap().configuration;
        assert!(!conf.get(&checkpointing::IGNORE_UNCLAIMED).unwrap());
        assert_eq!(conf.find(&checkpointing::SAVEPOINT_PATH).unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn memory_without_a_unit_is_in_megabytes() {
        for (text, mib) in [("512", 512), ("512m", 512), ("2g", 2048), ("2gb", 2048)] {
            let conf = meant(&format!("-m yarn-cluster -yjm {text} -ytm {text} x"), "").unwrap().configuration;
            assert_eq!(conf.get(&memory::JOBMANAGER_PROCESS).unwrap(), MemorySize::from_mib(mib), "{text}");
            assert_eq!(conf.get(&memory::TASKMANAGER_PROCESS).unwrap(), MemorySize::from_mib(mib), "{text}");
        }
        for text in ["lots", "99999999999999999999", "99999999999999999"] {
            assert!(meant(&format!("-m yarn-cluster -yjm {text} x"), "").is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_noted() {
        let run = meant("-m yarn-cluster -yn 2 -c Main -C file:///x -yj y -yst -d -sae x", "").unwrap();
        assert_eq!(run.notes.len(), 6, "{:?}", run.notes);
        assert!(!run.attached && !run.shutdown_on_exit);
        assert!(meant("-m yarn-cluster -sae x", "").unwrap().shutdown_on_exit);
        assert!(!meant("-m yarn-cluster x", "execution.attached: false").unwrap().attached);
        assert!(meant("-m yarn-cluster x", "").unwrap().notes.is_empty());
    }
}
