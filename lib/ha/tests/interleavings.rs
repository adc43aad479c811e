//! Two processes on one cluster's data, each of which does not know of the other: their operations take place in many
//! orders (all with few changes between the two, and random ones), and the rules of the store hold in each.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

mod world;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use flumen_fs::FsPath;
use flumen_ha::{Addresses, Candidate, FileSystemStore, HaError, HaStore, Leadership};
use flumen_model::ids::JobId;
use world::{Disk, Process, Turns};

/// Random orders of each pair.
const RANDOM_ORDERS: u64 = 3_000;
/// Operations of one process after which the orders that are tried one by one change to the other, at most.
const LENGTH: usize = 30;

fn store(disk: &Disk, turns: Turns) -> FileSystemStore {
    let process = Process::new(disk, turns, &[]);
    FileSystemStore::new(Arc::new(process), FsPath::new("file", "", "/ha/etl").unwrap())
}

fn attempt(attempt: u32) -> Candidate {
    Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None, follows: false }
}

fn other_application() -> Candidate {
    let replaces = Some("application_1_0001".to_owned());
    Candidate { owner: "application_1_0002".to_owned(), attempt: 1, replaces, follows: false }
}

/// Ends a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// Which of the two takes each step: for so many steps the first, then for so many the second, and so on.
enum Order {
    Changes(Vec<usize>),
    Random(u64),
}

impl Order {
    /// All orders with up to three changes, and random ones.
    fn all() -> impl Iterator<Item = Self> {
        let bounded = (0..LENGTH).flat_map(|a| {
            let once = [Self::Changes(vec![a])];
            let twice = (1..LENGTH).step_by(1).map(move |b| Self::Changes(vec![a, b]));
            let thrice = (1..8).flat_map(move |b| (1..8).map(move |c| Self::Changes(vec![a, b, c])));
            once.into_iter().chain(twice).chain(thrice)
        });
        bounded.chain((1..=RANDOM_ORDERS).map(Self::Random))
    }

    /// Runs both to their ends.
    fn run<A, B>(&mut self, a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
        let (mut a, mut b) = (pin!(a), pin!(b));
        let (mut of_a, mut of_b) = (None, None);
        let (mut first, mut left) = (true, 0);
        if let Self::Changes(steps) = self {
            left = steps.remove(0);
        }
        for _ in 0..10_000 {
            match self {
                Self::Changes(steps) => {
                    while left == 0 {
                        first = !first;
                        left = if steps.is_empty() { usize::MAX } else { steps.remove(0) };
                    }
                    left -= 1;
                }
                Self::Random(seed) => {
                    // A linear congruence is random enough for an order; its high bits are.
                    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    first = *seed >> 63 == 0;
                }
            }
            let turn_of_a = of_a.is_none() && (first || of_b.is_some());
            if turn_of_a {
                step(a.as_mut(), &mut of_a);
            } else {
                step(b.as_mut(), &mut of_b);
            }
            if of_a.is_some() && of_b.is_some() {
                break;
            }
        }
        (of_a.expect("it ends"), of_b.expect("it ends"))
    }
}

fn step<T>(future: Pin<&mut impl Future<Output = T>>, result: &mut Option<T>) {
    if let std::task::Poll::Ready(value) = future.poll(&mut Context::from_waker(Waker::noop())) {
        *result = Some(value);
    }
}

fn graph() -> Bytes {
    Bytes::from_static(b"graph")
}

/// The ids of the jobs that a leader has.
async fn jobs(store: &dyn HaStore, leadership: &Leadership) -> Vec<u128> {
    store.jobs(leadership).await.unwrap().into_iter().map(|(job, _)| job.0).collect()
}

/// What a leader must be told when it fails.
fn only_superseded(result: &Result<(), HaError>) {
    assert!(result.as_ref().is_ok() || result.as_ref().is_err_and(HaError::is_superseded), "{result:?}");
}

#[test]
fn what_a_leader_acknowledged_is_there_for_the_next_and_nothing_comes_after() {
    let (mut before, mut between) = (0, 0);
    for mut order in Order::all() {
        let disk = Disk::new();
        let (old, new) = (store(&disk, Turns::Yes), store(&disk, Turns::Yes));
        let first = now(old.campaign(&attempt(1))).unwrap();
        now(old.put_job(&first, JobId(1), graph())).unwrap();
        let former = async {
            let put = old.put_job(&first, JobId(2), graph()).await;
            let ended = old.put_result(&first, JobId(1), Bytes::new()).await;
            let removed = old.remove_job(&first, JobId(1)).await;
            let put_again = old.put_job(&first, JobId(3), graph()).await;
            [put, ended, removed, put_again]
        };
        let next = async {
            let second = new.campaign(&attempt(2)).await.unwrap();
            let found = jobs(&new, &second).await;
            new.put_job(&second, JobId(4), graph()).await.unwrap();
            let mut again = jobs(&new, &second).await;
            again.retain(|job| *job != 4);
            assert_eq!(found, again, "a former leader's write took effect");
            let results = new.results(&second).await.unwrap();
            (found, results.len())
        };
        let (told, (found, results)) = order.run(former, next);
        told.iter().for_each(only_superseded);
        let [put, ended, _, put_again] = told.map(|result| result.is_ok());
        for (acknowledged, job) in [(put, 2), (put_again, 3)] {
            assert!(!acknowledged || found.contains(&job), "job {job} was acknowledged, and is gone: {found:?}");
        }
        assert!(!ended || results == 1, "a result was acknowledged, and is gone");
        assert!(!ended || !found.contains(&1), "a job that has ended runs again");
        assert!(results == 1 || found.contains(&1), "a job without a result is gone");
        before += usize::from(put_again);
        between += usize::from(put && !put_again);
    }
    assert!(before > 50 && between > 50, "the orders do not differ: {before}, {between}");
}

#[test]
fn of_two_that_campaign_at_once_the_one_with_the_greater_epoch_remains() {
    let mut winners = [0, 0];
    for mut order in Order::all() {
        let disk = Disk::new();
        let stores = [store(&disk, Turns::Yes), store(&disk, Turns::Yes)];
        let candidate = attempt(1);
        let (a, b) = order.run(stores[0].campaign(&candidate), stores[1].campaign(&candidate));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_ne!(a.epoch(), b.epoch());
        let last = usize::from(b.epoch() > a.epoch());
        let leaderships = [a, b];
        now(stores[last].still_leads(&leaderships[last])).unwrap();
        assert!(now(stores[1 - last].still_leads(&leaderships[1 - last])).unwrap_err().is_superseded());
        now(stores[last].put_job(&leaderships[last], JobId(1), graph())).unwrap();
        now(stores[last].clean_up(&leaderships[last])).unwrap();
        assert_eq!(disk.paths(), ["/", "/ha"]);
        winners[last] += 1;
    }
    assert!(winners.iter().all(|won| *won > 50), "{winners:?}");
}

#[test]
fn a_clean_up_beside_a_new_beginning_takes_all_that_was_or_nothing() {
    let (mut anew, mut taken_over) = (0, 0);
    for mut order in Order::all() {
        let disk = Disk::new();
        let (old, new) = (store(&disk, Turns::Yes), store(&disk, Turns::Yes));
        let first = now(old.campaign(&attempt(1))).unwrap();
        now(old.put_job(&first, JobId(1), graph())).unwrap();
        let next = async {
            let leadership = new.campaign(&other_application()).await.unwrap();
            new.put_job(&leadership, JobId(2), graph()).await.unwrap();
            new.put_result(&leadership, JobId(3), Bytes::new()).await.unwrap();
            (jobs(&new, &leadership).await, leadership)
        };
        let (cleaned, (found, leadership)) = order.run(old.clean_up(&first), next);
        only_superseded(&cleaned);
        if found == [2] {
            anew += 1;
        } else {
            assert_eq!(found, [1, 2], "neither all nor nothing");
            assert!(cleaned.is_err(), "the new leader has it, and the former one cleaned it up");
            taken_over += 1;
        }
        now(new.still_leads(&leadership)).unwrap();
        now(new.clean_up(&leadership)).unwrap();
        assert_eq!(disk.paths(), ["/", "/ha"]);
    }
    assert!(anew > 50 && taken_over > 20, "the orders do not differ: {anew}, {taken_over}");
}

#[test]
fn who_looks_for_the_leader_sees_one_and_never_another_ones_addresses() {
    let addresses = |leader: u32| Addresses { internal: format!("node:{leader}"), rest: String::new() };
    let mut seen = std::collections::BTreeSet::new();
    for mut order in Order::all() {
        let disk = Disk::new();
        let (leading, watching) = (store(&disk, Turns::Yes), store(&disk, Turns::Yes));
        let first = now(leading.campaign(&attempt(1))).unwrap();
        now(leading.announce(&first, &addresses(1))).unwrap();
        let next = async {
            let second = leading.campaign(&attempt(2)).await.unwrap();
            leading.announce(&second, &addresses(2)).await.unwrap();
        };
        let watch = async {
            let mut last = 0;
            for _ in 0..6 {
                let leader = watching.leader().await.unwrap().expect("there is always one");
                assert!(leader.epoch.0 >= last, "back in time");
                last = leader.epoch.0;
                if let Some(at) = &leader.addresses {
                    assert_eq!(at.internal, format!("node:{last}"));
                }
                seen.insert((last, leader.addresses.is_some()));
            }
        };
        order.run(next, watch);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
