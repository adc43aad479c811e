//! Calls to ZooKeeper: connected when first needed, repeated while the connection is suspended, reconnected when the
//! session is lost. Nothing of ours lives in a session: no ephemeral node, no watch.

use tokio::sync::Mutex;
use tracing::{info, warn};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error, MultiWriteError};

use crate::{HaError, ZooKeeperSettings};

/// One step of a write; all steps of one take place together, or none.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// The node has this version, or nothing takes place.
    Check(String, i32),
    Create(String, Vec<u8>),
    Set(String, Vec<u8>, Option<i32>),
    Delete(String),
}

/// Why a write did not take place: the step, counted from 0, and what ZooKeeper says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) step: usize,
    pub(super) error: Error,
}

/// The connection to an ensemble.
pub(super) struct Session {
    settings: ZooKeeperSettings,
    client: Mutex<Option<Client>>,
}

impl Session {
    pub(super) fn new(settings: ZooKeeperSettings) -> Self {
        Self { settings, client: Mutex::new(None) }
    }

    fn acls(&self) -> Acls<'static> {
        if self.settings.only_creator { Acls::creator_all() } else { Acls::anyone_all() }
    }

    /// The client of a session that is not over.
    async fn client(&self) -> Result<Client, Error> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.state().is_terminated()) {
            return Ok(client.clone());
        }
        let again = held.take().is_some();
        let connector = Client::connector().with_session_timeout(self.settings.session_timeout).with_fail_eagerly();
        let connected =
            tokio::time::timeout(self.settings.connection_timeout, connector.connect(&self.settings.quorum));
        let client = connected.await.map_err(|_| Error::Timeout)??;
        info!(quorum = self.settings.quorum, timeout = ?client.session_timeout(), again, "connected to ZooKeeper");
        *held = Some(client.clone());
        Ok(client)
    }

    /// Calls once. A call that gets no answer gives the connection up.
    async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client().await?;
        match tokio::time::timeout(self.settings.connection_timeout, call(client)).await {
            Ok(result) => result,
            Err(_) => {
                *self.client.lock().await = None;
                Err(Error::Timeout)
            }
        }
    }

    /// Calls until there is an answer, or the tries are used up. `call` may take place more than once.
    async fn answered<T, F>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl Fn(Client) -> F,
    ) -> Result<Result<T, Error>, HaError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut tries = 0;
        loop {
            match self.call(&call).await {
                Err(error) if is_passing(&error) => {
                    tries += 1;
                    if tries > self.settings.max_retries {
                        return Err(self.unanswered(operation, path, &error));
                    }
                    warn!(operation, path, %error, "ZooKeeper is asked again");
                    tokio::time::sleep(self.settings.retry_wait).await;
                }
                Err(error) if !is_conflict(&error) => {
                    let (quorum, path, reason) = (self.settings.quorum.clone(), path.to_owned(), error.to_string());
                    return Err(HaError::ZooKeeperRefuses { quorum, operation, path, reason });
                }
                answer => return Ok(answer),
            }
        }
    }

    pub(super) fn unanswered(&self, operation: &'static str, path: &str, error: &Error) -> HaError {
        let (quorum, path, reason) = (self.settings.quorum.clone(), path.to_owned(), error.to_string());
        HaError::ZooKeeper { quorum, operation, path, reason }
    }

    /// A node's bytes and version, no older than the call; `None` when it is not there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, i32)>, HaError> {
        let read = |client: Client| {
            let path = path.to_owned();
            async move {
                client.sync(&path).await?;
                client.get_data(&path).await
            }
        };
        match self.answered("reading", path, read).await? {
            Ok((data, stat)) => Ok(Some((data, stat.version))),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(self.unanswered("reading", path, &error)),
        }
    }

    /// Names below a node, no older than the call; `None` when it is not there.
    pub(super) async fn children(&self, path: &str) -> Result<Option<Vec<String>>, HaError> {
        let list = |client: Client| {
            let path = path.to_owned();
            async move {
                client.sync(&path).await?;
                client.list_children(&path).await
            }
        };
        match self.answered("listing", path, list).await? {
            Ok(names) => Ok(Some(names)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(self.unanswered("listing", path, &error)),
        }
    }

    /// Makes a node without content and its parents, unless they are there.
    pub(super) async fn make(&self, path: &str) -> Result<(), HaError> {
        let acls = self.acls();
        let make = |client: Client| {
            let path = path.to_owned();
            async move { client.mkdir(&path, &CreateMode::Persistent.with_acls(acls)).await }
        };
        self.answered("making", path, make).await?.map_err(|error| self.unanswered("making", path, &error))
    }

    /// Removes a node that has none below it.
    pub(super) async fn remove_if_empty(&self, path: &str) -> Result<(), HaError> {
        let remove = |client: Client| {
            let path = path.to_owned();
            async move { client.delete(&path, None).await }
        };
        match self.answered("removing", path, remove).await? {
            Ok(()) | Err(Error::NoNode | Error::NotEmpty) => Ok(()),
            Err(error) => Err(self.unanswered("removing", path, &error)),
        }
    }

    /// Writes all steps together. It may have taken place before the answer that is returned, when an earlier one was lost:
    /// then a creation conflicts with itself, and a removal finds nothing.
    pub(super) async fn write(&self, path: &str, steps: &[Op]) -> Result<Result<(), Conflict>, HaError> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        let write = |client: Client| {
            let (steps, options) = (steps.to_vec(), options.clone());
            async move { write_once(&client, &steps, &options).await }
        };
        let written = self.answered("writing", path, write).await?;
        match written {
            Ok(done) => Ok(done),
            Err(error) => Err(self.unanswered("writing", path, &error)),
        }
    }
}

async fn write_once(client: &Client, steps: &[Op], options: &CreateOptions<'_>) -> Result<Result<(), Conflict>, Error> {
    let commit = {
        let mut writer = client.new_multi_writer();
        for step in steps {
            match step {
                Op::Check(path, version) => writer.add_check_version(path, *version)?,
                Op::Create(path, data) => writer.add_create(path, data, options)?,
                Op::Set(path, data, version) => writer.add_set_data(path, data, *version)?,
                Op::Delete(path) => writer.add_delete(path, None)?,
            }
        }
        writer.commit()
    };
    match commit.await {
        Ok(_) => Ok(Ok(())),
        Err(MultiWriteError::RequestFailed { source }) => Err(source),
        Err(MultiWriteError::OperationFailed { source, .. }) if !is_conflict(&source) => Err(source),
        Err(MultiWriteError::OperationFailed { index, source }) => Ok(Err(Conflict { step: index, error: source })),
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::NoNode | Error::NodeExists | Error::BadVersion | Error::NotEmpty)
}

/// Whether the same may succeed when it is asked again: everything that is no answer about the node, such as no quorum now, a
/// session that is over, or a connection that was silent for too long (which the client has no kind of error for).
fn is_passing(error: &Error) -> bool {
    !is_conflict(error)
        && !matches!(
            error,
            Error::NoAuth
                | Error::InvalidAcl
                | Error::AuthFailed
                | Error::QuotaExceeded
                | Error::BadArguments(_)
                | Error::NoChildrenForEphemerals
                | Error::Unimplemented
                | Error::MarshallingError
                | Error::UnmarshalError { .. }
        )
}
