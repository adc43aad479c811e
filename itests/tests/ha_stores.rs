//! The stores of high availability on the real thing: files in HDFS, and nodes in a ZooKeeper ensemble whose servers are
//! killed.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{Addresses, HaSettings, HaStore, conformance, open};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::say;
use flumen_model::config::Configuration;
use flumen_model::ids::JobId;

/// A store as another process would make it.
fn store(conf: &Configuration, cluster: &str) -> Arc<dyn HaStore> {
    let settings = HaSettings::read(conf, cluster).unwrap();
    open(&settings, &FileSystems::new(FsOptions::default()).unwrap()).unwrap()
}

#[test]
fn files_in_hdfs_conform_and_nothing_is_left() {
    let cluster = HadoopCluster::builder().start().unwrap();
    cluster.hdfs().make_dir("/ha", "1777").unwrap();
    let mut conf = Configuration::new();
    conf.set("high-availability", "filesystem");
    conf.set("high-availability.storageDir", format!("{}/ha", cluster.hdfs_url()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(conformance::check_all(&|id| store(&conf, id)));
    runtime.block_on(say_what_it_costs(&*store(&conf, "costs")));
    assert!(cluster.hdfs().list("/ha").unwrap().is_empty(), "{:?}", cluster.hdfs().list("/ha"));
}

/// A job of usual size, from its submission to the next leader.
async fn say_what_it_costs(store: &dyn HaStore) {
    let addresses = Addresses { internal: "node-1:40123".into(), rest: "node-1:8081".into() };
    let start = Instant::now();
    let mut times = Vec::new();
    let mut time = |what: &str| times.push(format!("{what} {} ms", start.elapsed().as_millis()));
    let first = store.campaign(&conformance::attempt(1)).await.unwrap();
    time("leads after");
    store.announce(&first, &addresses).await.unwrap();
    time("announced");
    store.put_job(&first, JobId(1), Bytes::from(vec![b'x'; 30_000])).await.unwrap();
    time("job kept");
    store.put_result(&first, JobId(2), Bytes::from(vec![b'x'; 1_000])).await.unwrap();
    time("result kept");
    store.leader().await.unwrap();
    time("leader seen");
    let second = store.campaign(&conformance::attempt(2)).await.unwrap();
    time("taken over");
    assert_eq!(store.jobs(&second).await.unwrap().len(), 1);
    time("jobs read");
    store.clean_up(&second).await.unwrap();
    time("cleaned up");
    say(&times.join(", "));
}

#[cfg(feature = "zookeeper")]
mod zookeeper {
    use std::path::Path;
    use std::time::Duration;

    use flumen_ha::{Candidate, Leadership};
    use flumen_itests::cut::{Lost, Relay};
    use flumen_itests::hadoop::ZooKeeper;
    use flumen_itests::wait;

    use super::*;

    fn conf(quorum: &str, directory: &Path) -> Configuration {
        let mut conf = Configuration::new();
        for (key, value) in [
            ("high-availability", "zookeeper"),
            ("high-availability.storageDir", &format!("file://{}", directory.display())),
            ("high-availability.zookeeper.quorum", quorum),
            ("high-availability.zookeeper.path.root", "/streams/flumen"),
            ("high-availability.zookeeper.client.session-timeout", "2 s"),
            ("high-availability.zookeeper.client.connection-timeout", "2 s"),
            ("high-availability.zookeeper.client.retry-wait", "200 ms"),
            ("high-availability.zookeeper.client.max-retry-attempts", "10"),
        ] {
            conf.set(key, value);
        }
        conf
    }

    fn attempt(attempt: u32) -> Candidate {
        Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None, follows: false }
    }

    #[test]
    fn an_ensemble_conforms_and_leadership_outlives_its_servers_and_sessions() {
        tokio::runtime::Runtime::new().unwrap().block_on(conform_and_outlive());
    }

    async fn conform_and_outlive() {
        let mut ensemble = ZooKeeper::start(3).unwrap();
        let files = tempfile::tempdir().unwrap();
        let patient = conf(&ensemble.quorum(), files.path());
        conformance::check_all(&|id| store(&patient, id)).await;
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "files are left");

        let large = Bytes::from(vec![7; 100_000]);
        let leader = store(&patient, "etl");
        let first = leader.campaign(&attempt(1)).await.unwrap();
        leader.put_job(&first, JobId(1), large.clone()).await.unwrap();

        // One server lost, the one that leads: it goes on.
        let lost = ensemble.leader().unwrap();
        ensemble.kill(lost).unwrap();
        leader.put_job(&first, JobId(2), Bytes::from_static(b"two")).await.unwrap();
        leader.still_leads(&first).await.unwrap();

        // Two lost: suspended. Nothing is acknowledged, nothing is superseded, and for longer than a session lasts.
        let second_lost = lost % 3 + 1;
        ensemble.kill(second_lost).unwrap();
        for _ in 0..2 {
            let refused = leader.put_job(&first, JobId(3), Bytes::from_static(b"three")).await.unwrap_err();
            assert!(refused.is_retryable() && !refused.is_superseded(), "{refused}");
            assert!(refused.to_string().contains(&ensemble.quorum()), "{refused}");
        }

        // Back: the same leadership goes on.
        ensemble.launch(lost).unwrap();
        ensemble.launch(second_lost).unwrap();
        ensemble.wait_serving().unwrap();
        leader.put_job(&first, JobId(3), Bytes::from_static(b"three")).await.unwrap();
        leader.still_leads(&first).await.unwrap();

        // The next leader has all of it, and the former one is told so.
        say_what_it_costs(&*store(&patient, "costs")).await;
        let next = store(&patient, "etl");
        let second = next.campaign(&attempt(2)).await.unwrap();
        assert!(second.epoch() > first.epoch());
        let jobs = next.jobs(&second).await.unwrap();
        let expected = [(1, large), (2, Bytes::from_static(b"two")), (3, Bytes::from_static(b"three"))];
        assert_eq!(jobs, expected.map(|(job, graph)| (JobId(job), graph)));
        assert!(leader.put_job(&first, JobId(4), Bytes::new()).await.unwrap_err().is_superseded());
        next.clean_up(&second).await.unwrap();
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "files are left");
    }

    #[test]
    fn leadership_outlives_a_session_that_expired() {
        let ensemble = ZooKeeper::start(1).unwrap();
        let files = tempfile::tempdir().unwrap();
        let leader = store(&conf(&ensemble.quorum(), files.path()), "etl");
        // Nothing of the client runs while nothing is waited for, as in a process that is stopped.
        let stopped = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = stopped.block_on(leader.campaign(&attempt(1))).unwrap();
        assert_eq!(ensemble.sessions().unwrap(), 1);
        let limit = Duration::from_secs(60);
        wait::until("the session expired", limit, || (ensemble.sessions().ok()? == 0).then_some(())).unwrap();
        stopped.block_on(leader.put_job(&first, JobId(1), Bytes::from_static(b"one"))).unwrap();
        stopped.block_on(leader.still_leads(&first)).unwrap();

        // And one that was stopped while another began learns it from its first write.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let next = store(&conf(&ensemble.quorum(), files.path()), "etl");
        let second = runtime.block_on(next.campaign(&attempt(2))).unwrap();
        let refused = stopped.block_on(leader.put_job(&first, JobId(2), Bytes::new())).unwrap_err();
        assert!(refused.is_superseded(), "{refused}");
        assert_eq!(runtime.block_on(next.jobs(&second)).unwrap().len(), 1);
        runtime.block_on(next.clean_up(&second)).unwrap();

        let mut conf = conf(&ensemble.quorum(), files.path());
        conf.set("high-availability.zookeeper.client.acl", "creator");
        let refused = runtime.block_on(store(&conf, "etl").campaign(&attempt(1))).unwrap_err();
        assert!(refused.to_string().contains("client.acl") && !refused.is_retryable(), "{refused}");
    }

    fn graph(job: u128) -> Bytes {
        // Short and long ones.
        Bytes::from(format!("graph {job}").repeat(if job.is_multiple_of(2) { 1_000 } else { 1 }))
    }

    /// What leaders do; whatever fails is repeated, as they do.
    async fn lead(store: &dyn HaStore) -> Leadership {
        const TRIES: usize = 3;
        macro_rules! repeated {
            ($call:expr) => {{
                let mut result = $call.await;
                for _ in 0..TRIES {
                    if result.is_err() {
                        result = $call.await;
                    }
                }
                result.unwrap()
            }};
        }
        let me = repeated!(store.campaign(&attempt(1)));
        let addresses = Addresses { internal: "node-1:40123".into(), rest: String::new() };
        repeated!(store.announce(&me, &addresses));
        for job in 1..=4 {
            repeated!(store.put_job(&me, JobId(job), graph(job)));
        }
        repeated!(store.put_result(&me, JobId(2), graph(20)));
        repeated!(store.put_result(&me, JobId(3), graph(31)));
        repeated!(store.remove_job(&me, JobId(2)));
        repeated!(store.remove_job(&me, JobId(4)));
        repeated!(store.remove_result(&me, JobId(3)));
        me
    }

    #[test]
    fn whichever_message_gets_lost_the_next_leader_finds_all_that_was_acknowledged() {
        let ensemble = ZooKeeper::start(1).unwrap();
        let files = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = ensemble.quorum().parse().unwrap();
        let mut count = 0;
        let undisturbed = Relay::start(server, Lost::Request(0)).unwrap();
        for number in 0.. {
            // The first round counts the messages.
            for lost in [Lost::Request(number), Lost::Answer(number)] {
                let relay = if number == 0 { &undisturbed } else { &Relay::start(server, lost).unwrap() };
                let mut relayed = conf(&relay.address().to_string(), files.path());
                relayed.set("high-availability.zookeeper.client.retry-wait", "20 ms");
                let former = store(&relayed, "etl");
                let first = runtime.block_on(lead(&*former));
                let next = store(&conf(&ensemble.quorum(), files.path()), "etl");
                runtime.block_on(async {
                    let second = next.campaign(&attempt(2)).await.unwrap();
                    assert!(second.epoch() > first.epoch(), "{lost:?}");
                    let found = (next.jobs(&second).await.unwrap(), next.results(&second).await.unwrap());
                    let expected = (vec![(JobId(1), graph(1))], vec![(JobId(2), graph(20))]);
                    assert!(found == expected, "{lost:?}: {found:?}");
                    let refused = former.put_job(&first, JobId(5), Bytes::new()).await.unwrap_err();
                    assert!(refused.is_superseded(), "{lost:?}: {refused}");
                    next.clean_up(&second).await.unwrap();
                    assert_eq!(next.leader().await.unwrap(), None, "{lost:?}");
                });
                assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "{lost:?}: files are left");
                if number == 0 && lost == Lost::Answer(0) {
                    count = relay.requests() / 2;
                }
            }
            if number > count {
                break;
            }
        }
        assert!(count > 40, "only {count} messages");
    }
}
