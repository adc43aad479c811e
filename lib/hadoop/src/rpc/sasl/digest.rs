//! The arithmetic of DIGEST-MD5 with a token: who answers which challenge how.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::SaslError;
use super::challenge::{Challenge, quote};
use super::protection::{Protection, Qop};
use crate::token::Token;

/// Longest wrapped packet that this client announces. Hadoop's servers send longer ones all the same.
const MAXBUF: usize = 65_536;
/// Each connection answers one challenge once.
const NONCE_COUNT: &str = "00000001";

/// Who proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// One answered challenge.
pub(super) struct Digest {
    user: String,
    realm: String,
    nonce: String,
    cnonce: String,
    digest_uri: String,
    qop: Qop,
    maxbuf: usize,
    /// H(A1).
    session_key: [u8; 16],
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])));
        text
    })
}

/// H(A1) of RFC 2831, section 2.1.2.1, for md5-sess.
fn session_key(user: &str, realm: &str, password: &str, nonce: &str, cnonce: &str) -> [u8; 16] {
    let secret = md5(&[user.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()]);
    md5(&[&secret, b":", nonce.as_bytes(), b":", cnonce.as_bytes()])
}

impl Digest {
    /// Answers a challenge with a token: the user is the identifier, the password the password, both in base64. Takes the
    /// strongest protection that the server offers.
    pub(super) fn new(
        token: &Token,
        challenge: &Challenge,
        cnonce: String,
        digest_uri: String,
    ) -> Result<Self, SaslError> {
        let qop = Qop::strongest(&challenge.qop, &challenge.ciphers).ok_or_else(|| SaslError::NoProtection {
            qop: challenge.qop.clone(),
            ciphers: challenge.ciphers.clone(),
        })?;
        let (user, password) = (STANDARD.encode(&token.identifier), STANDARD.encode(&token.password));
        let session_key = session_key(&user, &challenge.realm, &password, &challenge.nonce, &cnonce);
        Ok(Self {
            user,
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            cnonce,
            digest_uri,
            qop,
            maxbuf: challenge.maxbuf,
            session_key,
        })
    }

    /// The text that proves to the other side that this one knows the password.
    pub(super) fn proof(&self, side: Side) -> String {
        let verb = match side {
            Side::Client => "AUTHENTICATE:",
            Side::Server => ":",
        };
        let tail = match self.qop {
            Qop::Auth => "",
            Qop::AuthInt | Qop::AuthConf => ":00000000000000000000000000000000",
        };
        let a2 = hex(&md5(&[verb.as_bytes(), self.digest_uri.as_bytes(), tail.as_bytes()]));
        let key = hex(&self.session_key);
        let words = [&key, &self.nonce, NONCE_COUNT, &self.cnonce, self.qop.name(), &a2];
        hex(&md5(&[words.join(":").as_bytes()]))
    }

    /// The client's answer to the challenge.
    pub(super) fn response(&self) -> String {
        let cipher = match self.qop {
            Qop::AuthConf => ",cipher=\"3des\"",
            Qop::Auth | Qop::AuthInt => "",
        };
        format!(
            "charset=utf-8,username={},realm={},nonce={},nc={NONCE_COUNT},cnonce={},digest-uri={},maxbuf={MAXBUF},response={},qop={}{cipher}",
            quote(&self.user),
            quote(&self.realm),
            quote(&self.nonce),
            quote(&self.cnonce),
            quote(&self.digest_uri),
            self.proof(Side::Client),
            self.qop.name(),
        )
    }

    /// The protection of the packets after the handshake, as `side` uses it; `None` when only identities were proven.
    pub(super) fn protection(&self, side: Side) -> Option<Protection> {
        Protection::new(self.qop, &self.session_key, side == Side::Client, self.maxbuf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2831, section 4: the IMAP example.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let nonce = "OA6MG9tEQGm2hh";
        let cnonce = "OA6MHXh6VqTrRk";
        let digest = Digest {
            user: "chris".into(),
            realm: "elwood.innosoft.com".into(),
            nonce: nonce.into(),
            cnonce: cnonce.into(),
            digest_uri: "imap/elwood.innosoft.com".into(),
            qop: Qop::Auth,
            maxbuf: 65_536,
            session_key: session_key("chris", "elwood.innosoft.com", "secret", nonce, cnonce),
        };
        assert_eq!(digest.proof(Side::Client), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(digest.proof(Side::Server), "ea40f60335c427b5527b84dbabcdfffd");
        assert!(digest.response().contains(r#"username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh""#));
        assert!(digest.protection(Side::Client).is_none());
    }
}
