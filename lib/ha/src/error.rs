//! What can go wrong with leadership and with what is kept.

use flumen_fs::FsError;
use flumen_model::config::BadConfiguration;
use flumen_model::ids::{Epoch, JobId};

/// A leadership that was not won or is lost, or a store that does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HaError {
    /// There is a newer leader, or the cluster was cleaned up.
    #[error("this JobManager (epoch {epoch}) leads `{cluster}` no more, {}: it must stop, and finish nothing", now(*by))]
    Superseded {
        /// The cluster's id.
        cluster: String,
        /// Who has been superseded.
        epoch: Epoch,
        /// By whom; `None` when the cluster's data is gone.
        by: Option<Epoch>,
    },
    /// The cluster's id belongs to another application.
    #[error(
        "cluster id `{cluster}` belongs to {owner} (its data is in {location}): choose another with `high-availability.cluster-id` or `-z`, or end that application first"
    )]
    Occupied {
        /// The cluster's id.
        cluster: String,
        /// The application that has it.
        owner: String,
        /// Where its data is.
        location: String,
    },
    /// Something else is kept for this job already.
    #[error("{what} of job {job} is there already and has another content: `{path}`")]
    AlreadyKept {
        /// `the graph` or `the result`.
        what: &'static str,
        /// The job.
        job: JobId,
        /// Where.
        path: String,
    },
    /// What stands in the store is not what was written.
    #[error("the high availability data in `{path}` can't be used: {reason}")]
    Damaged {
        /// The file or directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The data was written by another version.
    #[error("`{path}` was written by another version of Flumen: use that one, or choose another cluster id")]
    Version {
        /// The directory.
        path: String,
    },
    /// A setting is missing or can't be used.
    #[error("high availability is not set up: {0}")]
    Setting(String),
    /// An option has a value that it can't have.
    #[error(transparent)]
    Option(#[from] BadConfiguration),
    /// ZooKeeper did not answer. What was asked may have taken place.
    #[error("{operation} `{path}` in ZooKeeper at {quorum} got no answer: {reason}")]
    ZooKeeper {
        /// The servers.
        quorum: String,
        /// What was tried, such as `reading`.
        operation: &'static str,
        /// The node.
        path: String,
        /// What the last try saw.
        reason: String,
    },
    /// ZooKeeper answers that this user may not do that.
    #[error(
        "{operation} `{path}` in ZooKeeper at {quorum} is refused ({reason}): see the node's ACL and `high-availability.zookeeper.client.acl`"
    )]
    ZooKeeperRefuses {
        /// The servers.
        quorum: String,
        /// What was tried, such as `reading`.
        operation: &'static str,
        /// The node.
        path: String,
        /// What it says.
        reason: String,
    },
    /// The file system failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

fn now(by: Option<Epoch>) -> String {
    match by {
        Some(epoch) => format!("epoch {epoch} does"),
        None => "whose data was removed".to_owned(),
    }
}

impl HaError {
    /// Whether this leader is none any more: it must stop, and finish nothing.
    pub fn is_superseded(&self) -> bool {
        matches!(self, Self::Superseded { .. })
    }

    /// Whether the same may succeed later without anybody changing anything. A write that failed so did not take place, or
    /// may be repeated.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Fs(error) => error.is_retryable(),
            Self::ZooKeeper { .. } => true,
            _ => false,
        }
    }
}
