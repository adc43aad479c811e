//! The configuration files of a cluster: stock values, except for addresses, folders and what one machine forces.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::masters;
use super::ports::Ports;

/// A configuration file of Hadoop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// `core-site.xml`
    Core,
    /// `hdfs-site.xml`
    Hdfs,
    /// `yarn-site.xml`
    Yarn,
    /// `capacity-scheduler.xml`
    CapacityScheduler,
}

impl Site {
    const ALL: [Site; 4] = [Site::Core, Site::Hdfs, Site::Yarn, Site::CapacityScheduler];

    fn file_name(self) -> &'static str {
        match self {
            Site::Core => "core-site.xml",
            Site::Hdfs => "hdfs-site.xml",
            Site::Yarn => "yarn-site.xml",
            Site::CapacityScheduler => "capacity-scheduler.xml",
        }
    }
}

/// What a cluster's configuration is made from.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) run_dir: PathBuf,
    pub(super) ports: Ports,
    pub(super) node_memory_mb: u32,
    pub(super) node_vcores: u32,
    pub(super) min_allocation_mb: u32,
    pub(super) pmem_check: bool,
    /// The quorum through which two masters find out who is active.
    pub(super) zookeeper: Option<String>,
    /// Wins over everything that this module sets.
    pub(super) properties: Vec<(Site, String, String)>,
}

/// Everything listens on loopback.
pub(super) const HOST: &str = "127.0.0.1";

/// The address of a node's NodeManager: distinct hosts to YARN. (DataNodes all stay on 127.0.0.1: the NameNode registers
/// the address that it sees them connect from.)
pub(super) fn node_host(node: usize) -> String {
    format!("127.0.0.{node}")
}

impl Layout {
    /// The configuration of clients, and of NameNode and ResourceManager unless there are two of each.
    pub(super) fn conf_dir(&self) -> PathBuf {
        self.run_dir.join("conf")
    }

    /// Whether there are two NameNodes and two ResourceManagers.
    pub(super) fn two_masters(&self) -> bool {
        self.ports.masters.len() == 2
    }

    /// The configuration of NameNode and ResourceManager number 1 or 2.
    pub(super) fn master_conf_dir(&self, number: usize) -> PathBuf {
        if self.two_masters() { self.run_dir.join(format!("conf-{number}")) } else { self.conf_dir() }
    }

    /// Where NameNode number 1 or 2 keeps its data.
    pub(super) fn name_dir(&self, number: usize) -> PathBuf {
        self.run_dir.join(if number == 1 { "name".to_owned() } else { format!("name-{number}") })
    }

    /// The folder of node `node` (1, 2, …).
    pub(super) fn node_dir(&self, node: usize) -> PathBuf {
        self.run_dir.join(format!("node{node}"))
    }

    /// The configuration of the DataNode and the NodeManager of node `node`.
    pub(super) fn node_conf_dir(&self, node: usize) -> PathBuf {
        self.node_dir(node).join("conf")
    }

    /// Writes all configuration folders.
    pub(super) fn write(&self) -> Result<()> {
        self.write_dir(&self.conf_dir(), |site| self.properties_of(site, None))?;
        for number in (1..=2).filter(|_| self.two_masters()) {
            let own = |site| [self.properties_of(site, None), masters::own(self, site, number)].concat();
            self.write_dir(&self.master_conf_dir(number), own)?;
        }
        for node in 1..=self.ports.nodes.len() {
            self.write_dir(&self.node_conf_dir(node), |site| self.properties_of(site, Some(node)))?;
        }
        Ok(())
    }

    fn write_dir(&self, dir: &Path, properties: impl Fn(Site) -> Vec<(String, String)>) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        for site in Site::ALL {
            let file = dir.join(site.file_name());
            let text = xml(&properties(site));
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        std::fs::write(dir.join("log4j.properties"), include_str!("../../hadoop/log4j.properties"))?;
        Ok(())
    }

    fn properties_of(&self, site: Site, node: Option<usize>) -> Vec<(String, String)> {
        let mut properties = match site {
            Site::Core => self.core(),
            Site::Hdfs => self.hdfs(),
            Site::Yarn => self.yarn(),
            Site::CapacityScheduler => capacity_scheduler(),
        };
        if let Some(node) = node {
            match site {
                Site::Hdfs => properties.extend(self.data_node(node)),
                Site::Yarn => properties.extend(self.node_manager(node)),
                Site::Core | Site::CapacityScheduler => {}
            }
        }
        for (_, key, value) in self.properties.iter().filter(|(of, ..)| *of == site) {
            properties.retain(|(known, _)| known != key);
            properties.push((key.clone(), value.clone()));
        }
        properties
    }

    /// `hdfs://` and the NameNode, or the name of two.
    pub(super) fn hdfs_url(&self) -> String {
        if self.two_masters() {
            return format!("hdfs://{}", masters::NAME_SERVICE);
        }
        format!("hdfs://{HOST}:{}", self.ports.masters[0].nn_rpc)
    }

    fn core(&self) -> Vec<(String, String)> {
        let run = self.run_dir.display();
        let mut properties = owned([("fs.defaultFS", self.hdfs_url()), ("hadoop.tmp.dir", format!("{run}/tmp"))]);
        properties.extend(self.zookeeper.iter().flat_map(|quorum| masters::core(quorum)));
        properties
    }

    fn hdfs(&self) -> Vec<(String, String)> {
        let ports = &self.ports.masters[0];
        let mut properties = owned([
            ("dfs.replication", self.ports.nodes.len().to_string()),
            ("dfs.namenode.rpc-address", format!("{HOST}:{}", ports.nn_rpc)),
            ("dfs.namenode.http-address", format!("{HOST}:{}", ports.nn_http)),
            ("dfs.namenode.name.dir", format!("file://{}", self.name_dir(1).display())),
            // After a restart the NameNode would stay in safe mode for another 30 s.
            ("dfs.namenode.safemode.extension", "0".into()),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".into()),
            ("dfs.namenode.handler.count", "4".into()),
        ]);
        if self.two_masters() {
            properties
                .retain(|(key, _)| !["dfs.namenode.rpc-address", "dfs.namenode.http-address"].contains(&key.as_str()));
            properties.extend(masters::hdfs(self));
        }
        properties
    }

    fn data_node(&self, node: usize) -> Vec<(String, String)> {
        let ports = &self.ports.nodes[node - 1];
        owned([
            ("dfs.datanode.data.dir", format!("file://{}/data", self.node_dir(node).display())),
            ("dfs.datanode.hostname", HOST.into()),
            ("dfs.datanode.du.reserved", "0".into()),
            ("dfs.datanode.address", format!("{HOST}:{}", ports.dn_data)),
            ("dfs.datanode.http.address", format!("{HOST}:{}", ports.dn_http)),
            ("dfs.datanode.ipc.address", format!("{HOST}:{}", ports.dn_ipc)),
            ("dfs.datanode.handler.count", "4".into()),
        ])
    }

    fn yarn(&self) -> Vec<(String, String)> {
        let ports = &self.ports.masters[0];
        let store = "org.apache.hadoop.yarn.server.resourcemanager.recovery.LeveldbRMStateStore";
        let mut properties = owned([
            ("yarn.resourcemanager.hostname", HOST.into()),
            ("yarn.resourcemanager.address", format!("{HOST}:{}", ports.rm_client)),
            ("yarn.resourcemanager.scheduler.address", format!("{HOST}:{}", ports.rm_scheduler)),
            ("yarn.resourcemanager.resource-tracker.address", format!("{HOST}:{}", ports.rm_tracker)),
            ("yarn.resourcemanager.admin.address", format!("{HOST}:{}", ports.rm_admin)),
            ("yarn.resourcemanager.webapp.address", format!("{HOST}:{}", ports.rm_http)),
            ("yarn.resourcemanager.am.max-attempts", "4".into()),
            // Applications survive a restart of the ResourceManager, as on every production cluster.
            ("yarn.resourcemanager.recovery.enabled", "true".into()),
            ("yarn.resourcemanager.work-preserving-recovery.enabled", "true".into()),
            ("yarn.resourcemanager.store.class", store.into()),
            ("yarn.resourcemanager.leveldb-state-store.path", format!("{}/rmstate", self.run_dir.display())),
            // By default in /tmp, one for all clusters of a machine.
            ("yarn.node-attribute.fs-store.root-dir", format!("file://{}/node-attributes", self.run_dir.display())),
            ("yarn.node-labels.fs-store.root-dir", format!("file://{}/node-labels", self.run_dir.display())),
            // The default of 30 s is how long NodeManagers would stay away after the ResourceManager came back.
            ("yarn.resourcemanager.connect.retry-interval.ms", "1000".into()),
            ("yarn.scheduler.minimum-allocation-mb", self.min_allocation_mb.to_string()),
            ("yarn.scheduler.maximum-allocation-mb", self.node_memory_mb.to_string()),
            ("yarn.scheduler.maximum-allocation-vcores", self.node_vcores.to_string()),
        ]);
        if self.two_masters() {
            properties = masters::yarn(self, properties);
        }
        properties
    }

    fn node_manager(&self, node: usize) -> Vec<(String, String)> {
        let (host, dir) = (node_host(node), self.node_dir(node));
        let (ports, dir) = (&self.ports.nodes[node - 1], dir.display());
        owned([
            ("yarn.nodemanager.hostname", host.clone()),
            ("yarn.nodemanager.address", format!("{host}:{}", ports.nm_rpc)),
            ("yarn.nodemanager.localizer.address", format!("{host}:{}", ports.nm_localizer)),
            ("yarn.nodemanager.webapp.address", format!("{host}:{}", ports.nm_http)),
            ("yarn.nodemanager.collector-service.address", format!("{host}:{}", ports.nm_collector)),
            ("yarn.nodemanager.resource.memory-mb", self.node_memory_mb.to_string()),
            ("yarn.nodemanager.resource.cpu-vcores", self.node_vcores.to_string()),
            ("yarn.nodemanager.pmem-check-enabled", self.pmem_check.to_string()),
            ("yarn.nodemanager.vmem-check-enabled", "false".into()),
            // «enforced» means by cgroups, and silently turns the checks above off.
            ("yarn.nodemanager.resource.memory.enforced", "false".into()),
            // A developer's disk may be full to 95 %; the default would make every node unhealthy.
            ("yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage", "100".into()),
            ("yarn.nodemanager.disk-health-checker.min-free-space-per-disk-mb", "0".into()),
            ("yarn.nodemanager.local-dirs", format!("{dir}/local")),
            ("yarn.nodemanager.log-dirs", format!("{dir}/logs")),
            // Containers survive a restart of their NodeManager.
            ("yarn.nodemanager.recovery.enabled", "true".into()),
            ("yarn.nodemanager.recovery.supervised", "true".into()),
            ("yarn.nodemanager.recovery.dir", format!("{dir}/recovery")),
        ])
    }
}

fn capacity_scheduler() -> Vec<(String, String)> {
    let calculator = "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator";
    owned([
        ("yarn.scheduler.capacity.root.queues", "default".into()),
        ("yarn.scheduler.capacity.root.default.capacity", "100".into()),
        ("yarn.scheduler.capacity.root.default.maximum-capacity", "100".into()),
        ("yarn.scheduler.capacity.root.default.state", "RUNNING".into()),
        // The stock tenth of so small a cluster is less than two ApplicationMasters.
        ("yarn.scheduler.capacity.maximum-am-resource-percent", "0.5".into()),
        ("yarn.scheduler.capacity.resource-calculator", calculator.into()),
    ])
}

pub(super) fn owned<const N: usize>(properties: [(&str, String); N]) -> Vec<(String, String)> {
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn xml(properties: &[(String, String)]) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = String::from("<?xml version=\"1.0\"?>\n<configuration>\n");
    for (key, value) in properties {
        let _ = writeln!(text, "<property><name>{}</name><value>{}</value></property>", escape(key), escape(value));
    }
    text + "</configuration>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(properties: Vec<(Site, String, String)>) -> Layout {
        Layout {
            run_dir: "/run".into(),
            ports: Ports::free(1, 2).unwrap(),
            node_memory_mb: 8192,
            node_vcores: 8,
            min_allocation_mb: 128,
            pmem_check: true,
            zookeeper: None,
            properties,
        }
    }

    #[test]
    fn a_property_of_the_test_replaces_the_one_of_the_harness() {
        let layout = layout(vec![(Site::Hdfs, "dfs.replication".into(), "1".into())]);
        let values: Vec<_> =
            layout.properties_of(Site::Hdfs, None).into_iter().filter(|(key, _)| key == "dfs.replication").collect();
        assert_eq!(values, [("dfs.replication".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn each_node_is_another_host_to_yarn() {
        let layout = layout(Vec::new());
        let host = |node| {
            let properties = layout.properties_of(Site::Yarn, Some(node));
            properties.into_iter().find(|(key, _)| key == "yarn.nodemanager.hostname").unwrap().1
        };
        assert_eq!((host(1), host(2)), ("127.0.0.1".to_owned(), "127.0.0.2".to_owned()));
    }

    #[test]
    fn values_are_escaped() {
        let text = xml(&[("k".into(), "a<b&c".into())]);
        assert!(text.contains("<name>k</name><value>a&lt;b&amp;c</value>"), "{text}");
    }
}
