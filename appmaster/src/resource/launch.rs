//! What a TaskExecutor's container is to run. Pure.

use flumen_hadoop::token::{Credentials, HDFS_DELEGATION_TOKEN};
use flumen_hadoop::yarn::{LaunchContext, LaunchError, LocalResource, ResourceKind, Visibility};
use flumen_model::config::Configuration;
use flumen_model::options::yarn;
use flumen_wire::application::{APPMASTER_FILE, Application, StagedFile, TASKEXECUTOR_FILE};
use flumen_wire::standby::STANDBY_ARGUMENT;

/// Start of the keys that set environment variables of TaskExecutors' containers.
const ENVIRONMENT_PREFIX: &str = "containerized.taskmanager.env.";
/// The same for JobManagers'.
const MASTER_ENVIRONMENT_PREFIX: &str = "containerized.master.env.";

/// What a TaskExecutor is told on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskExecutor {
    /// `host:port` at which the JobManager listens.
    pub jobmanager: String,
    /// Slots that it offers.
    pub slots: u32,
    /// Bytes of memory of its container.
    pub memory: u64,
    /// Whether it speaks TLS with the JobManager.
    pub tls: bool,
}

/// The launch context of every TaskExecutor of an application: they are all alike.
///
/// # Errors
/// [`LaunchError`] when the configuration has a value that YARN's launch script would break or change.
pub fn context(
    application: &Application,
    executor: &TaskExecutor,
    credentials: &Credentials,
) -> Result<LaunchContext, LaunchError> {
    let context = with_files(LaunchContext::new().command_raw(command(executor)?), &application.resources)?;
    surrounded(context, application, credentials, ENVIRONMENT_PREFIX)
}

/// The launch context of a standby JobManager, which has what the ApplicationMaster's container has. `description` is the
/// staged description of the application.
///
/// # Errors
/// [`LaunchError`] when the configuration has a value that YARN's launch script would break or change.
pub fn standby_context(
    application: &Application,
    description: StagedFile,
    credentials: &Credentials,
) -> Result<LaunchContext, LaunchError> {
    let context = LaunchContext::new().command_raw(format!(
        "ln -sf jobmanager.err <LOG_DIR>/stderr; \
         exec ./{APPMASTER_FILE} {STANDBY_ARGUMENT} 1><LOG_DIR>/jobmanager.out 2><LOG_DIR>/jobmanager.err"
    ));
    let context = with_files(context, &application.master_resources)?;
    let context = with_files(context, &[description])?;
    surrounded(context, application, credentials, MASTER_ENVIRONMENT_PREFIX)
}

fn with_files(mut context: LaunchContext, files: &[StagedFile]) -> Result<LaunchContext, LaunchError> {
    for file in files {
        context = context.resource(file.link.clone(), local_resource(file)?)?;
    }
    Ok(context)
}

/// With tokens, variables and who may see the container.
fn surrounded(
    context: LaunchContext,
    application: &Application,
    credentials: &Credentials,
    variables: &str,
) -> Result<LaunchContext, LaunchError> {
    let conf = &application.configuration;
    // The container may run as the NodeManager's own user; files belong to the application's.
    let mut context = context.credentials(&hdfs_tokens(credentials)).env("HADOOP_USER_NAME", &application.user)?;
    for (name, value) in conf.with_prefix(variables) {
        // References to other variables are wanted here, as in Flink; whatever breaks the script is not.
        let breaks = value.contains(['"', '`', '\\', '\0']);
        context = if breaks { context.env(name, value)? } else { context.env_raw(name, value)? };
    }
    Ok(with_acls(context, conf))
}

fn command(executor: &TaskExecutor) -> Result<String, LaunchError> {
    let TaskExecutor { jobmanager, slots, memory, tls } = executor;
    // The name of a host, or an address of either family.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]%".contains(&b);
    if let Some(found) = jobmanager.bytes().find(|b| !plain(*b)) {
        return Err(LaunchError::LiveArgument { argument: jobmanager.clone(), found: char::from(found).to_string() });
    }
    // YARN tells the end of a file that is called `stderr` when a container fails, and of no other.
    Ok(format!(
        "ln -sf taskmanager.err <LOG_DIR>/stderr; \
         exec ./{TASKEXECUTOR_FILE} --jobmanager {jobmanager} --slots {slots} --memory {memory}{} \
         1><LOG_DIR>/taskmanager.out.0 2><LOG_DIR>/taskmanager.err",
        if *tls { "" } else { " --no-tls" }
    ))
}

fn local_resource(file: &StagedFile) -> Result<LocalResource, LaunchError> {
    Ok(LocalResource {
        url: file.url.parse()?,
        size: file.size,
        timestamp_ms: i64::try_from(file.modified_ms).unwrap_or(i64::MAX),
        kind: if file.archive { ResourceKind::Archive } else { ResourceKind::File },
        // Files in the cache are the user's alone; the node keeps them for the user's next application.
        visibility: if file.cached { Visibility::Private } else { Visibility::Application },
    })
}

/// A container gets what opens HDFS and nothing that speaks in the ApplicationMaster's name.
fn hdfs_tokens(credentials: &Credentials) -> Credentials {
    let mut tokens = Credentials::default();
    for (alias, token) in credentials.tokens().filter(|(_, token)| token.kind == HDFS_DELEGATION_TOKEN) {
        tokens.add_token(alias, token.clone());
    }
    tokens
}

fn with_acls(context: LaunchContext, conf: &Configuration) -> LaunchContext {
    let (view, modify) = (conf.raw(yarn::VIEW_ACLS.key), conf.raw(yarn::MODIFY_ACLS.key));
    if view.is_none() && modify.is_none() {
        return context;
    }
    // A blank allows nobody but the owner.
    context.acls(view.unwrap_or(" "), modify.unwrap_or(" "))
}

#[cfg(test)]
mod tests {
    use flumen_hadoop::token::{AM_RM_TOKEN, Token};

    use super::*;
    use crate::testing::application;

    fn executor() -> TaskExecutor {
        TaskExecutor { jobmanager: "node1.example:6123".into(), slots: 2, memory: 1 << 30, tls: true }
    }

    fn token(kind: &str) -> Token {
        Token {
            identifier: kind.as_bytes().to_vec(),
            password: b"secret".to_vec(),
            kind: kind.into(),
            service: "s".into(),
        }
    }

    #[test]
    fn the_command_line_says_where_the_jobmanager_is() {
        assert_eq!(
            command(&executor()).unwrap(),
            "ln -sf taskmanager.err <LOG_DIR>/stderr; \
             exec ./flumen-taskexecutor --jobmanager node1.example:6123 --slots 2 --memory 1073741824 \
             1><LOG_DIR>/taskmanager.out.0 2><LOG_DIR>/taskmanager.err"
        );
        let open = command(&TaskExecutor { tls: false, ..executor() }).unwrap();
        assert!(open.contains("--memory 1073741824 --no-tls 1>"), "{open}");
        let bad = TaskExecutor { jobmanager: "$(reboot):1".into(), ..executor() };
        assert!(matches!(command(&bad), Err(LaunchError::LiveArgument { .. })));
    }

    #[test]
    fn files_of_the_cache_are_private_and_the_others_the_applications_own() {
        let file = |cached, archive| StagedFile {
            link: "x".into(),
            url: "hdfs://nn:8020/x".into(),
            size: 1,
            modified_ms: 1_795_228_684_344,
            archive,
            cached,
        };
        let resource = local_resource(&file(true, false)).unwrap();
        assert_eq!((resource.visibility, resource.kind), (Visibility::Private, ResourceKind::File));
        let resource = local_resource(&file(false, true)).unwrap();
        assert_eq!((resource.visibility, resource.kind), (Visibility::Application, ResourceKind::Archive));
        assert_eq!(resource.timestamp_ms, 1_795_228_684_344);
        assert!(local_resource(&StagedFile { url: "nonsense".into(), ..file(true, true) }).is_err());
    }

    #[test]
    fn only_tokens_of_hdfs_are_handed_on() {
        let mut all = Credentials::default();
        for kind in [AM_RM_TOKEN, HDFS_DELEGATION_TOKEN, "NMToken", "OTHER"] {
            all.add_token(kind, token(kind));
        }
        all.add_secret("keystore", b"password".to_vec());
        let handed_on = hdfs_tokens(&all);
        let kinds: Vec<&str> = handed_on.tokens().map(|(_, token)| token.kind.as_str()).collect();
        assert_eq!(kinds, [HDFS_DELEGATION_TOKEN]);
        assert_eq!(handed_on.secret("keystore"), None);
    }

    #[test]
    fn the_users_variables_may_refer_to_others_but_not_break_the_script() {
        let mut application = application();
        application.configuration.set("containerized.taskmanager.env.LD_LIBRARY_PATH", "$HADOOP_HOME/lib/native");
        assert!(context(&application, &executor(), &Credentials::default()).is_ok());
        application.configuration.set("containerized.taskmanager.env.MINE", "a\"; reboot; \"");
        let error = context(&application, &executor(), &Credentials::default()).unwrap_err().to_string();
        assert!(error.contains("MINE"), "{error}");
    }
}
