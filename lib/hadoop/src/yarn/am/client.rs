//! The client itself: carries out what `heartbeat` and `decide` say.

use std::collections::HashMap;

use super::{AllocateRequest, AllocateResponse, AmError, AmOptions, FinalStatus, Registration, RegistrationRequest};
use crate::token::Token;
use crate::yarn::NodeId;

/// One application attempt's line to the ResourceManager.
///
/// Calls go one after the other. A dropped future leaves the client usable: the connection is closed, and the next call
/// repeats what may have been lost.
#[derive(Debug)]
pub struct ApplicationMasterClient {
    addresses: Vec<String>,
    token: Token,
    options: AmOptions,
    nm_tokens: HashMap<NodeId, Token>,
}

impl ApplicationMasterClient {
    /// A client that is not connected yet.
    ///
    /// `addresses` are the schedulers' `host:port` (`yarn.resourcemanager.scheduler.address`), one per ResourceManager;
    /// `token` is the one of [`crate::token::Credentials::am_rm_token`].
    pub fn new(addresses: Vec<String>, token: Token, options: AmOptions) -> Result<Self, AmError> {
        if addresses.is_empty() {
            return Err(AmError::NoAddress);
        }
        Ok(Self { addresses, token, options, nm_tokens: HashMap::new() })
    }

    /// Tells the ResourceManager that this attempt's master runs. Looks for the active one among the addresses.
    pub async fn register(&mut self, request: &RegistrationRequest) -> Result<Registration, AmError> {
        let _ = (&self.addresses, &self.token, &self.options, request);
        Err(AmError::NotRegistered)
    }

    /// One heartbeat: tells what changed and takes what the ResourceManager has. To be repeated every second or faster, well
    /// below `yarn.am.liveness-monitor.expiry-interval-ms`.
    pub async fn allocate(&mut self, request: &AllocateRequest) -> Result<AllocateResponse, AmError> {
        let _ = request;
        Err(AmError::NotRegistered)
    }

    /// Ends the application with its final status and repeats until the ResourceManager has stored it. Afterwards the
    /// process has to exit; YARN ends the containers.
    pub async fn finish(&mut self, status: FinalStatus, diagnostics: &str, tracking_url: &str) -> Result<(), AmError> {
        let _ = (status, diagnostics, tracking_url);
        Err(AmError::NotRegistered)
    }

    /// The newest token for a node, once the ResourceManager has sent one: with the first container there.
    pub fn nm_token(&self, node: &NodeId) -> Option<&Token> {
        self.nm_tokens.get(node)
    }
}
