//! What every [`HaStore`] that keeps anything must do, as checks that run against any of them.
//!
//! Compiled for the tests of this crate, and with the feature `conformance` for tests against a real cluster:
//! `flumen_ha::conformance::check_all(&|cluster| store_of(cluster)).await`.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use flumen_model::ids::{Epoch, JobId};

use crate::{Addresses, Candidate, HaError, HaStore, Leadership};

/// Makes a store for a cluster's id, as another process would: it shares nothing with the one made before.
pub type Open<'a> = &'a (dyn Fn(&str) -> Arc<dyn HaStore> + Sync);

/// Runs every check, each with a cluster id of its own. Nothing is left of them.
///
/// # Panics
/// When the store does not conform; the message names the check.
pub async fn check_all(open: Open<'_>) {
    epochs_rise_and_are_not_below_the_attempt(open, "epochs").await;
    a_late_attempt_does_not_take_over_from_a_later_one(open, "late-attempt").await;
    of_racing_candidates_one_remains_and_all_epochs_differ(open, "race").await;
    the_leader_is_found_where_it_says(open, "addresses").await;
    jobs_and_results_are_there_for_the_next_leader(open, "jobs").await;
    a_job_with_a_result_does_not_run_again(open, "results").await;
    what_is_kept_is_not_replaced(open, "kept").await;
    a_leader_that_was_superseded_changes_nothing(open, "fenced").await;
    another_application_is_refused_until_it_is_known_to_have_ended(open, "occupied").await;
    nothing_is_left_after_the_clean_up(open, "clean").await;
}

/// A candidate of the application `application_1_0001`.
pub fn attempt(attempt: u32) -> Candidate {
    Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None, follows: false }
}

fn done<T>(result: Result<T, HaError>) -> T {
    result.unwrap_or_else(|error| panic!("unexpected error: {error} ({error:?})"))
}

fn superseded<T: Debug>(result: Result<T, HaError>, by: Option<u64>) {
    match result {
        Err(HaError::Superseded { by: found, .. }) => assert_eq!(found, by.map(Epoch)),
        other => panic!("expected Superseded by {by:?}, got {other:?}"),
    }
}

async fn leads(store: &dyn HaStore, number: u32) -> Leadership {
    done(store.campaign(&attempt(number)).await)
}

async fn jobs(store: &dyn HaStore, leadership: &Leadership) -> Vec<(u128, String)> {
    as_text(done(store.jobs(leadership).await))
}

async fn results(store: &dyn HaStore, leadership: &Leadership) -> Vec<(u128, String)> {
    as_text(done(store.results(leadership).await))
}

fn as_text(kept: Vec<(JobId, Bytes)>) -> Vec<(u128, String)> {
    kept.into_iter().map(|(job, content)| (job.0, String::from_utf8_lossy(&content).into_owned())).collect()
}

fn addresses(port: u16) -> Addresses {
    Addresses { internal: format!("node-1.example:{port}"), rest: format!("[fe80::1%eth0]:{}", port + 1) }
}

async fn epochs_rise_and_are_not_below_the_attempt(open: Open<'_>, cluster: &str) {
    let mut last = None;
    for (number, epoch) in [(1, 1), (2, 2), (2, 3), (7, 7), (8, 8)] {
        let store = open(cluster);
        let leadership = leads(&*store, number).await;
        assert_eq!(leadership.epoch(), Epoch(epoch));
        done(store.still_leads(&leadership).await);
        if let Some((former, leadership)) = last.replace((store, leadership)) {
            let former: Arc<dyn HaStore> = former;
            superseded(former.still_leads(&leadership).await, Some(epoch));
        }
    }
    let (store, leadership) = last.expect("somebody leads");
    done(store.clean_up(&leadership).await);
}

async fn a_late_attempt_does_not_take_over_from_a_later_one(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let second = leads(&*store, 2).await;
    superseded(open(cluster).campaign(&attempt(1)).await, Some(2));
    done(store.still_leads(&second).await);
    done(store.clean_up(&second).await);
}

async fn of_racing_candidates_one_remains_and_all_epochs_differ(open: Open<'_>, cluster: &str) {
    let candidate = attempt(1);
    let stores: Vec<_> = (0..4).map(|_| open(cluster)).collect();
    let (a, b, c, d) = tokio::join!(
        stores[0].campaign(&candidate),
        stores[1].campaign(&candidate),
        stores[2].campaign(&candidate),
        stores[3].campaign(&candidate),
    );
    let mut won: Vec<_> = [a, b, c, d].map(done).into_iter().zip(&stores).collect();
    won.sort_by_key(|(leadership, _)| leadership.epoch());
    let epochs: Vec<_> = won.iter().map(|(leadership, _)| leadership.epoch().0).collect();
    assert_eq!(epochs, [1, 2, 3, 4]);
    let (last, store) = won.pop().expect("four");
    for (leadership, store) in won {
        superseded(store.still_leads(&leadership).await, Some(4));
    }
    done(store.still_leads(&last).await);
    done(store.clean_up(&last).await);
}

async fn the_leader_is_found_where_it_says(open: Open<'_>, cluster: &str) {
    let watcher = open(cluster);
    assert_eq!(done(watcher.leader().await), None);
    let store = open(cluster);
    let first = leads(&*store, 1).await;
    let seen = |leader: Option<crate::Leader>| leader.map(|leader| (leader.epoch.0, leader.addresses));
    assert_eq!(seen(done(watcher.leader().await)), Some((1, None)), "it has not said where");
    for port in [40_001, 40_002] {
        done(store.announce(&first, &addresses(port)).await);
        done(store.announce(&first, &addresses(port)).await);
        assert_eq!(seen(done(watcher.leader().await)), Some((1, Some(addresses(port)))));
    }
    let successor = open(cluster);
    let second = leads(&*successor, 2).await;
    assert_eq!(seen(done(watcher.leader().await)), Some((2, None)), "not the former one's addresses");
    superseded(store.announce(&first, &addresses(40_003)).await, Some(2));
    done(successor.announce(&second, &addresses(40_004)).await);
    assert_eq!(seen(done(watcher.leader().await)), Some((2, Some(addresses(40_004)))));
    done(successor.clean_up(&second).await);
    assert_eq!(done(watcher.leader().await), None);
}

async fn jobs_and_results_are_there_for_the_next_leader(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let first = leads(&*store, 1).await;
    assert_eq!((jobs(&*store, &first).await, results(&*store, &first).await), (vec![], vec![]));
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    done(store.put_job(&first, JobId(3), Bytes::from_static(b"three")).await);
    done(store.put_job(&first, JobId(1), Bytes::from_static(b"one")).await);
    done(store.put_job(&first, JobId(2), large.clone()).await);
    done(store.put_result(&first, JobId(9), Bytes::from_static(b"nine")).await);
    done(store.remove_job(&first, JobId(3)).await);
    done(store.remove_job(&first, JobId(3)).await);
    let store = open(cluster);
    let second = leads(&*store, 2).await;
    let found = done(store.jobs(&second).await);
    assert_eq!(found, [(JobId(1), Bytes::from_static(b"one")), (JobId(2), large)]);
    assert_eq!(results(&*store, &second).await, [(9, "nine".to_owned())]);
    done(store.clean_up(&second).await);
}

async fn a_job_with_a_result_does_not_run_again(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let first = leads(&*store, 1).await;
    for job in [1, 2, 3] {
        done(store.put_job(&first, JobId(job), Bytes::from_static(b"graph")).await);
        done(store.put_result(&first, JobId(job), Bytes::from_static(b"result")).await);
    }
    done(store.remove_job(&first, JobId(2)).await);
    done(store.remove_result(&first, JobId(3)).await);
    done(store.remove_result(&first, JobId(3)).await);
    let store = open(cluster);
    let second = leads(&*store, 2).await;
    assert_eq!(jobs(&*store, &second).await, []);
    assert_eq!(results(&*store, &second).await, [(1, "result".to_owned()), (2, "result".to_owned())]);
    done(store.clean_up(&second).await);
}

async fn what_is_kept_is_not_replaced(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let first = leads(&*store, 1).await;
    for _ in 0..2 {
        done(store.put_job(&first, JobId(1), Bytes::from_static(b"graph")).await);
        done(store.put_result(&first, JobId(2), Bytes::new()).await);
    }
    for result in [
        store.put_job(&first, JobId(1), Bytes::from_static(b"other")).await,
        store.put_result(&first, JobId(2), Bytes::from_static(b"other")).await,
    ] {
        assert!(matches!(result, Err(HaError::AlreadyKept { .. })), "{result:?}");
    }
    assert_eq!(jobs(&*store, &first).await, [(1, "graph".to_owned())]);
    assert_eq!(results(&*store, &first).await, [(2, String::new())]);
    done(store.clean_up(&first).await);
}

async fn a_leader_that_was_superseded_changes_nothing(open: Open<'_>, cluster: &str) {
    let (former, store) = (open(cluster), open(cluster));
    let first = leads(&*former, 1).await;
    done(former.put_job(&first, JobId(1), Bytes::from_static(b"one")).await);
    done(former.put_result(&first, JobId(2), Bytes::from_static(b"two")).await);
    let second = leads(&*store, 2).await;
    superseded(former.still_leads(&first).await, Some(2));
    superseded(former.announce(&first, &addresses(1)).await, Some(2));
    superseded(former.put_job(&first, JobId(3), Bytes::from_static(b"three")).await, Some(2));
    superseded(former.put_result(&first, JobId(1), Bytes::from_static(b"one")).await, Some(2));
    superseded(former.remove_job(&first, JobId(1)).await, Some(2));
    superseded(former.remove_result(&first, JobId(2)).await, Some(2));
    superseded(former.jobs(&first).await, Some(2));
    superseded(former.results(&first).await, Some(2));
    superseded(former.clean_up(&first).await, Some(2));
    assert_eq!(jobs(&*store, &second).await, [(1, "one".to_owned())]);
    assert_eq!(results(&*store, &second).await, [(2, "two".to_owned())]);
    assert_eq!(done(store.leader().await).map(|leader| leader.addresses), Some(None));
    done(store.clean_up(&second).await);
}

async fn another_application_is_refused_until_it_is_known_to_have_ended(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let first = leads(&*store, 3).await;
    done(store.put_job(&first, JobId(1), Bytes::from_static(b"one")).await);
    let other = |replaces: Option<&str>| Candidate {
        owner: "application_1_0002".to_owned(),
        attempt: 1,
        replaces: replaces.map(str::to_owned),
        follows: false,
    };
    for candidate in [other(None), other(Some("application_1_0003"))] {
        match open(cluster).campaign(&candidate).await {
            Err(HaError::Occupied { owner, .. }) => assert_eq!(owner, "application_1_0001"),
            result => panic!("expected Occupied, got {result:?}"),
        }
    }
    done(store.still_leads(&first).await);
    let next = open(cluster);
    let leadership = done(next.campaign(&other(Some("application_1_0001"))).await);
    assert_eq!(leadership.epoch(), Epoch(4));
    assert_eq!(jobs(&*next, &leadership).await, [(1, "one".to_owned())]);
    superseded(store.still_leads(&first).await, Some(4));
    let late = store.campaign(&attempt(4)).await;
    assert!(matches!(late, Err(HaError::Occupied { .. })), "{late:?}");
    done(next.clean_up(&leadership).await);
}

async fn nothing_is_left_after_the_clean_up(open: Open<'_>, cluster: &str) {
    let store = open(cluster);
    let first = leads(&*store, 5).await;
    done(store.put_job(&first, JobId(1), Bytes::from_static(b"one")).await);
    done(store.announce(&first, &addresses(1)).await);
    done(store.clean_up(&first).await);
    done(store.clean_up(&first).await);
    superseded(store.still_leads(&first).await, None);
    superseded(store.put_job(&first, JobId(2), Bytes::from_static(b"two")).await, None);
    assert_eq!(done(open(cluster).leader().await), None);
    let follower = Candidate { follows: true, ..attempt(5) };
    superseded(open(cluster).campaign(&follower).await, None);
    assert_eq!(done(open(cluster).leader().await), None);
    let anew = open(cluster);
    let again = leads(&*anew, 1).await;
    assert_eq!(again.epoch(), Epoch(1), "nobody knows of the former ones");
    assert_eq!(jobs(&*anew, &again).await, []);
    superseded(store.put_job(&first, JobId(2), Bytes::from_static(b"two")).await, Some(1));
    superseded(store.clean_up(&first).await, Some(1));
    assert_eq!(jobs(&*anew, &again).await, []);
    let follower = done(anew.campaign(&Candidate { follows: true, ..attempt(1) }).await);
    assert_eq!(follower.epoch(), Epoch(2));
    done(anew.clean_up(&follower).await);
}
