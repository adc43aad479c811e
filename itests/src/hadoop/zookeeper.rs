//! A real ZooKeeper ensemble on loopback, from the jars that Hadoop brings.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::daemon::java;
use super::install::Installation;
use super::ports::free_ports;
use super::watchdog::Watchdog;
use crate::{say, wait};

/// How long the ensemble may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Servers of one ensemble. When it is dropped, or the process ends in any way, they end, and their files go.
#[derive(Debug)]
pub struct ZooKeeper {
    installation: Installation,
    run_dir: PathBuf,
    servers: Vec<Server>,
    _watchdog: Watchdog,
}

#[derive(Debug)]
struct Server {
    port: u16,
    child: Option<Child>,
}

impl ZooKeeper {
    /// Starts `count` servers and waits until all of them serve. Sessions end after 1 s of silence at the earliest.
    ///
    /// # Errors
    /// When Java or the jars are missing, or a server does not serve in time.
    pub fn start(count: usize) -> Result<ZooKeeper> {
        let installation = Installation::ready()?;
        let run_dir = tempfile::Builder::new().prefix("flumen-zookeeper-").tempdir()?.keep().canonicalize()?;
        let watchdog = Watchdog::start(&run_dir)?;
        for dir in ["log", "tmp"] {
            std::fs::create_dir(run_dir.join(dir))?;
        }
        let ports = free_ports(3 * count)?;
        let clients = &ports[..count];
        for (index, client) in clients.iter().enumerate() {
            let dir = run_dir.join(format!("zk{}", index + 1));
            std::fs::create_dir_all(dir.join("data"))?;
            std::fs::write(dir.join("data/myid"), (index + 1).to_string())?;
            let mut conf = format!(
                "tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={client}\nclientPortAddress=127.0.0.1\n\
                 4lw.commands.whitelist=srvr,mntr\nmaxClientCnxns=0\nminSessionTimeout=1000\nadmin.enableServer=false\n",
                dir.join("data").display()
            );
            for other in 0..count {
                let (peer, election) = (ports[count + other], ports[2 * count + other]);
                conf += &format!("server.{}=127.0.0.1:{peer}:{election}\n", other + 1);
            }
            std::fs::write(dir.join("zoo.cfg"), conf)?;
        }
        let servers = clients.iter().map(|port| Server { port: *port, child: None }).collect();
        let mut ensemble = ZooKeeper { installation, run_dir, servers, _watchdog: watchdog };
        for number in 1..=count {
            ensemble.launch(number)?;
        }
        ensemble.wait_serving()?;
        say(&format!("ZooKeeper with {count} server(s) is up: {}", ensemble.quorum()));
        Ok(ensemble)
    }

    /// `host:port` of all servers, separated by commas.
    #[must_use]
    pub fn quorum(&self) -> String {
        let hosts: Vec<_> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        hosts.join(",")
    }

    /// The number of the server that leads the ensemble, from 1.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self) -> Result<usize> {
        let leads = |text: String| text.contains("Mode: leader") || text.contains("Mode: standalone");
        let found = self.servers.iter().position(|server| answer(server.port, "srvr").is_ok_and(leads));
        Ok(found.context("no server leads")? + 1)
    }

    /// Sessions that the ensemble knows.
    ///
    /// # Errors
    /// When no server leads.
    pub fn sessions(&self) -> Result<usize> {
        self.monitored("zk_global_sessions")
    }

    /// A number that the leader's `mntr` names.
    fn monitored(&self, name: &str) -> Result<usize> {
        let text = answer(self.servers[self.leader()? - 1].port, "mntr")?;
        let number = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(number.with_context(|| format!("`mntr` names no {name}"))?.trim().parse()?)
    }

    /// How many servers there are, running or not.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Nodes that the ensemble holds, its own included.
    ///
    /// # Errors
    /// When no server leads.
    pub fn nodes(&self) -> Result<usize> {
        self.monitored("zk_znode_count")
    }

    /// Ends a server (from 1) with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let mut child = self.servers[number - 1].child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts a server again. See [`wait_serving`](Self::wait_serving).
    ///
    /// # Errors
    /// When it runs, or its JVM can't be started.
    pub fn launch(&mut self, number: usize) -> Result<()> {
        let dir = self.run_dir.join(format!("zk{number}"));
        let log = self.run_dir.join(format!("log/zk{number}.log"));
        ensure!(self.servers[number - 1].child.is_none(), "server {number} runs");
        let mut command = java(&self.installation, &self.run_dir, &dir, 32, &log)?;
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(dir.join("zoo.cfg"));
        self.servers[number - 1].child = Some(command.spawn().context("starting ZooKeeper")?);
        Ok(())
    }

    /// Waits until all servers that run serve.
    ///
    /// # Errors
    /// When one ended, or does not serve in time.
    pub fn wait_serving(&mut self) -> Result<()> {
        let run_dir = self.run_dir.clone();
        wait::until_ok("ZooKeeper serves", START_LIMIT, || {
            for (index, server) in self.servers.iter_mut().enumerate() {
                let Some(child) = server.child.as_mut() else { continue };
                if let Ok(Some(status)) = child.try_wait() {
                    return Ok(Err(anyhow::anyhow!("server {} ended with {status}: {}", index + 1, run_dir.display())));
                }
                answer(server.port, "srvr").map_err(|error| format!("server {}: {error}", index + 1))?;
            }
            Ok(Ok(()))
        })?
    }
}

/// What a server that serves says to a four-letter word. A port that accepts is not yet a server that serves.
fn answer(port: u16, word: &str) -> Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    // `This ZooKeeper instance is not currently serving requests`
    if text.is_empty() || text.contains("not currently serving") {
        bail!("it does not serve yet: {text}");
    }
    Ok(text)
}
