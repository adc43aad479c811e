//! A real Hadoop for trying things out: runs until its stdin closes or it gets a signal, and leaves nothing behind.
//!
//! `start` prints one line of JSON when HDFS and YARN are up; `put` and `cat` are what a newcomer without Hadoop's own client
//! needs to see a job work.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::hadoop::install::Installation;
use flumen_itests::hdfs::Hdfs;
use serde_json::json;

#[derive(Parser)]
#[command(about = "A real Hadoop (HDFS and YARN) on this machine, for trying things out")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Fetch and prepare Hadoop, where this machine doesn't have it yet
    Install,
    /// Start a cluster, print its addresses as one line of JSON, and run until stdin closes
    Start {
        /// Nodes, each with a DataNode and a NodeManager
        #[arg(long, default_value_t = 1)]
        nodes: usize,
        /// Memory that each node offers to containers, in MB
        #[arg(long, default_value_t = 8192)]
        node_memory: u32,
        /// Where configuration, logs and data go; removed at the end [default: a temporary folder]
        #[arg(long)]
        run_dir: Option<PathBuf>,
    },
    /// Copy a local file into HDFS
    Put {
        /// `webhdfs` of the line that `start` printed
        webhdfs: String,
        /// The local file
        local: PathBuf,
        /// The path in HDFS
        path: String,
    },
    /// Print a file of HDFS, or all files of a folder
    Cat {
        /// `webhdfs` of the line that `start` printed
        webhdfs: String,
        /// The path in HDFS
        path: String,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().action {
        Action::Install => Installation::ready().map(drop),
        Action::Start { nodes, node_memory, run_dir } => start(nodes, node_memory, run_dir),
        Action::Put { webhdfs, local, path } => hdfs(&webhdfs)?.put(&local, &path, None),
        Action::Cat { webhdfs, path } => {
            let text = hdfs(&webhdfs)?.read_all(&path)?;
            Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
        }
    }
}

fn start(nodes: usize, node_memory: u32, run_dir: Option<PathBuf>) -> Result<()> {
    let mut builder = HadoopCluster::builder().nodes(nodes).node_resources(node_memory, 8);
    if let Some(dir) = &run_dir {
        builder = builder.run_dir(dir);
    }
    let cluster = builder.start()?;
    let line = json!({
        "run_dir": cluster.run_dir(),
        "conf_dir": cluster.conf_dir(),
        "hdfs": cluster.hdfs_url(),
        "webhdfs": format!("{}?{}", cluster.namenode_http_url(), cluster.user()),
        "rm": cluster.rm_url(),
        "nodes": cluster.node_urls(),
    });
    writeln!(std::io::stdout().lock(), "{line}")?;
    // A signal ends this process, and the watchdog then ends the cluster.
    let mut buffer = [0; 256];
    while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
    Ok(())
}

/// `http://host:port?user`
fn hdfs(webhdfs: &str) -> Result<Hdfs> {
    let (http, user) = webhdfs.split_once('?').context("webhdfs is http://host:port?user, as `start` prints it")?;
    Ok(Hdfs::new(http, user))
}
