//! Two conditions that last: the local disk under a job's state is full, and HDFS is slow. The job waits for room, and gets by without
//! checkpoints; in the end nothing is lost, and nothing twice.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_itests::disk::SmallDisk;
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::slow::Slow;
use flumen_itests::subject::{LIMIT, Plan, Subject};
use flumen_itests::{say, wait};
use serde_json::Value;

/// The jobs last for minutes while their gate is closed.
const EVENTS: u64 = 600_000;
/// So often a job is tried again that has no room.
const TRIES: u64 = 3;
/// For all that the job's workers keep locally.
const DISK_MB: u32 = 64;
/// Within it nothing gets through to a DataNode that stands still for twice as long.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(1);
const STILL: Duration = Duration::from_secs(2);
/// … and then goes on for so long. Writing a checkpoint takes several questions and answers.
const ON: Duration = Duration::from_millis(60);
/// So many checkpoints are given up while HDFS is slow, and so many records pass.
const GIVEN_UP: u64 = 5;
const RECORDS: u64 = 10_000;

/// One test at a time has the cluster: they halt some of it.
static CLUSTER: LazyLock<Mutex<HadoopCluster>> =
    LazyLock::new(|| Mutex::new(HadoopCluster::builder().node_resources(4096, 8).start().unwrap()));

/// The cluster, healthy again whatever became of the test before.
fn cluster() -> MutexGuard<'static, HadoopCluster> {
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.wait_healthy(LIMIT).unwrap();
    cluster
}

fn flags(more: &str) -> String {
    format!(
        "-ytm 384m -p 2 -D execution.checkpointing.interval=200ms -D restart-strategy.type=fixed-delay \
         -D restart-strategy.fixed-delay.attempts=100000 -D restart-strategy.fixed-delay.delay=500ms {more}"
    )
}

#[test]
fn a_job_on_a_full_local_disk_says_so_and_goes_on_when_there_is_room() {
    if !cfg!(feature = "rocksdb") {
        return say("NOT RUN: the full local disk, without the feature rocksdb");
    }
    let disk = match SmallDisk::mount(DISK_MB) {
        Ok(disk) => disk,
        Err(error) => return say(&format!("NOT RUN: the full local disk, for no disk can be mounted: {error:#}")),
    };
    let cluster = cluster();
    let place = disk.dir().display().to_string();
    let more = format!("-D state.backend=rocksdb -D io.tmp.dirs={place}");
    let subject = Plan::new("full-disk", EVENTS, &flags(&more)).start(&cluster).unwrap();
    let untouched = subject.untouched(&cluster).unwrap();
    let used = instances(&disk).len();
    assert!(used > 0);

    say("the local disk is full");
    let full = disk.keep_full().unwrap();
    wait::until_ok("the job says what is wrong", LIMIT, || {
        let answer = subject.application.ask(&cluster, &format!("/jobs/{}/exceptions", subject.job))?;
        let cause = answer["root-exception"].as_str().unwrap_or_default();
        // Where, what, and what to do.
        match [&*place, "No space left on device", "make room there", "io.tmp.dirs"]
            .iter()
            .all(|text| cause.contains(text))
        {
            true => Ok(()),
            false => Err(answer.to_string()),
        }
    })
    .unwrap();
    // It is tried again and again, and the job is not given up. That it is restored does not mean that it runs: there is no room.
    let restored = subject.restored(&cluster).unwrap();
    wait::until_ok("the job is tried again", LIMIT, || match subject.restored(&cluster)? {
        now if now >= restored + TRIES => Ok(()),
        now => Err(format!("{now} times")),
    })
    .unwrap();

    say("there is room again");
    drop(full);
    subject.wait_progress(&cluster).unwrap();
    assert_eq!(subject.untouched(&cluster).unwrap(), untouched, "no process was to blame");
    wait::until_ok("nothing is left of what was tried", LIMIT, || match instances(&disk) {
        now if now.len() == used => Ok(()),
        now => Err(format!("{now:?}")),
    })
    .unwrap();
    subject.ends_well(&cluster).unwrap();
}

#[test]
fn a_job_runs_on_while_hdfs_is_slow_for_long() {
    let cluster = cluster();
    let more = format!(
        "-D execution.checkpointing.timeout={}ms -D execution.checkpointing.tolerable-failed-checkpoints=100000",
        CHECKPOINT_TIMEOUT.as_millis()
    );
    let subject = Plan::new("slow", EVENTS, &flags(&more)).start(&cluster).unwrap();
    let untouched = subject.untouched(&cluster).unwrap();

    say("HDFS is slow");
    let (failed, records) = (subject.failed(&cluster).unwrap(), records(&cluster, &subject).unwrap());
    let slow = Slow::process(cluster.pid(Daemon::DataNode(1)).unwrap(), STILL, ON).unwrap();
    wait::until_ok("checkpoints are given up, and records flow", LIMIT, || {
        let now = (subject.failed(&cluster)?, self::records(&cluster, &subject)?);
        if now.0 >= failed + GIVEN_UP && now.1 >= records + RECORDS { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .unwrap();
    let given_up = given_up(&cluster, &subject).unwrap();
    assert!(given_up.iter().all(|(_, why)| why.contains("execution.checkpointing.timeout")), "{given_up:?}");

    say("HDFS is as quick as before");
    drop(slow);
    subject.still(&cluster, &untouched).unwrap();
    wait::until_ok("nothing is left of checkpoints that were given up", LIMIT, || {
        let files = cluster.hdfs().tree("/checkpoints").map_err(|error| format!("{error:#}"))?;
        let of = |id: u64| files.iter().find(move |entry| entry.path.contains(&format!("/chk-{id}")));
        match given_up.iter().find_map(|(id, _)| of(*id)) {
            None => Ok(()),
            Some(left) => Err(left.path.clone()),
        }
    })
    .unwrap();
    subject.ends_well(&cluster).unwrap();
}

/// The directories of RocksDB: in those of the workers.
fn instances(disk: &SmallDisk) -> Vec<PathBuf> {
    let dirs_in =
        |dir: PathBuf| dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    dirs_in(disk.dir().to_owned()).flat_map(dirs_in).collect()
}

/// The records that the vertices of a job have sent to each other.
fn records(cluster: &HadoopCluster, subject: &Subject) -> Result<u64, String> {
    let job = subject.application.ask(cluster, &format!("/jobs/{}", subject.job))?;
    let vertices = job["vertices"].as_array().ok_or_else(|| job.to_string())?;
    Ok(vertices.iter().filter_map(|vertex| vertex["metrics"]["write-records"].as_u64()).sum())
}

/// The checkpoints of a job that failed, as far as its JobManager still knows them: number and reason.
fn given_up(cluster: &HadoopCluster, subject: &Subject) -> Result<Vec<(u64, String)>, String> {
    let answer = subject.application.ask(cluster, &format!("/jobs/{}/checkpoints", subject.job))?;
    let all = answer["history"].as_array().ok_or_else(|| answer.to_string())?;
    let failed = all.iter().filter(|checkpoint| checkpoint["status"] == "FAILED");
    let described = |checkpoint: &Value| {
        Some((checkpoint["id"].as_u64()?, checkpoint["failure_message"].as_str().unwrap_or_default().to_owned()))
    };
    Ok(failed.filter_map(described).collect())
}
