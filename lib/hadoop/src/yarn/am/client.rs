//! The client itself: carries out what `heartbeat` and `decide` say.

use std::collections::HashMap;

use prost::Message;
use tokio::time::{Instant, sleep};

use super::decide::{Method, Verdict, decide};
use super::heartbeat::Heartbeat;
use super::{
    AllocateRequest, AllocateResponse, AmError, AmOptions, FinalStatus, Registration, RegistrationRequest, answer,
};
use crate::rpc::RpcError;
use crate::token::Token;
use crate::yarn::line::{Line, Search};
use crate::yarn::messages::{
    AllocateResponseProto, FinishApplicationMasterRequestProto, FinishApplicationMasterResponseProto, NmTokenProto,
    RegisterApplicationMasterRequestProto, RegisterApplicationMasterResponseProto, TokenProto,
};
use crate::yarn::{Container, DecodeError, NodeId, required};

const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB";

/// How often one heartbeat registers again before it gives up: a ResourceManager that forgets at once again is broken.
const MAX_REREGISTRATIONS: u32 = 3;

/// `AMCommandProto`.
const RESYNC: i32 = 1;
const SHUTDOWN: i32 = 2;

/// One application attempt's line to the ResourceManager.
///
/// Calls go one after the other. A dropped future leaves the client usable: the connection is closed, and the next call
/// repeats what may have been lost.
#[derive(Debug)]
pub struct ApplicationMasterClient {
    line: Line,
    options: AmOptions,
    heartbeat: Heartbeat,
    /// The last introduction, once one has been accepted.
    registered: Option<RegistrationRequest>,
    /// The ResourceManager does not know this attempt any more. Kept here because a future may be dropped between the
    /// repeated introduction and its answer.
    forgotten: bool,
    /// What a repeated introduction brought; waits for the next answer that reaches the caller.
    recovered: Option<Vec<Container>>,
    nm_tokens: HashMap<NodeId, Token>,
}

/// A call that ended, with what to do about it.
struct Failure {
    verdict: Verdict,
    error: RpcError,
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
        let line = Line::new(addresses, PROTOCOL, token, options.rpc.clone());
        Ok(Self {
            line,
            options,
            heartbeat: Heartbeat::default(),
            registered: None,
            forgotten: false,
            recovered: None,
            nm_tokens: HashMap::new(),
        })
    }

    /// Tells the ResourceManager that this attempt's master runs. Looks for the active one among the addresses.
    pub async fn register(&mut self, request: &RegistrationRequest) -> Result<Registration, AmError> {
        let in_conversation = self.registered.is_some() && !self.forgotten;
        let registration = self.introduce(request).await?;
        // a second introduction that changes nothing over there must not break off the conversation
        if !(in_conversation && registration.already_registered) {
            self.begin_again();
        }
        Ok(registration)
    }

    /// One heartbeat: tells what changed and takes what the ResourceManager has. To be repeated every second or faster, well
    /// below `yarn.am.liveness-monitor.expiry-interval-ms`.
    ///
    /// After any error but [`AmError::AttemptOver`] the client is in order: nothing that was to be told is lost unless the
    /// error says so, and the next heartbeat may be tried.
    pub async fn allocate(&mut self, request: &AllocateRequest) -> Result<AllocateResponse, AmError> {
        let Some(registered) = &mut self.registered else {
            return Err(AmError::NotRegistered);
        };
        if let Some(url) = &request.tracking_url {
            registered.tracking_url.clone_from(url);
        }
        self.heartbeat.note(request);
        for _ in 0..=MAX_REREGISTRATIONS {
            if self.forgotten {
                self.reregister().await?;
            }
            let message = self.heartbeat.request();
            match self.call(Method::Allocate, &message).await? {
                Ok(answer) => {
                    if let Some(response) = self.answered(answer)? {
                        return Ok(response);
                    }
                    self.forgotten = true;
                }
                Err(Failure { verdict: Verdict::Reregister, .. }) => self.forgotten = true,
                Err(failure) => return Err(self.allocate_refused(failure)),
            }
        }
        Err(AmError::Forgotten { times: MAX_REREGISTRATIONS })
    }

    /// Ends the application with its final status and repeats until the ResourceManager has stored it. Afterwards the
    /// process has to exit; YARN ends the containers.
    pub async fn finish(&mut self, status: FinalStatus, diagnostics: &str, tracking_url: &str) -> Result<(), AmError> {
        if self.registered.is_none() {
            return Err(AmError::NotRegistered);
        }
        let request = FinishApplicationMasterRequestProto {
            diagnostics: Some(diagnostics.to_owned()),
            tracking_url: Some(tracking_url.to_owned()),
            final_application_status: Some(match status {
                FinalStatus::Succeeded => 1,
                FinalStatus::Failed => 2,
                FinalStatus::Killed => 3,
            }),
        };
        let began = Instant::now();
        loop {
            if self.forgotten {
                self.reregister().await?;
            }
            match self.call(Method::Finish, &request).await? {
                Ok(FinishApplicationMasterResponseProto { is_unregistered: Some(true) }) => return Ok(()),
                Ok(_) => {}
                Err(Failure { verdict: Verdict::Reregister, .. }) => self.forgotten = true,
                Err(failure) => return Err(failure.into_error(Method::Finish)),
            }
            if began.elapsed() >= self.options.finish.max_wait {
                return Err(AmError::FinishUnconfirmed { waited: began.elapsed() });
            }
            sleep(self.options.finish.interval).await;
        }
    }

    /// The newest token for a node, once the ResourceManager has sent one: with the first container there.
    pub fn nm_token(&self, node: &NodeId) -> Option<&Token> {
        self.nm_tokens.get(node)
    }

    /// Calls until a ResourceManager answers something that is not about being in charge.
    async fn call<Req: Message, Resp: Message + Default>(
        &mut self,
        method: Method,
        request: &Req,
    ) -> Result<Result<Resp, Failure>, AmError> {
        let mut search = Search::begin();
        loop {
            let error = match self.line.call(method.name(), request).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => error,
            };
            match decide(method, &error) {
                Verdict::LookFurther => {}
                verdict => return Ok(Err(Failure { verdict, error })),
            }
            if !self.line.look_further(&mut search, &self.options.backoff, &error).await {
                return Err(AmError::Unreachable {
                    addresses: self.line.addresses().to_vec(),
                    waited: search.elapsed(),
                    attempts: search.attempts(),
                    last: Box::new(error),
                });
            }
        }
    }

    async fn introduce(&mut self, request: &RegistrationRequest) -> Result<Registration, AmError> {
        let message = RegisterApplicationMasterRequestProto {
            host: Some(request.host.clone()),
            rpc_port: Some(request.rpc_port.map_or(-1, i32::from)),
            tracking_url: Some(request.tracking_url.clone()),
        };
        let registration =
            match self.call::<_, RegisterApplicationMasterResponseProto>(Method::Register, &message).await? {
                Ok(mut answer) => {
                    let tokens = std::mem::take(&mut answer.nm_tokens_from_previous_attempts);
                    self.keep_nm_tokens(tokens).map_err(|cause| incomplete(Method::Register, cause))?;
                    answer::registration(answer).map_err(|cause| incomplete(Method::Register, cause))?
                }
                Err(Failure { verdict: Verdict::AlreadyRegistered, .. }) => {
                    Registration { already_registered: true, ..Registration::default() }
                }
                Err(failure) => return Err(failure.into_error(Method::Register)),
            };
        self.registered = Some(request.clone());
        Ok(registration)
    }

    /// Registers again with the last introduction, and keeps the running containers that the ResourceManager names.
    async fn reregister(&mut self) -> Result<(), AmError> {
        let request = self.registered.clone().ok_or(AmError::NotRegistered)?;
        tracing::warn!("the ResourceManager has forgotten this application attempt; registering again");
        let registration = self.introduce(&request).await?;
        self.recovered.get_or_insert_default().extend(registration.containers_from_previous_attempts);
        self.begin_again();
        Ok(())
    }

    fn begin_again(&mut self) {
        self.forgotten = false;
        self.heartbeat.reset();
    }

    /// Takes an answer to a heartbeat; `None`: it commands to register again.
    fn answered(&mut self, mut answer: AllocateResponseProto) -> Result<Option<AllocateResponse>, AmError> {
        match answer.a_m_command {
            Some(RESYNC) => return Ok(None),
            Some(SHUTDOWN) => {
                return Err(AmError::AttemptOver { reason: "the ResourceManager commands to shut down".to_owned() });
            }
            _ => {}
        }
        let (nm_tokens, am_rm_token) = (std::mem::take(&mut answer.nm_tokens), answer.am_rm_token.take());
        // nothing is counted of an answer that cannot be read whole: it will be fetched again
        let (response_id, mut response) =
            answer::heartbeat(answer).map_err(|cause| incomplete(Method::Allocate, cause))?;
        self.keep_nm_tokens(nm_tokens).map_err(|cause| incomplete(Method::Allocate, cause))?;
        if let Some(token) = am_rm_token {
            self.renew_token(token);
        }
        self.heartbeat.answered(response_id, &response.allocated, &response.completed);
        if let Some(recovered) = self.recovered.take() {
            response.reregistered = true;
            response.containers_from_previous_attempts.extend(recovered);
        }
        Ok(Some(response))
    }

    /// The ResourceManager repeats its new token until somebody connects with it; after that the old one is void.
    fn renew_token(&mut self, token: TokenProto) {
        let token = Token::from(token);
        if token != *self.line.token() {
            tracing::info!("the ResourceManager has renewed this attempt's token; connecting again with the new one");
            self.line.set_token(token);
            self.line.close();
        }
    }

    fn keep_nm_tokens(&mut self, tokens: Vec<NmTokenProto>) -> Result<(), DecodeError> {
        for entry in tokens {
            let node = required(entry.node_id, "NMToken.nodeId")?.try_into()?;
            self.nm_tokens.insert(node, required(entry.token, "NMToken.token")?.into());
        }
        Ok(())
    }

    fn allocate_refused(&mut self, failure: Failure) -> AmError {
        let Failure { verdict, error } = &failure;
        let class = error.remote_class().unwrap_or_default().to_owned();
        let message = match error {
            RpcError::Remote { message, .. } => message.clone(),
            other => other.to_string(),
        };
        match verdict {
            Verdict::BadAsk => AmError::BadAsk { asks: self.heartbeat.asks_refused(), class, message },
            Verdict::BadRelease => AmError::BadRelease { releases: self.heartbeat.releases_refused(), class, message },
            Verdict::BadBlacklist => {
                self.heartbeat.blacklist_refused();
                AmError::BadBlacklist { class, message }
            }
            _ => {
                self.heartbeat.refused();
                failure.into_error(Method::Allocate)
            }
        }
    }
}

impl Failure {
    fn into_error(self, method: Method) -> AmError {
        match self.verdict {
            Verdict::AttemptOver => AmError::AttemptOver { reason: self.error.to_string() },
            _ => AmError::Refused { method: method.name(), cause: Box::new(self.error) },
        }
    }
}

fn incomplete(method: Method, cause: DecodeError) -> AmError {
    AmError::Incomplete { method: method.name(), cause }
}
