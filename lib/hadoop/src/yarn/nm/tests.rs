//! Starts and stops against a scripted NodeManager.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::messages::{ContainerStatusProto, SerializedExceptionProto};
use super::super::{ContainerState, Resource};
use super::*;
use crate::rpc::test_server::{Reply, TestServer};

fn token() -> Token {
    Token { identifier: b"nm".to_vec(), password: vec![4; 20], kind: "NMToken".into(), service: String::new() }
}

fn id() -> ContainerId {
    "container_1795228637142_0003_01_000002".parse().unwrap()
}

/// Of everything that has an answer: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> NmOptions {
    let ms = Duration::from_millis;
    let rpc = RpcOptions { connect_timeout: LIMIT, call_timeout: LIMIT, ..RpcOptions::default() };
    NmOptions { rpc, backoff: Backoff { first: ms(1), longest: ms(5), max_wait: LIMIT } }
}

fn container(node: &NodeId) -> Container {
    Container {
        id: id(),
        node: node.clone(),
        node_http_address: String::new(),
        resource: Resource::new(1024, 1),
        priority: 0,
        token: Some(Token { kind: "ContainerToken".into(), ..token() }),
        allocation_request_id: 0,
    }
}

fn context() -> LaunchContext {
    LaunchContext::new().command(["true"]).unwrap()
}

fn ok() -> Reply {
    Reply::answer(&StartContainersResponseProto { succeeded_requests: vec![id().into()], failed_requests: vec![] })
}

fn failed(class: &str, message: &str) -> Vec<ContainerExceptionMapProto> {
    let exception = SerializedExceptionProto { message: Some(message.into()), class_name: Some(class.into()) };
    vec![ContainerExceptionMapProto { container_id: Some(id().into()), exception: Some(exception) }]
}

fn running() -> Reply {
    let status = ContainerStatusProto { container_id: Some(id().into()), state: Some(2), ..Default::default() };
    Reply::answer(&GetContainerStatusesResponseProto { status: vec![status], failed_requests: vec![] })
}

fn unknown() -> Reply {
    let failed_requests = failed("org.apache.hadoop.yarn.exceptions.YarnException", "not handled by this NodeManager");
    Reply::answer(&GetContainerStatusesResponseProto { status: vec![], failed_requests })
}

/// A NodeManager that gives these replies in turn, and the methods that were called.
async fn node(replies: Vec<Reply>) -> (TestServer, NodeManagerClient, Arc<Mutex<Vec<String>>>) {
    let called = Arc::new(Mutex::new(Vec::new()));
    let (calls, mut replies) = (called.clone(), replies.into_iter());
    let server = TestServer::start("auth", vec![token()], move |method, _| {
        calls.lock().unwrap().push(method.to_owned());
        replies.next().unwrap()
    })
    .await;
    let node = NodeId { host: "127.0.0.1".into(), port: server.address.port() };
    (server, NodeManagerClient::new(node, token(), options()), called)
}

#[tokio::test]
async fn a_container_is_started_asked_after_and_stopped() {
    let (_server, mut client, called) = node(vec![ok(), running(), Reply::Answer(vec![])]).await;
    let container = container(client.node());
    client.start_container(&context(), &container).await.unwrap();
    assert_eq!(client.status(id()).await.unwrap().state, ContainerState::Running);
    client.stop_container(id()).await.unwrap();
    assert_eq!(*called.lock().unwrap(), ["startContainers", "getContainerStatuses", "stopContainers"]);
}

#[tokio::test]
async fn after_a_lost_answer_the_node_is_asked_before_a_second_start() {
    for (replies, calls) in [
        (vec![Reply::Close, running()], &["startContainers", "getContainerStatuses"][..]),
        (vec![Reply::Close, unknown(), ok()], &["startContainers", "getContainerStatuses", "startContainers"]),
        (
            vec![Reply::Close, Reply::Close, running()],
            &["startContainers", "getContainerStatuses", "getContainerStatuses"],
        ),
    ] {
        let (_server, mut client, called) = node(replies).await;
        let container = container(client.node());
        client.start_container(&context(), &container).await.unwrap();
        assert_eq!(*called.lock().unwrap(), calls);
    }
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_tried_again() {
    let refused = failed("org.apache.hadoop.yarn.exceptions.NMNotYetReadyException", "later");
    let in_answer =
        Reply::answer(&StartContainersResponseProto { succeeded_requests: vec![], failed_requests: refused });
    let as_exception = Reply::exception("org.apache.hadoop.yarn.exceptions.NMNotYetReadyException", "later");
    let (_server, mut client, called) = node(vec![in_answer, as_exception, ok()]).await;
    let container = container(client.node());
    client.start_container(&context(), &container).await.unwrap();
    assert_eq!(called.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_refused_container_is_told_with_the_nodes_reason() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidContainerException";
    let in_answer =
        StartContainersResponseProto { succeeded_requests: vec![], failed_requests: failed(class, "expired") };
    for reply in [Reply::answer(&in_answer), Reply::exception("org.A$InvalidContainerException", "expired")] {
        let (_server, mut client, _) = node(vec![reply]).await;
        let container = container(client.node());
        let error = client.start_container(&context(), &container).await.unwrap_err();
        let text = format!("NodeManager {} refused {}: InvalidContainerException: expired", client.node(), id());
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_token_that_the_node_does_not_take_can_be_replaced() {
    let (server, mut client, _) = node(vec![ok()]).await;
    let newer = Token { identifier: b"newer".to_vec(), ..token() };
    server.set_tokens(vec![newer.clone()]);
    let container = container(client.node());
    let error = client.start_container(&context(), &container).await.unwrap_err();
    assert!(matches!(error, NmError::TokenRefused { .. }), "{error}");
    client.set_token(newer);
    client.start_container(&context(), &container).await.unwrap();
}

#[tokio::test]
async fn a_container_that_the_node_does_not_know_is_unknown_or_stopped() {
    let gone = StopContainersResponseProto { succeeded_requests: vec![], failed_requests: failed("org.A", "unknown") };
    let (_server, mut client, _) = node(vec![unknown(), Reply::answer(&gone)]).await;
    let error = client.status(id()).await.unwrap_err();
    assert!(matches!(error, NmError::UnknownContainer { .. }), "{error}");
    client.stop_container(id()).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_gone_is_unreachable_once_the_time_is_up() {
    let (server, mut client, _) = node(vec![]).await;
    drop(server);
    client.backoff.max_wait = Duration::from_secs(2);
    let error = client.stop_container(id()).await.unwrap_err();
    assert!(matches!(error, NmError::Unreachable { attempts: 2.., .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_names_nothing_is_incomplete() {
    let (_server, mut client, _) = node(vec![Reply::Answer(vec![]), Reply::Answer(vec![])]).await;
    let container = container(client.node());
    let error = client.start_container(&context(), &container).await.unwrap_err();
    assert!(matches!(error, NmError::Incomplete { method: "startContainers", .. }), "{error}");
    let error = client.status(id()).await.unwrap_err();
    assert!(matches!(error, NmError::Incomplete { method: "getContainerStatuses", .. }), "{error}");
}

proptest! {
    #[test]
    fn no_answer_makes_the_readers_panic(bytes: Vec<u8>) {
        if let Ok(answer) = StartContainersResponseProto::decode(bytes.as_slice()) {
            let _ = started(answer, id());
        }
        if let Ok(answer) = StopContainersResponseProto::decode(bytes.as_slice()) {
            let _ = failure(answer.failed_requests);
        }
    }
}
