//! Settings of the file systems.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How file systems are found and used. The default knows local files and `hdfs://host:port/` paths.
#[derive(Debug, Clone)]
pub struct FsOptions {
    /// `fs.default-scheme`: the file system of paths without a scheme, such as `hdfs://namenode:8020/`. `None` is the
    /// local one.
    pub default_scheme: Option<String>,
    /// Properties of core-site.xml and hdfs-site.xml with all `${…}` expanded; needed for name services, security and
    /// `hdfs:///` paths. `None` when there is no Hadoop configuration.
    pub hadoop: Option<BTreeMap<String, String>>,
    /// The user to be on HDFS without Kerberos. `None` is `HADOOP_USER_NAME`, else the user of this process.
    pub user: Option<String>,
    /// The directory that relative local paths start from. `None` is the working directory of this process.
    pub working_dir: Option<PathBuf>,
    /// Limit for one call to a NameNode, failover included, and for reading or writing one piece of a file.
    pub call_timeout: Duration,
    /// How long a call is repeated while the file system is not available (restart, safe mode, failover).
    pub retry_budget: Duration,
    /// Wait before the first repetition; doubled each time.
    pub retry_initial_wait: Duration,
    /// The longest wait between two repetitions.
    pub retry_max_wait: Duration,
}

impl Default for FsOptions {
    fn default() -> Self {
        Self {
            default_scheme: None,
            hadoop: None,
            user: None,
            working_dir: None,
            // A NameNode restart took 12 s in the laboratory; failover by ZooKeeper about 15 s.
            call_timeout: Duration::from_secs(60),
            // Large NameNodes stay in safe mode for minutes; a job's checkpoint interval should not be far above this.
            retry_budget: Duration::from_secs(180),
            retry_initial_wait: Duration::from_millis(200),
            retry_max_wait: Duration::from_secs(5),
        }
    }
}
