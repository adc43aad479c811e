//! Programs over REST: uploaded, listed, planned, run, removed.

use std::path::Path;

use flumen_model::ids::JobId;
use serde_json::{Value, json};

use super::{Answer, RestOptions, Server, Told, job, options, served, with_jars};

const BOUNDARY: &str = "b-o-u-n-d-a-r-y";
const TYPE: &str = "Content-Type: multipart/form-data; boundary=b-o-u-n-d-a-r-y\r\n";

fn file(name: &str, content: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"{name}\"\r\n\
         Content-Type: application/x-java-archive\r\n\r\n{content}\r\n"
    )
}

fn form(parts: &[String]) -> String {
    format!("{}--{BOUNDARY}--\r\n", parts.concat())
}

/// A program that answers as one in the role `plan` does: with a graph of one vertex whose name is its first argument.
fn program() -> String {
    let graph = json!({"graph": {
        "name": "NAME", "mode": "BATCH", "edges": [], "outputs": [],
        "vertices": [{"id": "00000000000000000000000000000001", "name": "Source: a<b", "operators": [],
            "parallelism": 2, "max_parallelism": 128}],
    }});
    // The frame's length stands before it, and its name is as long as the argument.
    let frame = graph.to_string();
    let length: String = (frame.len() as u32).to_be_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
    // What is left unread when it ends would take back what it wrote.
    format!(
        "#!/bin/sh\n[ \"$FLUMEN_ROLE\" = plan ] || exit 9\nexec 3>&0\n\
         length() {{ echo $(( (($1 * 256 + $2) * 256 + $3) * 256 + $4 )); }}\n\
         dd bs=1 count=$(length $(dd bs=1 count=4 2>/dev/null | od -An -tu1)) >/dev/null 2>&1\n\
         [ \"$1\" != fail ] || exit 3\nprintf '{length}' >&3\n\
         printf %s '{frame}' | sed \"s/NAME/${{1:-none}}/\" >&3\n"
    )
}

async fn uploaded(server: &Server, name: &str, content: &str) -> Answer {
    server.allowed("POST", "/jars/upload", TYPE, &form(&[file(name, content)])).await
}

/// The id of an upload that succeeded.
fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!(answer["status"], "success");
    Path::new(answer["filename"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_program_is_uploaded_listed_planned_run_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = &mut served(job(), with_jars(dir.path(), 1 << 20)).await;
    assert_eq!(server.get("/config").await.json()["features"]["web-submit"], true);
    let id = id(&uploaded(server, "count", &program()).await);
    assert!(id.ends_with("_count") && id.len() == 42, "{id}");

    let listed = server.get("/v1/jars").await.json();
    assert_eq!(listed["address"], "http://t");
    assert_eq!((&listed["files"][0]["id"], &listed["files"][0]["name"]), (&json!(id), &json!("count")));
    assert!(listed["files"][0]["uploaded"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(listed["files"][0]["entry"], json!([{"name": "count", "description": null}]));

    for (method, query, body) in
        [("GET", "?programArg=once&parallelism=2", ""), ("POST", "", r#"{"programArgsList": ["once"]}"#)]
    {
        let answer = server.allowed(method, &format!("/jars/{id}/plan{query}"), "", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let plan = &answer.json()["plan"];
        assert_eq!((&plan["name"], &plan["type"]), (&json!("once"), &json!("BATCH")));
        assert_eq!(
            (&plan["nodes"][0]["description"], &plan["nodes"][0]["parallelism"]),
            (&json!("Source: a&lt;b"), &json!(2))
        );
    }
    assert!(server.told.try_recv().is_err(), "a plan runs nothing");

    let body = r#"{"jobId": "00000000000000000000000000000001", "programArgs": "once 'and again'"}"#;
    let answer = server.allowed("POST", &format!("/jars/{id}/run"), "", body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"jobid": "00000000000000000000000000000001"})));
    assert_eq!(server.told.try_recv(), Ok(Told::Submit(JobId(1), vec!["once".into(), "and again".into()])));
    let staged: Vec<_> = std::fs::read_dir(dir.path().join("staging/cache")).unwrap().collect();
    assert_eq!(staged.len(), 1);
    assert!(staged[0].as_ref().unwrap().path().join("count").is_file());

    assert_eq!(server.allowed("DELETE", &format!("/jars/{id}"), "", "").await.json(), json!({}));
    assert_eq!(server.get("/jars").await.json()["files"], json!([]));
}

#[tokio::test]
async fn everything_but_the_list_needs_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = served(job(), with_jars(dir.path(), 1 << 20)).await;
    let id = id(&uploaded(&server, "count", &program()).await);
    let upload = form(&[file("count", &program())]);
    for (method, path, headers, body) in [
        ("POST", "/jars/upload".to_owned(), TYPE, upload.as_str()),
        ("GET", format!("/jars/{id}/plan"), "", ""),
        ("POST", format!("/jars/{id}/plan"), "", ""),
        ("POST", format!("/jars/{id}/run"), "", ""),
        ("DELETE", format!("/jars/{id}"), "", ""),
    ] {
        let answer = server.send(method, &path, headers, body).await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.body);
    }
    assert_eq!(server.get("/jars").await.json()["files"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_said_and_nothing_of_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = served(job(), with_jars(dir.path(), 10_000)).await;
    let (good, text) = (
        file("count", "#!/bin/sh"),
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n"),
    );
    for (headers, body, status, part) in [
        (TYPE, form(&[]), 400, "Exactly 1 file must be sent, received 0"),
        (TYPE, form(&[text]), 400, "received 0"),
        (TYPE, form(&[good.clone(), good.clone()]), 400, "received 2"),
        (TYPE, form(&[file("job.jar", "PK\u{3}\u{4}")]), 400, "a Java archive"),
        (TYPE, form(&[file("a", "")]), 400, "empty"),
        (TYPE, form(&[file("..", "#!/bin/sh")]), 400, "no name"),
        (TYPE, form(&[file("a", &"#!".repeat(5001))]), 413, "10000 bytes"),
        (TYPE, form(&[file("a", &"#!".repeat(50_000))]), 413, "10000 bytes"),
        (TYPE, good[..good.len() - 4].to_owned(), 400, "multipart"),
        (TYPE, "nonsense".to_owned(), 400, "multipart"),
        (TYPE, String::new(), 400, "multipart"),
        ("Content-Type: multipart/form-data\r\n", form(std::slice::from_ref(&good)), 400, "boundary"),
        ("Content-Type: application/json\r\n", "{}".to_owned(), 400, "multipart"),
        ("", good, 400, "multipart"),
    ] {
        let answer = server.allowed("POST", "/jars/upload", headers, &body).await;
        assert_eq!((answer.status, answer.errors().contains(part)), (status, true), "{headers}{part}: {}", answer.body);
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("flink-web-upload")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_program_that_can_not_be_run_is_answered_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = &mut served(job(), with_jars(dir.path(), 1 << 20)).await;
    let id = id(&uploaded(server, "count", &program()).await);
    for (path, body, status, part) in [
        (format!("/jars/{id}/run"), r#"{"programArgsList": ["fail"]}"#, 400, "exit code 3"),
        (format!("/jars/{id}/plan"), r#"{"programArgsList": ["fail"]}"#, 400, "exit code 3"),
        (format!("/jars/{id}/run"), r#"{"jobId": "00000000000000000000000000000002"}"#, 400, "`/out` already exists"),
        (format!("/jars/{id}/run"), r#"{"parallelism": 0}"#, 400, "at least 1"),
        (format!("/jars/{id}/run"), "{", 400, "body"),
        (format!("/jars/{id}x/run"), "", 400, "does not exist"),
        ("/jars/..%2f..%2fetc%2fpasswd/run".to_owned(), "", 400, "does not exist"),
        ("/jars/count/plan".to_owned(), "", 400, "does not exist"),
    ] {
        let answer = server.allowed("POST", &path, "", body).await;
        assert_eq!((answer.status, answer.errors().contains(part)), (status, true), "{path} {body}: {}", answer.body);
    }
    let answer = server.allowed("DELETE", "/jars/..%2f..%2fetc%2fpasswd", "", "").await;
    assert_eq!((answer.status, answer.errors().contains("does not exist")), (400, true), "{}", answer.body);
}

#[tokio::test]
async fn where_programs_are_not_taken_there_are_no_such_paths() {
    let server = served(job(), RestOptions { jars: None, ..options() }).await;
    for (method, path) in
        [("GET", "/jars"), ("POST", "/jars/upload"), ("POST", "/v1/jars/x/run"), ("DELETE", "/jars/x")]
    {
        assert_eq!(server.allowed(method, path, "", "").await.status, 404, "{method} {path}");
    }
    assert_eq!(server.get("/config").await.json()["features"]["web-submit"], Value::Bool(false));
}
