//! Flumen on YARN: what an application asks for and how it behaves there.

use std::time::Duration;

use super::section;
use crate::config::{BadConfiguration, Configuration};

section! { "YARN";
    APPLICATION_NAME: String = "yarn.application.name", None, [],
        "Name of the application in YARN. Default: `Flink session cluster`, `Flink Application Cluster`, or `Flink per-job cluster` with the job's name.";
    APPLICATION_TYPE: String = "yarn.application.type", Some("Apache Flink"), [],
        "Type of the application in YARN.";
    APPLICATION_ID: String = "yarn.application.id", None, [],
        "The running application that `flink` speaks to: a session, or a job's own application. `-yid` sets it.";
    PROPERTIES_FILE_LOCATION: String = "yarn.properties-file.location", Some("/tmp"), [],
        "Directory of the file `.yarn-properties-<user>`, in which yarn-session.sh leaves the session that `flink run` submits to when no other is named.";
    QUEUE: String = "yarn.application.queue", None, [],
        "Queue of the application. Default: the scheduler's own choice, `default`.";
    PRIORITY: i32 = "yarn.application.priority", Some("-1"), [],
        "Priority of the application; negative: the cluster's default.";
    NODE_LABEL: String = "yarn.application.node-label", None, [],
        "Node label of all containers of the application.";
    TASKMANAGER_NODE_LABEL: String = "yarn.taskmanager.node-label", None, [],
        "Node label of the TaskExecutors' containers, over `yarn.application.node-label`.";
    TAGS: String = "yarn.tags", None, [],
        "Tags of the application, separated by commas.";
    VIEW_ACLS: String = "yarn.view.acls", None, [],
        "Users and groups that may see the application: `user1,user2 group1,group2`, or `*`.";
    MODIFY_ACLS: String = "yarn.modify.acls", None, [],
        "Users and groups that may change the application, in the same form.";
    APPLICATION_ATTEMPTS: u32 = "yarn.application-attempts", None, [],
        "Attempts of the ApplicationMaster, capped by the cluster's `yarn.resourcemanager.am.max-attempts`. Default: 1, with high availability 2. With high availability a further attempt goes on with what runs; without, it restarts the job from its newest checkpoint, or from its beginning.";
    ATTEMPT_FAILURES_VALIDITY: i32 = "yarn.application-attempt-failures-validity-interval", Some("10000"), [],
        "Window in which attempts are counted, in milliseconds; -1 counts for ever.";
    APPMASTER_VCORES: u32 = "yarn.appmaster.vcores", Some("1"), [],
        "Virtual cores of the ApplicationMaster's container.";
    CONTAINER_VCORES: i32 = "yarn.containers.vcores", Some("-1"), [],
        "Virtual cores of a TaskExecutor's container; -1: one for each slot.";
    HEARTBEAT_INTERVAL: Duration = "yarn.heartbeat.interval", Some("5 s"), [],
        "Time between heartbeats to the ResourceManager while no container is awaited.";
    CONTAINER_REQUEST_HEARTBEAT: Duration = "yarn.heartbeat.container-request-interval", Some("100 ms"), [],
        "Time between heartbeats to the ResourceManager while containers are awaited. Asks are absolute, so a short time over-allocates nothing.";
    STAGING_DIRECTORY: String = "yarn.staging-directory", None, [],
        "Directory under which each user has a directory of their own for the files of submissions, on a file system that all nodes reach. Default: `.flink` in the user's home directory.";
    FILE_REPLICATION: i32 = "yarn.file-replication", Some("-1"), [],
        "Replication of the staged files; -1: the file system's default.";
    SHIP_FILES: String = "yarn.ship-files", None, ["yarn.ship-directories"],
        "Files and directories, separated by semicolons, that are put into the working directory of every container.";
    SHIP_ARCHIVES: String = "yarn.ship-archives", None, [],
        "Archives (.tar.gz, .tgz, .tar, .zip), separated by semicolons, that are unpacked there.";
    START_WORKER_MAX_FAILURES: f64 = "resourcemanager.start-worker.max-failure-rate", Some("10"), ["yarn.maximum-failed-containers"],
        "Containers that may fail within a minute before the jobs that wait for slots fail.";
    REGISTRATION_TIMEOUT: Duration = "resourcemanager.taskmanager-registration.timeout", Some("5 min"), [],
        "Time that a TaskExecutor has from the start of its container to its registration.";
    PREVIOUS_WORKER_RECOVERY: Duration = "resourcemanager.previous-worker.recovery.timeout", Some("10 s"), [],
        "With high availability: time that the TaskExecutors of an earlier attempt of the ApplicationMaster have to report to the new one. What ran on those that don't is restarted elsewhere.";
    ALLOCATION_GRACE: Duration = "yarn.resource-check.grace", Some("5 s"), [],
        "Time after which an ask that the cluster could not meet even when empty ends the job with a message that says what would fit.";
    PROVIDED_LIB_DIRS: String = "yarn.provided.lib.dirs", None, [],
        "Remote directory that already holds flumen-appmaster and flumen-taskexecutor: nothing of them is uploaded.";
    CONNECT_TIMEOUT: Duration = "yarn.client.connect-timeout", Some("10 s"), [],
        "Time that the command line tries to reach a ResourceManager or NameNode before it says that none answers.";
}

/// How often YARN starts the ApplicationMaster at most, as far as the configuration says: at least once. `keeps` is whether
/// high availability is on.
///
/// # Errors
/// When the option is no number.
pub fn attempts(conf: &Configuration, keeps: bool) -> Result<u32, BadConfiguration> {
    Ok(conf.find(&APPLICATION_ATTEMPTS)?.unwrap_or(if keeps { 2 } else { 1 }).max(1))
}
