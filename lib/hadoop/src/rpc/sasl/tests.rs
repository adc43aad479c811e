//! The handshake against messages as Hadoop sends them.

use proptest::prelude::*;

use super::*;

fn token() -> Token {
    Token { identifier: b"id".to_vec(), password: b"password".to_vec(), kind: "K".into(), service: String::new() }
}

fn auth(method: &str, mechanism: &str, challenge: Option<&str>) -> SaslAuthProto {
    SaslAuthProto {
        method: method.into(),
        mechanism: mechanism.into(),
        protocol: Some(String::new()),
        server_id: Some("default".into()),
        challenge: challenge.map(|text| text.as_bytes().to_vec()),
    }
}

const CHALLENGE: &str = r#"realm="default",nonce="n0nce",qop="auth",charset=utf-8,algorithm=md5-sess"#;

fn message(state: i32, token: Option<&str>, auths: Vec<SaslAuthProto>) -> RpcSaslProto {
    RpcSaslProto { state, token: token.map(|text| text.as_bytes().to_vec()), auths }
}

fn sent(step: Step) -> (i32, String, Vec<SaslAuthProto>) {
    match step {
        Step::Send(m) => (m.state, String::from_utf8(m.token.unwrap()).unwrap(), m.auths),
        Step::Done(_) => panic!("over too early"),
    }
}

/// Computed with an independent implementation (Python's hashlib) that a real ResourceManager accepted.
const RESPONSE: &str = r#"charset=utf-8,username="aWQ=",realm="default",nonce="n0nce",nc=00000001,cnonce="cn0nce",digest-uri="/default",maxbuf=65536,response=4eae8159edfce1220979735dc149d34d,qop=auth"#;
const PROOF: &str = "rspauth=ab2be020c23cd426155bde0121e072cb";

#[test]
fn a_challenge_in_the_first_answer_saves_a_round() {
    let token = token();
    let mut handshake = Handshake::new(&token, "cn0nce".into());
    let auths = vec![auth("KERBEROS", "GSSAPI", None), auth("TOKEN", "DIGEST-MD5", Some(CHALLENGE))];
    let (state, response, chosen) = sent(handshake.step(&message(state::NEGOTIATE, None, auths)).unwrap());
    assert_eq!((state, response.as_str()), (state::INITIATE, RESPONSE));
    assert_eq!(chosen, [auth("TOKEN", "DIGEST-MD5", None)]);
    let done = handshake.step(&message(state::SUCCESS, Some(PROOF), vec![])).unwrap();
    assert!(matches!(done, Step::Done(None)));
    let after = handshake.step(&message(state::SUCCESS, Some(PROOF), vec![])).unwrap_err();
    assert_eq!(after, SaslError::OutOfTurn { expected: "nothing", got: 0 });
}

#[test]
fn a_challenge_may_come_a_round_later() {
    let token = token();
    let mut handshake = Handshake::new(&token, "cn0nce".into());
    let auths = vec![auth("TOKEN", "DIGEST-MD5", None)];
    let (state, response, _) = sent(handshake.step(&message(state::NEGOTIATE, None, auths)).unwrap());
    assert_eq!((state, response.as_str()), (state::INITIATE, ""));
    let (state, response, _) = sent(handshake.step(&message(state::CHALLENGE, Some(CHALLENGE), vec![])).unwrap());
    assert_eq!((state, response.as_str()), (state::RESPONSE, RESPONSE));
    assert!(matches!(handshake.step(&message(state::SUCCESS, Some(PROOF), vec![])), Ok(Step::Done(None))));
}

#[test]
fn a_server_without_the_password_is_not_believed() {
    for proof in [None, Some(""), Some("rspauth=00000000000000000000000000000000"), Some("other=1")] {
        let token = token();
        let mut handshake = Handshake::new(&token, "cn0nce".into());
        let auths = vec![auth("TOKEN", "DIGEST-MD5", Some(CHALLENGE))];
        handshake.step(&message(state::NEGOTIATE, None, auths)).unwrap();
        let error = handshake.step(&message(state::SUCCESS, proof, vec![])).unwrap_err();
        assert_eq!(error, SaslError::ServerProof, "{proof:?}");
    }
}

#[test]
fn success_before_any_proof_is_refused() {
    let token = token();
    let error = Handshake::new(&token, "c".into()).step(&message(state::SUCCESS, None, vec![])).unwrap_err();
    assert_eq!(error, SaslError::OutOfTurn { expected: "NEGOTIATE", got: 0 });
}

#[test]
fn a_server_without_tokens_is_named_with_what_it_offers() {
    let token = token();
    let auths = vec![auth("SIMPLE", "", None), auth("KERBEROS", "GSSAPI", None)];
    let error = Handshake::new(&token, "c".into()).step(&message(state::NEGOTIATE, None, auths)).unwrap_err();
    assert_eq!(error.to_string(), r#"the server offers ["SIMPLE/", "KERBEROS/GSSAPI"], not TOKEN with DIGEST-MD5"#);
}

proptest! {
    #[test]
    fn no_messages_make_the_handshake_panic(states in proptest::collection::vec(-1i32..7, 1..4), text in ".*", with: bool) {
        let token = token();
        let mut handshake = Handshake::new(&token, "c".into());
        for state in states {
            let auths = vec![auth("TOKEN", "DIGEST-MD5", with.then_some(text.as_str()))];
            let _ = handshake.step(&message(state, Some(&text), auths));
        }
    }
}

/// The server's side of the last two steps: the proof and the protection, when the client's answer is right.
pub(crate) fn accept(token: &Token, challenge: &str, answer: &[u8]) -> Option<(String, Option<Protection>)> {
    let answer = challenge::pairs(answer).unwrap();
    let find = |name: &str| answer.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap();
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    let digest = Digest::new(token, &challenge, find("cnonce"), find("digest-uri")).unwrap();
    (find("response") == digest.proof(Side::Client))
        .then(|| (digest.proof(Side::Server), digest.protection(Side::Server)))
}
