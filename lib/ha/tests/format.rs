//! The layout of docs/formats/ha-filesystem.md, version 1, as it was released: it is still read.

mod world;

use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem as _, FsPath};
use flumen_ha::{Addresses, Candidate, FileSystemStore, HaStore as _, Leader};
use flumen_model::ids::{Epoch, JobId};
use world::{Disk, Process, Turns};

const LEADER: &str = "/ha/etl/ha-1/7.application_1700000000000_0001.2.000102030405060708090a0b0c0d0e0f";

#[tokio::test]
async fn data_of_version_1_is_read_and_written_as_it_was() {
    let disk = Disk::new();
    let process = Process::new(&disk, Turns::No, &[]);
    let path = |text: &str| FsPath::new("file", "", text).unwrap();
    for (name, content) in [
        ("at,7,node-1.example=3a40123,node-1.example=3a8081", ""),
        ("at,6,node-9.example=3a1,", ""),
        ("job-000102030405060708090a0b0c0d0e0f", "a graph"),
        ("job-100102030405060708090a0b0c0d0e0f", "another graph"),
        ("result-100102030405060708090a0b0c0d0e0f", "how it ended"),
    ] {
        let file = path(LEADER).join(name);
        process.write_fully(&file, Bytes::from(content), &CreateOptions::default()).await.unwrap();
    }
    let store = FileSystemStore::new(Arc::new(process), path("/ha/etl"));
    let addresses = Addresses { internal: "node-1.example:40123".into(), rest: "node-1.example:8081".into() };
    assert_eq!(store.leader().await.unwrap(), Some(Leader { epoch: Epoch(7), addresses: Some(addresses.clone()) }));

    let candidate =
        Candidate { owner: "application_1700000000000_0001".to_owned(), attempt: 3, replaces: None, follows: false };
    let leadership = store.campaign(&candidate).await.unwrap();
    assert_eq!(leadership.epoch(), Epoch(8));
    let (graph, ended) = (0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f, 0x1001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    assert_eq!(store.jobs(&leadership).await.unwrap(), [(JobId(graph), Bytes::from_static(b"a graph"))]);
    assert_eq!(store.results(&leadership).await.unwrap(), [(JobId(ended), Bytes::from_static(b"how it ended"))]);

    store.put_job(&leadership, JobId(1), Bytes::new()).await.unwrap();
    store.put_result(&leadership, JobId(1), Bytes::new()).await.unwrap();
    store.announce(&leadership, &addresses).await.unwrap();
    let paths = disk.paths();
    let names: Vec<_> = paths.iter().filter_map(|path| path.strip_prefix("/ha/etl/ha-1/8.")).collect();
    let (claim, token) = names[0].rsplit_once('.').unwrap();
    assert_eq!((claim, token.len()), ("application_1700000000000_0001.3", 32));
    let inside: Vec<_> = names[1..].iter().map(|name| name.rsplit_once('/').unwrap().1).collect();
    let expected = [
        "at,8,node-1.example=3a40123,node-1.example=3a8081",
        "job-00000000000000000000000000000001",
        "job-000102030405060708090a0b0c0d0e0f",
        "job-100102030405060708090a0b0c0d0e0f",
        "result-00000000000000000000000000000001",
        "result-100102030405060708090a0b0c0d0e0f",
    ];
    assert_eq!(inside, expected);
}
