//! The interface as a client sees it: over a socket, against a main loop of a fixed state.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_jobmaster::{
    ExceptionEntry, JobDetails, RestartStrategy, Restarts, SnapshotWish, SplitProgress, SubtaskDetails, Timestamp,
    VertexDetails,
};
use flumen_log::LogDirectory;
use flumen_model::config::{Configuration, MemorySize};
use flumen_model::failure::{Blame, FailedSubtask, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobEdge, Partitioner, RuntimeMode};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_staging::ContentCache;
use flumen_wire::control::SubtaskIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::elsewhere::Elsewhere;

use super::{
    CancelReply, ExecutorView, Jars, Limits, RestOptions, RestRequest, RestState, SnapshotOrder, SubmitReply,
    TriggerReply, router,
};

mod authorization;
mod checkpoints;
mod jars;
mod logs;
mod submit;

const JOB: &str = "000000000000000000000000000000ab";
const TOKEN: &str = "s3cret-token";

fn subtask(index: u32, executor: &str) -> SubtaskDetails {
    use ExecutionState::{Created, Deploying, Running, Scheduled};
    SubtaskDetails {
        index,
        state: Running,
        attempt: ExecutionAttempt(1),
        executor: Some(ExecutorId(executor.into())),
        host: Some(format!("{executor}.example")),
        entered: vec![
            (Created, Timestamp(1000)),
            (Scheduled, Timestamp(1000)),
            (Deploying, Timestamp(1200)),
            (Running, Timestamp(1500)),
        ],
        start: Some(Timestamp(1200)),
        end: None,
        io: SubtaskIo { records_in: 10, records_out: 20, bytes_in: 30, bytes_out: 40 },
    }
}

fn job() -> JobDetails {
    let vertex = |id, name: &str, parallelism| VertexDetails {
        id: VertexId(id),
        name: name.into(),
        operators: vec![],
        parallelism,
        max_parallelism: 128,
        subtasks: (0..parallelism).map(|i| subtask(i, ["c1", "c2"][i as usize])).collect(),
        splits: (id == 1).then_some(SplitProgress { done: 3, total: 4 }),
    };
    let lost = Failure::new(Blame::Outside, "container lost").on(&ExecutorId("c2".into())).in_subtask(FailedSubtask {
        id: SubtaskId { vertex: VertexId(2), index: 1 },
        vertex_name: "Sink".into(),
        parallelism: 2,
    });
    JobDetails {
        job: JobId(0xab),
        name: "WordCount".into(),
        mode: RuntimeMode::Batch,
        status: JobStatus::Running,
        entered: vec![
            (JobStatus::Created, Timestamp(500)),
            (JobStatus::Restarting, Timestamp(900)),
            (JobStatus::Running, Timestamp(1500)),
        ],
        start: Timestamp(500),
        end: None,
        attempt: ExecutionAttempt(1),
        restarts: 1,
        restart_setting: Restarts::Every(RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_secs(1) }),
        slots_needed: 2,
        slots_present: 3,
        vertices: vec![vertex(1, "Source -> Flat Map", 1), vertex(2, "Sink", 2)],
        edges: vec![JobEdge { source: VertexId(1), target: VertexId(2), partitioner: Partitioner::Hash, output: 0 }],
        exceptions: vec![ExceptionEntry { at: Timestamp(900), attempt: ExecutionAttempt(0), failure: lost }],
        exceptions_truncated: false,
        failure: None,
        progress: Some(0.75),
    }
}

fn executors() -> Vec<ExecutorView> {
    let view = |name: &str, slots, free_slots| ExecutorView {
        id: ExecutorId(name.into()),
        host: format!("{name}.example"),
        slots,
        free_slots,
        cpu_cores: 8,
        memory: 1024 << 20,
        resident: 100 << 20,
        last_heartbeat: Timestamp(1900),
        logs_url: None,
    };
    vec![view("c1", 2, 1), view("c2", 1, 0)]
}

/// What the main loop was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Cancel(JobId),
    Heartbeat(JobId, Timestamp),
    Snapshot(SnapshotOrder),
    Dispose(String),
    Submit(JobId, Vec<String>),
    Shutdown,
}

struct Server {
    address: std::net::SocketAddr,
    told: mpsc::Receiver<Told>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn errors(&self) -> String {
        self.json()["errors"][0].as_str().unwrap().to_owned()
    }
}

async fn server(job: JobDetails, log_dir: Option<&Path>) -> Server {
    served(job, RestOptions { log_dir: log_dir.map(LogDirectory::new), ..options() }).await
}

fn options() -> RestOptions {
    let mut configuration = Configuration::new();
    configuration.set("parallelism.default", "2");
    configuration.set("security.ssl.key-password", "hunter2");
    RestOptions {
        token: TOKEN.into(),
        authorization: true,
        configuration,
        log_dir: None,
        executor_logs: logs::of_executor(),
        elsewhere: Elsewhere::default(),
        jars: None,
        files: FileSystems::new(FsOptions::default()).unwrap(),
        clock: || Timestamp(2000),
    }
}

/// A session that takes programs and keeps everything in that directory.
fn with_jars(dir: &Path, bytes_max: u64) -> RestOptions {
    let options = options();
    let root = options.files.resolve(&format!("file://{}/staging", dir.display())).unwrap();
    let cache = ContentCache::new(options.files.get(&root).unwrap(), root, None);
    let limits = Limits { upload_bytes: bytes_max, planning_memory: MemorySize::from_mib(256) };
    let jars = Jars::new(dir, cache, options.configuration.clone(), Default::default(), limits);
    RestOptions { jars: Some(jars), ..options }
}

async fn served(job: JobDetails, options: RestOptions) -> Server {
    let (sender, mut requests) = mpsc::channel(8);
    let (tell, told) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                RestRequest::Jobs { reply } => drop(reply.send(vec![Arc::new(job.clone())])),
                RestRequest::Job { job: id, reply } => {
                    drop(reply.send((id == job.job).then(|| Arc::new(job.clone()))));
                }
                RestRequest::Submit { submission, reply } => {
                    let outcome = match submission.job.0 {
                        1 => SubmitReply::Accepted,
                        2 => SubmitReply::Refused("`/out` already exists".into()),
                        3 => SubmitReply::OtherJob,
                        _ => SubmitReply::Ending,
                    };
                    tell.send(Told::Submit(submission.job, submission.arguments)).await.unwrap();
                    let _ = reply.send(outcome);
                }
                RestRequest::Shutdown { reply } => {
                    tell.send(Told::Shutdown).await.unwrap();
                    let _ = reply.send(());
                }
                RestRequest::Executors { reply } => drop(reply.send(executors())),
                RestRequest::Cancel { job: id, reply } => {
                    tell.send(Told::Cancel(id)).await.unwrap();
                    let _ = reply.send(match id == job.job {
                        false => CancelReply::Unknown,
                        true if job.status.is_terminal() => CancelReply::AlreadyOver(job.status),
                        true => CancelReply::Accepted,
                    });
                }
                RestRequest::Checkpoints { job: id, reply } => {
                    drop(reply.send((id == job.job).then(|| checkpoints::statistics(job.mode))));
                }
                RestRequest::Snapshot { order, reply } => {
                    let known = order.job == job.job;
                    let outcome = match order.wish {
                        _ if !known => TriggerReply::UnknownJob,
                        _ if job.status.is_terminal() => TriggerReply::AlreadyOver(job.status),
                        SnapshotWish::Savepoint { target: None } => TriggerReply::NoDirectory,
                        SnapshotWish::Checkpoint { full: true } => TriggerReply::TooMany,
                        _ => TriggerReply::Accepted,
                    };
                    tell.send(Told::Snapshot(order)).await.unwrap();
                    let _ = reply.send(outcome);
                }
                RestRequest::Dispose { path, reply, .. } => {
                    tell.send(Told::Dispose(path)).await.unwrap();
                    let _ = reply.send(TriggerReply::Accepted);
                }
                RestRequest::Operation { trigger, kind, reply, .. } => {
                    drop(reply.send(checkpoints::operation(trigger, kind)));
                }
                RestRequest::ClientHeartbeat { job: id, expires, reply } => {
                    tell.send(Told::Heartbeat(id, expires)).await.unwrap();
                    let _ = reply.send(id == job.job);
                }
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(RestState::new(options, sender))).await.unwrap() });
    Server { address, told }
}

impl Server {
    /// Sends a request as it is written: a client library would tidy up the paths that the tests are about.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Answer { status, head: head.to_owned(), body: if chunked { unchunked(body) } else { body.to_owned() } }
    }

    /// The same with the token.
    async fn allowed(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.send(method, path, &format!("Authorization: Bearer {TOKEN}\r\n{headers}"), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    body
}

/// The stored answer of that name. `FLUMEN_UPDATE_GOLDEN=1` stores `answer` anew: compare with Flink's before committing.
fn golden(name: &str, answer: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest/golden").join(format!("{name}.json"));
    if std::env::var_os("FLUMEN_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{answer:#}\n")).unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The answer without what changes from build to build.
fn settled(mut answer: Value) -> Value {
    for (key, settled) in [("flink-version", "VERSION"), ("flink-commit", "COMMIT"), ("flink-revision", "COMMIT")] {
        if let Some(value) = answer.get_mut(key) {
            *value = json!(settled);
        }
    }
    answer
}

#[tokio::test]
async fn every_answer_has_flinks_shape_with_and_without_v1() {
    let server = server(job(), None).await;
    let vertex = format!("/jobs/{JOB}/vertices/00000000000000000000000000000002");
    for (name, path) in [
        ("overview", "/overview"),
        ("config", "/config"),
        ("jobs", "/jobs"),
        ("jobs-overview", "/jobs/overview"),
        ("job", &format!("/jobs/{JOB}")),
        ("plan", &format!("/jobs/{JOB}/plan")),
        ("exceptions", &format!("/jobs/{JOB}/exceptions")),
        ("job-config", &format!("/jobs/{JOB}/config")),
        ("vertex", &vertex),
        ("status", &format!("/jobs/{JOB}/status")),
        ("progress", &format!("/jobs/{JOB}/progress")),
        ("execution-result", &format!("/jobs/{JOB}/execution-result")),
        ("taskmanagers", "/taskmanagers"),
        ("taskmanager", "/taskmanagers/c1"),
        ("jobmanager-config", "/jobmanager/config"),
    ] {
        for path in [path.to_owned(), format!("/v1{path}")] {
            let answer = server.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let answer = settled(answer.json());
            assert_eq!(answer, golden(name, &answer), "{path} gives {answer:#}");
        }
    }
}

#[tokio::test]
async fn a_job_that_is_over_tells_its_result() {
    let over = |status, failure| JobDetails { status, failure, end: Some(Timestamp(1600)), ..job() };
    let failure = Failure::new(Blame::User, "panicked: boom").on(&ExecutorId("c1".into()));
    for (job, status, cause) in [
        (over(JobStatus::Finished, None), "SUCCEEDED", Value::Null),
        (over(JobStatus::Canceled, None), "CANCELED", Value::Null),
        (over(JobStatus::Failed, Some(failure)), "FAILED", json!("on c1: panicked: boom")),
    ] {
        let server = server(job, None).await;
        let answer = server.get(&format!("/jobs/{JOB}/execution-result")).await.json();
        assert_eq!(answer["status"]["id"], "COMPLETED");
        let result = &answer["job-execution-result"];
        assert_eq!((&result["application-status"], &result["net-runtime"]), (&json!(status), &json!(1100)));
        assert_eq!(result["failure-cause"]["stack-trace"], cause);
        let overview = server.get("/jobs/overview").await.json();
        assert_eq!(overview["jobs"][0]["end-time"], 1600);
        if status == "FAILED" {
            let exceptions = server.get(&format!("/jobs/{JOB}/exceptions")).await.json();
            assert_eq!(exceptions["root-exception"], cause);
        }
    }
}

#[tokio::test]
async fn what_changes_something_needs_the_token() {
    let server = &mut server(job(), None).await;
    let heartbeat = r#"{"expiredTimestamp": 77}"#;
    let cases = [
        ("PATCH", format!("/jobs/{JOB}?mode=cancel"), "", Told::Cancel(JobId(0xab))),
        ("PATCH", format!("/v1/jobs/{JOB}"), "", Told::Cancel(JobId(0xab))),
        ("GET", format!("/jobs/{JOB}/yarn-cancel"), "", Told::Cancel(JobId(0xab))),
        ("PUT", format!("/jobs/{JOB}/yarn-cancel"), "", Told::Cancel(JobId(0xab))),
        ("PATCH", format!("/jobs/{JOB}/clientHeartbeat"), heartbeat, Told::Heartbeat(JobId(0xab), Timestamp(77))),
    ];
    for (method, path, body, told) in cases {
        for headers in [
            "",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer s3cret-toke\r\n",
            "Authorization: Bearer s3cret-tokenx\r\n",
            "Authorization: Basic s3cret-token\r\n",
            "Authorization: s3cret-token\r\n",
        ] {
            let answer = server.send(method, &path, headers, body).await;
            assert_eq!(answer.status, 401, "{method} {path} {headers}");
            assert!(answer.errors().contains("Authorization: Bearer"), "{}", answer.body);
            assert!(answer.head.to_ascii_lowercase().contains("www-authenticate: bearer"));
            assert!(!answer.body.contains(TOKEN));
        }
        assert!(server.told.try_recv().is_err(), "{method} {path} was carried out without the token");
        let answer = server.send(method, &path, &format!("Authorization: Bearer {TOKEN}\r\n"), body).await;
        assert_eq!((answer.status, answer.json()), (202, json!({})), "{method} {path}");
        assert_eq!(server.told.try_recv(), Ok(told));
    }
}

#[tokio::test]
async fn behind_yarns_proxy_a_put_may_carry_the_token_in_its_body() {
    let server = &mut server(job(), None).await;
    let path = format!("/jobs/{JOB}/yarn-cancel");
    for body in [r#"{"token":"wrong"}"#, r#"{"token":""}"#, "{}", "not json"] {
        assert_eq!(server.send("PUT", &path, "", body).await.status, 401, "{body}");
    }
    assert!(server.told.try_recv().is_err());
    let body = format!(r#"{{"token":"{TOKEN}"}}"#);
    assert_eq!(server.send("GET", &path, "", &body).await.status, 401, "not of a GET");
    assert_eq!(server.send("PUT", &path, "", &body).await.status, 202);
    assert_eq!(server.told.try_recv(), Ok(Told::Cancel(JobId(0xab))));
}

#[tokio::test]
async fn errors_have_flinks_status_and_form() {
    let server = server(job(), None).await;
    let unknown = "000000000000000000000000000000ff";
    let allowed = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path, status, text) in [
        ("GET", format!("/jobs/{unknown}"), 404, "not found"),
        ("GET", "/jobs/xyz".to_owned(), 400, "(jobid) from value \"xyz\""),
        ("GET", "/jobs/%ff".to_owned(), 400, "jobid"),
        ("GET", format!("/jobs/{JOB}/vertices/1"), 400, "vertexid"),
        ("GET", format!("/jobs/{JOB}/vertices/{unknown}"), 404, "Vertex"),
        ("GET", format!("/jobs/{JOB}/exceptions?maxExceptions=x"), 400, "maxExceptions"),
        ("GET", "/taskmanagers/c9".to_owned(), 404, "c9"),
        ("GET", "/nothing/here".to_owned(), 404, "/nothing/here"),
        ("GET", "/v1/nothing".to_owned(), 404, "/v1/nothing"),
        ("POST", "/overview".to_owned(), 404, "/overview"),
        ("PATCH", format!("/jobs/{unknown}?mode=cancel"), 404, "not found"),
        ("PATCH", format!("/jobs/{JOB}?mode=stop"), 308, "cancel"),
        ("PATCH", format!("/jobs/{JOB}?mode=destroy"), 400, "destroy"),
        ("PATCH", format!("/jobs/{JOB}?mode=cancel&mode=cancel"), 400, "query"),
        ("PATCH", format!("/jobs/{JOB}/clientHeartbeat"), 400, "body"),
    ] {
        let answer = server.send(method, &path, &allowed, "").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.errors().contains(text), "{method} {path}: {}", answer.body);
    }
    let long = format!(r#"{{"expiredTimestamp": 1, "x": "{}"}}"#, "x".repeat(100_000));
    let answer = server.send("PATCH", &format!("/jobs/{JOB}/clientHeartbeat"), &allowed, &long).await;
    assert_eq!((answer.status, answer.errors().contains("too large")), (413, true));
}

#[tokio::test]
async fn a_job_that_is_over_cannot_be_cancelled_unless_it_was() {
    let allowed = format!("Authorization: Bearer {TOKEN}\r\n");
    for (status, code) in [(JobStatus::Finished, 409), (JobStatus::Failed, 409), (JobStatus::Canceled, 202)] {
        let server = server(JobDetails { status, ..job() }, None).await;
        let answer = server.send("PATCH", &format!("/jobs/{JOB}"), &allowed, "").await;
        assert_eq!(answer.status, code, "{}", answer.body);
    }
}

#[tokio::test]
async fn secrets_of_the_configuration_are_hidden() {
    let server = server(job(), None).await;
    let answer = server.get("/jobmanager/config").await;
    assert!(!answer.body.contains("hunter2") && answer.body.contains("******"), "{}", answer.body);
}

#[tokio::test]
async fn the_page_may_look_at_the_one_other_place_where_it_goes_on() {
    let elsewhere = Elsewhere::default();
    let server = served(job(), RestOptions { elsewhere: elsewhere.clone(), ..options() }).await;
    let named = |page: &Answer| (page.head.to_ascii_lowercase(), page.body.clone());
    let (head, body) = named(&server.get("/").await);
    assert!(head.contains("connect-src 'self' ;") && body.contains("content=\"\""), "{head}{body}");
    assert_eq!(server.get("/jobmanager/elsewhere").await.body, r#"{"address":null}"#);

    elsewhere.is_at("standby.example:4711");
    let (head, body) = named(&server.get("/").await);
    assert!(head.contains("connect-src 'self' http://standby.example:4711;"), "{head}");
    assert!(head.contains("cache-control: no-store") && !head.contains("access-control"), "{head}");
    assert!(body.contains("content=\"http://standby.example:4711\""), "{body}");
    assert_eq!(server.get("/jobmanager/elsewhere").await.body, r#"{"address":"http://standby.example:4711"}"#);
}

#[tokio::test]
async fn the_page_names_no_address_but_relative_ones() {
    let server = server(job(), None).await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/html") && page.head.contains("default-src 'none'"), "{}", page.head);
    for (path, kind) in [("/ui/app.js", "javascript"), ("/ui/style.css", "css")] {
        let part = server.get(path).await;
        assert!(part.status == 200 && part.head.contains(kind), "{path}: {}", part.head);
        assert!(page.body.contains(&path[1..]), "the page uses {path}");
        assert!(!part.body.contains("http://") && !part.body.contains("https://"), "{path}");
    }
    for absolute in ["http://", "https://", "=\"/", "='/", "(\"/"] {
        assert!(!page.body.contains(absolute), "{absolute}");
    }
    let script = server.get("/ui/app.js").await.body;
    for absolute in ["fetch(\"/", "fetch(`/", "ask(\"/", "ask(`/", "innerHTML"] {
        assert!(!script.contains(absolute), "{absolute}");
    }
}

#[tokio::test]
async fn an_application_that_is_ending_says_so() {
    let (sender, requests) = mpsc::channel(1);
    drop(requests);
    let options = RestOptions { token: String::new(), ..options() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(RestState::new(options, sender))).await.unwrap() });
    let server = Server { address, told: mpsc::channel(1).1 };
    let answer = server.get("/jobs").await;
    assert_eq!((answer.status, answer.errors()), (503, "The application is ending.".to_owned()));
    // Without a token nobody may change anything, also not with an empty one.
    let answer = server.send("PATCH", &format!("/jobs/{JOB}"), "Authorization: Bearer \r\n", "").await;
    assert_eq!(answer.status, 401);
}
