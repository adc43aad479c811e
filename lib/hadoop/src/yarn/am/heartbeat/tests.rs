//! Conversations with the ResourceManager, without one.

use super::*;
use crate::yarn::{ApplicationAttemptId, ContainerState, NodeId};

fn attempt() -> ApplicationAttemptId {
    "appattempt_1795228637142_0003_000001".parse().unwrap()
}

fn id(number: i64) -> ContainerId {
    ContainerId { attempt: attempt(), id: number }
}

pub(super) fn ask(allocation_request_id: i64, memory_mb: u64, count: u32) -> ContainerAsk {
    ContainerAsk {
        allocation_request_id,
        priority: 1,
        capability: Resource::new(memory_mb, 1),
        count,
        node_label: None,
    }
}

fn asking(asks: impl IntoIterator<Item = ContainerAsk>) -> AllocateRequest {
    AllocateRequest { asks: asks.into_iter().collect(), ..AllocateRequest::default() }
}

pub(super) fn given(allocation_request_id: i64, number: i64) -> Container {
    Container {
        id: id(number),
        node: NodeId { host: "n".into(), port: 1 },
        node_http_address: String::new(),
        resource: Resource::new(1024, 1),
        priority: 1,
        token: None,
        allocation_request_id,
    }
}

fn ended(number: i64) -> ContainerStatus {
    ContainerStatus { id: id(number), state: ContainerState::Complete, exit_code: 0, diagnostics: String::new() }
}

/// The rows of the next request: id, memory, number.
fn rows(heartbeat: &mut Heartbeat) -> Vec<(i64, i64, i32)> {
    let request = heartbeat.request();
    let row = |row: &ResourceRequestProto| {
        let memory = row.capability.as_ref().unwrap().memory.unwrap();
        (row.allocation_request_id.unwrap(), memory, row.num_containers.unwrap())
    };
    request.ask.iter().map(row).collect()
}

#[test]
fn only_changes_are_sent() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&asking([ask(0, 512, 2), ask(1, 1024, 1)]));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 2), (1, 1024, 1)]);
    heartbeat.answered(1, &[], &[]);
    heartbeat.note(&asking([ask(0, 512, 2)]));
    assert_eq!(rows(&mut heartbeat), []);
    heartbeat.answered(2, &[], &[]);
    heartbeat.note(&asking([ask(0, 512, 0)]));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 0)]);
    assert_eq!(heartbeat.request().response_id, Some(2));
}

#[test]
fn an_unanswered_request_is_repeated_as_it_was() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&AllocateRequest { progress: 0.25, releases: vec![id(7)], ..asking([ask(0, 512, 2)]) });
    let first = heartbeat.request();
    heartbeat.note(&AllocateRequest { progress: 0.5, releases: vec![id(8)], ..asking([ask(0, 512, 5)]) });
    assert_eq!(heartbeat.request(), first);
    heartbeat.answered(1, &[], &[]);
    let second = heartbeat.request();
    assert_eq!((second.response_id, second.progress), (Some(1), Some(0.5)));
    assert_eq!(second.release, [id(8).into()]);
    assert_eq!(second.ask[0].num_containers, Some(5));
}

#[test]
fn containers_that_come_are_counted_down_on_both_sides() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&asking([ask(0, 512, 2)]));
    rows(&mut heartbeat);
    heartbeat.answered(1, &[], &[]);
    rows(&mut heartbeat);
    heartbeat.answered(2, &[given(0, 2)], &[]);
    // the ResourceManager has counted down itself
    assert_eq!(rows(&mut heartbeat), []);
    heartbeat.answered(3, &[given(0, 3), given(0, 4), given(9, 5)], &[]);
    heartbeat.reset();
    assert_eq!(rows(&mut heartbeat), [], "everything wanted has come");
}

#[test]
fn a_container_that_crosses_a_new_number_corrects_it() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&asking([ask(0, 512, 2)]));
    rows(&mut heartbeat);
    heartbeat.answered(1, &[], &[]);
    heartbeat.note(&asking([ask(0, 512, 3)]));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 3)]);
    heartbeat.answered(2, &[given(0, 2)], &[]);
    assert_eq!(rows(&mut heartbeat), [(0, 512, 2)]);
    heartbeat.answered(3, &[], &[]);
    assert_eq!(rows(&mut heartbeat), []);
}

#[test]
fn a_wish_that_changes_its_form_is_withdrawn_in_the_old_one_first() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&asking([ask(0, 2048, 2)]));
    rows(&mut heartbeat);
    heartbeat.answered(1, &[], &[]);
    heartbeat.note(&asking([ask(0, 1024, 3)]));
    assert_eq!(rows(&mut heartbeat), [(0, 2048, 0), (0, 1024, 3)]);
}

#[test]
fn after_a_new_registration_all_that_is_open_is_said_again() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&AllocateRequest {
        releases: vec![id(2), id(3)],
        blacklist_additions: vec!["a".into(), "b".into()],
        ..asking([ask(0, 512, 3), ask(1, 512, 1)])
    });
    heartbeat.request();
    heartbeat.answered(1, &[given(0, 9), given(1, 10)], &[ended(2)]);
    heartbeat.note(&AllocateRequest { blacklist_removals: vec!["a".into()], ..AllocateRequest::default() });
    heartbeat.request();
    heartbeat.reset();
    let request = heartbeat.request();
    assert_eq!(request.response_id, Some(0));
    assert_eq!(request.release, [id(3).into()], "the end of the other one was reported");
    let blacklist = request.blacklist_request.clone().unwrap();
    assert_eq!((blacklist.blacklist_additions, blacklist.blacklist_removals), (vec!["b".into()], vec![]));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 2)]);
}

#[test]
fn refused_asks_are_forgotten_and_the_rest_is_sent_again() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&asking([ask(0, 512, 2)]));
    heartbeat.request();
    heartbeat.answered(1, &[], &[]);
    heartbeat.note(&AllocateRequest {
        releases: vec![id(5)],
        blacklist_additions: vec!["h".into()],
        tracking_url: Some("http://h".into()),
        ..asking([ask(0, 999_999, 1), ask(1, 512, 1)])
    });
    heartbeat.request();
    let refused = heartbeat.asks_refused();
    assert_eq!(refused, [ask(0, 512, 0), ask(0, 999_999, 1), ask(1, 512, 1)]);
    let request = heartbeat.request();
    assert_eq!((request.response_id, request.ask.len()), (Some(1), 0));
    assert_eq!(request.release, [id(5).into()]);
    assert_eq!(request.blacklist_request.unwrap().blacklist_additions, ["h"]);
    assert_eq!(request.tracking_url.as_deref(), Some("http://h"));
    // what the ResourceManager knew before is still in force, and known here
    heartbeat.reset();
    assert_eq!(rows(&mut heartbeat), [(0, 512, 2)]);
}

#[test]
fn refused_releases_and_hosts_are_forgotten_and_the_rest_is_sent_again() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&AllocateRequest {
        releases: vec![id(5)],
        blacklist_additions: vec!["*".into()],
        ..asking([ask(0, 512, 2)])
    });
    heartbeat.request();
    assert_eq!(heartbeat.releases_refused(), [id(5)]);
    heartbeat.request();
    heartbeat.blacklist_refused();
    let request = heartbeat.request();
    assert_eq!((request.release.len(), request.blacklist_request), (0, None));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 2)]);
}

#[test]
fn a_request_refused_as_a_whole_goes_out_again_with_what_is_new() {
    let mut heartbeat = Heartbeat::default();
    heartbeat.note(&AllocateRequest { releases: vec![id(5)], ..asking([ask(0, 512, 2)]) });
    heartbeat.request();
    heartbeat.refused();
    heartbeat.note(&asking([ask(0, 512, 4), ask(1, 512, 1)]));
    assert_eq!(rows(&mut heartbeat), [(0, 512, 4), (1, 512, 1)]);
    assert_eq!(heartbeat.request().release, [id(5).into()]);
}

#[test]
fn progress_stays_between_nought_and_one() {
    for (progress, sent) in [(0.5, 0.5), (-1.0, 0.0), (7.0, 1.0), (f32::NAN, 0.0)] {
        let mut heartbeat = Heartbeat::default();
        heartbeat.note(&AllocateRequest { progress, ..AllocateRequest::default() });
        assert_eq!(heartbeat.request().progress, Some(sent));
    }
}
