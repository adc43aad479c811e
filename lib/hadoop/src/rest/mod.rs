//! YARN's ResourceManager as a client sees it, over its web services: submit, watch and kill applications, look at queues,
//! nodes and settings.
//!
//! In: addresses from the [configuration](crate::conf). Out: plain types and typed errors. The active one of several
//! ResourceManagers is found and found again; requests are repeated while there is none, within a budget. Users are named,
//! not proven (`user.name=`): clusters that demand Kerberos answer [`RmError::Unauthorized`].

mod answer;
mod application;
mod client;
mod cluster;
mod error;
mod queue;
mod submission;
#[cfg(test)]
mod tests;
mod transport;

use std::time::Duration;

use serde::de::{Deserialize, Deserializer};

pub use application::{ApplicationFilter, ApplicationFinalStatus, ApplicationReport, ApplicationState, AttemptReport};
pub use client::ResourceManagerClient;
pub use cluster::{ClusterInfo, ClusterMetrics, NewApplication, Node, NodeLabel};
pub use error::RmError;
pub use queue::Queue;
pub use submission::SubmitApplication;

use crate::conf::{Configuration, RmAddress};
use crate::yarn::Backoff;

/// Where the ResourceManagers are and how long to wait for them.
#[derive(Debug, Clone)]
pub struct RmOptions {
    /// Base URLs, such as `http://rm1:8088`: all of one cluster.
    pub addresses: Vec<RmAddress>,
    /// The user to be without Kerberos (`user.name`). `None` is `hadoop.http.staticuser.user`, mostly `dr.who`.
    pub user: Option<String>,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for one request and its answer.
    pub call_timeout: Duration,
    /// Waits between attempts, and the limit of all of them.
    pub backoff: Backoff,
    /// How long after an outage "no such application" is not believed: a ResourceManager that recovers says so.
    pub recovery_time: Duration,
}

impl RmOptions {
    /// The ResourceManagers that the configuration names, for the given user; other settings are the defaults.
    ///
    /// # Errors
    /// [`RmError::Configuration`].
    pub fn from_configuration(conf: &Configuration, user: Option<String>) -> Result<Self, RmError> {
        Ok(Self { addresses: conf.resource_manager_web_addresses()?, user, ..Self::default() })
    }
}

/// A list that is written as nothing, `null`, one element or an array, as the services' XML-minded JSON does.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    use serde::de::Error;
    use serde_json::Value;
    let elements = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(elements) => elements,
        one => vec![one],
    };
    elements.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// `null` is the default value.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
