//! Both forms of a token file. `HDTS`, a version byte, then
//! version 0: count, tokens (name, identifier, password, kind, service), count, secrets (name, bytes); all lengths and
//! counts are Hadoop's variable-length integers. Version 1: one length-delimited `CredentialsProto`.

use prost::Message;

use super::messages::CredentialsProto;
use super::vint::{Reader, put_sized, put_vint};
use super::{Credentials, Token, TokenError};

const MAGIC: &[u8] = b"HDTS";
const WRITABLE: u8 = 0;
const PROTOBUF: u8 = 1;

pub(super) fn read(bytes: &[u8]) -> Result<Credentials, TokenError> {
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len(), "magic").ok() != Some(MAGIC) {
        return Err(TokenError::NoTokenFile);
    }
    match reader.byte("version")? {
        WRITABLE => read_writable(&mut reader),
        PROTOBUF => read_protobuf(reader.rest()),
        other => Err(TokenError::Version(other)),
    }
}

fn read_writable(reader: &mut Reader<'_>) -> Result<Credentials, TokenError> {
    let mut credentials = Credentials::default();
    for _ in 0..reader.length("number of tokens")? {
        let alias = reader.text("token's name")?;
        credentials.add_token(alias, read_token(reader)?);
    }
    for _ in 0..reader.length("number of secrets")? {
        let name = reader.text("secret's name")?;
        credentials.add_secret(name, reader.sized("secret")?.to_vec());
    }
    Ok(credentials)
}

fn read_token(reader: &mut Reader<'_>) -> Result<Token, TokenError> {
    Ok(Token {
        identifier: reader.sized("token's identifier")?.to_vec(),
        password: reader.sized("token's password")?.to_vec(),
        kind: reader.text("token's kind")?,
        service: reader.text("token's service")?,
    })
}

fn read_protobuf(bytes: &[u8]) -> Result<Credentials, TokenError> {
    let proto = CredentialsProto::decode_length_delimited(bytes).map_err(TokenError::Protobuf)?;
    let mut credentials = Credentials::default();
    for entry in proto.tokens {
        // Hadoop leaves an entry without a token out, too
        if let Some(token) = entry.token {
            credentials.add_token(entry.alias, token.into());
        }
    }
    for entry in proto.secrets {
        credentials.add_secret(entry.alias, entry.secret.unwrap_or_default());
    }
    Ok(credentials)
}

pub(super) fn write(credentials: &Credentials) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(WRITABLE);
    put_vint(&mut out, credentials.tokens.len() as i64);
    for (alias, token) in &credentials.tokens {
        put_sized(&mut out, alias.as_bytes());
        put_token(&mut out, token);
    }
    put_vint(&mut out, credentials.secrets.len() as i64);
    for (name, secret) in &credentials.secrets {
        put_sized(&mut out, name.as_bytes());
        put_sized(&mut out, secret);
    }
    out
}

pub(super) fn put_token(out: &mut Vec<u8>, token: &Token) {
    put_sized(out, &token.identifier);
    put_sized(out, &token.password);
    put_sized(out, token.kind.as_bytes());
    put_sized(out, token.service.as_bytes());
}

/// One token alone, as the text form wraps it.
pub(super) fn token_from_bytes(bytes: &[u8]) -> Result<Token, TokenError> {
    read_token(&mut Reader::new(bytes))
}
