//! The whole client against scripted ResourceManagers.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::rpc::test_server::{Reply, TestServer};
use crate::token::Token;
use crate::yarn::messages::{
    AllocateRequestProto, AllocateResponseProto, ContainerProto, FinishApplicationMasterResponseProto, NmTokenProto,
    NodeIdProto, RegisterApplicationMasterRequestProto, RegisterApplicationMasterResponseProto,
};
use crate::yarn::{NodeId, NodeState};

const NOT_REGISTERED: &str = "org.apache.hadoop.yarn.exceptions.ApplicationMasterNotRegisteredException";

fn token(name: &str) -> Token {
    let kind = crate::token::AM_RM_TOKEN.to_owned();
    Token { identifier: name.as_bytes().to_vec(), password: vec![7; 20], kind, service: String::new() }
}

/// Of everything that has an answer: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> AmOptions {
    let ms = Duration::from_millis;
    AmOptions {
        rpc: RpcOptions { connect_timeout: LIMIT, call_timeout: LIMIT, ..RpcOptions::default() },
        backoff: Backoff { first: ms(1), longest: ms(5), max_wait: LIMIT },
        finish: FinishOptions { interval: ms(1), max_wait: LIMIT },
    }
}

fn introduction() -> RegistrationRequest {
    RegistrationRequest { host: "here".into(), rpc_port: Some(6123), tracking_url: "http://here:8081".into() }
}

fn asking(count: u32) -> AllocateRequest {
    let capability = Resource::new(1024, 1);
    let ask = ContainerAsk { allocation_request_id: 3, priority: 1, capability, count, node_label: None };
    AllocateRequest { asks: vec![ask], ..AllocateRequest::default() }
}

fn container_id(number: i64) -> ContainerId {
    ContainerId { attempt: "appattempt_1795228637142_0003_000001".parse().unwrap(), id: number }
}

fn node() -> NodeId {
    NodeId { host: "node1".into(), port: 8041 }
}

fn container(number: i64) -> ContainerProto {
    ContainerProto {
        id: Some(container_id(number).into()),
        node_id: Some((&node()).into()),
        allocation_request_id: Some(3),
        ..ContainerProto::default()
    }
}

fn nm_token(name: &str) -> NmTokenProto {
    NmTokenProto { node_id: Some((&node()).into()), token: Some((&token(name)).into()) }
}

fn answer(response_id: i32) -> AllocateResponseProto {
    AllocateResponseProto { response_id: Some(response_id), ..AllocateResponseProto::default() }
}

fn registered() -> Reply {
    Reply::answer(&RegisterApplicationMasterResponseProto { queue: Some("root.default".into()), ..Default::default() })
}

/// Calls that a ResourceManager got: method and argument.
type Calls = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

fn methods(calls: &Calls) -> Vec<String> {
    calls.lock().unwrap().iter().map(|(method, _)| method.clone()).collect()
}

fn allocate_requests(calls: &Calls) -> Vec<AllocateRequestProto> {
    let calls = calls.lock().unwrap();
    let arguments = calls.iter().filter(|(method, _)| method == "allocate").map(|(_, argument)| argument.as_slice());
    arguments.map(|argument| AllocateRequestProto::decode(argument).unwrap()).collect()
}

/// A ResourceManager that gives these replies in turn.
async fn manager(replies: Vec<Reply>) -> (TestServer, Calls) {
    let calls = Calls::default();
    let (recorded, mut replies) = (calls.clone(), replies.into_iter());
    let server = TestServer::start("auth-int", vec![token("first")], move |method, argument| {
        recorded.lock().unwrap().push((method.to_owned(), argument.to_vec()));
        replies.next().unwrap_or(Reply::Close)
    })
    .await;
    (server, calls)
}

fn client(servers: &[&TestServer]) -> ApplicationMasterClient {
    let addresses = servers.iter().map(|server| server.address.to_string()).collect();
    ApplicationMasterClient::new(addresses, token("first"), options()).unwrap()
}

#[tokio::test]
async fn a_registration_brings_the_containers_and_node_tokens_of_earlier_attempts() {
    let reply = RegisterApplicationMasterResponseProto {
        queue: Some("root.default".into()),
        containers_from_previous_attempts: vec![container(2)],
        nm_tokens_from_previous_attempts: vec![nm_token("node token")],
        ..Default::default()
    };
    let (server, calls) = manager(vec![Reply::answer(&reply)]).await;
    let mut client = client(&[&server]);
    let registration = client.register(&introduction()).await.unwrap();
    assert_eq!((registration.queue.as_str(), registration.already_registered), ("root.default", false));
    assert_eq!(registration.containers_from_previous_attempts[0].id, container_id(2));
    assert_eq!(client.nm_token(&node()), Some(&token("node token")));
    assert_eq!(client.nm_token(&NodeId { port: 1, ..node() }), None);
    let sent = RegisterApplicationMasterRequestProto::decode(calls.lock().unwrap()[0].1.as_slice()).unwrap();
    assert_eq!(
        (sent.host.as_deref(), sent.rpc_port, sent.tracking_url.as_deref()),
        (Some("here"), Some(6123), Some("http://here:8081"))
    );
}

#[tokio::test]
async fn a_heartbeat_before_registration_is_refused_here() {
    let (server, calls) = manager(vec![]).await;
    let mut client = client(&[&server]);
    assert!(matches!(client.allocate(&asking(1)).await, Err(AmError::NotRegistered)));
    assert!(matches!(client.finish(FinalStatus::Failed, "", "").await, Err(AmError::NotRegistered)));
    assert!(methods(&calls).is_empty());
    assert!(matches!(ApplicationMasterClient::new(vec![], token("x"), options()), Err(AmError::NoAddress)));
}

#[tokio::test]
async fn a_lost_answer_is_fetched_with_the_very_same_request() {
    let given =
        AllocateResponseProto { allocated_containers: vec![container(2)], nm_tokens: vec![nm_token("n")], ..answer(1) };
    let (server, calls) =
        manager(vec![registered(), Reply::Close, Reply::answer(&given), Reply::answer(&answer(2))]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    let response = client.allocate(&asking(2)).await.unwrap();
    assert_eq!(response.allocated[0].id, container_id(2));
    assert!(!response.reregistered);
    assert_eq!(client.nm_token(&node()), Some(&token("n")));
    client.allocate(&AllocateRequest::default()).await.unwrap();
    let requests = allocate_requests(&calls);
    assert_eq!(requests[0], requests[1]);
    assert_eq!(requests.iter().map(|r| r.response_id.unwrap()).collect::<Vec<_>>(), [0, 0, 1]);
}

/// Polls a future that does not end until something else is true, then drops it.
async fn drop_when<F: Future>(future: F, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = future => panic!("it ended"),
        () = reached => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the condition is not reached"),
    }
}

#[tokio::test]
async fn a_dropped_heartbeat_is_repeated_by_the_next_one() {
    let (server, calls) = manager(vec![registered(), Reply::Hang, Reply::answer(&answer(1))]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    let request = asking(2);
    drop_when(client.allocate(&request), || methods(&calls).len() == 2).await;
    client.allocate(&AllocateRequest::default()).await.unwrap();
    let requests = allocate_requests(&calls);
    assert_eq!(requests[0], requests[1]);
}

#[tokio::test]
async fn a_forgotten_attempt_registers_again_and_repeats_what_is_open() {
    let recovered = RegisterApplicationMasterResponseProto {
        containers_from_previous_attempts: vec![container(2)],
        nm_tokens_from_previous_attempts: vec![nm_token("newer")],
        ..Default::default()
    };
    let given = AllocateResponseProto { allocated_containers: vec![container(2)], ..answer(1) };
    let (server, calls) = manager(vec![
        registered(),
        Reply::answer(&given),
        Reply::exception(NOT_REGISTERED, "AM is not registered"),
        Reply::answer(&recovered),
        Reply::answer(&answer(1)),
    ])
    .await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    let first = AllocateRequest { blacklist_additions: vec!["bad".into()], ..asking(3) };
    client.allocate(&first).await.unwrap();
    let second = AllocateRequest { tracking_url: Some("http://new".into()), ..AllocateRequest::default() };
    let response = client.allocate(&second).await.unwrap();
    assert!(response.reregistered);
    assert_eq!(response.containers_from_previous_attempts[0].id, container_id(2));
    assert_eq!(client.nm_token(&node()), Some(&token("newer")));
    let expected = ["registerApplicationMaster", "allocate", "allocate", "registerApplicationMaster", "allocate"];
    assert_eq!(methods(&calls), expected);
    let repeated = RegisterApplicationMasterRequestProto::decode(calls.lock().unwrap()[3].1.as_slice()).unwrap();
    assert_eq!(repeated.tracking_url.as_deref(), Some("http://new"));
    let last = allocate_requests(&calls).pop().unwrap();
    assert_eq!((last.response_id, last.ask[0].num_containers), (Some(0), Some(2)));
    assert_eq!(last.blacklist_request.unwrap().blacklist_additions, ["bad"]);
}

#[tokio::test]
async fn a_new_registration_that_was_dropped_halfway_is_made_up_for() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidApplicationMasterRequestException";
    let already = Reply::exception(class, "Application Master is already registered : application_1_0001");
    let (server, calls) = manager(vec![
        registered(),
        Reply::answer(&answer(1)),
        Reply::exception(NOT_REGISTERED, "who?"),
        Reply::Hang,
        already,
        Reply::answer(&answer(1)),
    ])
    .await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    client.allocate(&asking(2)).await.unwrap();
    drop_when(client.allocate(&asking(2)), || methods(&calls).len() == 4).await;
    assert!(client.allocate(&asking(2)).await.unwrap().reregistered);
    let last = allocate_requests(&calls).pop().unwrap();
    assert_eq!((last.response_id, last.ask[0].num_containers), (Some(0), Some(2)));
}

#[tokio::test]
async fn an_error_right_after_a_new_registration_does_not_hide_it() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidResourceRequestException";
    let (server, _) = manager(vec![
        registered(),
        Reply::exception(NOT_REGISTERED, "who?"),
        registered(),
        Reply::exception(class, "too much memory"),
        Reply::answer(&answer(1)),
        Reply::answer(&answer(2)),
    ])
    .await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    assert!(matches!(client.allocate(&asking(1)).await, Err(AmError::BadAsk { .. })));
    assert!(client.allocate(&AllocateRequest::default()).await.unwrap().reregistered);
    assert!(!client.allocate(&AllocateRequest::default()).await.unwrap().reregistered);
}

#[tokio::test]
async fn the_command_to_resync_registers_again_too_and_the_one_to_shut_down_ends_the_attempt() {
    let command = |command| Reply::answer(&AllocateResponseProto { a_m_command: Some(command), ..answer(1) });
    let (server, calls) =
        manager(vec![registered(), command(1), registered(), Reply::answer(&answer(1)), command(2)]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    assert!(client.allocate(&asking(1)).await.unwrap().reregistered);
    assert_eq!(methods(&calls).len(), 4);
    assert!(matches!(client.allocate(&asking(1)).await, Err(AmError::AttemptOver { .. })));
}

#[tokio::test]
async fn a_manager_that_always_forgets_is_given_up() {
    let mut replies = vec![registered()];
    for _ in 0..4 {
        replies.extend([Reply::exception(NOT_REGISTERED, "who?"), registered()]);
    }
    let (server, _) = manager(replies).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    assert!(matches!(client.allocate(&asking(1)).await, Err(AmError::Forgotten { times: 3 })));
}

#[tokio::test]
async fn a_renewed_token_is_used_for_a_new_connection_at_once() {
    let renewed = AllocateResponseProto { am_rm_token: Some((&token("second")).into()), ..answer(1) };
    let again = AllocateResponseProto { response_id: Some(2), ..renewed.clone() };
    let (server, _) =
        manager(vec![registered(), Reply::answer(&renewed), Reply::answer(&again), Reply::answer(&answer(3))]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    client.allocate(&AllocateRequest::default()).await.unwrap();
    server.set_tokens(vec![token("second")]);
    client.allocate(&AllocateRequest::default()).await.unwrap();
    client.allocate(&AllocateRequest::default()).await.unwrap();
    assert_eq!(server.logins(), [b"first".to_vec(), b"second".to_vec()], "one connection for each token");
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_means_that_the_attempt_is_over() {
    let (server, _) = manager(vec![registered(), Reply::Close]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    server.set_tokens(vec![]);
    let error = client.allocate(&asking(1)).await.unwrap_err();
    assert!(matches!(&error, AmError::AttemptOver { .. }), "{error}");
    assert!(error.to_string().contains("Invalid AMRMToken"), "{error}");
}

#[tokio::test]
async fn a_standby_or_dead_manager_is_left_for_the_next_one() {
    let standby = Reply::exception("org.apache.hadoop.ipc.StandbyException", "not active");
    let (first, _) = manager(vec![standby]).await;
    let (second, calls) = manager(vec![registered(), Reply::answer(&answer(1))]).await;
    let mut client = client(&[&first, &second]);
    client.register(&introduction()).await.unwrap();
    drop(first);
    client.allocate(&asking(1)).await.unwrap();
    assert_eq!(methods(&calls), ["registerApplicationMaster", "allocate"]);
}

#[tokio::test]
async fn without_any_manager_it_gives_up_when_the_time_is_up() {
    let (server, _) = manager(vec![]).await;
    let address = server.address.to_string();
    drop(server);
    let mut options = options();
    options.backoff.max_wait = Duration::from_secs(2);
    let mut client = ApplicationMasterClient::new(vec![address], token("first"), options).unwrap();
    let error = client.register(&introduction()).await.unwrap_err();
    assert!(matches!(error, AmError::Unreachable { attempts: 2.., .. }), "{error}");
}

#[tokio::test]
async fn a_bad_ask_is_handed_back_and_the_next_heartbeat_works() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidResourceRequestException";
    let (server, calls) =
        manager(vec![registered(), Reply::exception(class, "too much memory"), Reply::answer(&answer(1))]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    let request = AllocateRequest { releases: vec![container_id(9)], ..asking(1) };
    let error = client.allocate(&request).await.unwrap_err();
    let AmError::BadAsk { asks, message, .. } = error else { panic!("{error}") };
    assert_eq!((asks, message.as_str()), (request.asks.clone(), "too much memory"));
    client.allocate(&AllocateRequest::default()).await.unwrap();
    let last = allocate_requests(&calls).pop().unwrap();
    assert_eq!((last.ask.len(), last.release.len(), last.response_id), (0, 1, Some(0)));
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_counts() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidApplicationMasterRequestException";
    let already = Reply::exception(class, "Application Master is already registered : application_1_0001");
    let (server, _) = manager(vec![Reply::Close, already, Reply::answer(&answer(1))]).await;
    let mut client = client(&[&server]);
    assert!(client.register(&introduction()).await.unwrap().already_registered);
    client.allocate(&asking(1)).await.unwrap();
}

#[tokio::test]
async fn a_second_introduction_to_the_same_manager_does_not_break_off_the_conversation() {
    let class = "org.apache.hadoop.yarn.exceptions.InvalidApplicationMasterRequestException";
    let already = Reply::exception(class, "Application Master is already registered : application_1_0001");
    let (server, calls) =
        manager(vec![registered(), Reply::answer(&answer(1)), already, Reply::answer(&answer(2))]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    client.allocate(&asking(1)).await.unwrap();
    client.register(&introduction()).await.unwrap();
    client.allocate(&asking(1)).await.unwrap();
    let last = allocate_requests(&calls).pop().unwrap();
    assert_eq!((last.response_id, last.ask.len()), (Some(1), 0));
}

#[tokio::test]
async fn finishing_is_repeated_until_it_is_confirmed() {
    let done = |done| Reply::answer(&FinishApplicationMasterResponseProto { is_unregistered: Some(done) });
    let forgotten = Reply::exception(NOT_REGISTERED, "who?");
    let (server, calls) =
        manager(vec![registered(), done(false), forgotten, registered(), done(false), done(true)]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    client.finish(FinalStatus::Succeeded, "all done", "").await.unwrap();
    assert_eq!(methods(&calls).len(), 6);
}

#[tokio::test]
async fn finishing_that_is_never_confirmed_ends_with_its_time() {
    let done = || Reply::answer(&FinishApplicationMasterResponseProto { is_unregistered: Some(false) });
    let replies = std::iter::once(registered()).chain(std::iter::repeat_with(done).take(1000)).collect();
    let (server, _) = manager(replies).await;
    let mut options = options();
    options.finish.max_wait = Duration::from_millis(20);
    let mut client = ApplicationMasterClient::new(vec![server.address.to_string()], token("first"), options).unwrap();
    client.register(&introduction()).await.unwrap();
    let error = client.finish(FinalStatus::Failed, "", "").await.unwrap_err();
    assert!(matches!(error, AmError::FinishUnconfirmed { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_its_number_is_incomplete_and_fetched_again() {
    let whole = AllocateResponseProto { allocated_containers: vec![container(2)], ..answer(1) };
    let without_node = ContainerProto { node_id: Some(NodeIdProto::default()), ..container(2) };
    let partial = AllocateResponseProto { allocated_containers: vec![without_node], ..answer(1) };
    let (server, calls) =
        manager(vec![registered(), Reply::Answer(vec![]), Reply::answer(&partial), Reply::answer(&whole)]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    for _ in 0..2 {
        let error = client.allocate(&asking(1)).await.unwrap_err();
        assert!(matches!(error, AmError::Incomplete { method: "allocate", .. }), "{error}");
    }
    assert_eq!(client.allocate(&asking(1)).await.unwrap().allocated.len(), 1);
    let requests = allocate_requests(&calls);
    assert!(requests.iter().all(|request| *request == requests[0]));
}

#[tokio::test]
async fn nodes_headroom_and_preemption_are_passed_on() {
    use crate::yarn::messages::*;
    let row = ResourceRequestProto {
        capability: Some((&Resource::new(512, 1)).into()),
        num_containers: Some(2),
        ..Default::default()
    };
    let contract = PreemptionContractProto {
        resource: vec![PreemptionResourceRequestProto { resource: Some(row) }],
        container: vec![PreemptionContainerProto { id: Some(container_id(4).into()) }],
    };
    let strict = StrictPreemptionContractProto {
        container: vec![PreemptionContainerProto { id: Some(container_id(5).into()) }],
    };
    let report = NodeReportProto { node_id: Some((&node()).into()), node_state: Some(5), health_report: None };
    let reply = AllocateResponseProto {
        limit: Some((&Resource::new(4096, 4)).into()),
        updated_nodes: vec![report],
        num_cluster_nodes: Some(3),
        preempt: Some(PreemptionMessageProto { strict_contract: Some(strict), contract: Some(contract) }),
        ..answer(1)
    };
    let (server, _) = manager(vec![registered(), Reply::answer(&reply)]).await;
    let mut client = client(&[&server]);
    client.register(&introduction()).await.unwrap();
    let response = client.allocate(&AllocateRequest::default()).await.unwrap();
    assert_eq!((response.headroom, response.cluster_nodes), (Some(Resource::new(4096, 4)), 3));
    assert_eq!((response.updated_nodes[0].state, &response.updated_nodes[0].node), (NodeState::Gone, &node()));
    let preemption = response.preemption.unwrap();
    assert_eq!((preemption.strict, preemption.candidates), (vec![container_id(5)], vec![container_id(4)]));
    assert_eq!(preemption.wanted, [(Resource::new(512, 1), 2)]);
}

/// An answer with something in every field.
fn full_answer() -> AllocateResponseProto {
    use crate::yarn::messages::{
        ContainerStatusProto, NodeReportProto, PreemptionContainerProto, PreemptionMessageProto,
    };
    let end = ContainerStatusProto {
        container_id: Some(container_id(3).into()),
        state: Some(3),
        diagnostics: Some("it ended".into()),
        exit_status: Some(-100),
    };
    let mut preemption = PreemptionMessageProto::default();
    preemption.strict_contract.get_or_insert_default().container =
        vec![PreemptionContainerProto { id: Some(container_id(5).into()) }];
    AllocateResponseProto {
        allocated_containers: vec![container(2)],
        completed_container_statuses: vec![end],
        containers_from_previous_attempts: vec![container(4)],
        limit: Some((&Resource::new(4096, 4)).into()),
        updated_nodes: vec![NodeReportProto { node_id: Some((&node()).into()), ..Default::default() }],
        preempt: Some(preemption),
        nm_tokens: vec![nm_token("n")],
        am_rm_token: Some((&token("second")).into()),
        ..answer(1)
    }
}

proptest! {
    #[test]
    fn damaged_answers_are_errors_or_other_answers_but_never_panics(at: usize, byte: u8, cut: usize) {
        let mut bytes = full_answer().encode_to_vec();
        prop_assert!(super::answer::heartbeat(full_answer()).is_ok());
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % 8);
        let _ = AllocateResponseProto::decode(bytes.as_slice()).map(super::answer::heartbeat);
        let _ = RegisterApplicationMasterResponseProto::decode(bytes.as_slice()).map(super::answer::registration);
    }
}
