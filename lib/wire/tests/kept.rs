//! What a JobManager keeps of jobs for a later one, as it was written (docs/formats/ha-filesystem.md): it is still read.
#![allow(clippy::unwrap_used, reason = "a test")]

use flumen_model::failure::Blame;
use flumen_model::ids::JobId;
use flumen_model::status::JobStatus;
use flumen_wire::application::JobSubmission;
use flumen_wire::kept::KeptResult;

const JOB: &str = include_str!("fixtures/kept-job-v5.json");
const RESULT: &str = include_str!("fixtures/kept-result-v5.json");
/// As the first ones of that version were, which told less.
const FIRST_RESULT: &str = include_str!("fixtures/kept-result-v5-first.json");

fn check(submission: &JobSubmission) {
    assert_eq!((submission.protocol, submission.job), (5, JobId(0xabc)));
    let graph = &submission.graph;
    assert_eq!((graph.name.as_str(), graph.vertices.len(), graph.edges.len()), ("count words", 2, 1));
    assert_eq!(graph.outputs, ["hdfs://nn/out"]);
    assert_eq!(submission.program.artifact.as_ref().unwrap().sha256, "00ff");
    assert_eq!(submission.arguments, ["--input", "hdfs://nn/in"]);
    assert_eq!(submission.configuration.raw("parallelism.default"), Some("2"));
}

#[test]
fn a_job_that_was_kept_is_read_and_written_as_it_was() {
    let submission: JobSubmission = serde_json::from_str(JOB).unwrap();
    check(&submission);
    assert_eq!(submission.graph.vertices[0].source.as_ref().unwrap().splits, ["hdfs://nn/in/a:0-100"]);
    assert_eq!(submission.accepted_ms, Some(1_700_000_000_000));
    let written: serde_json::Value = serde_json::to_value(&submission).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(JOB).unwrap());
}

#[test]
fn a_result_that_was_kept_is_read_and_written_as_it_was() {
    let result: KeptResult = serde_json::from_str(RESULT).unwrap();
    check(&result.submission);
    let failure = result.failure.as_ref().unwrap();
    assert_eq!((result.status, failure.blame, failure.message.as_str()), (JobStatus::Failed, Blame::User, "boom"));
    assert_eq!((result.start_ms, result.runtime_ms, result.restarts), (1_700_000_000_000, 5_000, 3));
    assert_eq!(result.retained.as_deref(), Some("hdfs://nn/cp/abc/chk-7"));
    let written: serde_json::Value = serde_json::to_value(&result).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(RESULT).unwrap());
}

#[test]
fn what_the_first_results_did_not_tell_has_defaults() {
    let result: KeptResult = serde_json::from_str(FIRST_RESULT).unwrap();
    check(&result.submission);
    assert_eq!((result.restarts, result.failure, result.cancelled, result.retained), (0, None, None, None));
    assert_eq!(result.submission.accepted_ms, None);
}
