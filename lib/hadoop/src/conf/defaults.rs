//! Hadoop's built-in values (core-default.xml, hdfs-default.xml, yarn-default.xml) of the keys used here, and old names.

/// Key and default, as in Hadoop 3.4.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("fs.defaultFS", "file:///"),
    ("fs.permissions.umask-mode", "022"),
    ("hadoop.http.staticuser.user", "dr.who"),
    ("hadoop.rpc.protection", "authentication"),
    ("hadoop.security.authentication", "simple"),
    ("hadoop.security.token.service.use_ip", "true"),
    ("hadoop.tmp.dir", "/tmp/hadoop-${user.name}"),
    ("ipc.client.connect.timeout", "20000"),
    ("ipc.maximum.data.length", "134217728"),
    ("dfs.replication", "3"),
    ("dfs.user.home.dir.prefix", "/user"),
    ("yarn.acl.enable", "false"),
    ("yarn.http.policy", "HTTP_ONLY"),
    ("yarn.am.liveness-monitor.expiry-interval-ms", "900000"),
    ("yarn.client.application-client-protocol.poll-interval-ms", "200"),
    ("yarn.nm.liveness-monitor.expiry-interval-ms", "600000"),
    ("yarn.nodemanager.hostname", "0.0.0.0"),
    ("yarn.nodemanager.remote-app-log-dir", "/tmp/logs"),
    ("yarn.nodemanager.sleep-delay-before-sigkill.ms", "250"),
    ("yarn.log-aggregation-enable", "false"),
    ("yarn.resourcemanager.address", "${yarn.resourcemanager.hostname}:8032"),
    ("yarn.resourcemanager.am.max-attempts", "2"),
    ("yarn.resourcemanager.connect.max-wait.ms", "900000"),
    ("yarn.resourcemanager.connect.retry-interval.ms", "30000"),
    ("yarn.resourcemanager.ha.enabled", "false"),
    ("yarn.resourcemanager.hostname", "0.0.0.0"),
    ("yarn.resourcemanager.scheduler.address", "${yarn.resourcemanager.hostname}:8030"),
    ("yarn.resourcemanager.webapp.address", "${yarn.resourcemanager.hostname}:8088"),
    ("yarn.resourcemanager.webapp.https.address", "${yarn.resourcemanager.hostname}:8090"),
    ("yarn.scheduler.maximum-allocation-mb", "8192"),
    ("yarn.scheduler.maximum-allocation-vcores", "4"),
    ("yarn.scheduler.minimum-allocation-mb", "1024"),
    ("yarn.scheduler.minimum-allocation-vcores", "1"),
];

/// Old name and new name of keys that are still seen in the wild.
const RENAMED: &[(&str, &str)] = &[
    ("fs.default.name", "fs.defaultFS"),
    ("dfs.umask", "fs.permissions.umask-mode"),
    ("dfs.umaskmode", "fs.permissions.umask-mode"),
    ("dfs.federation.nameservices", "dfs.nameservices"),
    ("dfs.federation.nameservice.id", "dfs.nameservice.id"),
    ("dfs.block.size", "dfs.blocksize"),
    ("dfs.http.address", "dfs.namenode.http-address"),
    ("dfs.https.address", "dfs.namenode.https-address"),
    ("dfs.socket.timeout", "dfs.client.socket-timeout"),
    ("dfs.permissions", "dfs.permissions.enabled"),
];

/// The default of a key.
pub(super) fn default(key: &str) -> Option<&'static str> {
    DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

/// Today's name of a key.
pub(super) fn current_name(key: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| *new)
}
