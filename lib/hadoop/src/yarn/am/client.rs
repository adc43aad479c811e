//! The client itself: carries out what `heartbeat` and `decide` say.

use std::collections::HashMap;

use prost::Message;
use tokio::time::{Instant, sleep};

use super::decide::{Method, Verdict, decide};
use super::heartbeat::Heartbeat;
use super::{
    AllocateRequest, AllocateResponse, AmError, AmOptions, FinalStatus, Preemption, Registration, RegistrationRequest,
};
use crate::rpc::RpcError;
use crate::token::Token;
use crate::yarn::line::{Line, Search};
use crate::yarn::messages::{
    AllocateResponseProto, FinishApplicationMasterRequestProto, FinishApplicationMasterResponseProto, NmTokenProto,
    PreemptionContainerProto, PreemptionMessageProto, RegisterApplicationMasterRequestProto,
    RegisterApplicationMasterResponseProto, TokenProto,
};
use crate::yarn::{Container, ContainerId, DecodeError, NodeId, Resource, required};

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
        Ok(Self { line, options, heartbeat: Heartbeat::default(), registered: None, nm_tokens: HashMap::new() })
    }

    /// Tells the ResourceManager that this attempt's master runs. Looks for the active one among the addresses.
    pub async fn register(&mut self, request: &RegistrationRequest) -> Result<Registration, AmError> {
        let repeated = self.registered.is_some();
        let registration = self.introduce(request).await?;
        // a second introduction that changes nothing over there must not break off the conversation
        if !(repeated && registration.already_registered) {
            self.heartbeat.reset();
        }
        Ok(registration)
    }

    /// One heartbeat: tells what changed and takes what the ResourceManager has. To be repeated every second or faster, well
    /// below `yarn.am.liveness-monitor.expiry-interval-ms`.
    pub async fn allocate(&mut self, request: &AllocateRequest) -> Result<AllocateResponse, AmError> {
        let Some(registered) = &mut self.registered else {
            return Err(AmError::NotRegistered);
        };
        if let Some(url) = &request.tracking_url {
            registered.tracking_url.clone_from(url);
        }
        self.heartbeat.note(request);
        let mut recovered: Option<Vec<Container>> = None;
        for _ in 0..=MAX_REREGISTRATIONS {
            let message = self.heartbeat.request();
            match self.call(Method::Allocate, &message).await? {
                Ok(answer) => {
                    if let Some(response) = self.answered(answer)? {
                        return Ok(with_recovered(response, recovered));
                    }
                }
                Err(Failure { verdict: Verdict::Reregister, .. }) => {}
                Err(failure) => return Err(self.allocate_refused(failure)),
            }
            let again = self.reregister().await?;
            recovered.get_or_insert_default().extend(again);
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
            match self.call(Method::Finish, &request).await? {
                Ok(FinishApplicationMasterResponseProto { is_unregistered: Some(true) }) => return Ok(()),
                Ok(_) => {}
                Err(Failure { verdict: Verdict::Reregister, .. }) => {
                    self.reregister().await?;
                }
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
        let registration = match self.call(Method::Register, &message).await? {
            Ok(answer) => self.registration(answer)?,
            Err(Failure { verdict: Verdict::AlreadyRegistered, .. }) => {
                Registration { already_registered: true, ..Registration::default() }
            }
            Err(failure) => return Err(failure.into_error(Method::Register)),
        };
        self.registered = Some(request.clone());
        Ok(registration)
    }

    /// Registers again with the last introduction; gives the running containers that the ResourceManager names.
    async fn reregister(&mut self) -> Result<Vec<Container>, AmError> {
        let request = self.registered.clone().ok_or(AmError::NotRegistered)?;
        tracing::warn!("the ResourceManager has forgotten this application attempt; registering again");
        let registration = self.introduce(&request).await?;
        self.heartbeat.reset();
        Ok(registration.containers_from_previous_attempts)
    }

    fn registration(&mut self, answer: RegisterApplicationMasterResponseProto) -> Result<Registration, AmError> {
        let incomplete = |cause| AmError::Incomplete { method: Method::Register.name(), cause };
        self.keep_nm_tokens(answer.nm_tokens_from_previous_attempts).map_err(incomplete)?;
        Ok(Registration {
            maximum_capability: answer.maximum_capability.map(Resource::from).unwrap_or_default(),
            queue: answer.queue.unwrap_or_default(),
            containers_from_previous_attempts: all(answer.containers_from_previous_attempts).map_err(incomplete)?,
            resource_types: answer.resource_types.into_iter().map(Into::into).collect(),
            already_registered: false,
        })
    }

    /// Takes an answer to a heartbeat; `None`: it commands to register again.
    fn answered(&mut self, answer: AllocateResponseProto) -> Result<Option<AllocateResponse>, AmError> {
        match answer.a_m_command {
            Some(RESYNC) => return Ok(None),
            Some(SHUTDOWN) => {
                return Err(AmError::AttemptOver { reason: "the ResourceManager commands to shut down".to_owned() });
            }
            _ => {}
        }
        // nothing is kept of an answer that cannot be read whole, so that its repetition can be
        let (response_id, response) =
            read(&answer).map_err(|cause| AmError::Incomplete { method: Method::Allocate.name(), cause })?;
        self.keep_nm_tokens(answer.nm_tokens)
            .map_err(|cause| AmError::Incomplete { method: Method::Allocate.name(), cause })?;
        if let Some(token) = answer.am_rm_token {
            self.renew_token(token);
        }
        self.heartbeat.answered(response_id, &response.allocated, &response.completed);
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

fn all<P, T: TryFrom<P, Error = DecodeError>>(messages: Vec<P>) -> Result<Vec<T>, DecodeError> {
    messages.into_iter().map(T::try_from).collect()
}

pub(super) fn read(answer: &AllocateResponseProto) -> Result<(i32, AllocateResponse), DecodeError> {
    let response_id = required(answer.response_id, "AllocateResponse.response_id")?;
    let answer = answer.clone();
    let response = AllocateResponse {
        allocated: all(answer.allocated_containers)?,
        completed: all(answer.completed_container_statuses)?,
        containers_from_previous_attempts: all(answer.containers_from_previous_attempts)?,
        updated_nodes: all(answer.updated_nodes)?,
        headroom: answer.limit.map(Resource::from),
        cluster_nodes: answer.num_cluster_nodes.unwrap_or(0).max(0).unsigned_abs(),
        preemption: answer.preempt.map(preemption).transpose()?,
        reregistered: false,
    };
    Ok((response_id, response))
}

fn with_recovered(mut response: AllocateResponse, recovered: Option<Vec<Container>>) -> AllocateResponse {
    if let Some(recovered) = recovered {
        response.reregistered = true;
        response.containers_from_previous_attempts.extend(recovered);
    }
    response
}

fn preemption(message: PreemptionMessageProto) -> Result<Preemption, DecodeError> {
    let ids = |containers: Vec<PreemptionContainerProto>| -> Result<Vec<ContainerId>, DecodeError> {
        containers.into_iter().map(|c| required(c.id, "PreemptionContainer.id")?.try_into()).collect()
    };
    let strict = message.strict_contract.unwrap_or_default();
    let contract = message.contract.unwrap_or_default();
    let wanted = contract.resource.into_iter().filter_map(|entry| {
        let row = entry.resource?;
        let count = row.num_containers.unwrap_or(0).max(0).unsigned_abs();
        Some((row.capability.map(Resource::from).unwrap_or_default(), count))
    });
    Ok(Preemption { wanted: wanted.collect(), strict: ids(strict.container)?, candidates: ids(contract.container)? })
}
