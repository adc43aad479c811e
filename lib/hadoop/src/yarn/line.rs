//! A connection that is made when first needed and again when it broke, and the search for a server that answers.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep};

use super::Backoff;
use crate::rpc::{Connection, RpcError, RpcOptions};
use crate::token::Token;

/// A connection to one of several equal servers.
#[derive(Debug)]
pub(super) struct Line {
    addresses: Vec<String>,
    current: usize,
    protocol: &'static str,
    token: Token,
    options: RpcOptions,
    connection: Option<Connection>,
}

impl Line {
    /// `addresses` must not be empty.
    pub(super) fn new(addresses: Vec<String>, protocol: &'static str, token: Token, options: RpcOptions) -> Self {
        assert!(!addresses.is_empty(), "callers check that there is an address");
        Self { addresses, current: 0, protocol, token, options, connection: None }
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Takes another token for the next connection.
    pub(super) fn set_token(&mut self, token: Token) {
        self.token = token;
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Opens a connection to the current address when there is none.
    pub(super) async fn open(&mut self) -> Result<(), RpcError> {
        if !self.connection.as_ref().is_some_and(Connection::is_alive) {
            let address = &self.addresses[self.current];
            let connection = Connection::connect(address, self.protocol, &self.token, self.options.clone()).await?;
            tracing::debug!(address, protocol = self.protocol, "connected");
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Calls a method once. A dropped future closes the connection.
    pub(super) async fn call<Req: Message, Resp: Message + Default>(
        &mut self,
        method: &str,
        request: &Req,
    ) -> Result<Resp, RpcError> {
        self.open().await?;
        let Some(connection) = &mut self.connection else {
            let address = self.addresses[self.current].clone();
            return Err(RpcError::Dead { address });
        };
        connection.call(method, request).await
    }

    /// Goes on to the next address after a failure and waits when all have failed; `false` when the time is up.
    pub(super) async fn look_further(&mut self, search: &mut Search, backoff: &Backoff, cause: &RpcError) -> bool {
        search.log(cause);
        self.close();
        self.current = (self.current + 1) % self.addresses.len();
        search.attempts = search.attempts.saturating_add(1);
        let servers = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let Some(wait) = backoff.wait(search.attempts.div_ceil(servers), search.elapsed(), rand::random()) else {
            return false;
        };
        if search.attempts.is_multiple_of(servers) {
            sleep(wait).await;
        }
        true
    }
}

/// One search for a server that answers: since when, and how many attempts have failed.
#[derive(Debug)]
pub(super) struct Search {
    began: Instant,
    attempts: u32,
}

impl Search {
    /// Once aloud for each search: an outage lasts for many attempts. Apart from what waits, which it would tie to one thread.
    fn log(&self, cause: &RpcError) {
        let cause = cause as &dyn std::error::Error;
        if self.attempts == 0 {
            tracing::warn!(cause, "no answer; looking further");
        } else {
            tracing::debug!(cause, attempts = self.attempts, "still no answer");
        }
    }
}

impl Search {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), attempts: 0 }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }
}
