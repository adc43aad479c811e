//! Hadoop's tokens, and the token file that a container finds at `$HADOOP_TOKEN_FILE_LOCATION`.
//!
//! A token is an identifier that says who may do what, and a password that proves it; the password never travels, it only
//! keys the digest of [`crate::rpc`]. The file holds named tokens and named secrets, in one of two forms: Writable, which
//! the NodeManager writes, and protobuf, which Java clients write.

mod file;
pub(crate) mod messages;
pub(crate) mod vint;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use messages::TokenProto;

/// Kind of the token between an ApplicationMaster and its ResourceManager.
pub const AM_RM_TOKEN: &str = "YARN_AM_RM_TOKEN";
/// Kind of the token between an ApplicationMaster and a NodeManager.
pub const NM_TOKEN: &str = "NMToken";
/// Kind of the token that opens HDFS.
pub const HDFS_DELEGATION_TOKEN: &str = "HDFS_DELEGATION_TOKEN";

/// Bytes that are no token or token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read.
    #[error("token file `{path}` could not be read; is HADOOP_TOKEN_FILE_LOCATION right?")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The bytes end in the middle of something, or a length is impossible.
    #[error("token bytes are cut off or damaged at byte {at}, in the {part}")]
    Damaged {
        /// Offset at which reading stopped.
        at: usize,
        /// What should have stood there.
        part: &'static str,
    },
    /// It does not begin with `HDTS`.
    #[error("no token file: it does not begin with `HDTS`")]
    NoTokenFile,
    /// A version that is neither 0 (Writable) nor 1 (protobuf).
    #[error("token file has version {0}; versions 0 and 1 are known")]
    Version(u8),
    /// The protobuf part does not decode.
    #[error("token file of version 1 does not decode")]
    Protobuf(#[source] prost::DecodeError),
    /// The text is no URL-safe base64.
    #[error("token text is no URL-safe base64")]
    Base64(#[source] base64::DecodeError),
}

/// One token. [`fmt::Debug`] leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Who may do what; its form depends on the kind.
    pub identifier: Vec<u8>,
    /// The secret that proves the identifier.
    pub password: Vec<u8>,
    /// What the token is for, as [`AM_RM_TOKEN`].
    pub kind: String,
    /// The server that it opens, mostly `ip:port`; empty on tokens for the ResourceManager's scheduler.
    pub service: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("kind", &self.kind)
            .field("service", &self.service)
            .field("identifier_len", &self.identifier.len())
            .field("password", &"***")
            .finish()
    }
}

impl Token {
    /// Reads the text form of REST interfaces (`Token.encodeToUrlString`): URL-safe base64, with or without padding.
    pub fn from_url_string(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(TokenError::Base64)?;
        file::token_from_bytes(&bytes)
    }

    /// The text form of REST interfaces, without padding.
    pub fn to_url_string(&self) -> String {
        let mut bytes = Vec::new();
        file::put_token(&mut bytes, self);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl From<TokenProto> for Token {
    fn from(proto: TokenProto) -> Self {
        Self { identifier: proto.identifier, password: proto.password, kind: proto.kind, service: proto.service }
    }
}

impl From<&Token> for TokenProto {
    fn from(token: &Token) -> Self {
        let Token { identifier, password, kind, service } = token.clone();
        Self { identifier, password, kind, service }
    }
}

/// Named tokens and named secrets, as one token file holds them. The order of the tokens is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    tokens: Vec<(String, Token)>,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<&String> = self.secrets.keys().collect();
        f.debug_struct("Credentials").field("tokens", &self.tokens).field("secrets", &secrets).finish()
    }
}

impl Credentials {
    /// Reads a token file of either form.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let bytes = std::fs::read(path).map_err(|cause| TokenError::Read { path: path.to_owned(), cause })?;
        Self::from_bytes(&bytes)
    }

    /// Reads the bytes of a token file of either form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        file::read(bytes)
    }

    /// The bytes of a token file in Writable form (version 0), which every Hadoop since 0.20 reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        file::write(self)
    }

    /// Adds a token under a name; one of the same name is replaced, as Hadoop does.
    pub fn add_token(&mut self, alias: impl Into<String>, token: Token) {
        let alias = alias.into();
        match self.tokens.iter_mut().find(|(name, _)| *name == alias) {
            Some((_, old)) => *old = token,
            None => self.tokens.push((alias, token)),
        }
    }

    /// Adds a secret under a name; one of the same name is replaced.
    pub fn add_secret(&mut self, name: impl Into<String>, secret: Vec<u8>) {
        self.secrets.insert(name.into(), secret);
    }

    /// All tokens with their names, in the order of the file.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &Token)> {
        self.tokens.iter().map(|(alias, token)| (alias.as_str(), token))
    }

    /// A secret by its name.
    pub fn secret(&self, name: &str) -> Option<&[u8]> {
        self.secrets.get(name).map(Vec::as_slice)
    }

    /// All secrets with their names.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.secrets.iter().map(|(name, secret)| (name.as_str(), secret.as_slice()))
    }

    /// The token for the ResourceManager's scheduler. It has neither a name nor a service, so the kind decides.
    pub fn am_rm_token(&self) -> Option<&Token> {
        self.tokens().map(|(_, token)| token).find(|token| token.kind == AM_RM_TOKEN)
    }

    /// The credentials without the token for the ResourceManager: what an ApplicationMaster may hand to its containers,
    /// which must not be able to speak in its name.
    pub fn for_containers(&self) -> Self {
        let mut rest = self.clone();
        rest.tokens.retain(|(_, token)| token.kind != AM_RM_TOKEN);
        rest
    }
}

#[cfg(test)]
mod tests;
