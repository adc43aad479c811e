//! Two NameNodes and two ResourceManagers, of each of which one is active: what differs in the configuration from a cluster with one
//! of each. They share their edits and their applications in folders of this machine; who is active
//! they find out themselves, through ZooKeeper.

use super::site::{HOST, Layout, Site, owned};

/// The name of the two NameNodes.
pub(super) const NAME_SERVICE: &str = "flumen-test";

/// Prefixes of the ids of NameNode and ResourceManager, before their number.
pub(super) const IDS: (&str, &str) = ("nn", "rm");

/// Instead of the addresses of one NameNode.
pub(super) fn hdfs(layout: &Layout) -> Vec<(String, String)> {
    let proxy = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
    let mut properties = owned([
        ("dfs.nameservices", NAME_SERVICE.into()),
        ("dfs.namenode.shared.edits.dir", format!("file://{}/shared-edits", layout.run_dir.display())),
        ("dfs.ha.automatic-failover.enabled", "true".into()),
        // The standby looks for new files of edits this often; by default every 60 s. A new file is begun as seldom as by default, two
        // minutes: who takes over reads the unfinished one too, but not one that had no header yet when its writer was killed.
        ("dfs.ha.tail-edits.period", "1s".into()),
    ]);
    properties.push((format!("dfs.ha.namenodes.{NAME_SERVICE}"), format!("{0}1,{0}2", IDS.0)));
    properties.push((format!("dfs.client.failover.proxy.provider.{NAME_SERVICE}"), proxy.to_owned()));
    for (index, ports) in layout.ports.masters.iter().enumerate() {
        let of = |key: &str| format!("dfs.namenode.{key}-address.{NAME_SERVICE}.{}{}", IDS.0, index + 1);
        properties.push((of("rpc"), format!("{HOST}:{}", ports.nn_rpc)));
        properties.push((of("http"), format!("{HOST}:{}", ports.nn_http)));
    }
    properties
}

/// How they find out who is active.
pub(super) fn core(quorum: &str) -> Vec<(String, String)> {
    owned([
        ("ha.zookeeper.quorum", quorum.to_owned()),
        ("hadoop.zk.address", quorum.to_owned()),
        // Of one that was killed the other hears when its session ends; the defaults are 10 s.
        ("ha.zookeeper.session-timeout.ms", "3000".into()),
        ("hadoop.zk.timeout-ms", "3000".into()),
    ])
}

/// Those of one ResourceManager, made into those of two.
pub(super) fn yarn(layout: &Layout, mut one: Vec<(String, String)>) -> Vec<(String, String)> {
    let prefix = "yarn.resourcemanager.";
    let single = |key: &str| {
        key.strip_prefix(prefix).is_some_and(|key| key.ends_with("address") || key == "hostname")
            || key.ends_with("store.class")
            || key.contains("leveldb")
    };
    one.retain(|(key, _)| !single(key));
    let store = "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore";
    one.extend(owned([
        ("yarn.resourcemanager.ha.enabled", "true".into()),
        ("yarn.resourcemanager.ha.automatic-failover.enabled", "true".into()),
        ("yarn.resourcemanager.cluster-id", NAME_SERVICE.into()),
        ("yarn.resourcemanager.ha.rm-ids", format!("{0}1,{0}2", IDS.1)),
        ("yarn.resourcemanager.store.class", store.into()),
        ("yarn.resourcemanager.fs.state-store.uri", format!("file://{}/rmstate", layout.run_dir.display())),
        ("yarn.client.failover-sleep-base-ms", "100".into()),
        ("yarn.client.failover-sleep-max-ms", "1000".into()),
    ]));
    for (index, ports) in layout.ports.masters.iter().enumerate() {
        let id = format!("{}{}", IDS.1, index + 1);
        one.push((format!("{prefix}hostname.{id}"), HOST.to_owned()));
        for (key, port) in [
            ("address", ports.rm_client),
            ("scheduler.address", ports.rm_scheduler),
            ("resource-tracker.address", ports.rm_tracker),
            ("admin.address", ports.rm_admin),
            ("webapp.address", ports.rm_http),
        ] {
            one.push((format!("{prefix}{key}.{id}"), format!("{HOST}:{port}")));
        }
    }
    one
}

/// What only NameNode and ResourceManager number 1 or 2 have: which of the two they are, which on one machine can't be guessed.
pub(super) fn own(layout: &Layout, site: Site, number: usize) -> Vec<(String, String)> {
    match site {
        Site::Hdfs => owned([
            ("dfs.ha.namenode.id", format!("{}{number}", IDS.0)),
            ("dfs.namenode.name.dir", format!("file://{}", layout.name_dir(number).display())),
            ("dfs.ha.zkfc.port", layout.ports.masters[number - 1].nn_failover.to_string()),
            // Who is killed can do nothing more.
            ("dfs.ha.fencing.methods", "shell(true)".into()),
        ]),
        Site::Yarn => owned([("yarn.resourcemanager.ha.id", format!("{}{number}", IDS.1))]),
        Site::Core | Site::CapacityScheduler => Vec::new(),
    }
}
