//! Log files of the JobManager and of TaskExecutors.

use flumen_wire::logs::{LogAnswer, LogFileInfo, LogWish, PIECE_BYTES_MAX};
use serde_json::json;

use super::{Answer, Server, job, server};
use crate::executor_logs::ExecutorLogs;

/// Longer than one piece, and no piece ends between two characters.
fn text() -> String {
    "ä line\n".repeat(50_000)
}

/// The TaskExecutor `c1` with two files.
pub(super) fn of_executor() -> ExecutorLogs {
    ExecutorLogs::played("c1", |wish| match wish {
        LogWish::List => {
            let file = |name: &str, size| LogFileInfo { name: name.into(), size, modified_ms: 5 };
            LogAnswer::Files(vec![file("taskmanager.log", 400_000), file("taskmanager.out", 3)])
        }
        LogWish::Piece { name, offset, length } => {
            assert!(length <= PIECE_BYTES_MAX);
            let text = match name.as_str() {
                "taskmanager.log" => text(),
                "taskmanager.out" => "out".to_owned(),
                "unreadable" => return LogAnswer::Unreadable("bad disk".into()),
                _ => return LogAnswer::NoSuchFile,
            };
            let start = text.len().min(offset as usize);
            let end = text.len().min(start + length as usize);
            LogAnswer::Piece { size: text.len() as u64, data: text.as_bytes()[start..end].to_vec() }
        }
    })
}

async fn part(server: &Server, path: &str, range: &str) -> Answer {
    server.send("GET", path, &format!("Range: {range}\r\n"), "").await
}

#[tokio::test]
async fn a_taskexecutors_files_are_listed_and_read_in_pieces() {
    let server = server(job(), None).await;
    let listed = server.get("/taskmanagers/c1/logs").await.json();
    assert_eq!(listed["logs"][1], json!({"name": "taskmanager.out", "size": 3, "mtime": 5}));
    for path in ["/taskmanagers/c1/log", "/v1/taskmanagers/c1/logs/taskmanager.log"] {
        let log = server.get(path).await;
        assert_eq!((log.status, log.body == text()), (200, true), "{path}");
        assert!(log.head.contains("text/plain") && log.head.contains("nosniff"), "{}", log.head);
        assert!(log.head.contains("content-length: 400000"), "{}", log.head);
    }
    assert_eq!(server.get("/taskmanagers/c1/stdout").await.body, "out");
    let end = part(&server, "/taskmanagers/c1/log", "bytes=-5").await;
    assert_eq!((end.status, end.body.as_str()), (206, "line\n"));
    assert!(end.head.contains("content-range: bytes 399995-399999/400000"), "{}", end.head);
    for (path, status, part) in [
        ("/taskmanagers/c9/logs", 404, "c9"),
        ("/taskmanagers/c9/log", 404, "c9"),
        ("/taskmanagers/c1/logs/absent", 404, "absent"),
        ("/taskmanagers/c1/logs/..%2fsecret", 404, "secret"),
        ("/taskmanagers/c1/logs/unreadable", 500, "bad disk"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.errors().contains(part)), (status, true), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_part_of_a_log_is_served_and_one_that_is_not_there_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("jobmanager.log"), "0123456789").unwrap();
    std::fs::write(dir.path().join("jobmanager.out"), "").unwrap();
    let server = server(job(), Some(dir.path())).await;
    for (range, status, body) in [
        ("bytes=0-3", 206, "0123"),
        ("bytes=8-", 206, "89"),
        ("bytes=-2", 206, "89"),
        ("bytes=1-2,4-5", 200, "0123456789"),
    ] {
        let answer = part(&server, "/jobmanager/log", range).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{range}");
    }
    let beyond = part(&server, "/jobmanager/log", "bytes=10-").await;
    assert_eq!((beyond.status, beyond.errors().contains("10 bytes")), (416, true), "{}", beyond.body);
    let out = server.get("/jobmanager/stdout").await;
    assert_eq!((out.status, out.body.as_str()), (200, ""));
}

#[tokio::test]
async fn logs_are_served_and_nothing_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let text = "ä line\n".repeat(50_000);
    std::fs::write(logs.join("jobmanager.log"), &text).unwrap();
    std::fs::write(logs.join("jobmanager.log.1"), "older\n").unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), logs.join("link")).unwrap();
    let server = server(job(), Some(&logs)).await;

    let listed = server.get("/jobmanager/logs").await.json();
    let names: Vec<&str> = listed["logs"].as_array().unwrap().iter().map(|log| log["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["jobmanager.log", "jobmanager.log.1"]);
    assert_eq!(listed["logs"][1]["size"], 6);
    let log = server.get("/jobmanager/log").await;
    assert_eq!((log.status, log.body == text), (200, true));
    assert!(log.head.contains("text/plain") && log.head.contains("nosniff"), "{}", log.head);
    assert_eq!(server.get("/v1/jobmanager/logs/jobmanager.log.1").await.body, "older\n");
    for path in ["../secret", "..%2fsecret", "%2e%2e%2fsecret", "link", "..", "%2fetc%2fpasswd", ".", "%00", "absent"] {
        let answer = server.get(&format!("/jobmanager/logs/{path}")).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(!answer.body.contains("root:") && answer.json()["errors"].is_array(), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn without_a_log_directory_there_are_no_logs() {
    let server = server(job(), None).await;
    assert_eq!(server.get("/jobmanager/logs").await.json(), json!({ "logs": [] }));
    assert_eq!(server.get("/jobmanager/log").await.status, 404);
}
