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
    Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None }
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
    Work::Forget(4),
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
async fn read(store: &dyn HaStore, leadership: &Leadership) -> (Vec<(JobId, Bytes)>, Vec<(JobId, Bytes)>) {
    (store.jobs(leadership).await.unwrap(), store.results(leadership).await.unwrap())
}

fn expected(kept: &Kept) -> (Vec<(JobId, Bytes)>, Vec<(JobId, Bytes)>) {
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
    let process = Process::new(&Disk::new(), Turns::No, None);
    flumen_fs::conformance::check_all(&process, &FsPath::new("file", "", "/scratch").unwrap()).await;
}

#[tokio::test]
async fn whatever_happens_at_any_operation_the_next_leader_finds_all_that_was_acknowledged() {
    let undisturbed = Process::new(&Disk::new(), Turns::No, None);
    assert_eq!(lead(&store(&undisturbed)).await.1, None);
    let operations = undisturbed.operations();
    assert!(operations >= 35, "only {operations} operations");
    for number in 0..operations {
        for fault in faults() {
            let disk = Disk::new();
            let first = Process::new(&disk, Turns::No, Some((number, fault)));
            let (kept, open, former) = lead(&store(&first)).await;
            let crashed = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
            assert_eq!(open.is_none() && former.is_some(), !crashed, "{fault:?} at {number}: stopped at {open:?}");

            let second = Process::new(&disk, Turns::No, None);
            let next = store(&second);
            let leadership = next.campaign(&attempt(2)).await.unwrap_or_else(|e| panic!("{fault:?} at {number}: {e}"));
            let former_epoch = former.as_ref().map_or(0, |former| former.epoch().0);
            assert!(leadership.epoch().0 > former_epoch, "{fault:?} at {number}");
            let found = read(&next, &leadership).await;
            let possible = [Some(kept.clone()), open.map(|open| after(&kept, open))];
            let possible: Vec<_> = possible.iter().flatten().map(expected).collect();
            // Forgetting takes two steps, the first of which shows nothing.
            assert!(possible.contains(&found), "{fault:?} at {number}: {open:?}\n{found:?}\n{possible:?}");

            // What is late has arrived now, and the former leader, if it lives, has gone on.
            for _ in 0..250 {
                disk.tick();
            }
            if let Some(former) = former {
                let refused = store(&first).put_job(&former, JobId(99), Bytes::new()).await;
                assert!(refused.is_err(), "{fault:?} at {number}: {refused:?}");
            }
            assert_eq!(read(&next, &leadership).await, found, "{fault:?} at {number}: what a former leader did counts");
            next.still_leads(&leadership).await.unwrap();
            next.put_job(&leadership, JobId(100), Bytes::new()).await.unwrap();
            next.clean_up(&leadership).await.unwrap();
            assert_eq!(disk.paths(), ["/", "/ha"], "{fault:?} at {number}: something is left");
        }
    }
}

#[tokio::test]
async fn a_clean_up_that_is_interrupted_anywhere_leaves_all_or_nothing() {
    let prepared = async || {
        let disk = Disk::new();
        let first = Process::new(&disk, Turns::No, None);
        let (kept, _, leadership) = lead(&store(&first)).await;
        (disk, kept, leadership.unwrap())
    };
    let (disk, _, leadership) = prepared().await;
    let undisturbed = Process::new(&disk, Turns::No, None);
    store(&undisturbed).clean_up(&leadership).await.unwrap();
    let operations = undisturbed.operations();
    assert!(operations >= 5, "only {operations} operations");
    for number in 0..operations {
        for fault in faults() {
            let (disk, kept, leadership) = prepared().await;
            let process = Process::new(&disk, Turns::No, Some((number, fault)));
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
            let next = store(&Process::new(&disk, Turns::No, None));
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
