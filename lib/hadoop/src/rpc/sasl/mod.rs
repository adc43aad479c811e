//! SASL as Hadoop RPC uses it: the handshake with a token through DIGEST-MD5 (RFC 2831), and the protection of the packets
//! after it.
//!
//! [`Handshake`] is a state machine over decoded messages:
//!
//! ```text
//! negotiate sent ─▶ (server lists mechanisms) ─▶ response sent ─▶ (server proves itself) ─▶ done
//!                            └─ without challenge ─▶ initiate sent ─▶ (challenge) ─┘
//! ```

mod challenge;
mod digest;
mod protection;
#[cfg(test)]
pub(crate) mod tests;

use super::messages::{RpcSaslProto, SaslAuthProto, state};
use crate::token::Token;
use challenge::Challenge;
use digest::{Digest, Side};

pub(crate) use protection::Protection;

const METHOD: &str = "TOKEN";
const MECHANISM: &str = "DIGEST-MD5";

/// Why client and server could not agree, or why a protected packet does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The server offers nothing that a token can be used with.
    #[error("the server offers {offered:?}, not TOKEN with DIGEST-MD5")]
    NoMechanism {
        /// What it offers, as `METHOD/MECHANISM`.
        offered: Vec<String>,
    },
    /// The server's challenge cannot be read.
    #[error("the server's challenge is malformed: {0}")]
    Challenge(&'static str),
    /// The server wants a protection that this client does not have.
    #[error(
        "the server offers the protections {qop:?} with the ciphers {ciphers:?}; auth, auth-int and auth-conf with 3des are known"
    )]
    NoProtection {
        /// Qualities of protection.
        qop: Vec<String>,
        /// Ciphers for auth-conf.
        ciphers: Vec<String>,
    },
    /// A message that does not belong here.
    #[error("the server sent state {got} of the handshake where {expected} had to come")]
    OutOfTurn {
        /// State expected, by name.
        expected: &'static str,
        /// State received, by number.
        got: i32,
    },
    /// The server could not prove that it knows the token's password.
    #[error("the server could not prove that it knows the token's password; it may be an impostor")]
    ServerProof,
    /// A protected packet is too short or not of the form agreed on.
    #[error("a protected packet is malformed: {0}")]
    Packet(&'static str),
    /// A packet is missing, repeated or in the wrong order.
    #[error("protected packet number {got} came where {expected} had to come")]
    Sequence {
        /// The number that had to come.
        expected: u32,
        /// The number that came.
        got: u32,
    },
    /// A packet was changed on its way.
    #[error("the checksum of a protected packet is wrong")]
    Checksum,
}

/// What to do after a message of the server.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this and wait for the next message.
    Send(RpcSaslProto),
    /// Both sides are who they say. Packets from now on are protected, or plain without a [`Protection`].
    Done(Option<Box<Protection>>),
}

enum State {
    Negotiating,
    AwaitingChallenge { digest_uri: String },
    AwaitingProof(Box<Digest>),
    Over,
}

/// The client's side of the handshake.
pub(crate) struct Handshake<'a> {
    token: &'a Token,
    cnonce: String,
    state: State,
}

impl<'a> Handshake<'a> {
    /// `cnonce` is fresh random text of the client, without quotes.
    pub(crate) fn new(token: &'a Token, cnonce: String) -> Self {
        Self { token, cnonce, state: State::Negotiating }
    }

    /// The first message.
    pub(crate) fn first() -> RpcSaslProto {
        RpcSaslProto { state: state::NEGOTIATE, token: None, auths: Vec::new() }
    }

    /// Takes a message of the server. After an error or [`Step::Done`] the handshake is over.
    pub(crate) fn step(&mut self, message: &RpcSaslProto) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Negotiating => {
                expect(message, state::NEGOTIATE, "NEGOTIATE")?;
                self.choose(&message.auths)
            }
            State::AwaitingChallenge { digest_uri } => {
                expect(message, state::CHALLENGE, "CHALLENGE")?;
                let token = self.respond(message.token.as_deref().unwrap_or_default(), digest_uri)?;
                Ok(Step::Send(RpcSaslProto { state: state::RESPONSE, token: Some(token), auths: Vec::new() }))
            }
            State::AwaitingProof(digest) => {
                expect(message, state::SUCCESS, "SUCCESS")?;
                let proof = challenge::response_auth(message.token.as_deref().unwrap_or_default())?;
                if proof != digest.proof(Side::Server) {
                    return Err(SaslError::ServerProof);
                }
                Ok(Step::Done(digest.protection(Side::Client).map(Box::new)))
            }
            State::Over => Err(SaslError::OutOfTurn { expected: "nothing", got: message.state }),
        }
    }

    fn choose(&mut self, auths: &[SaslAuthProto]) -> Result<Step, SaslError> {
        let Some(auth) = auths.iter().find(|auth| auth.method == METHOD && auth.mechanism == MECHANISM) else {
            let offered = auths.iter().map(|auth| format!("{}/{}", auth.method, auth.mechanism)).collect();
            return Err(SaslError::NoMechanism { offered });
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let digest_uri = format!("{}/{}", part(&auth.protocol), part(&auth.server_id));
        let token = match &auth.challenge {
            Some(challenge) => self.respond(challenge, digest_uri)?,
            None => {
                self.state = State::AwaitingChallenge { digest_uri };
                Vec::new()
            }
        };
        let chosen = SaslAuthProto { challenge: None, ..auth.clone() };
        Ok(Step::Send(RpcSaslProto { state: state::INITIATE, token: Some(token), auths: vec![chosen] }))
    }

    fn respond(&mut self, challenge: &[u8], digest_uri: String) -> Result<Vec<u8>, SaslError> {
        let digest = Digest::new(self.token, &Challenge::parse(challenge)?, self.cnonce.clone(), digest_uri)?;
        let response = digest.response();
        self.state = State::AwaitingProof(Box::new(digest));
        Ok(response.into_bytes())
    }
}

fn expect(message: &RpcSaslProto, wanted: i32, expected: &'static str) -> Result<(), SaslError> {
    if message.state == wanted { Ok(()) } else { Err(SaslError::OutOfTurn { expected, got: message.state }) }
}
