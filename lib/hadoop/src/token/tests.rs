//! Token files that a real NodeManager and `hadoop dtutil` wrote, and damaged ones.

use proptest::prelude::*;

use super::*;

const AM_ONLY: &[u8] = include_bytes!("../../tests/fixtures/am_only.writable");
const WRITABLE: &[u8] = include_bytes!("../../tests/fixtures/am_and_more.writable");
const PROTOBUF: &[u8] = include_bytes!("../../tests/fixtures/am_and_more.protobuf");

fn my_token() -> Token {
    Token { identifier: b"id1".to_vec(), password: b"pw1".to_vec(), kind: "MY_KIND".into(), service: "svc:1".into() }
}

#[test]
fn a_node_managers_file_gives_the_token_for_the_resource_manager() {
    let credentials = Credentials::from_bytes(AM_ONLY).unwrap();
    let token = credentials.am_rm_token().unwrap();
    assert_eq!((token.kind.as_str(), token.service.as_str()), ("YARN_AM_RM_TOKEN", ""));
    assert_eq!((token.identifier.len(), token.password.len()), (26, 20));
    assert_eq!(credentials.to_bytes(), AM_ONLY);
}

#[test]
fn both_forms_of_a_file_say_the_same() {
    let writable = Credentials::from_bytes(WRITABLE).unwrap();
    assert_eq!(writable, Credentials::from_bytes(PROTOBUF).unwrap());
    assert_eq!(writable.to_bytes(), WRITABLE);
    assert_eq!(writable.tokens().nth(1), Some(("my-alias", &my_token())));
    assert_eq!(writable.secret("mysecret"), Some(&b"hello"[..]));
}

#[test]
fn containers_do_not_get_the_token_for_the_resource_manager() {
    let rest = Credentials::from_bytes(WRITABLE).unwrap().for_containers();
    assert_eq!(rest.am_rm_token(), None);
    assert_eq!(rest.tokens().count(), 1);
    assert_eq!(Credentials::default().to_bytes(), b"HDTS\0\0\0");
}

#[test]
fn a_token_has_the_text_form_of_rest_interfaces() {
    assert_eq!(my_token().to_url_string(), "A2lkMQNwdzEHTVlfS0lORAVzdmM6MQ");
    for text in ["A2lkMQNwdzEHTVlfS0lORAVzdmM6MQ", "A2lkMQNwdzEHTVlfS0lORAVzdmM6MQ=="] {
        assert_eq!(Token::from_url_string(text).unwrap(), my_token());
    }
    assert!(matches!(Token::from_url_string("a+b/"), Err(TokenError::Base64(_))));
    assert!(matches!(Token::from_url_string("A2lk"), Err(TokenError::Damaged { .. })));
}

#[test]
fn a_later_token_of_the_same_name_replaces_the_first() {
    let mut credentials = Credentials::default();
    credentials.add_token("a", my_token());
    credentials.add_token("a", Token { kind: "NEW".into(), ..my_token() });
    assert_eq!(credentials.tokens().map(|(_, t)| t.kind.as_str()).collect::<Vec<_>>(), ["NEW"]);
}

#[test]
fn what_is_no_token_file_is_named_so() {
    for (bytes, text) in [
        (&b""[..], "no token file: it does not begin with `HDTS`"),
        (b"HDT", "no token file: it does not begin with `HDTS`"),
        (b"HDTS", "token bytes are cut off or damaged at byte 4, in the version"),
        (b"HDTS\x02", "token file has version 2; versions 0 and 1 are known"),
        (b"HDTS\x00\x01\x05ab", "token bytes are cut off or damaged at byte 7, in the token's name"),
        (b"HDTS\x01\x05ab", "token file of version 1 does not decode"),
    ] {
        assert_eq!(Credentials::from_bytes(bytes).unwrap_err().to_string(), text);
    }
    let missing = Credentials::from_file(Path::new("/nowhere/tokens")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/tokens"));
}

#[test]
fn passwords_and_secrets_are_never_printed() {
    let mut credentials = Credentials::default();
    credentials.add_token("name", Token { password: b"s3cret".to_vec(), ..my_token() });
    credentials.add_secret("key", b"s3cret".to_vec());
    let message = TokenProto::from(&credentials.tokens[0].1);
    let printed = format!("{credentials:?} {message:?}");
    assert!(printed.contains("MY_KIND") && printed.contains("key"), "{printed}");
    for secret in ["s3cret", "115, 51"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

fn any_token() -> impl Strategy<Value = Token> {
    (any::<Vec<u8>>(), any::<Vec<u8>>(), ".*", ".*").prop_map(|(identifier, password, kind, service)| Token {
        identifier,
        password,
        kind,
        service,
    })
}

proptest! {
    #[test]
    fn any_credentials_survive_a_file(tokens: Vec<(String, u8)>, token in any_token(), secrets: BTreeMap<String, Vec<u8>>) {
        let mut credentials = Credentials { secrets, ..Credentials::default() };
        for (alias, n) in tokens {
            credentials.add_token(alias, Token { kind: n.to_string(), ..token.clone() });
        }
        prop_assert_eq!(Credentials::from_bytes(&credentials.to_bytes()).unwrap(), credentials);
    }

    #[test]
    fn any_token_survives_its_text(token in any_token()) {
        prop_assert_eq!(Token::from_url_string(&token.to_url_string()).unwrap(), token);
    }

    #[test]
    fn damaged_files_are_errors_or_other_files_but_never_panics(
        which in 0usize..3, at in 0usize..140, byte: u8, cut in 0usize..140
    ) {
        let mut bytes = [AM_ONLY, WRITABLE, PROTOBUF][which].to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        let _ = Credentials::from_bytes(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(version in 0u8..2, tail: Vec<u8>, text in ".*") {
        let _ = Credentials::from_bytes(&[b"HDTS", &[version][..], &tail].concat());
        let _ = Credentials::from_bytes(&tail);
        let _ = Token::from_url_string(&text);
    }
}
