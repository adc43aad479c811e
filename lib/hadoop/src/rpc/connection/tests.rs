//! Connections to a scripted server.

use std::time::Duration;

use super::super::messages::RequestHeaderProto;
use super::super::test_server::{Reply, TestServer, response};
use super::*;

const PROTOCOL: &str = "org.example.TestProtocolPB";

fn token() -> Token {
    Token { identifier: b"me".to_vec(), password: vec![1, 2, 3], kind: "K".into(), service: String::new() }
}

fn options() -> RpcOptions {
    let limit = Duration::from_secs(60);
    RpcOptions { connect_timeout: limit, call_timeout: limit, max_frame: 1 << 20 }
}

/// Any message will do as argument and answer.
fn text(method_name: &str) -> RequestHeaderProto {
    RequestHeaderProto { method_name: method_name.into(), ..Default::default() }
}

fn echo(_: &str, argument: &[u8]) -> Reply {
    Reply::Answer(argument.to_vec())
}

async fn connect(server: &TestServer, options: RpcOptions) -> Result<Connection, RpcError> {
    Connection::connect(&server.address.to_string(), PROTOCOL, &token(), options).await
}

#[tokio::test]
async fn calls_of_any_size_are_answered_under_each_protection() {
    for qop in ["auth", "auth-int", "auth-conf", "auth,auth-int,auth-conf"] {
        let server = TestServer::start(qop, vec![token()], echo).await;
        let mut connection = connect(&server, options()).await.unwrap();
        for size in [0, 1, 7, 8, 9, 1000, 200_000] {
            let sent = text(&"x".repeat(size));
            let got: RequestHeaderProto = connection.call("echo", &sent).await.unwrap();
            assert_eq!(got, sent, "{qop} {size}");
        }
    }
}

#[tokio::test]
async fn a_token_that_the_server_does_not_take_is_its_fatal_exception() {
    let other = Token { password: vec![9], ..token() };
    let server = TestServer::start("auth", vec![other], echo).await;
    let error = connect(&server, options()).await.unwrap_err();
    assert_eq!(error.remote_class(), Some("InvalidToken"));
    let RpcError::Remote { message, fatal, .. } = error else { panic!("{error}") };
    assert_eq!((message.as_str(), fatal), ("Invalid AMRMToken from appattempt_1", true));
}

#[tokio::test]
async fn a_remote_exception_leaves_the_connection_usable_unless_it_is_fatal() {
    let server = TestServer::start("auth-int", vec![token()], |method, argument| match method {
        "bad" => Reply::exception("org.A$B", "no"),
        "fatal" => Reply::Exception { class: "org.C", message: "over".into(), fatal: true },
        _ => Reply::Answer(argument.to_vec()),
    })
    .await;
    let mut connection = connect(&server, options()).await.unwrap();
    let error = connection.call::<_, RequestHeaderProto>("bad", &text("")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` refused bad: org.A$B: no", server.address));
    let _: RequestHeaderProto = connection.call("echo", &text("a")).await.unwrap();
    let error = connection.call::<_, RequestHeaderProto>("fatal", &text("")).await.unwrap_err();
    assert_eq!(error.remote_class(), Some("C"));
    let error = connection.call::<_, RequestHeaderProto>("echo", &text("")).await.unwrap_err();
    assert!(matches!(error, RpcError::Dead { .. }), "{error}");
}

#[tokio::test]
async fn a_broken_connection_is_dead() {
    let server = TestServer::start("auth", vec![token()], |_, _| Reply::Close).await;
    let mut connection = connect(&server, options()).await.unwrap();
    let error = connection.call::<_, RequestHeaderProto>("x", &text("")).await.unwrap_err();
    assert!(matches!(error, RpcError::Io { .. }) && error.is_ambiguous(), "{error}");
    assert!(!connection.is_alive());
}

#[tokio::test]
async fn an_unanswered_call_times_out_and_a_dropped_one_kills_the_connection_too() {
    let server = TestServer::start("auth", vec![token()], |_, _| Reply::Hang).await;
    let short = RpcOptions { call_timeout: Duration::from_millis(20), ..options() };
    let mut connection = connect(&server, short).await.unwrap();
    let error = connection.call::<_, RequestHeaderProto>("x", &text("")).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    assert!(!connection.is_alive());

    let mut connection = connect(&server, options()).await.unwrap();
    let request = text("");
    let abandoned = connection.call::<_, RequestHeaderProto>("x", &request);
    assert!(timeout(Duration::from_millis(20), abandoned).await.is_err());
    let error = connection.call::<_, RequestHeaderProto>("x", &text("")).await.unwrap_err();
    assert!(matches!(error, RpcError::Dead { .. }), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // listens, but never answers the handshake
    let short = RpcOptions { connect_timeout: Duration::from_millis(20), ..options() };
    let error = Connection::connect(&address, PROTOCOL, &token(), short).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    drop(listener);
    let error = Connection::connect(&address, PROTOCOL, &token(), options()).await.unwrap_err();
    assert!(matches!(&error, RpcError::Connect { .. }) && !error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn malformed_answers_are_errors_and_kill_the_connection() {
    let unknown_status = vec![0, 0, 0, 5, 4, 8, 0, 16, 9];
    let plain_answer = response(0, None, Some(b""));
    for (qop, bytes, part_of_text) in [
        ("auth", vec![0xff, 0xff, 0xff, 0xff], "longer than the limit"),
        ("auth", vec![0, 0, 0, 2, 9, 9], "the response header does not decode"),
        ("auth", response(77, None, Some(b"")), "an answer to call 77 came, not to call 0"),
        ("auth", response(0, None, Some(&[0xff])), "the result does not decode"),
        ("auth", unknown_status, "unknown response status 9"),
        ("auth-int", plain_answer.clone(), "unprotected"),
        ("auth-conf", response(0, Some(("org.A", "injected", true)), None), "unprotected"),
    ] {
        let mut reply = Some(Reply::Raw(bytes));
        let server = TestServer::start(qop, vec![token()], move |_, _| reply.take().unwrap()).await;
        let mut connection = connect(&server, options()).await.unwrap();
        let error = connection.call::<_, RequestHeaderProto>("x", &text("")).await.unwrap_err();
        let RpcError::Malformed { cause, .. } = error else { panic!("{part_of_text}: {error}") };
        assert!(cause.to_string().contains(part_of_text), "{cause}");
        assert!(!connection.is_alive());
    }
}

#[tokio::test]
async fn an_answer_cut_off_is_a_broken_connection() {
    for bytes in [vec![0, 0], vec![0, 0, 1, 0, 5]] {
        let mut reply = Some(Reply::Raw(bytes));
        let server = TestServer::start("auth", vec![token()], move |_, _| reply.take().unwrap()).await;
        let mut connection = connect(&server, options()).await.unwrap();
        let error = connection.call::<_, RequestHeaderProto>("x", &text("")).await.unwrap_err();
        assert!(matches!(error, RpcError::Io { .. }), "{error}");
    }
}
