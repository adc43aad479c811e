//! One connection: handshake, then calls one after the other.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::without_stack_trace;
use super::frame::{self, FrameError};
use super::messages::{RpcResponseHeaderProto, RpcSaslProto, SASL_CALL_ID, state, status};
use super::sasl::{Handshake, Protection, SaslError, Step};
use super::{RpcError, RpcOptions};
use crate::token::Token;

/// An open, authenticated connection for one protocol. Calls go one after the other.
///
/// After any failure but a remote exception, and after a call whose future was dropped, the connection is dead and says so
/// ([`RpcError::Dead`]).
pub struct Connection {
    address: String,
    protocol: String,
    options: RpcOptions,
    client_id: [u8; 16],
    next_call: i32,
    channel: Channel,
    alive: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("protocol", &self.protocol)
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}

/// What can go wrong below the level of a named call.
enum Fault {
    Io(io::Error),
    Frame(FrameError),
    Sasl(SaslError),
    Remote { class: String, message: String, fatal: bool },
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl From<FrameError> for Fault {
    fn from(cause: FrameError) -> Self {
        Self::Frame(cause)
    }
}

impl From<SaslError> for Fault {
    fn from(cause: SaslError) -> Self {
        Self::Sasl(cause)
    }
}

impl Fault {
    fn named(self, address: &str, doing: &str) -> RpcError {
        let (address, doing) = (address.to_owned(), doing.to_owned());
        match self {
            Self::Io(cause) => RpcError::Io { address, doing, cause },
            Self::Frame(cause) => RpcError::Malformed { address, doing, cause },
            Self::Sasl(cause) => RpcError::Sasl { address, cause },
            Self::Remote { class, message, fatal } => RpcError::Remote { address, doing, class, message, fatal },
        }
    }
}

impl Connection {
    /// Connects and authenticates.
    ///
    /// `address` is `host:port`; all of the host's addresses are tried. `protocol` is the Java name of the protocol's
    /// protobuf interface, as `org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB`.
    pub async fn connect(address: &str, protocol: &str, token: &Token, options: RpcOptions) -> Result<Self, RpcError> {
        const HANDSHAKE: &str = "the SASL handshake";
        let deadline = Instant::now() + options.connect_timeout;
        let no_connection = |cause| RpcError::Connect { address: address.to_owned(), cause };
        let stream = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(no_connection)?,
            Err(_) => return Err(no_connection(io::ErrorKind::TimedOut.into())),
        };
        // a request is one small packet that waits for its answer
        stream.set_nodelay(true).map_err(no_connection)?;
        let mut channel =
            Channel { stream, protection: None, unwrapped: Vec::new(), consumed: 0, max_frame: options.max_frame };
        let client_id: [u8; 16] = rand::random();
        let handshake = async {
            channel.authenticate(token).await?;
            channel.send(&frame::context(&client_id, protocol)).await
        };
        match timeout_at(deadline, handshake).await {
            Ok(done) => done.map_err(|fault| fault.named(address, HANDSHAKE))?,
            Err(_) => {
                let (address, after) = (address.to_owned(), options.connect_timeout);
                return Err(RpcError::Timeout { address, doing: HANDSHAKE.to_owned(), after });
            }
        }
        let (address, protocol) = (address.to_owned(), protocol.to_owned());
        Ok(Self { address, protocol, options, client_id, next_call: 0, channel, alive: true })
    }

    /// Whether another call is possible.
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Calls a method and waits for its answer.
    pub async fn call<Req: Message, Resp: Message + Default>(
        &mut self,
        method: &str,
        request: &Req,
    ) -> Result<Resp, RpcError> {
        if !self.alive {
            return Err(RpcError::Dead { address: self.address.clone() });
        }
        // stays so when this future is dropped: the answer of a call that nobody waits for must not meet the next call
        self.alive = false;
        let outcome = match timeout(self.options.call_timeout, self.exchange(method, request)).await {
            Ok(outcome) => outcome.map_err(|fault| fault.named(&self.address, method)),
            Err(_) => {
                let (address, doing) = (self.address.clone(), method.to_owned());
                Err(RpcError::Timeout { address, doing, after: self.options.call_timeout })
            }
        };
        self.alive = match &outcome {
            Ok(_) => true,
            Err(RpcError::Remote { fatal, .. }) => !fatal,
            Err(_) => false,
        };
        outcome
    }

    async fn exchange<Req: Message, Resp: Message + Default>(
        &mut self,
        method: &str,
        request: &Req,
    ) -> Result<Resp, Fault> {
        let call_id = self.next_call;
        self.next_call = call_id.checked_add(1).unwrap_or(0);
        self.channel.send(&frame::call(&self.client_id, call_id, &self.protocol, method, request)).await?;
        let packet = self.channel.receive().await?;
        let (header, mut rest) = frame::response_header(&packet)?;
        let failed = check_status(&header);
        // the server may not have understood the call's number when it gives up on the connection
        if header.status != status::FATAL && header.call_id as i32 != call_id {
            return Err(FrameError::OtherCall { expected: call_id, got: header.call_id as i32 }.into());
        }
        failed?;
        Ok(frame::message(&mut rest, "result")?)
    }
}

fn check_status(header: &RpcResponseHeaderProto) -> Result<(), Fault> {
    match header.status {
        status::SUCCESS => Ok(()),
        status::ERROR | status::FATAL => Err(Fault::Remote {
            class: header.exception_class_name.clone().unwrap_or_default(),
            message: without_stack_trace(header.error_msg.as_deref().unwrap_or_default()),
            fatal: header.status == status::FATAL,
        }),
        other => Err(FrameError::Status(other).into()),
    }
}

/// Packets over the socket, protected when so agreed.
struct Channel {
    stream: TcpStream,
    protection: Option<Box<Protection>>,
    /// Bytes that came out of protected packets; `consumed` of them are done with.
    unwrapped: Vec<u8>,
    consumed: usize,
    max_frame: usize,
}

impl Channel {
    async fn authenticate(&mut self, token: &Token) -> Result<(), Fault> {
        let mut handshake = Handshake::new(token, STANDARD.encode(rand::random::<[u8; 18]>()));
        let mut hello = frame::PREAMBLE.to_vec();
        hello.extend(frame::sasl(&Handshake::first()));
        self.stream.write_all(&hello).await?;
        loop {
            match handshake.step(&self.receive_sasl().await?)? {
                Step::Send(message) => self.stream.write_all(&frame::sasl(&message)).await?,
                Step::Done(protection) => {
                    self.protection = protection;
                    return Ok(());
                }
            }
        }
    }

    async fn receive_sasl(&mut self) -> Result<RpcSaslProto, Fault> {
        let packet = self.receive_plain().await?;
        let (header, mut rest) = frame::response_header(&packet)?;
        check_status(&header)?;
        let got = header.call_id as i32;
        if got != SASL_CALL_ID {
            return Err(FrameError::OtherCall { expected: SASL_CALL_ID, got }.into());
        }
        Ok(frame::message(&mut rest, "SASL message")?)
    }

    /// Sends one packet, its length included.
    async fn send(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let Some(protection) = &mut self.protection else {
            return Ok(self.stream.write_all(packet).await?);
        };
        for part in packet.chunks(protection.max_message()) {
            let token = Some(protection.wrap(part));
            let wrapped = frame::sasl(&RpcSaslProto { state: state::WRAP, token, auths: Vec::new() });
            self.stream.write_all(&wrapped).await?;
        }
        Ok(())
    }

    /// Receives one packet, without its length.
    async fn receive(&mut self) -> Result<Vec<u8>, Fault> {
        if self.protection.is_none() {
            return self.receive_plain().await;
        }
        loop {
            if let Some(packet) = self.next_unwrapped()? {
                return Ok(packet);
            }
            let wrapped = self.receive_wrapped().await?;
            self.unwrapped.drain(..self.consumed);
            self.consumed = 0;
            self.unwrapped.extend(wrapped);
        }
    }

    /// A whole packet among the unwrapped bytes.
    fn next_unwrapped(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((prefix, rest)) = self.unwrapped[self.consumed..].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = frame::checked_length(*prefix, self.max_frame)?;
        let Some(packet) = rest.get(..length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.consumed += 4 + length;
        Ok(Some(packet))
    }

    async fn receive_wrapped(&mut self) -> Result<Vec<u8>, Fault> {
        let packet = self.receive_plain().await?;
        let (header, mut rest) = frame::response_header(&packet)?;
        let message: RpcSaslProto = frame::message(&mut rest, "wrapped packet")?;
        // nothing that comes unprotected is believed, not even an error
        if header.status != status::SUCCESS || header.call_id as i32 != SASL_CALL_ID || message.state != state::WRAP {
            return Err(FrameError::NotWrapped.into());
        }
        let Some(protection) = &mut self.protection else {
            return Err(FrameError::NotWrapped.into());
        };
        Ok(protection.unwrap(message.token.as_deref().unwrap_or_default()).map_err(FrameError::Protection)?)
    }

    async fn receive_plain(&mut self) -> Result<Vec<u8>, Fault> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await?;
        let length = frame::checked_length(prefix, self.max_frame)?;
        // grows with what arrives, not with what was announced
        let mut packet = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut packet).await?;
        if packet.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(packet)
    }
}

#[cfg(test)]
mod tests;
