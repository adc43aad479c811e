//! What is prepared once so that each later start is cheap: a formatted NameNode directory and class-data archives.
//!
//! Without them a cluster costs about 18 CPU seconds until it is healthy, with them about 8.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::cluster::HadoopCluster;
use super::daemon::{self, ClassData, Daemon};
use super::install::Installation;
use crate::say;

/// Prepares what is missing. Class data that can't be made costs time later, but nothing else.
pub(super) fn prepare(installation: &Installation) -> Result<()> {
    if !installation.name_image().try_exists()? {
        format_name_node(installation)?;
    }
    if !installation.class_data().try_exists()?
        && let Err(error) = record_class_data(installation)
    {
        say(&format!("no class-data archives, starts will be slower: {error:#}"));
        std::fs::create_dir_all(installation.class_data())?;
    }
    Ok(())
}

fn format_name_node(installation: &Installation) -> Result<()> {
    let scratch = installation.scratch("name")?;
    let (dir, log) = (scratch.path(), scratch.path().join("format.log"));
    let site = format!(
        "<configuration><property><name>dfs.namenode.name.dir</name><value>file://{}/name</value></property>\
         <property><name>fs.defaultFS</name><value>hdfs://127.0.0.1:9000</value></property></configuration>",
        dir.display()
    );
    std::fs::create_dir(dir.join("tmp"))?;
    std::fs::write(dir.join("hdfs-site.xml"), &site)?;
    std::fs::write(dir.join("core-site.xml"), &site)?;
    let mut command = daemon::java(installation, dir, dir, 96, &log)?;
    let status = command
        .args(["org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-nonInteractive"])
        .status()
        .context("starting the NameNode's format")?;
    ensure!(status.success(), "formatting the NameNode: {}", std::fs::read_to_string(&log).unwrap_or_default());
    std::fs::rename(dir.join("name"), installation.name_image()).context("keeping the formatted NameNode directory")
}

/// Lets a throw-away cluster write down the classes that each of its daemons loaded.
fn record_class_data(installation: &Installation) -> Result<()> {
    say("recording class data of Hadoop's daemons (once): it halves what every later start costs");
    let start = Instant::now();
    let scratch = installation.scratch("class-data")?;
    let mut cluster =
        HadoopCluster::builder().start_from(installation, &ClassData::Record(scratch.path().to_owned()))?;
    cluster.stop_all(Duration::from_secs(120))?;
    drop(cluster);
    for daemon in Daemon::all(1, 1, false) {
        let archive = scratch.path().join(daemon.archive());
        ensure!(archive.is_file(), "{daemon} wrote no archive");
    }
    std::fs::rename(scratch.keep(), installation.class_data())?;
    say(&format!("class data recorded in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Copies a folder of plain files and folders.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("copying to {}", target.display()))?;
        }
    }
    Ok(())
}
