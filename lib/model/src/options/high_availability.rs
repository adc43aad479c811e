//! What outlives a JobManager, and where it is kept.

use std::time::Duration;

use super::section;

section! { "High availability";
    TYPE: String = "high-availability.type", None, ["high-availability"],
        "What is kept for the next JobManager: none; filesystem (who leads, job graphs and results, in `high-availability.storageDir`); or zookeeper (who leads is in ZooKeeper, graphs and results in that directory). Default: filesystem when that directory is set, otherwise none.";
    STORAGE_DIR: String = "high-availability.storageDir", None, ["high-availability.zookeeper.storageDir"],
        "Directory, on a file system that all nodes reach, of what is kept for the next JobManager. Each cluster has a directory of its own in it.";
    LEADER_LOST_TIMEOUT: Duration = "taskexecutor.leader-lost-timeout", Some("15 min"), [],
        "Time for which a TaskExecutor that has lost its JobManager keeps its workers running and looks for the next one, in high availability. The ResourceManager takes 10 minutes to give up an ApplicationMaster that hangs (`yarn.am.liveness-monitor.expiry-interval-ms`).";
    STANDBY: u32 = "jobmanager.standby", Some("0"), [],
        "1: with high availability, a second JobManager waits in a container of its own (of `jobmanager.memory.process.size`) and takes the jobs over at once when the ApplicationMaster dies, until YARN has started the next one. 0: none.";
    CLUSTER_ID: String = "high-availability.cluster-id", None, ["high-availability.zookeeper.path.namespace"],
        "Name of the cluster in high availability; `-z` sets it. Default on YARN: the application's id. A session with a chosen name goes on with the jobs of a former one that has ended.";
    ZOOKEEPER_QUORUM: String = "high-availability.zookeeper.quorum", None, ["recovery.zookeeper.quorum"],
        "ZooKeeper's servers: `host:port`, separated by commas.";
    ZOOKEEPER_ROOT: String = "high-availability.zookeeper.path.root", Some("/flink"), ["recovery.zookeeper.path.root"],
        "The node in which each cluster has a node of its own.";
    ZOOKEEPER_SESSION_TIMEOUT: Duration = "high-availability.zookeeper.client.session-timeout", Some("60 s"), ["recovery.zookeeper.client.session-timeout"],
        "Silence after which ZooKeeper takes a session for over. Leadership does not end with it, nor with a suspended connection.";
    ZOOKEEPER_CONNECTION_TIMEOUT: Duration = "high-availability.zookeeper.client.connection-timeout", Some("15 s"), ["recovery.zookeeper.client.connection-timeout"],
        "Limit for connecting to ZooKeeper and for each answer.";
    ZOOKEEPER_RETRY_WAIT: Duration = "high-availability.zookeeper.client.retry-wait", Some("5 s"), ["recovery.zookeeper.client.retry-wait"],
        "Time between two tries.";
    ZOOKEEPER_RETRIES: u32 = "high-availability.zookeeper.client.max-retry-attempts", Some("3"), ["recovery.zookeeper.client.max-retry-attempts"],
        "Tries after the first one that got no answer.";
    ZOOKEEPER_ACL: String = "high-availability.zookeeper.client.acl", Some("open"), [],
        "Who may use the nodes: open (everybody) or creator (the user that ZooKeeper has authenticated, which it must have).";
}
