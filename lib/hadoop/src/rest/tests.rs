//! The client against small HTTP servers that behave like ResourceManagers in trouble.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Reply {
    /// Closes the connection without an answer.
    HangUp,
    /// Status, one further header line or nothing, body.
    Answer(u16, String, String),
}

fn json(status: u16, body: &str) -> Reply {
    Reply::Answer(status, String::new(), body.to_owned())
}

fn not_found() -> Reply {
    json(
        404,
        r#"{"RemoteException":{"exception":"NotFoundException","message":"app with id: application_1_0001 not found"}}"#,
    )
}

fn app(state: &str) -> Reply {
    json(200, &format!(r#"{{"app":{{"id":"application_1_0001","state":"{state}"}}}}"#))
}

fn info(ha_state: &str) -> Reply {
    json(200, &format!(r#"{{"clusterInfo":{{"startedOn":1,"haState":"{ha_state}"}}}}"#))
}

/// A server that gives its replies in turn, the last one for ever, and keeps the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let reply = if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
                serve(stream, reply.unwrap(), &kept).await;
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, kept: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    let complete = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        (body.len() >= length.unwrap_or(0)).then(|| format!("{} {body}", head.lines().next().unwrap_or("")))
    };
    let request = loop {
        if let Some(request) = complete(&bytes) {
            break request;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    kept.lock().unwrap().push(request);
    if let Reply::Answer(status, header, body) = reply {
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{header}\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }
}

/// A port where nobody listens.
async fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap())
}

/// Of everything that has an answer: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(60);

fn client(addresses: &[&str]) -> ResourceManagerClient {
    client_within(LIMIT, addresses)
}

fn client_within(max_wait: Duration, addresses: &[&str]) -> ResourceManagerClient {
    let ms = Duration::from_millis;
    let rm = |(n, address): (usize, &&str)| RmAddress { id: Some(format!("rm{n}")), address: address.to_string() };
    ResourceManagerClient::new(RmOptions {
        addresses: addresses.iter().enumerate().map(rm).collect(),
        user: Some("alice & co".to_owned()),
        backoff: Backoff { first: ms(5), longest: ms(20), max_wait },
        ..RmOptions::default()
    })
    .unwrap()
}

fn id() -> crate::yarn::ApplicationId {
    "application_1_0001".parse().unwrap()
}

#[tokio::test]
async fn the_active_one_is_found_among_dead_and_standby_ones() {
    let standby = Server::start([info("STANDBY")]).await;
    let active = Server::start([info("ACTIVE"), app("RUNNING")]).await;
    let client = client(&[&nobody().await, &standby.address, &active.address]);
    assert_eq!(client.application(id()).await.unwrap().state, ApplicationState::Running);
    client.application(id()).await.unwrap();
    assert_eq!(standby.requests().len(), 1, "a known active one is asked directly");
    assert_eq!(active.requests().len(), 3);
}

#[tokio::test]
async fn a_standby_that_became_one_leads_to_the_active_one_with_the_body() {
    let active = Server::start([json(200, r#"{"state":"KILLED"}"#)]).await;
    let location = format!("Location: {}/elsewhere?x=y\r\n", active.address);
    let standby = Server::start([Reply::Answer(307, location, String::new())]).await;
    let state = client(&[&standby.address]).kill(id(), LIMIT).await.unwrap();
    assert_eq!(state, ApplicationState::Killed);
    let path = "PUT /ws/v1/cluster/apps/application_1_0001/state?user.name=alice+%26+co HTTP/1.1";
    assert_eq!(active.requests(), [format!(r#"{path} {{"state":"KILLED"}}"#)]);
}

#[tokio::test]
async fn not_found_after_an_outage_is_not_believed() {
    let server = Server::start([Reply::HangUp, not_found(), not_found(), app("ACCEPTED")]).await;
    let report = client(&[&server.address]).application(id()).await.unwrap();
    assert_eq!(report.state, ApplicationState::Accepted);
}

#[tokio::test]
async fn not_found_without_an_outage_is_believed_at_once() {
    let server = Server::start([not_found()]).await;
    let error = client(&[&server.address]).application(id()).await.unwrap_err();
    assert!(matches!(&error, RmError::NotFound { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn not_found_is_believed_when_the_recovery_time_is_over() {
    let server = Server::start([Reply::HangUp, not_found()]).await;
    let mut options = RmOptions { recovery_time: Duration::from_millis(50), ..RmOptions::default() };
    options.backoff.first = Duration::from_millis(5);
    options.addresses = vec![RmAddress { id: None, address: server.address.clone() }];
    let error = ResourceManagerClient::new(options).unwrap().application(id()).await.unwrap_err();
    assert!(matches!(&error, RmError::NotFound { .. }), "{error}");
    assert!(server.requests().len() > 2);
}

#[tokio::test]
async fn a_resource_manager_that_starts_is_waited_for() {
    let waiting = Reply::Answer(200, "Refresh: 3\r\n".to_owned(), "Can not find any active RM.".to_owned());
    let server = Server::start([Reply::HangUp, waiting, json(503, "<html>"), app("RUNNING")]).await;
    let report = client(&[&server.address]).application(id()).await.unwrap();
    assert_eq!(report.state, ApplicationState::Running);
}

#[tokio::test]
async fn when_nobody_answers_the_error_names_the_addresses_after_the_budget() {
    let address = nobody().await;
    let budget = Duration::from_secs(2);
    let begun = Instant::now();
    let error = client_within(budget, &[&address]).metrics().await.unwrap_err();
    assert!(begun.elapsed() >= budget, "the budget is used");
    assert!(matches!(&error, RmError::Unreachable { .. }) && error.is_retryable());
    assert!(error.to_string().contains(&address), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    let standby = Server::start([info("STANDBY")]).await;
    let error = client_within(budget, &[&address, &standby.address]).metrics().await.unwrap_err();
    assert!(matches!(error, RmError::Standby { .. }), "{error}");
}

#[tokio::test]
async fn refusals_are_final() {
    let refusal = json(400, r#"{"RemoteException":{"exception":"BadRequestException","message":"too much"}}"#);
    let kerberos = Reply::Answer(401, "WWW-Authenticate: Negotiate\r\n".to_owned(), String::new());
    for (reply, expected) in
        [(refusal, "BadRequestException: too much"), (kerberos, "Negotiate"), (json(200, "<html>"), "web address")]
    {
        let server = Server::start([reply]).await;
        let error = client(&[&server.address]).new_application().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(server.requests().len(), 1, "{expected}");
    }
}

#[tokio::test]
async fn a_filter_becomes_query_parameters() {
    let server =
        Server::start([json(200, r#"{"apps":{"app":[{"id":"application_1_0001","state":"FINISHED"},{"id":"?"}]}}"#)])
            .await;
    let filter = ApplicationFilter {
        user: Some("bob".to_owned()),
        states: vec![ApplicationState::Running, ApplicationState::Accepted],
        tags: vec!["a b".to_owned()],
        limit: Some(5),
        ..ApplicationFilter::default()
    };
    let found = client(&[&server.address]).applications(&filter).await.unwrap();
    assert_eq!(found.iter().map(|report| report.id.to_string()).collect::<Vec<_>>(), ["application_1_0001"]);
    let query = "user=bob&states=RUNNING%2CACCEPTED&applicationTags=a+b&limit=5&user.name=alice+%26+co";
    assert_eq!(server.requests(), [format!("GET /ws/v1/cluster/apps?{query} HTTP/1.1 ")]);
}

#[tokio::test]
async fn empty_lists_come_in_many_forms() {
    for body in ["{}", r#"{"apps":null}"#, r#"{"apps":{}}"#, r#"{"apps":{"app":[]}}"#] {
        let server = Server::start([json(200, body)]).await;
        assert!(
            client(&[&server.address]).applications(&ApplicationFilter::default()).await.unwrap().is_empty(),
            "{body}"
        );
    }
    let server = Server::start([json(200, "{}")]).await;
    let client = client(&[&server.address]);
    assert!(client.nodes().await.unwrap().is_empty());
    assert!(client.node_labels().await.unwrap().is_empty());
    assert_eq!(client.configuration_value("x").await.unwrap(), None);
    assert!(matches!(client.queues().await.unwrap_err(), RmError::Malformed { .. }));
}

#[tokio::test]
async fn killing_waits_for_the_end_and_not_for_ever() {
    let state = |state: &str| json(200, &format!(r#"{{"state":"{state}"}}"#));
    let server = Server::start([state("KILLING"), state("RUNNING"), state("KILLED")]).await;
    let killed = client(&[&server.address]).kill(id(), Duration::from_secs(60)).await.unwrap();
    assert_eq!((killed, server.requests().len()), (ApplicationState::Killed, 3));

    let server = Server::start([state("KILLING")]).await;
    let error = client(&[&server.address]).kill(id(), Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, RmError::NotEnded { .. }), "{error}");
}

#[tokio::test]
async fn attempts_are_read_with_the_reasons_that_their_list_lacks() {
    let list = r#"{"appAttempts":{"appAttempt":[{"id":2,"appAttemptId":"appattempt_1_0001_000002","appAttemptState":"RUNNING"},
        {"id":1,"appAttemptId":"appattempt_1_0001_000001","appAttemptState":"FAILED"}]}}"#;
    let one = |number: u32, state: &str, diagnostics: &str| {
        let id = format!("appattempt_1_0001_{number:06}");
        json(
            200,
            &format!(
                r#"{{"appAttemptId":"{id}","rpcPort":"-1","diagnosticsInfo":"{diagnostics}","appAttemptState":"{state}"}}"#
            ),
        )
    };
    let server =
        Server::start([info("ACTIVE"), json(200, list), one(2, "RUNNING", ""), one(1, "FAILED", "killed")]).await;
    let attempts = client(&[&server.address, &nobody().await]).attempts(id()).await.unwrap();
    let seen: Vec<_> = attempts.iter().map(|a| (a.number, a.state.as_str(), a.diagnostics.as_str())).collect();
    assert_eq!(seen, [(1, "FAILED", "killed"), (2, "RUNNING", "")]);
}
