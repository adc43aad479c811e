//! What the command line means: options and configuration file merged into one [`Run`]. Pure.

use std::fmt::Display;
use std::path::PathBuf;

use flumen_model::config::{BadConfiguration, ConfigOption, ConfigValue, Configuration, MemorySize};
use flumen_model::options::{checkpointing, deployment, execution, memory, yarn};

use crate::args::{ActionOptions, Options, Typed, YarnOptions};

/// Key under which `-z` and `-yz` are kept.
const CLUSTER_ID: &str = "high-availability.cluster-id";

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// In the program's own process, here.
    Local,
    /// In a YARN application of its own.
    YarnPerJob,
}

/// One run, ready to be carried out.
#[derive(Debug)]
pub struct Run {
    /// Where.
    pub target: Target,
    /// The program's file, as it was named.
    pub program: PathBuf,
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

/// Why the command line can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum MeaningError {
    /// No program was named.
    #[error("no program was named: flink {action} [OPTIONS] <program> [arguments of the program]")]
    NoProgram {
        /// `run` or `info`.
        action: &'static str,
    },
    /// Neither flags nor configuration say where to run.
    #[error(
        "no target was chosen: `-m yarn-cluster` (or `-t yarn-per-job`) runs the program on YARN, `-t local` right here; \
         `execution.target` in flink-conf.yaml sets the default"
    )]
    NoTarget,
    /// A TaskExecutor's container would have nothing left for the job.
    #[error(
        "a TaskManager of {container} (-ytm, taskmanager.memory.process.size) leaves nothing for the job: {own} are for \
         the TaskManager itself (taskmanager.memory.framework.size)"
    )]
    NoRoomForWorkers {
        /// The container's memory.
        container: MemorySize,
        /// What the TaskExecutor keeps.
        own: MemorySize,
    },
    /// A target of Flink that Flumen does not have.
    #[error("target `{0}` is not there yet: `yarn-per-job` and `local` are")]
    UnknownTarget(String),
    /// `-m` and `-t` disagree.
    #[error("`-m {jobmanager}` and `-t {target}` contradict each other: give one of them")]
    Contradiction {
        /// What `-m` says.
        jobmanager: String,
        /// What `-t` says.
        target: String,
    },
    /// A flag of Flink that Flumen does not serve yet.
    #[error("{flag} is not there yet: {reason}")]
    NotYet {
        /// The flag.
        flag: &'static str,
        /// What is missing.
        reason: &'static str,
    },
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
pub fn run(typed: Typed, file: Configuration) -> Result<Run, MeaningError> {
    let Typed { options, program, arguments } = typed;
    not_yet(&options)?;
    let configuration = merged(&options, file)?;
    let target = target(&options, &configuration)?;
    let detached = options.detached || options.yarn.detached;
    let attached = !detached && configuration.get(&deployment::ATTACHED)?;
    let shutdown_on_exit = configuration.get(&deployment::SHUTDOWN_ON_ATTACHED_EXIT)?;
    let mut notes = notes(&options);
    if shutdown_on_exit && !attached {
        notes.push("-sae has no effect on a detached job".to_owned());
    }
    if target == Target::Local && detached {
        notes.push("-d has no effect with the target `local`: the job runs in this process".to_owned());
    }
    check(&configuration)?;
    Ok(Run {
        target,
        program: program.ok_or(MeaningError::NoProgram { action: "run" })?,
        arguments,
        configuration,
        attached,
        shutdown_on_exit: shutdown_on_exit && attached,
        notes,
    })
}

/// The configuration, program and arguments of `flink info`, which needs no target.
///
/// # Errors
/// See [`MeaningError`].
pub fn info(typed: Typed, file: Configuration) -> Result<(PathBuf, Vec<String>, Configuration), MeaningError> {
    let configuration = merged(&typed.options, file)?;
    check(&configuration)?;
    Ok((typed.program.ok_or(MeaningError::NoProgram { action: "info" })?, typed.arguments, configuration))
}

/// The configuration of an action about a job that runs.
///
/// # Errors
/// [`MeaningError::Configuration`] and [`MeaningError::UnknownTarget`].
pub fn of_action(options: &ActionOptions, mut configuration: Configuration) -> Result<Configuration, MeaningError> {
    for property in options.properties.iter().chain(&options.yarn_properties) {
        configuration.set_property(property)?;
    }
    let here = [(&options.jobmanager, "yarn-cluster"), (&options.target, "yarn-per-job")];
    for (given, known) in here {
        if let Some(other) = given.as_deref().filter(|given| *given != known) {
            return Err(MeaningError::UnknownTarget(other.to_owned()));
        }
    }
    Ok(configuration)
}

/// The configuration with `-D` and the dedicated flags over it.
///
/// # Errors
/// [`MeaningError::Configuration`] and [`MeaningError::Zero`].
pub fn merged(options: &Options, mut configuration: Configuration) -> Result<Configuration, MeaningError> {
    for property in options.properties.iter().chain(&options.yarn.properties) {
        configuration.set_property(property)?;
    }
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
    if let Some(namespace) = options.namespace.as_ref().or(options.yarn.namespace.as_ref()) {
        conf.set(CLUSTER_ID, namespace);
    }
    let YarnOptions { jobmanager_memory, taskmanager_memory, slots, queue, name, .. } = &options.yarn;
    put(conf, &memory::JOBMANAGER_PROCESS, megabytes("-yjm", jobmanager_memory.as_deref())?);
    put(conf, &memory::TASKMANAGER_PROCESS, megabytes("-ytm", taskmanager_memory.as_deref())?);
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

fn target(options: &Options, configuration: &Configuration) -> Result<Target, MeaningError> {
    let configured = configuration.find(&deployment::TARGET)?;
    let by_target = options.target.clone().or(configured).map(|text| named_target(&text)).transpose()?;
    let Some(jobmanager) = &options.jobmanager else {
        return by_target.ok_or(MeaningError::NoTarget);
    };
    let by_jobmanager = match jobmanager.as_str() {
        "yarn-cluster" => Target::YarnPerJob,
        "local" => Target::Local,
        other => return Err(MeaningError::UnknownTarget(other.to_owned())),
    };
    match &options.target {
        Some(text) if by_target != Some(by_jobmanager) => {
            Err(MeaningError::Contradiction { jobmanager: jobmanager.clone(), target: text.clone() })
        }
        _ => Ok(by_jobmanager),
    }
}

fn named_target(text: &str) -> Result<Target, MeaningError> {
    match text.trim() {
        "local" => Ok(Target::Local),
        "yarn-per-job" => Ok(Target::YarnPerJob),
        other => Err(MeaningError::UnknownTarget(other.to_owned())),
    }
}

fn not_yet(options: &Options) -> Result<(), MeaningError> {
    let refused = [(
        options.yarn.application_id.is_some(),
        "-yid,--yarnapplicationId",
        "there are no sessions yet; `-m yarn-cluster` gives the job an application of its own",
    )];
    match refused.into_iter().find(|(given, ..)| *given) {
        Some((_, flag, reason)) => Err(MeaningError::NotYet { flag, reason }),
        None => Ok(()),
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
    ignored.into_iter().filter(|(given, _)| *given).map(|(_, note)| note.to_owned()).collect()
}

/// Reads what the client will rely on, so that a malformed value is reported before anything is done.
fn check(configuration: &Configuration) -> Result<(), MeaningError> {
    configuration.get(&memory::JOBMANAGER_PROCESS)?;
    let (container, own) =
        (configuration.get(&memory::TASKMANAGER_PROCESS)?, configuration.get(&memory::TASKEXECUTOR_OVERHEAD)?);
    if container <= own {
        return Err(MeaningError::NoRoomForWorkers { container, own });
    }
    if configuration.get(&deployment::TASK_SLOTS)? == 0 {
        return Err(MeaningError::Zero("the number of slots (-ys, taskmanager.numberOfTaskSlots)"));
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
        run(*typed, Configuration::from_conf_text(file).unwrap())
    }

    #[test]
    fn the_target_comes_from_flags_then_configuration() {
        for (line, file, target) in [
            ("-m yarn-cluster x", "", Target::YarnPerJob),
            ("-t yarn-per-job x", "", Target::YarnPerJob),
            ("-e yarn-per-job x", "execution.target: local", Target::YarnPerJob),
            ("-m local x", "execution.target: yarn-per-job", Target::Local),
            ("-D execution.target=local x", "", Target::Local),
            ("x", "execution.target: yarn-per-job", Target::YarnPerJob),
            ("-m yarn-cluster -t yarn-per-job x", "", Target::YarnPerJob),
        ] {
            assert_eq!(meant(line, file).unwrap().target, target, "{line} {file}");
        }
        for (line, part) in [
            ("x", "no target was chosen"),
            ("-t yarn-session x", "`yarn-session` is not there yet"),
            ("-m yarn-cluster -ytm 48 x", "leaves nothing for the job"),
            ("-m host:8081 x", "`host:8081` is not there yet"),
            ("-m yarn-cluster -t local x", "contradict"),
            ("-t local", "no program"),
            ("-m yarn-cluster -yid application_1_1 x", "no sessions yet"),
            ("-t local -p 0 x", "at least 1"),
            ("-t local -ys 0 x", "at least 1"),
        ] {
            let error = meant(line, "").unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
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
