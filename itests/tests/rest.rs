//! The application's REST interface and page, through the ResourceManager's proxy and directly.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::Flink;
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::Gate;
use flumen_itests::traces::{containers, wait_nothing_left};
use flumen_itests::wait;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);

fn texts<'a>(values: &'a Value, key: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
}

#[test]
fn a_running_job_is_seen_through_yarns_proxy_in_flinks_shapes_and_changed_by_its_owner_only() {
    let cluster = HadoopCluster::builder().node_resources(4096, 8).start().unwrap();
    let gate = Gate::closed().unwrap();
    let outcome = Flink::on(&cluster)
        .args("run -m yarn-cluster -d -yjm 256m -ytm 384m -ys 2 -p 3 -D secret.password=hunter2")
        .arg(binary("itest-job"))
        .arg("--gate")
        .arg(gate.path())
        .run()
        .succeeded();
    let id = outcome.application_id().unwrap();
    let yarn = cluster.yarn();
    let get = |path: &str| yarn.through_proxy(&id, path).unwrap();

    // The page: relative links only, or they would leave the proxy.
    let application = yarn.application(&id).unwrap();
    let tracking_url = application.tracking_url.trim_end_matches('/');
    assert!(tracking_url.starts_with("http://") && tracking_url.ends_with(&format!("/proxy/{id}")), "{tracking_url}");
    let page = yarn.page_through_proxy(&id, "/").unwrap();
    assert!(page.contains("<html") && !page.contains("href=\"/") && !page.contains("src=\"/"), "{page}");
    for file in ["/ui/app.js", "/ui/style.css"] {
        assert!(!yarn.page_through_proxy(&id, file).unwrap().is_empty());
    }

    let overview = get("/overview");
    let numbers = ["taskmanagers", "slots-total", "slots-available", "jobs-running", "jobs-finished", "jobs-failed"];
    assert_eq!(numbers.map(|key| overview[key].as_u64()), [2, 4, 1, 1, 0, 0].map(Some), "{overview}");

    let jobs = get("/jobs");
    let job = jobs["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert!(outcome.printed().contains(&format!("JobID {job}")), "{outcome}");
    assert_eq!(jobs["jobs"][0]["status"], "RUNNING");
    let listed = &get("/jobs/overview")["jobs"][0];
    assert_eq!(
        (&listed["jid"], &listed["name"], &listed["state"]),
        (&job.as_str().into(), &"itest".into(), &"RUNNING".into())
    );

    let all_run = || {
        let details = get(&format!("/jobs/{job}"));
        if texts(&details["vertices"], "status") == ["RUNNING"; 3] { Ok(details) } else { Err(details.to_string()) }
    };
    let details = wait::until_ok("all vertices run", LIMIT, all_run).unwrap();
    let names = texts(&details["vertices"], "name");
    assert!(names.len() == 3 && names[1].contains("Checking"), "{details}");
    assert_eq!(details["plan"]["nodes"].as_array().unwrap().len(), 3, "{details}");
    let vertex = get(&format!("/jobs/{job}/vertices/{}", details["vertices"][1]["id"].as_str().unwrap()));
    assert_eq!(vertex["subtasks"].as_array().unwrap().len(), 3, "{vertex}");
    assert_eq!(get(&format!("/jobs/{job}/status"))["status"], "RUNNING");
    assert_eq!(get(&format!("/jobs/{job}/exceptions"))["exceptionHistory"]["entries"], serde_json::json!([]));

    let taskmanagers = get("/taskmanagers");
    let mut known = texts(&taskmanagers["taskmanagers"], "id");
    known.sort_unstable();
    let mut held: Vec<_> = containers(&cluster, &id).unwrap().into_iter().map(|(_, container)| container).collect();
    held.retain(|container| !container.ends_with("_000001"));
    held.sort();
    assert_eq!(known, held);
    assert!(get("/config")["flink-version"].is_string());
    let configuration = get("/jobmanager/config").to_string();
    assert!(configuration.contains("secret.password") && !configuration.contains("hunter2"), "{configuration}");
    assert!(yarn.page_through_proxy(&id, "/jobmanager/log").unwrap().contains("ApplicationMaster starts"));

    // Changes need the application's token; what does not exist is said to.
    let path = format!("/jobs/{job}");
    for (method, path, token, status) in [
        ("PATCH", path.as_str(), None, 401),
        ("PATCH", &path, Some("guessed"), 401),
        ("GET", &format!("{path}/yarn-cancel"), None, 401),
        ("PUT", &format!("{path}/yarn-cancel"), Some("guessed"), 401),
        ("GET", "/jobs/00000000000000000000000000000000", None, 404),
        ("GET", "/jobs/nonsense", None, 400),
        ("GET", "/no/such/path", None, 404),
    ] {
        assert_eq!(yarn.ask_master(&id, method, path, token).unwrap(), status, "{method} {path} {token:?}");
    }
    assert_eq!(get(&format!("/jobs/{job}/status"))["status"], "RUNNING");

    gate.open().unwrap();
    assert_eq!(yarn.wait_ended(&id, LIMIT).unwrap().final_status, "SUCCEEDED");
    wait_nothing_left(&cluster, &id, LIMIT).unwrap();
}
