//! One daemon: a JVM that is a child of this process.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::install::Installation;
use super::site::Layout;
use super::watchdog::MARK;
use crate::wait;

/// A daemon of a cluster; nodes count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The NameNode, or the first of two.
    NameNode,
    /// The second NameNode, where there are two.
    SecondNameNode,
    /// The DataNode of a node.
    DataNode(usize),
    /// The ResourceManager, or the first of two.
    ResourceManager,
    /// The second ResourceManager, where there are two.
    SecondResourceManager,
    /// The NodeManager of a node.
    NodeManager(usize),
    /// The failover controller of NameNode 1 or 2, where they fail over by themselves.
    FailoverController(usize),
}

/// The name of its log file: `nn`, `nn-second`, `dn1`, `rm`, `rm-second`, `nm1`, `zkfc1`.
impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Daemon::NameNode => f.write_str("nn"),
            Daemon::SecondNameNode => f.write_str("nn-second"),
            Daemon::DataNode(node) => write!(f, "dn{node}"),
            Daemon::ResourceManager => f.write_str("rm"),
            Daemon::SecondResourceManager => f.write_str("rm-second"),
            Daemon::NodeManager(node) => write!(f, "nm{node}"),
            Daemon::FailoverController(number) => write!(f, "zkfc{number}"),
        }
    }
}

impl Daemon {
    /// All daemons of a cluster, in the order in which they are started.
    pub(super) fn all(masters: usize, nodes: usize, automatic: bool) -> Vec<Daemon> {
        let mut all = vec![Daemon::NameNode, Daemon::ResourceManager];
        if masters == 2 {
            all.extend([Daemon::SecondNameNode, Daemon::SecondResourceManager]);
        }
        if automatic {
            all.extend((1..=masters).map(Daemon::FailoverController));
        }
        for node in 1..=nodes {
            all.extend([Daemon::DataNode(node), Daemon::NodeManager(node)]);
        }
        all
    }

    fn main_class(self) -> &'static str {
        match self {
            Daemon::NameNode | Daemon::SecondNameNode => "org.apache.hadoop.hdfs.server.namenode.NameNode",
            Daemon::DataNode(_) => "org.apache.hadoop.hdfs.server.datanode.DataNode",
            Daemon::ResourceManager | Daemon::SecondResourceManager => {
                "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
            }
            Daemon::FailoverController(_) => FAILOVER_CONTROLLER,
            Daemon::NodeManager(_) => "org.apache.hadoop.yarn.server.nodemanager.NodeManager",
        }
    }

    /// Enough for dozens of applications; measured, the daemons ran with two thirds of it.
    fn heap_mb(self) -> u32 {
        match self {
            Daemon::NameNode | Daemon::SecondNameNode | Daemon::NodeManager(_) => 64,
            Daemon::DataNode(_) | Daemon::FailoverController(_) => 48,
            Daemon::ResourceManager | Daemon::SecondResourceManager => 96,
        }
    }

    /// The class-data archive of this kind of daemon.
    pub(super) fn archive(self) -> &'static str {
        match self {
            Daemon::NameNode | Daemon::SecondNameNode => "nn.jsa",
            Daemon::DataNode(_) => "dn.jsa",
            Daemon::ResourceManager | Daemon::SecondResourceManager => "rm.jsa",
            Daemon::NodeManager(_) => "nm.jsa",
            // Not made for it: a JVM that finds none starts without.
            Daemon::FailoverController(_) => "zkfc.jsa",
        }
    }

    fn conf_dir(self, layout: &Layout) -> PathBuf {
        match self {
            Daemon::NameNode | Daemon::ResourceManager => layout.master_conf_dir(1),
            Daemon::SecondNameNode | Daemon::SecondResourceManager => layout.master_conf_dir(2),
            Daemon::FailoverController(number) => layout.master_conf_dir(number),
            Daemon::DataNode(node) | Daemon::NodeManager(node) => layout.node_conf_dir(node),
        }
    }
}

pub(super) const FAILOVER_CONTROLLER: &str = "org.apache.hadoop.hdfs.tools.DFSZKFailoverController";

/// What a JVM does about class data (loaded classes as a memory image: it halves what a start costs).
#[derive(Debug, Clone)]
pub(super) enum ClassData {
    /// Writes the archive into this folder when it ends by itself or by SIGTERM.
    Record(PathBuf),
    /// Uses the archive of this folder, if there is one that fits.
    Use(PathBuf),
}

/// A started daemon.
#[derive(Debug)]
pub(super) struct Jvm {
    pub(super) daemon: Daemon,
    child: Child,
    log: PathBuf,
}

impl Jvm {
    pub(super) fn start(
        daemon: Daemon,
        installation: &Installation,
        layout: &Layout,
        class_data: &ClassData,
    ) -> Result<Jvm> {
        let log = layout.run_dir.join(format!("log/{daemon}.log"));
        let mut command = java(installation, &layout.run_dir, &daemon.conf_dir(layout), daemon.heap_mb(), &log)?;
        match class_data {
            ClassData::Record(dir) => {
                command.arg(format!("-XX:ArchiveClassesAtExit={}", dir.join(daemon.archive()).display()))
            }
            ClassData::Use(dir) => {
                command.arg(format!("-XX:SharedArchiveFile={}", dir.join(daemon.archive()).display()))
            }
        };
        let child = command.arg(daemon.main_class()).spawn().with_context(|| format!("starting {daemon}"))?;
        Ok(Jvm { daemon, child, log })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end; a daemon that takes longer than `limit` is killed.
    pub(super) fn stop(&mut self, limit: Duration) -> Result<()> {
        self.terminate()?;
        if wait::until("ending by SIGTERM", limit, || self.ended()).is_err() {
            self.kill()?;
        }
        Ok(())
    }

    /// SIGTERM, without waiting.
    pub(super) fn terminate(&self) -> Result<()> {
        // Still our child, so its id can't have been given to another process; ended already is fine.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        let _ = kill_process(pid, Signal::TERM);
        Ok(())
    }

    /// Its log so far.
    pub(super) fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its log: the last errors, or else the last lines.
    pub(super) fn log_tail(&self) -> String {
        let text = self.log_text();
        let is_error = |line: &&str| ["Exception", "ERROR", "FATAL", "Error"].iter().any(|word| line.contains(word));
        let mut lines: Vec<_> = text.lines().filter(is_error).collect();
        if lines.is_empty() {
            lines = text.lines().collect();
        }
        let from = lines.len().saturating_sub(8);
        format!("{}\n(all of it in {})", lines[from..].join("\n"), self.log.display())
    }
}

/// A `java` command up to its main class: small, quick to start, and found by the watchdog.
pub(super) fn java(
    installation: &Installation,
    run_dir: &Path,
    conf_dir: &Path,
    heap_mb: u32,
    log: &Path,
) -> Result<Command> {
    let out =
        File::options().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
    let mut command = Command::new(installation.java());
    // A developer's HADOOP_* and JAVA_TOOL_OPTIONS have no say here.
    command.env_clear().current_dir(run_dir);
    command.envs(["PATH", "HOME", "USER"].iter().filter_map(|key| Some((key, std::env::var_os(key)?))));
    command
        .env("LC_ALL", "C.UTF-8")
        .env("JAVA_HOME", installation.java_home())
        .env("HADOOP_CONF_DIR", conf_dir)
        .env("MALLOC_ARENA_MAX", "2")
        .env(MARK, run_dir)
        // Its own group: Ctrl-C is for the test, the watchdog ends the daemons.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    command.args([
        &format!("-Xmx{heap_mb}m"),
        "-Xms16m",
        "-Xss512k",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:ReservedCodeCacheSize=48m",
        "-Xshare:auto",
        "-XX:-UsePerfData",
        "-Djava.net.preferIPv4Stack=true",
        "-Dhadoop.root.logger=INFO,console",
        "-Djava.library.path=",
        &format!("-Djava.io.tmpdir={}/tmp", run_dir.display()),
    ]);
    for package in OPENED_PACKAGES {
        command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    command.arg("-cp").arg(installation.class_path(conf_dir)?);
    Ok(command)
}

/// What Hadoop reflects on, and Java since 16 closes.
const OPENED_PACKAGES: [&str; 12] = [
    "java.lang",
    "java.lang.reflect",
    "java.io",
    "java.math",
    "java.net",
    "java.text",
    "java.util",
    "java.util.concurrent",
    "java.util.zip",
    "sun.nio.ch",
    "sun.security.util",
    "sun.security.x509",
];
