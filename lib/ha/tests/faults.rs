//! A leader does everything that leaders do, and at its n-th operation something happens, for every n: the operation or
//! its answer is lost, it is late, the process dies. Whatever it was told that is kept is there for the next leader.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::FsPath;
use flumen_ha::{Addresses, Candidate, FileSystemStore, HaError, HaStore, Leadership};
use flumen_model::ids::JobId;
use world::{Disk, Fault, Process, Turns};

/// How often something that failed is repeated, as callers are told to.
const REPEATED: usize = 3;

fn store(process: &Process) -> FileSystemStore {
    FileSystemStore::new(Arc::new(process.clone()), FsPath::new("file", "", "/ha/etl").unwrap())
}

fn attempt(attempt: u32) -> Candidate {
    Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None, follows: false }
}

fn addresses(leader: u64) -> Addresses {
    Addresses { internal: format!("node:{leader}"), rest: "node:8081".to_owned() }
}

fn content(text: &str, job: u128) -> Bytes {
    Bytes::from(format!("{text} of {job}"))
}

/// What a leader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Announce,
    Put(u128),
    End(u128),
    Remove(u128),
    Forget(u128),
}

const WORK: [Work; 11] = [
    Work::Announce,
    Work::Put(1),
    Work::Put(2),
    Work::End(1),
    Work::Remove(1),
    Work::Put(3),
    Work::Remove(3),
    Work::End(4),
    Work::Put(5),
    Work::End(5),
    Work::Forget(5),
];

async fn work(store: &dyn HaStore, leadership: &Leadership, work: Work) -> Result<(), HaError> {
    match work {
        Work::Announce => store.announce(leadership, &addresses(leadership.epoch().0)).await,
        Work::Put(job) => store.put_job(leadership, JobId(job), content("graph", job)).await,
        Work::End(job) => store.put_result(leadership, JobId(job), content("result", job)).await,
        Work::Remove(job) => store.remove_job(leadership, JobId(job)).await,
        Work::Forget(job) => store.remove_result(leadership, JobId(job)).await,
    }
}

/// What is kept: by job whether its graph and its result are.
type Kept = BTreeMap<u128, (bool, bool)>;

/// The jobs and the results that a leader reads.
type Found = (Vec<(JobId, Bytes)>, Vec<(JobId, Bytes)>);

fn after(kept: &Kept, work: Work) -> Kept {
    let mut kept = kept.clone();
    match work {
        Work::Announce => {}
        Work::Put(job) => kept.entry(job).or_default().0 = true,
        Work::End(job) => kept.entry(job).or_default().1 = true,
        Work::Remove(job) => kept.entry(job).or_default().0 = false,
        Work::Forget(job) => *kept.entry(job).or_default() = (false, false),
    }
    kept
}

/// What a leader reads of it.
async fn read(store: &dyn HaStore, leadership: &Leadership) -> Found {
    (store.jobs(leadership).await.unwrap(), store.results(leadership).await.unwrap())
}

fn expected(kept: &Kept) -> Found {
    let jobs = kept.iter().filter(|(_, kept)| **kept == (true, false));
    let results = kept.iter().filter(|(_, kept)| kept.1);
    (
        jobs.map(|(job, _)| (JobId(*job), content("graph", *job))).collect(),
        results.map(|(job, _)| (JobId(*job), content("result", *job))).collect(),
    )
}

/// Campaigns and works, repeating what fails. Returns what was acknowledged, and what may be besides.
async fn lead(store: &dyn HaStore) -> (Kept, Option<Work>, Option<Leadership>) {
    let mut kept = Kept::new();
    let mut won = store.campaign(&attempt(1)).await;
    for _ in 0..REPEATED {
        if won.is_err() {
            won = store.campaign(&attempt(1)).await;
        }
    }
    let Ok(leadership) = won else { return (kept, None, None) };
    for step in WORK {
        let mut done = work(store, &leadership, step).await;
        for _ in 0..REPEATED {
            if done.is_err() {
                done = work(store, &leadership, step).await;
            }
        }
        if done.is_err() {
            return (kept, Some(step), Some(leadership));
        }
        kept = after(&kept, step);
    }
    (kept, None, Some(leadership))
}

/// All that can happen at one operation.
fn faults() -> Vec<Fault> {
    let mut faults = vec![Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter];
    faults.extend([0, 1, 2, 3, 5, 8, 13, 21, 200].map(Fault::Late));
    faults
}

#[tokio::test]
async fn the_disk_of_these_tests_is_a_file_system() {
    let process = Process::new(&Disk::new(), Turns::No, &[]);
    flumen_fs::conformance::check_all(&process, &FsPath::new("file", "", "/scratch").unwrap()).await;
}

/// A leader with these faults, then its successor.
async fn check(faults: &[(usize, Fault)]) {
    let disk = Disk::new();
    let first = Process::new(&disk, Turns::No, faults);
    let (kept, open, former) = lead(&store(&first)).await;
    let crashed = faults.iter().any(|(_, fault)| matches!(fault, Fault::CrashBefore | Fault::CrashAfter));
    assert!(crashed || open.is_none() && former.is_some(), "{faults:?}: stopped at {open:?}");

    let next = store(&Process::new(&disk, Turns::No, &[]));
    let leadership = next.campaign(&attempt(2)).await.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
    assert!(former.as_ref().is_none_or(|former| leadership.epoch() > former.epoch()), "{faults:?}");
    let found = read(&next, &leadership).await;
    let mut possible = vec![expected(&kept)];
    possible.extend(open.map(|open| expected(&after(&kept, open))));
    if let Some(Work::Forget(job)) = open {
        // It takes two steps. Between them the job must not look as if it had to run.
        possible.push(expected(&after(&kept, Work::Remove(job))));
    }
    assert!(possible.contains(&found), "{faults:?}: {open:?}\n{found:?}\n{possible:?}");

    // What is late arrives now, and the former leader, if it lives, goes on.
    for _ in 0..250 {
        disk.tick();
    }
    if let Some(former) = former {
        let refused = store(&first).put_job(&former, JobId(99), Bytes::new()).await;
        assert!(refused.is_err(), "{faults:?}: {refused:?}");
    }
    assert_eq!(read(&next, &leadership).await, found, "{faults:?}: what a former leader did counts");
    next.still_leads(&leadership).await.unwrap();
    next.put_job(&leadership, JobId(100), Bytes::new()).await.unwrap();
    next.clean_up(&leadership).await.unwrap();
    assert_eq!(disk.paths(), ["/", "/ha"], "{faults:?}: something is left");
}

#[tokio::test]
async fn whatever_happens_at_any_operation_the_next_leader_finds_all_that_was_acknowledged() {
    let undisturbed = Process::new(&Disk::new(), Turns::No, &[]);
    assert_eq!(lead(&store(&undisturbed)).await.1, None);
    let operations = undisturbed.operations();
    assert!(operations >= 35, "only {operations} operations");
    for number in 0..operations {
        for fault in faults() {
            check(&[(number, fault)]).await;
        }
        // And soon after it something else: in what is done about the first.
        for second in number + 1..number + 7 {
            for first in [Fault::Before, Fault::After, Fault::Late(0), Fault::Late(4), Fault::Late(12)] {
                for then in [Fault::Before, Fault::After, Fault::Late(1), Fault::Late(9), Fault::CrashAfter] {
                    check(&[(number, first), (second, then)]).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_clean_up_that_is_interrupted_anywhere_leaves_all_or_nothing() {
    let prepared = async || {
        let disk = Disk::new();
        let first = Process::new(&disk, Turns::No, &[]);
        let (kept, _, leadership) = lead(&store(&first)).await;
        (disk, kept, leadership.unwrap())
    };
    let (disk, _, leadership) = prepared().await;
    let undisturbed = Process::new(&disk, Turns::No, &[]);
    store(&undisturbed).clean_up(&leadership).await.unwrap();
    let operations = undisturbed.operations();
    assert!(operations >= 5, "only {operations} operations");
    for number in 0..operations {
        for fault in faults() {
            let (disk, kept, leadership) = prepared().await;
            let process = Process::new(&disk, Turns::No, &[(number, fault)]);
            let cleaning = store(&process);
            let mut cleaned = cleaning.clean_up(&leadership).await;
            for _ in 0..REPEATED {
                if cleaned.is_err() {
                    cleaned = cleaning.clean_up(&leadership).await;
                }
            }
            match fault {
                Fault::CrashBefore | Fault::CrashAfter => assert!(cleaned.is_err(), "{fault:?} at {number}"),
                _ => assert!(cleaned.is_ok(), "{fault:?} at {number}: {cleaned:?}"),
            }
            let next = store(&Process::new(&disk, Turns::No, &[]));
            let again = next.campaign(&attempt(2)).await.unwrap();
            let found = read(&next, &again).await;
            let all = expected(&kept);
            assert!(found == (vec![], vec![]) || cleaned.is_err() && found == all, "{fault:?} at {number}: {found:?}");
            next.put_job(&again, JobId(7), Bytes::from_static(b"new")).await.unwrap();
            for _ in 0..250 {
                disk.tick();
            }
            // What is late of the clean-up finds nothing of the new one.
            assert_eq!(next.jobs(&again).await.unwrap().last().unwrap().0, JobId(7), "{fault:?} at {number}");
            next.clean_up(&again).await.unwrap();
            assert_eq!(disk.paths(), ["/", "/ha"], "{fault:?} at {number}: something is left");
        }
    }
}
