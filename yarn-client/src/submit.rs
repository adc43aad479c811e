//! What YARN is asked for: the application's submission, made of the configuration. Pure.

use flumen_ha::{HaError, HaSettings};
use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::high_availability::STANDBY;
use flumen_model::options::{deployment, memory, yarn};
use flumen_wire::application::{APPMASTER_FILE, StagedFile};

use crate::spelling::Spelling;
use crate::validate::Demand;

/// Name of a session when none was given.
pub const SESSION_NAME: &str = "Flink session cluster";

/// Name of an application that runs one program when none was given.
pub const APPLICATION_NAME: &str = "Flink Application Cluster";

/// Start of a per-job application's name when none was given; the job's name follows.
const PER_JOB_NAME: &str = "Flink per-job cluster";

/// Slots that a session has from its beginning.
const MIN_SLOTS: &str = "slotmanager.number-of-slots.min";

/// Prefix of keys that set environment variables of the ApplicationMaster.
const MASTER_ENV: &str = "containerized.master.env.";

/// One application, as it is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its id, from the ResourceManager.
    pub id: String,
    /// Shown by YARN.
    pub name: String,
    /// Shown by YARN.
    pub application_type: String,
    /// `None`: the scheduler's choice.
    pub queue: Option<String>,
    /// `None`: the cluster's default.
    pub priority: Option<i32>,
    /// Shown by YARN.
    pub tags: Vec<String>,
    /// Node label of all its containers.
    pub node_label: Option<String>,
    /// Attempts of its ApplicationMaster.
    pub max_attempts: u32,
    /// Window in which they are counted, in milliseconds; -1: for ever.
    pub failures_validity_ms: i64,
    /// Whether its containers outlive an attempt.
    pub keep_containers: bool,
    /// Who may see it.
    pub view_acls: Option<String>,
    /// Who may change it.
    pub modify_acls: Option<String>,
    /// Memory of the ApplicationMaster's container, in MB.
    pub memory_mb: u64,
    /// Its virtual cores.
    pub vcores: u64,
    /// What is run in it.
    pub command: String,
    /// Its environment, with values as a shell between double quotes takes them.
    pub environment: Vec<(String, String)>,
    /// The files in it.
    pub resources: Vec<StagedFile>,
}

/// Name of a job's own application when none was given.
pub fn per_job_name(job_name: &str) -> String {
    format!("{PER_JOB_NAME}: {job_name}")
}

/// What a session must be able to get: its slots from the beginning, and one TaskExecutor at least.
///
/// # Errors
/// When an option is malformed.
pub fn session_demand(configuration: &Configuration) -> Result<Demand, BadConfiguration> {
    let bad = |text: &str| BadConfiguration::Value {
        key: MIN_SLOTS.to_owned(),
        value: text.to_owned(),
        expected: "a whole number".to_owned(),
    };
    let read = |text: &str| text.trim().parse().map_err(|_| bad(text));
    let slots: u64 = configuration.raw(MIN_SLOTS).map(read).transpose()?.unwrap_or(0);
    Ok(Demand { spelling: Spelling::YarnSession, ..demand(configuration, slots.max(1))? })
}

/// What `slots` slots ask of the cluster, with a JobManager.
///
/// # Errors
/// When an option is malformed.
pub fn demand(configuration: &Configuration, slots: u64) -> Result<Demand, BadConfiguration> {
    let slots_per_executor = u64::from(configuration.get(&deployment::TASK_SLOTS)?).max(1);
    let label = set(configuration.find(&yarn::NODE_LABEL)?);
    let executor_label = set(configuration.find(&yarn::TASKMANAGER_NODE_LABEL)?).or_else(|| label.clone());
    Ok(Demand {
        spelling: Spelling::Flink,
        queue: set(configuration.find(&yarn::QUEUE)?),
        label,
        executor_label,
        master_mb: configuration.get(&memory::JOBMANAGER_PROCESS)?.mib_rounded_up(),
        master_vcores: configuration.get(&yarn::APPMASTER_VCORES)?.into(),
        executor_mb: configuration.get(&memory::TASKMANAGER_PROCESS)?.mib_rounded_up(),
        executor_vcores: match u64::try_from(configuration.get(&yarn::CONTAINER_VCORES)?) {
            Ok(vcores) if vcores > 0 => vcores,
            _ => slots_per_executor,
        },
        slots,
        slots_per_executor,
    })
}

/// The submission of an application with the given staged files; `otherwise_named` is its name when none was chosen.
///
/// # Errors
/// When an option is malformed, or what high availability needs is missing.
pub fn submission(
    id: &str,
    otherwise_named: &str,
    user: &str,
    configuration: &Configuration,
    demand: &Demand,
    resources: Vec<StagedFile>,
) -> Result<Submission, HaError> {
    let kept = HaSettings::read(configuration, id)?;
    let keeps = kept.is_on();
    let max_attempts = yarn::attempts(configuration, keeps)?;
    if kept.standby(configuration)? && max_attempts == 1 {
        let (standby, attempts) = (STANDBY.key, yarn::APPLICATION_ATTEMPTS.key);
        return Err(HaError::Setting(format!(
            "`{standby}: 1` is of no use with `{attempts}: 1`: a standby leads until YARN has started the next attempt, and YARN ends \
             an application with its last one"
        )));
    }
    let name = set(configuration.find(&yarn::APPLICATION_NAME)?);
    let tags = configuration.find(&yarn::TAGS)?.unwrap_or_default();
    let mut environment = vec![("HADOOP_USER_NAME".to_owned(), in_double_quotes(user))];
    for (variable, value) in configuration.with_prefix(MASTER_ENV) {
        environment.push((variable.to_owned(), in_double_quotes(value)));
    }
    Ok(Submission {
        id: id.to_owned(),
        name: name.unwrap_or_else(|| otherwise_named.to_owned()),
        application_type: configuration.get(&yarn::APPLICATION_TYPE)?,
        queue: demand.queue.clone(),
        priority: Some(configuration.get(&yarn::PRIORITY)?).filter(|&priority| priority >= 0),
        tags: tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        node_label: demand.label.clone(),
        max_attempts,
        failures_validity_ms: configuration.get(&yarn::ATTEMPT_FAILURES_VALIDITY)?.into(),
        // Of use only to an ApplicationMaster that finds out what they do.
        keep_containers: keeps,
        view_acls: set(configuration.find(&yarn::VIEW_ACLS)?),
        modify_acls: set(configuration.find(&yarn::MODIFY_ACLS)?),
        memory_mb: demand.master_mb,
        vcores: demand.master_vcores,
        // YARN tells the end of a file that is called so when a container fails, and of no other.
        command: format!(
            "ln -sf jobmanager.err <LOG_DIR>/stderr; \
             exec ./{APPMASTER_FILE} 1><LOG_DIR>/jobmanager.out 2><LOG_DIR>/jobmanager.err"
        ),
        environment,
        resources,
    })
}

fn set(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// YARN writes `export NAME="value"` into a script without escaping: this makes bash read the value as it is.
fn in_double_quotes(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> (Demand, Submission) {
        let configuration = Configuration::from_conf_text(text).unwrap();
        let demand = demand(&configuration, 5).unwrap();
        let name = per_job_name("Word Count");
        let submission = submission("application_1_0001", &name, "alice", &configuration, &demand, vec![]).unwrap();
        (demand, submission)
    }

    #[test]
    fn without_options_the_defaults_are_asked_for() {
        let (demand, submission) = made("");
        assert_eq!((demand.executors(), demand.executor_vcores, demand.executor_mb), (5, 1, 1024));
        assert_eq!(submission.name, "Flink per-job cluster: Word Count");
        assert_eq!((submission.queue, submission.priority, submission.node_label), (None, None, None));
        assert_eq!((submission.memory_mb, submission.vcores, submission.max_attempts), (256, 1, 1));
        assert_eq!(submission.failures_validity_ms, 10_000);
        let command = &submission.command;
        assert!(command.starts_with("ln -sf jobmanager.err <LOG_DIR>/stderr; exec ./flumen-appmaster 1>"), "{command}");
        assert_eq!(submission.environment, [("HADOOP_USER_NAME".to_owned(), "alice".to_owned())]);
    }

    #[test]
    fn a_session_asks_for_its_first_slots_and_room_for_one_taskexecutor() {
        let slots = |text: &str| session_demand(&Configuration::from_conf_text(text).unwrap()).map(|d| d.slots);
        assert_eq!((slots("").unwrap(), slots(&format!("{MIN_SLOTS}: 7")).unwrap()), (1, 7));
        assert!(slots(&format!("{MIN_SLOTS}: many")).unwrap_err().to_string().contains("whole number"));
    }

    #[test]
    fn every_option_of_yarn_finds_its_place() {
        let (demand, submission) = made(
            "yarn.application.name: n\nyarn.application.type: t\nyarn.application.queue: q\nyarn.application.priority: 3\n\
             yarn.application.node-label: gpu\nyarn.tags: a, b,\nyarn.view.acls: *\nyarn.modify.acls: bob\n\
             yarn.application-attempts: 2\nyarn.appmaster.vcores: 2\ntaskmanager.numberOfTaskSlots: 2\n\
             jobmanager.memory.process.size: 300m\ncontainerized.master.env.A: x$y\n",
        );
        assert_eq!((demand.executors(), demand.executor_vcores), (3, 2));
        assert_eq!(demand.executor_label.as_deref(), Some("gpu"));
        assert_eq!((submission.name.as_str(), submission.application_type.as_str()), ("n", "t"));
        assert_eq!((submission.queue.as_deref(), submission.priority), (Some("q"), Some(3)));
        assert_eq!(submission.tags, ["a", "b"]);
        assert_eq!((submission.view_acls.as_deref(), submission.modify_acls.as_deref()), (Some("*"), Some("bob")));
        assert_eq!((submission.max_attempts, submission.vcores, submission.memory_mb), (2, 2, 300));
        assert_eq!(submission.environment[1], ("A".to_owned(), "x\\$y".to_owned()));
    }

    #[test]
    fn with_high_availability_there_is_a_second_attempt_that_finds_the_containers() {
        let asked = |text: &str| {
            let (_, submission) = made(text);
            (submission.max_attempts, submission.keep_containers)
        };
        assert_eq!(asked(""), (1, false));
        assert_eq!(asked("high-availability.storageDir: hdfs:///ha"), (2, true));
        assert_eq!(asked("high-availability.storageDir: hdfs:///ha\nyarn.application-attempts: 5"), (5, true));
        assert_eq!(asked("high-availability.storageDir: hdfs:///ha\nhigh-availability: NONE"), (1, false));
    }

    #[test]
    fn a_standby_needs_an_attempt_that_follows() {
        let asked = |attempts: u32| {
            let text = format!(
                "high-availability.storageDir: hdfs:///ha\njobmanager.standby: 1\nyarn.application-attempts: {attempts}"
            );
            let configuration = Configuration::from_conf_text(&text).unwrap();
            let demand = demand(&configuration, 1).unwrap();
            submission("application_1_0001", "n", "alice", &configuration, &demand, vec![])
        };
        assert_eq!(asked(2).unwrap().max_attempts, 2);
        let refused = asked(1).unwrap_err().to_string();
        assert!(refused.contains("jobmanager.standby") && refused.contains("yarn.application-attempts"), "{refused}");
    }

    #[test]
    fn a_value_survives_the_script_of_the_node_manager() {
        let value = "a \"b\" $HOME `id` $(id) \\ 'c' {\"k\":1}";
        let script = format!("export K=\"{}\"; printf %s \"$K\"", in_double_quotes(value));
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
