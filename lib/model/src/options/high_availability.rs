//! What outlives a JobManager, and where it is kept.

use super::section;

section! { "High availability";
    TYPE: String = "high-availability.type", None, ["high-availability"],
        "What is kept for the next JobManager: none, or filesystem (who leads, job graphs and results, in `high-availability.storageDir`). Default: filesystem when that directory is set, otherwise none.";
    STORAGE_DIR: String = "high-availability.storageDir", None, ["high-availability.zookeeper.storageDir"],
        "Directory, on a file system that all nodes reach, of what is kept for the next JobManager. Each cluster has a directory of its own in it.";
    CLUSTER_ID: String = "high-availability.cluster-id", None, ["high-availability.zookeeper.path.namespace"],
        "Name of the cluster in high availability; `-z` sets it. Default on YARN: the application's id. A session with a chosen name goes on with the jobs of a former one that has ended.";
}
