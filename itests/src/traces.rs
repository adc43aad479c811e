//! What an application leaves behind: it must be nothing.

use std::time::Duration;

use anyhow::Result;

use crate::hadoop::HadoopCluster;
use crate::{process, wait};

/// Waits until an application that has ended has no container, no process and no staging directory any more.
///
/// # Errors
/// After `limit`, with what is still there.
pub fn wait_nothing_left(cluster: &HadoopCluster, application: &str, limit: Duration) -> Result<()> {
    let staging = staging_dir(cluster.user(), application);
    wait::until_ok(&format!("{application} leaves nothing behind"), limit, || {
        let containers = containers(cluster, application);
        let processes = process::of_application(application);
        let staged = cluster.hdfs().tree(&staging);
        match (containers.as_deref(), processes.as_slice(), staged.as_deref()) {
            (Ok([]), [], Ok([])) if cluster.hdfs().exists(&staging).is_ok_and(|there| !there) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
}

/// The containers of an application that run: node (from 1) and id.
///
/// # Errors
/// When a NodeManager does not answer.
pub fn containers(cluster: &HadoopCluster, application: &str) -> Result<Vec<(usize, String)>> {
    let mark = format!("_{}_", application.trim_start_matches("application_"));
    let all = cluster.yarn().containers()?.into_iter();
    let live =
        all.filter(|(_, id, state)| id.contains(&mark) && !["DONE", "EXITED_WITH_SUCCESS"].contains(&state.as_str()));
    Ok(live.map(|(node, id, _)| (node, id)).collect())
}

/// Waits until as many containers of an application run, and no more than that.
///
/// # Errors
/// After `limit`, with those that do.
pub fn wait_containers(cluster: &HadoopCluster, application: &str, count: usize, limit: Duration) -> Result<()> {
    wait::until_ok(&format!("{application} has {count} containers"), limit, || match containers(cluster, application) {
        Ok(all) if all.len() == count => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

/// Where a user's application has its files while it runs.
#[must_use]
pub fn staging_dir(user: &str, application: &str) -> String {
    format!("/user/{user}/.flink/{application}")
}
