//! The stores of high availability on the real thing: files in HDFS, and nodes in a ZooKeeper ensemble whose servers are
//! killed.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::Arc;

use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{HaSettings, HaStore, conformance, open};
use flumen_itests::hadoop::HadoopCluster;
use flumen_model::config::Configuration;

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
    assert!(cluster.hdfs().list("/ha").unwrap().is_empty(), "{:?}", cluster.hdfs().list("/ha"));
}

#[cfg(feature = "zookeeper")]
mod zookeeper {
    use std::path::Path;

    use bytes::Bytes;
    use flumen_ha::Candidate;
    use flumen_itests::hadoop::ZooKeeper;
    use flumen_model::ids::JobId;

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
        Candidate { owner: "application_1_0001".to_owned(), attempt, replaces: None }
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
}
