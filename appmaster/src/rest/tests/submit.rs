//! Jobs are submitted and the cluster is ended.

use flumen_model::ids::JobId;
use flumen_wire::application::{JobSubmission, Purpose};
use flumen_wire::control::PROTOCOL_VERSION;
use serde_json::json;

use super::{TOKEN, Told, job, server};
use crate::testing::application;

fn submission(job: u128) -> JobSubmission {
    let Purpose::Job(submission) = application().purpose else { unreachable!("a job") };
    JobSubmission { job: JobId(job), ..*submission }
}

fn body(job: u128) -> String {
    serde_json::to_string(&submission(job)).unwrap()
}

fn authorized() -> String {
    format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n")
}

#[tokio::test]
async fn a_submission_is_answered_by_what_becomes_of_it() {
    let server = &mut server(job(), None).await;
    for (job, status, part) in [
        (1, 202, "/jobs/00000000000000000000000000000001"),
        (2, 400, "`/out` already exists"),
        (3, 409, "one job"),
        (4, 503, "ending"),
    ] {
        for path in ["/jobs", "/v1/jobs"] {
            let answer = server.send("POST", path, &authorized(), &body(job)).await;
            assert_eq!(answer.status, status, "{}", answer.body);
            let text =
                if status == 202 { answer.json()["jobUrl"].as_str().unwrap().to_owned() } else { answer.errors() };
            assert!(text.contains(part), "{text}");
            assert_eq!(server.told.try_recv(), Ok(Told::Submit(JobId(job), vec!["--input".into(), "x".into()])));
        }
    }
}

#[tokio::test]
async fn what_is_no_submission_of_this_version_is_refused_with_the_reason() {
    let server = &mut server(job(), None).await;
    let mut other_version = serde_json::to_value(submission(1)).unwrap();
    other_version["protocol"] = json!(PROTOCOL_VERSION + 1);
    let other_version = other_version.to_string();
    let multipart = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: multipart/form-data; boundary=x\r\n");
    let json = authorized();
    for (headers, body, status, part) in [
        (json.as_str(), "{", 400, "not as expected"),
        (&json, "{}", 400, "protocol"),
        (&json, &other_version, 400, "use one version"),
        (&multipart, "--x--", 400, "multipart"),
        ("", &body(1), 401, "Authorization: Bearer"),
    ] {
        let answer = server.send("POST", "/jobs", headers, body).await;
        assert_eq!((answer.status, answer.errors().contains(part)), (status, true), "{}", answer.body);
    }
    assert!(server.told.try_recv().is_err());
}

#[tokio::test]
async fn a_submission_may_be_large_and_other_bodies_may_not() {
    let server = &mut server(job(), None).await;
    let mut large = submission(1);
    large.arguments = vec!["x".repeat(1 << 20)];
    let large = serde_json::to_string(&large).unwrap();
    assert_eq!(server.send("POST", "/jobs", &authorized(), &large).await.status, 202);
    let path = format!("/jobs/{}/savepoints", super::JOB);
    assert_eq!(server.send("POST", &path, &authorized(), &large).await.status, 413);
}

#[tokio::test]
async fn the_cluster_is_ended_by_whoever_has_the_token() {
    let server = &mut server(job(), None).await;
    assert_eq!(server.send("DELETE", "/cluster", "", "").await.status, 401);
    assert!(server.told.try_recv().is_err());
    for path in ["/cluster", "/v1/cluster"] {
        let answer = server.send("DELETE", path, &authorized(), "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
        assert_eq!(server.told.try_recv(), Ok(Told::Shutdown));
    }
}
