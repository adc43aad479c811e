//! A cluster from its start to its end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::daemon::{ClassData, Daemon, FAILOVER_CONTROLLER, Jvm, java};
use super::install::Installation;
use super::ports::{MasterPorts, Ports};
use super::site::{HOST, Layout, Site, node_host};
use super::watchdog::{self, Watchdog};
use super::zookeeper::ZooKeeper;
use super::{health, warm};
use crate::hdfs::Hdfs;
use crate::process::signal_pid;
use crate::yarn::Yarn;
use crate::{say, wait};

/// How long a cluster may take until it is healthy; a loaded machine needs a third of it.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How often a cluster is started whose ports somebody else takes between the look at them and its daemons.
const STARTS_MAX: usize = 3;
/// Enough for every tool.
const TOOL_HEAP_MB: u32 = 64;
/// How long a daemon may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What a cluster shall be; see [`HadoopCluster::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    masters: usize,
    nodes: usize,
    node_memory_mb: u32,
    node_vcores: u32,
    min_allocation_mb: u32,
    pmem_check: bool,
    zookeeper: Option<String>,
    run_dir: Option<PathBuf>,
    properties: Vec<(Site, String, String)>,
}

impl Builder {
    /// How many nodes, each with a DataNode and a NodeManager (1 to 9, default 1).
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Builder {
        self.nodes = nodes;
        self
    }

    /// Two NameNodes and two ResourceManagers; which of them are active they find out themselves, through this ensemble. See
    /// [`HadoopCluster::active`].
    #[must_use]
    pub fn two_masters(mut self, ensemble: &ZooKeeper) -> Builder {
        (self.masters, self.zookeeper) = (2, Some(ensemble.quorum()));
        self
    }

    /// What each NodeManager offers, which is also the largest container (default 8192 MB, 8 vcores).
    #[must_use]
    pub fn node_resources(mut self, memory_mb: u32, vcores: u32) -> Builder {
        (self.node_memory_mb, self.node_vcores) = (memory_mb, vcores);
        self
    }

    /// `yarn.scheduler.minimum-allocation-mb` (default 128 MB; stock Hadoop's is 1024).
    #[must_use]
    pub fn min_allocation_mb(mut self, memory_mb: u32) -> Builder {
        self.min_allocation_mb = memory_mb;
        self
    }

    /// Whether NodeManagers kill containers that use more memory than they were given (default true).
    #[must_use]
    pub fn pmem_check(mut self, on: bool) -> Builder {
        self.pmem_check = on;
        self
    }

    /// Any property of Hadoop; wins over what the harness sets.
    #[must_use]
    pub fn property(mut self, site: Site, key: &str, value: &str) -> Builder {
        self.properties.push((site, key.to_owned(), value.to_owned()));
        self
    }

    /// Where configuration, logs and data go; must not exist or be empty, and is removed at the end. Default: a new folder in
    /// the system's place for temporary files.
    #[must_use]
    pub fn run_dir(mut self, dir: &Path) -> Builder {
        self.run_dir = Some(dir.to_owned());
        self
    }

    /// Starts the cluster and waits until it is healthy; fetches Hadoop before, where this machine doesn't have it.
    ///
    /// # Errors
    /// When Hadoop can't be fetched, a daemon dies (with the end of its log) or the cluster isn't healthy in time.
    pub fn start(self) -> Result<HadoopCluster> {
        let installation = Installation::ready()?;
        let class_data = ClassData::Use(installation.class_data());
        self.start_from(&installation, &class_data)
    }

    pub(super) fn start_from(self, installation: &Installation, class_data: &ClassData) -> Result<HadoopCluster> {
        for _ in 1..STARTS_MAX {
            match self.clone().start_once(installation, class_data) {
                Err(error) if self.run_dir.is_none() && is_taken_port(&format!("{error:#}")) => {
                    say("a port was taken by somebody else meanwhile: the cluster is started again with others");
                }
                result => return result,
            }
        }
        self.start_once(installation, class_data)
    }

    fn start_once(self, installation: &Installation, class_data: &ClassData) -> Result<HadoopCluster> {
        ensure!((1..=9).contains(&self.nodes), "a cluster has 1 to 9 nodes, not {}", self.nodes);
        let start = Instant::now();
        let run_dir = new_run_dir(self.run_dir.as_deref())?;
        let watchdog = Watchdog::start(&run_dir)?;
        let layout = Layout {
            run_dir,
            ports: Ports::free(self.masters, self.nodes)?,
            node_memory_mb: self.node_memory_mb,
            node_vcores: self.node_vcores,
            min_allocation_mb: self.min_allocation_mb,
            pmem_check: self.pmem_check,
            zookeeper: self.zookeeper,
            properties: self.properties,
        };
        for dir in ["log", "tmp", "rmstate"] {
            std::fs::create_dir(layout.run_dir.join(dir))?;
        }
        for number in 1..=self.masters {
            warm::copy_dir(&installation.name_image(), &layout.name_dir(number))?;
        }
        layout.write()?;
        let mut cluster = HadoopCluster {
            installation: installation.clone(),
            class_data: class_data.clone(),
            layout,
            user: user_name()?,
            running: Vec::new(),
            _watchdog: watchdog,
        };
        if let Err(error) = cluster.start_all() {
            watchdog::keep(cluster.run_dir());
            return Err(error);
        }
        say(&format!(
            "Hadoop with {} node(s) is up after {:.1} s: {} {}, conf and logs in {}",
            self.nodes,
            start.elapsed().as_secs_f64(),
            cluster.hdfs_url(),
            cluster.rm_url(),
            cluster.run_dir().display()
        ));
        Ok(cluster)
    }
}

/// Whether a daemon ended because it could not have its port, by the end of its log.
fn is_taken_port(error: &str) -> bool {
    ["BindException", "Address already in use"].iter().any(|sign| error.contains(sign))
}

fn new_run_dir(wanted: Option<&Path>) -> Result<PathBuf> {
    let dir = match wanted {
        None => tempfile::Builder::new().prefix("flumen-hadoop-").tempdir()?.keep(),
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
            let empty = std::fs::read_dir(dir)?.next().is_none();
            ensure!(empty, "the run directory {} is not empty", dir.display());
            dir.to_owned()
        }
    };
    Ok(dir.canonicalize()?)
}

/// Who runs the daemons: HDFS's superuser.
fn user_name() -> Result<String> {
    let output = std::process::Command::new("id").arg("-un").output().context("asking id for the user's name")?;
    ensure!(output.status.success(), "id -un failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A running Hadoop. When it is dropped, or the process ends in any way, its daemons and containers end, and its files
/// go unless a test panicked.
#[derive(Debug)]
pub struct HadoopCluster {
    installation: Installation,
    class_data: ClassData,
    layout: Layout,
    user: String,
    running: Vec<Jvm>,
    _watchdog: Watchdog,
}

impl HadoopCluster {
    /// One node of 8192 MB, stock heartbeats.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            masters: 1,
            nodes: 1,
            node_memory_mb: 8192,
            node_vcores: 8,
            min_allocation_mb: 128,
            pmem_check: true,
            zookeeper: None,
            run_dir: None,
            properties: Vec::new(),
        }
    }

    fn start_all(&mut self) -> Result<()> {
        if self.layout.two_masters() {
            self.share_edits()?;
            self.run_tool_of(
                &self.layout.master_conf_dir(1),
                FAILOVER_CONTROLLER,
                &["-formatZK", "-force", "-nonInteractive"],
            )?;
        }
        for daemon in self.all() {
            self.launch(daemon)?;
        }
        if self.layout.two_masters() {
            self.wait_active()?;
        }
        self.wait_healthy(START_LIMIT)?;
        // What every cluster has: a place for everybody, and a home for who runs the tests.
        self.hdfs().make_dir("/tmp", "1777")?;
        self.hdfs().make_home(&self.user)
    }

    fn all(&self) -> Vec<Daemon> {
        Daemon::all(self.layout.ports.masters.len(), self.nodes(), self.layout.zookeeper.is_some())
    }

    /// The formatted NameNode's edits go to where both NameNodes find them.
    fn share_edits(&self) -> Result<()> {
        let tool = "org.apache.hadoop.hdfs.server.namenode.NameNode";
        self.run_tool_of(&self.layout.master_conf_dir(1), tool, &["-initializeSharedEdits", "-nonInteractive"])
    }

    /// Waits until one of two NameNodes and one of two ResourceManagers are active, by their own decision.
    ///
    /// # Errors
    /// When none of them becomes active in time.
    pub fn wait_active(&self) -> Result<()> {
        wait::until("a NameNode is active", START_LIMIT, || self.active_name_node())?;
        wait::until("a ResourceManager is active", START_LIMIT, || self.active_resource_manager())?;
        Ok(())
    }

    /// The NameNode and the ResourceManager that are active now; of two of which none is, the first.
    #[must_use]
    pub fn active(&self) -> (Daemon, Daemon) {
        let pick = |number: Option<usize>, first, second| if number == Some(1) { second } else { first };
        (
            pick(self.active_name_node(), Daemon::NameNode, Daemon::SecondNameNode),
            pick(self.active_resource_manager(), Daemon::ResourceManager, Daemon::SecondResourceManager),
        )
    }

    /// The number, from 0, of the active NameNode. It is asked for each time: on a busy machine one of two may take over although
    /// nothing was killed.
    fn active_name_node(&self) -> Option<usize> {
        self.active_of(health::is_active_name_node)
    }

    fn active_resource_manager(&self) -> Option<usize> {
        self.active_of(health::is_active_resource_manager)
    }

    fn active_of(&self, is_active: fn(&MasterPorts) -> bool) -> Option<usize> {
        match &self.layout.ports.masters[..] {
            [_] => Some(0),
            masters => masters.iter().position(is_active),
        }
    }

    fn name_node_ports(&self) -> &MasterPorts {
        &self.layout.ports.masters[self.active_name_node().unwrap_or(0)]
    }

    fn resource_manager_ports(&self) -> &MasterPorts {
        &self.layout.ports.masters[self.active_resource_manager().unwrap_or(0)]
    }

    /// Whether every daemon works, now.
    ///
    /// # Errors
    /// Says which daemon doesn't, and why.
    pub fn check(&mut self) -> Result<()> {
        for jvm in &mut self.running {
            if let Some(status) = jvm.ended() {
                bail!("{} ended with {status}: {}", jvm.daemon, jvm.log_tail());
            }
        }
        if let Some(missing) = self.all().into_iter().find(|daemon| self.find(*daemon).is_none()) {
            bail!("{missing} is not started");
        }
        health::check(&self.layout.ports.nodes, self.name_node_ports(), self.resource_manager_ports())
            .map_err(|health::NotReady(reason)| anyhow::anyhow!(reason))
    }

    /// Waits until every daemon works.
    ///
    /// # Errors
    /// At once when a daemon died, with the end of its log; else after `limit`, with what is still missing.
    pub fn wait_healthy(&mut self, limit: Duration) -> Result<()> {
        wait::until_ok("Hadoop is healthy", limit, || match self.check() {
            Ok(()) => Ok(Ok(())),
            Err(error) if self.running.iter_mut().any(|jvm| jvm.ended().is_some()) => Ok(Err(error)),
            Err(error) => Err(format!("{error:#}")),
        })?
    }

    /// Ends `daemon` with SIGKILL.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill(&mut self, daemon: Daemon) -> Result<()> {
        self.take(daemon)?.kill()
    }

    /// Ends `daemon` with SIGTERM, as an operator would.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn stop(&mut self, daemon: Daemon) -> Result<()> {
        self.take(daemon)?.stop(STOP_LIMIT)
    }

    /// Starts `daemon` again after [`Self::kill`] or [`Self::stop`], or ends it with SIGTERM before, when it runs. Doesn't wait
    /// until it is ready: see [`Self::wait_healthy`].
    ///
    /// # Errors
    /// When its JVM can't be started.
    pub fn restart(&mut self, daemon: Daemon) -> Result<()> {
        if self.find(daemon).is_some() {
            self.stop(daemon)?;
        }
        self.launch(daemon)
    }

    /// Ends all daemons with SIGTERM.
    pub(super) fn stop_all(&mut self, limit: Duration) -> Result<()> {
        for jvm in &self.running {
            jvm.terminate()?;
        }
        for mut jvm in self.running.drain(..) {
            jvm.stop(limit)?;
        }
        Ok(())
    }

    fn launch(&mut self, daemon: Daemon) -> Result<()> {
        self.running.push(Jvm::start(daemon, &self.installation, &self.layout, &self.class_data)?);
        Ok(())
    }

    fn find(&self, daemon: Daemon) -> Option<&Jvm> {
        self.running.iter().find(|jvm| jvm.daemon == daemon)
    }

    fn take(&mut self, daemon: Daemon) -> Result<Jvm> {
        let found = self.running.iter().position(|jvm| jvm.daemon == daemon);
        Ok(self.running.remove(found.with_context(|| format!("{daemon} is not running"))?))
    }

    /// Halts `daemon` (SIGSTOP) until [`Self::go_on`]: it hangs, and its connections stay open.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn halt(&self, daemon: Daemon) -> Result<()> {
        signal_pid(self.find(daemon).with_context(|| format!("{daemon} is not running"))?.pid(), Signal::STOP)
    }

    /// Lets `daemon` go on (SIGCONT).
    ///
    /// # Errors
    /// When it isn't running.
    pub fn go_on(&self, daemon: Daemon) -> Result<()> {
        signal_pid(self.find(daemon).with_context(|| format!("{daemon} is not running"))?.pid(), Signal::CONT)
    }

    /// Runs one of Hadoop's command line tools, such as `org.apache.hadoop.hdfs.tools.DFSAdmin`, as the superuser.
    ///
    /// # Errors
    /// When it can't be started or does not succeed, with where its log is.
    pub fn run_tool(&self, class: &str, arguments: &[&str]) -> Result<()> {
        self.run_tool_of(&self.conf_dir(), class, arguments)
    }

    fn run_tool_of(&self, conf_dir: &Path, class: &str, arguments: &[&str]) -> Result<()> {
        let log = self.layout.run_dir.join("log/tools.log");
        let mut command = java(&self.installation, &self.layout.run_dir, conf_dir, TOOL_HEAP_MB, &log)?;
        let status = command.arg(class).args(arguments).status().with_context(|| format!("starting {class}"))?;
        ensure!(status.success(), "{class} {arguments:?} ended with {status}: see {}", log.display());
        Ok(())
    }

    /// The process id of a running daemon.
    #[must_use]
    pub fn pid(&self, daemon: Daemon) -> Option<u32> {
        self.find(daemon).map(Jvm::pid)
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.layout.ports.nodes.len()
    }

    /// Everything of this cluster: `conf/`, `log/`, `node<i>/logs/` (the containers' logs) and the data.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.layout.run_dir
    }

    /// What clients set HADOOP_CONF_DIR to.
    #[must_use]
    pub fn conf_dir(&self) -> PathBuf {
        self.layout.conf_dir()
    }

    /// The user that runs the daemons, and is HDFS's superuser.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// `hdfs://host:port`, or `hdfs://` and the name of two NameNodes, without a slash at the end.
    #[must_use]
    pub fn hdfs_url(&self) -> String {
        self.layout.hdfs_url()
    }

    /// The active NameNode's `http://host:port`.
    #[must_use]
    pub fn namenode_http_url(&self) -> String {
        format!("http://{HOST}:{}", self.name_node_ports().nn_http)
    }

    /// The active ResourceManager's `http://host:port`.
    #[must_use]
    pub fn rm_url(&self) -> String {
        format!("http://{HOST}:{}", self.resource_manager_ports().rm_http)
    }

    /// Where ApplicationMasters reach the active ResourceManager.
    #[must_use]
    pub fn scheduler_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.resource_manager_ports().rm_scheduler).into()
    }

    /// The `http://host:port` of each NodeManager.
    #[must_use]
    pub fn node_urls(&self) -> Vec<String> {
        let nodes = self.layout.ports.nodes.iter().enumerate();
        nodes.map(|(index, ports)| format!("http://{}:{}", node_host(index + 1), ports.nm_http)).collect()
    }

    /// The files of the cluster, as the superuser.
    #[must_use]
    pub fn hdfs(&self) -> Hdfs {
        Hdfs::new(&self.namenode_http_url(), &self.user)
    }

    /// The applications of the cluster.
    #[must_use]
    pub fn yarn(&self) -> Yarn {
        Yarn::new(&self.rm_url(), &self.node_urls(), &self.user)
    }

    /// Waits until the ResourceManager knows of so many containers of an application that they run, as NodeManagers tell it once a
    /// second. Those that it does not know of end with their application attempt. It says so in its log only.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_known_to_run(&self, application: &str, containers: usize) -> Result<()> {
        let prefix = format!("{}_", application.replacen("application", "container", 1));
        wait::until_ok("the ResourceManager knows what runs", START_LIMIT, || {
            let daemons = self.running.iter().filter(|jvm| jvm.daemon == self.active().1);
            let log: String = daemons.map(Jvm::log_text).collect();
            let run = log.lines().filter(|line| line.contains(&prefix) && line.contains(" to RUNNING")).count();
            if run >= containers { Ok(()) } else { Err(format!("{run} of {containers} of {application}")) }
        })
    }

    /// What the containers of an application wrote into their log folders, container by container.
    ///
    /// # Errors
    /// When a log file can't be read.
    pub fn container_logs(&self, application: &str) -> Result<Vec<ContainerLog>> {
        let mut logs = Vec::new();
        for node in 1..=self.nodes() {
            let dir = self.layout.node_dir(node).join("logs").join(application);
            for container in entries(&dir)? {
                for file in entries(&container)? {
                    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
                    logs.push(ContainerLog {
                        node,
                        container: name_of(&container),
                        file: name_of(&file),
                        text: String::from_utf8_lossy(&text).into_owned(),
                    });
                }
            }
        }
        Ok(logs)
    }
}

impl Drop for HadoopCluster {
    fn drop(&mut self) {
        // The watchdog would do it too; but who started a process must also collect it, or it stays a zombie.
        for jvm in &mut self.running {
            let _ = jvm.kill();
        }
    }
}

/// A log file of a container.
#[derive(Debug, Clone)]
pub struct ContainerLog {
    /// The node it ran on, from 1.
    pub node: usize,
    /// Its YARN container id.
    pub container: String,
    /// The name of the file.
    pub file: String,
    /// What is in it.
    pub text: String,
}

/// The paths in a folder; none when the folder isn't there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
