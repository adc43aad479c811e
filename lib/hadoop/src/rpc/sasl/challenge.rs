//! Texts of DIGEST-MD5: `name=value` pairs between commas, values plain or in quotes.

use super::SaslError;

/// Largest packet when the challenge does not say (RFC 2831, section 2.1.1).
const DEFAULT_MAXBUF: usize = 65_536;
/// Below this nothing useful fits.
const MIN_MAXBUF: usize = 256;

/// What the server wants to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub realm: String,
    pub nonce: String,
    /// Qualities of protection, in the server's order; `auth` when it names none.
    pub qop: Vec<String>,
    /// Ciphers for `auth-conf`.
    pub ciphers: Vec<String>,
    /// Longest wrapped packet that the server takes.
    pub maxbuf: usize,
}

impl Challenge {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SaslError> {
        let pairs = pairs(bytes)?;
        let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let list = |name: &str| -> Option<Vec<String>> {
            let words = find(name)?.split(',').map(|word| word.trim().to_owned());
            Some(words.filter(|word| !word.is_empty()).collect())
        };
        if find("algorithm") != Some("md5-sess") {
            return Err(SaslError::Challenge("the algorithm is not md5-sess"));
        }
        let nonce = find("nonce").filter(|nonce| !nonce.is_empty()).ok_or(SaslError::Challenge("there is no nonce"))?;
        let maxbuf = match find("maxbuf") {
            Some(text) => text.parse().map_err(|_| SaslError::Challenge("maxbuf is no number"))?,
            None => DEFAULT_MAXBUF,
        };
        if maxbuf < MIN_MAXBUF {
            return Err(SaslError::Challenge("maxbuf is too small"));
        }
        Ok(Self {
            realm: find("realm").unwrap_or_default().to_owned(),
            nonce: nonce.to_owned(),
            qop: list("qop").unwrap_or_else(|| vec!["auth".to_owned()]),
            ciphers: list("cipher").unwrap_or_default(),
            maxbuf,
        })
    }
}

/// The server's proof: `rspauth=…`.
pub(super) fn response_auth(bytes: &[u8]) -> Result<String, SaslError> {
    let pairs = pairs(bytes)?;
    let proof = pairs.into_iter().find(|(key, _)| key == "rspauth");
    proof.map(|(_, value)| value).ok_or(SaslError::ServerProof)
}

/// A value in quotes, as it stands in a text.
pub(super) fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Reads all pairs. Names become lower case; quotes and escapes are taken off.
pub(super) fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, SaslError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SaslError::Challenge("it is no UTF-8"))?;
    let mut rest = text;
    let mut pairs = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if rest.is_empty() {
            return Ok(pairs);
        }
        let (name, after) = rest.split_once('=').ok_or(SaslError::Challenge("a name has no value"))?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, after) = after.split_at(after.find(',').unwrap_or(after.len()));
                (value.trim().to_owned(), after)
            }
        };
        pairs.push((name.trim().to_ascii_lowercase(), value));
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(SaslError::Challenge("something follows a value in quotes"));
        }
    }
}

/// The value up to the closing quote, and what follows that.
fn unquote(text: &str) -> Result<(String, &str), SaslError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(chars.next().ok_or(SaslError::Challenge("it ends in an escape"))?.1),
            _ => value.push(c),
        }
    }
    Err(SaslError::Challenge("a quote is not closed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HADOOP: &str = r#"realm="default",nonce="8P2KGcYpkpS6VQMN5rmVBrAtgnvGPzRmSSnN/PVV",qop="auth-conf",charset=utf-8,cipher="3des,rc4,des,rc4-56,rc4-40",algorithm=md5-sess"#;

    #[test]
    fn hadoops_challenge_is_read() {
        let challenge = Challenge::parse(HADOOP.as_bytes()).unwrap();
        assert_eq!(challenge.realm, "default");
        assert_eq!(challenge.nonce, "8P2KGcYpkpS6VQMN5rmVBrAtgnvGPzRmSSnN/PVV");
        assert_eq!(challenge.qop, ["auth-conf"]);
        assert_eq!(challenge.ciphers, ["3des", "rc4", "des", "rc4-56", "rc4-40"]);
        assert_eq!(challenge.maxbuf, 65_536);
    }

    #[test]
    fn quotes_escapes_blanks_and_empty_elements_are_understood() {
        let text = r#" , NONCE = "a\"b\\,c" ,, algorithm=md5-sess ,maxbuf=1000, qop="auth, auth-int" "#;
        let challenge = Challenge::parse(text.as_bytes()).unwrap();
        assert_eq!((challenge.nonce.as_str(), challenge.maxbuf), ("a\"b\\,c", 1000));
        assert_eq!(challenge.qop, ["auth", "auth-int"]);
        assert_eq!(quote(&challenge.nonce), r#""a\"b\\,c""#);
    }

    #[test]
    fn malformed_challenges_are_named() {
        for (text, reason) in [
            ("", "the algorithm is not md5-sess"),
            ("nonce=\"a\"", "the algorithm is not md5-sess"),
            ("algorithm=md5-sess", "there is no nonce"),
            ("algorithm=md5-sess,nonce=\"\"", "there is no nonce"),
            ("algorithm=md5-sess,nonce=\"a", "a quote is not closed"),
            ("algorithm=md5-sess,nonce=\"a\\", "it ends in an escape"),
            ("algorithm=md5-sess,nonce=\"a\"b", "something follows a value in quotes"),
            ("algorithm=md5-sess,nonce", "a name has no value"),
            ("algorithm=md5-sess,nonce=a,maxbuf=x", "maxbuf is no number"),
            ("algorithm=md5-sess,nonce=a,maxbuf=16", "maxbuf is too small"),
        ] {
            assert_eq!(Challenge::parse(text.as_bytes()), Err(SaslError::Challenge(reason)), "{text}");
        }
        assert_eq!(Challenge::parse(&[0xff]), Err(SaslError::Challenge("it is no UTF-8")));
    }

    proptest! {
        #[test]
        fn any_value_survives_quotes(value in ".*") {
            let text = format!("a=1,name={},b=2", quote(&value));
            prop_assert_eq!(&pairs(text.as_bytes()).unwrap()[1], &("name".to_owned(), value));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, text in "[a-c=\",\\\\ ]*") {
            let _ = Challenge::parse(&bytes);
            let _ = Challenge::parse(text.as_bytes());
            let _ = response_auth(text.as_bytes());
        }
    }
}
