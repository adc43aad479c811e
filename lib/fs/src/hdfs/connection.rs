//! The client of one NameNode or name service: made when needed, replaced when it hangs, its calls limited and repeated.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hdfs_native::{Client, ClientBuilder, HdfsError};
use tokio::runtime::{Handle, Id};
use tracing::warn;

use super::address::{is_secure, user_name};
use super::errors::{Doing, Failure, Outcome};
use super::retry::{Replay, RetryPolicy};
use crate::{FsError, FsOptions, FsPath};

/// hdfs-native waits up to 15 s between attempts to connect; a NameNode that comes back should be noticed sooner.
const FAILOVER_SLEEP: (&str, &str) = ("dfs.client.failover.sleep.max.millis", "2000");

pub(super) struct Connection {
    url: String,
    config: BTreeMap<String, String>,
    pub(super) user: String,
    /// hdfs-native takes a user given with Kerberos for one to impersonate.
    secure: bool,
    pub(super) policy: RetryPolicy,
    /// The client's tasks live on the runtime it was first used on.
    client: Mutex<Option<(Id, Client)>>,
}

/// The result of a call that succeeded in the end.
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// An earlier attempt may have taken place.
    pub(super) after_doubt: bool,
}

impl Connection {
    pub(super) fn new(url: String, options: &FsOptions) -> Self {
        let mut config = options.hadoop.clone().unwrap_or_default();
        config.entry(FAILOVER_SLEEP.0.to_owned()).or_insert_with(|| FAILOVER_SLEEP.1.to_owned());
        Self {
            url,
            secure: is_secure(&config),
            config,
            user: user_name(options.user.as_deref()),
            policy: RetryPolicy::new(options),
            client: Mutex::new(None),
        }
    }

    fn client(&self) -> Result<Client, HdfsError> {
        let runtime = Handle::current().id();
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_on, client)) = &*slot
            && *made_on == runtime
        {
            return Ok(client.clone());
        }
        // With a directory that holds nothing it reads no files: everything comes from our expanded configuration.
        let mut builder =
            ClientBuilder::new().with_url(&self.url).with_config_dir("/dev/null").with_config(&self.config);
        if !self.secure {
            builder = builder.with_user(&self.user);
        }
        let client = builder.build()?;
        *slot = Some((runtime, client.clone()));
        Ok(client)
    }

    /// Forgets a client whose connection may be dead without having been closed.
    fn discard(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn doing<'a>(&'a self, operation: &'static str, path: &'a FsPath) -> Doing<'a> {
        Doing { operation, path, user: &self.user }
    }

    /// Runs one attempt within the limit. Futures of hdfs-native are large: box them.
    pub(super) async fn limited<T>(
        &self,
        doing: Doing<'_>,
        attempt: impl Future<Output = Result<T, HdfsError>>,
    ) -> Result<T, Failure> {
        let after = self.policy.call_timeout;
        match tokio::time::timeout(after, attempt).await {
            Ok(answer) => answer.map_err(|error| doing.failure(&error)),
            Err(_) => {
                self.discard();
                let error = FsError::Timeout { operation: doing.operation, path: doing.path.to_string(), after };
                Err(Failure { error, outcome: Outcome::Unknown })
            }
        }
    }

    /// Sends a call and repeats it as far as `replay` and the budget allow.
    pub(super) async fn call<T, F, Fut>(&self, doing: Doing<'_>, replay: Replay, send: F) -> Result<Answer<T>, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, HdfsError>>,
    {
        let begun = Instant::now();
        let mut failed = 0;
        let mut after_doubt = false;
        loop {
            let client = self.client().map_err(|error| doing.failure(&error))?;
            let failure = match self.limited(doing, Box::pin(send(client))).await {
                Ok(value) => return Ok(Answer { value, after_doubt }),
                Err(failure) => failure,
            };
            failed += 1;
            after_doubt |= failure.outcome == Outcome::Unknown;
            let Some(wait) = self.policy.next_wait(failure.outcome, replay, failed, begun.elapsed()) else {
                return Err(failure);
            };
            warn!(error = %failure.error, attempt = failed, ?wait, "the call is repeated");
            tokio::time::sleep(wait).await;
        }
    }
}
