//! The pace of heartbeats and what they tell, against a played scheduler and a clock that jumps.

use std::sync::Mutex as Notes;

use flumen_hadoop::yarn::Resource;

use super::*;
use crate::resource::testing::{container, container_id, status};

const INTERVALS: Intervals = Intervals { awaiting: Duration::from_millis(100), idle: Duration::from_secs(5) };

/// Takes down what it is told, and when; answers what is laid ready, else nothing new.
#[derive(Clone, Default)]
struct Played {
    told: Arc<Notes<Vec<(Duration, AllocateRequest)>>>,
    answers: Arc<Notes<VecDeque<Result<AllocateResponse, AmError>>>>,
    start: Option<Instant>,
    /// Nothing is answered before this time.
    away_until: Duration,
}

impl Scheduler for Played {
    async fn allocate(&mut self, request: &AllocateRequest) -> Result<AllocateResponse, AmError> {
        let at = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        self.told.lock().unwrap().push((at, request.clone()));
        if at < self.away_until {
            tokio::time::sleep(self.away_until - at).await;
        }
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| Ok(AllocateResponse::default()))
    }

    fn nm_token(&self, _node: &NodeId) -> Option<&Token> {
        None
    }
}

impl Played {
    fn yarn(&self) -> Yarn<Played> {
        Yarn::new(Self { start: Some(Instant::now()), ..self.clone() }, LaunchContext::new(), INTERVALS)
    }

    /// When the heartbeats were, in milliseconds.
    fn beats(&self) -> Vec<u128> {
        self.told.lock().unwrap().iter().map(|(at, _)| at.as_millis()).collect()
    }

    fn last(&self) -> AllocateRequest {
        self.told.lock().unwrap().last().unwrap().1.clone()
    }

    fn answers(&self, answer: Result<AllocateResponse, AmError>) {
        self.answers.lock().unwrap().push_back(answer);
    }
}

fn ask(wish: i64, count: u32) -> ContainerAsk {
    let capability = Resource::new(1024, 1);
    ContainerAsk { allocation_request_id: wish, priority: 1, capability, count, node_label: None }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_slow_when_idle_frequent_while_awaiting_and_at_once_when_there_is_something_to_tell() {
    let played = Played::default();
    let mut yarn = played.yarn();
    for _ in 0..2 {
        assert!(matches!(yarn.next().await, YarnEvent::Answered(_)));
    }
    assert_eq!(played.beats(), [5000, 10000]);
    yarn.ask(ask(0, 1));
    yarn.set_awaiting(true);
    for _ in 0..3 {
        yarn.next().await;
    }
    // The clock of tokio's tests ticks in whole milliseconds.
    let beats = &played.beats()[2..];
    assert!(
        beats[0] <= 10001 && (10100..=10102).contains(&beats[1]) && (10200..=10203).contains(&beats[2]),
        "{beats:?}"
    );
    yarn.set_awaiting(false);
    yarn.next().await;
    assert!(played.beats()[5] >= 15200, "{:?}", played.beats());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_tells_each_change_once_and_the_progress_always() {
    let played = Played::default();
    let mut yarn = played.yarn();
    yarn.ask(ask(0, 1));
    yarn.ask(ask(1, 1));
    yarn.ask(ask(0, 0));
    yarn.release(container_id(9));
    yarn.set_progress(0.5);
    yarn.next().await;
    let told = played.last();
    assert_eq!(told.asks, [ask(1, 1), ask(0, 0)], "the later row of a wish wins");
    assert_eq!((told.releases, told.progress), (vec![container_id(9)], 0.5));
    yarn.next().await;
    assert_eq!(played.last(), AllocateRequest { progress: 0.5, ..AllocateRequest::default() });
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_loses_no_answer() {
    let played = Played::default();
    let mut yarn = played.yarn();
    played.answers(Ok(AllocateResponse { completed: vec![status(2, 0, "")], ..AllocateResponse::default() }));
    // As in a loop that is woken by something else again and again.
    let answer = loop {
        match tokio::time::timeout(Duration::from_millis(7), yarn.next()).await {
            Ok(YarnEvent::Answered(answer)) => break answer,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    };
    assert_eq!(answer.completed.len(), 1);
    assert_eq!(played.beats().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_without_an_answer_is_told_again_and_again_and_the_answer_after_all() {
    let played = Played { away_until: Duration::from_secs(17), ..Played::default() };
    let mut yarn = played.yarn();
    let begun = Instant::now();
    for silent_for in [5, 10] {
        assert!(matches!(yarn.next().await, YarnEvent::Silent));
        let at = (INTERVALS.idle + Duration::from_secs(silent_for)).as_millis();
        assert!((at..at + 10).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
    assert!(matches!(yarn.next().await, YarnEvent::Answered(_)));
    assert!(matches!(yarn.next().await, YarnEvent::Answered(_)), "and not of a YARN that answers");
}

#[tokio::test(start_paused = true)]
async fn what_yarn_refuses_is_told_by_its_meaning() {
    let played = Played::default();
    let mut yarn = played.yarn();
    let (class, message) = ("InvalidLabel".to_owned(), "no".to_owned());
    played.answers(Err(AmError::BadRelease { releases: vec![], class: class.clone(), message: message.clone() }));
    played.answers(Err(AmError::BadAsk { asks: vec![], class, message }));
    assert!(matches!(yarn.next().await, YarnEvent::AskRefused(text) if text == "InvalidLabel: no"));
    assert_eq!(played.beats().len(), 2, "a refused release is nothing to tell");
    played.answers(Err(AmError::AttemptOver { reason: "gone".into() }));
    assert!(matches!(yarn.next().await, YarnEvent::AttemptOver(reason) if reason == "gone"));
    played.answers(Err(AmError::NoAddress));
    assert!(matches!(yarn.next().await, YarnEvent::Lost(AmError::NoAddress)));
}

#[tokio::test(start_paused = true)]
async fn a_container_without_a_token_for_its_node_is_reported_and_the_others_are_started() {
    let played = Played::default();
    let mut yarn = played.yarn();
    for n in 0..100 {
        yarn.launch(container(n, n));
    }
    assert_eq!(yarn.launches.len(), LAUNCHES_MAX, "a bounded number at a time");
    yarn.release(container_id(99));
    let mut told = 0;
    while told < 99 {
        match yarn.next().await {
            YarnEvent::Launched { id, result } => {
                assert!(result.unwrap_err().contains("no token") && id != container_id(99));
                told += 1;
            }
            YarnEvent::Answered(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(yarn.waiting.is_empty() && yarn.launches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_cluster_has_a_limit() {
    let mut yarn = Played::default().yarn();
    yarn.inspect_cluster(async { Some(Cluster::default()) });
    assert!(matches!(yarn.next().await, YarnEvent::Inspected(Some(_))));
    yarn.inspect_cluster(std::future::pending());
    let start = Instant::now();
    while !matches!(yarn.next().await, YarnEvent::Inspected(None)) {}
    assert!(start.elapsed() <= INSPECTION_LIMIT + Duration::from_secs(1));
}
