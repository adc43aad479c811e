//! A standby beside a leader that is played by its real server, with a store in local files. Nothing here is on YARN.

use std::net::SocketAddr;
use std::path::Path;

use flumen_ha::Addresses;
use flumen_model::config::Configuration;
use flumen_model::ids::ExecutorId;
use flumen_model::options::high_availability::{STANDBY, STORAGE_DIR};
use flumen_wire::application::{APPLICATION_FILE, Purpose};
use flumen_wire::control::{ExecutorCommand, ExecutorReport, FromExecutor, ToExecutor};
use flumen_wire::frame;

use super::*;
use crate::executors::{ExecutorEvent, ExecutorServer, Me};
use crate::testing;

/// Limit of every wait: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "container_1_0001_01_000002";

/// A session with a standby; everything of it is in `dir`.
fn application(dir: &Path, options: &[(&str, &str)]) -> Application {
    let staging = dir.join("staging");
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join(APPLICATION_FILE), "{}").unwrap();
    std::fs::write(dir.join("tokens"), Credentials::default().to_bytes()).unwrap();
    let mut application = testing::application();
    application.purpose = Purpose::Session;
    application.staging = format!("file://{}", staging.display());
    let conf = &mut application.configuration;
    conf.put(&STORAGE_DIR, dir.join("ha").display());
    conf.put(&STANDBY, 1);
    conf.put(&deployment::INTERNAL_SSL, false);
    options.iter().for_each(|(key, value)| conf.set(*key, *value));
    application
}

fn environment(dir: &Path, container: &str) -> Environment {
    let container = container.parse().unwrap();
    Environment { container, host: "127.0.0.1".into(), token_file: dir.join("tokens") }
}

/// The ApplicationMaster of that attempt.
struct Master {
    lead: Lead,
    server: ExecutorServer,
}

impl Master {
    async fn of(dir: &Path, attempt: u32, application: &Application) -> Self {
        let mut application = application.clone();
        let files = setup::files(&application).unwrap();
        let environment = environment(dir, &format!("container_1_0001_{attempt:02}_000001"));
        let lead = Lead::win(&environment, &mut application, &files).await.unwrap();
        let me = Me { epoch: lead.epoch(), attempt, doubts: Some(lead.clone()) };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let conf: Configuration = application.configuration.clone();
        let (server, port) =
            ExecutorServer::bind(any, InternalTls::disabled(), me, conf, Default::default()).await.unwrap();
        let rest = format!("master-{attempt}.example:8081");
        lead.announce(&Addresses { internal: format!("127.0.0.1:{port}"), rest }).await.unwrap();
        Self { lead, server }
    }

    async fn next(&mut self) -> ExecutorEvent {
        timeout(LIMIT, self.server.next()).await.unwrap()
    }

    /// Where it is found from now on: what is said there, the test decides.
    async fn listens_elsewhere(&self) -> tokio::net::TcpListener {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let internal = listener.local_addr().unwrap().to_string();
        self.lead.announce(&Addresses { internal, rest: String::new() }).await.unwrap();
        listener
    }

    async fn registered(&mut self) {
        match self.next().await {
            ExecutorEvent::StandbyRegistered(id) => assert_eq!(id.0, NAME),
            other => panic!("{other:?}"),
        }
    }
}

fn standby(dir: &Path, application: &Application) -> Standby {
    Standby {
        environment: environment(dir, NAME),
        application: application.clone(),
        seen: Epoch::default(),
        own: None,
        page: None,
        elsewhere: Elsewhere::default(),
    }
}

/// A leader of the first attempt and a standby that has not looked for it yet, with these options, in a directory that they share.
async fn leader_and_standby(options: &[(&str, &str)]) -> (tempfile::TempDir, Application, Master, Standby) {
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), options);
    let leader = Master::of(dir.path(), 1, &application).await;
    let standby = standby(dir.path(), &application);
    (dir, application, leader, standby)
}

fn store(application: &Application) -> std::sync::Arc<dyn HaStore> {
    let mut application = application.clone();
    let settings = high_availability::settings("application_1_0001", &mut application).unwrap();
    flumen_ha::open(&settings, &setup::files(&application).unwrap()).unwrap()
}

/// Where the leader is whose number is greater than `epoch`.
async fn next_leader(application: &Application, epoch: Epoch) -> flumen_ha::Leader {
    let store = store(application);
    let found = async {
        loop {
            if let Some(leader) = store.leader().await.unwrap().filter(|leader| leader.epoch > epoch)
                && leader.addresses.is_some()
            {
                return leader;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, found).await.unwrap()
}

#[tokio::test]
async fn a_standby_leads_from_the_death_of_one_attempt_to_the_next_and_then_stands_by_for_that() {
    let (dir, application, mut first, mut standby) = leader_and_standby(&[]).await;
    let played = async {
        first.registered().await;
        let epoch = first.lead.epoch();
        let page = first.server.elsewhere().url().unwrap();
        let page = page.strip_prefix("http://").unwrap();
        leads_to(page, "master-1.example:8081").await;
        // All its sockets close, as when its process dies.
        drop(first);
        let leader = next_leader(&application, epoch).await;
        let rest = leader.addresses.unwrap().rest;
        let overview = answer(&rest, "/jobs").await;
        assert!(overview.contains("200 OK") && overview.contains("\"jobs\":[]"), "{overview}");
        // Whoever has the leader's page open finds the standby, and whoever has that open when it leads no more the next attempt.
        leads_to(page, &rest).await;
        leads_to(&rest, page).await;
        let second = Master::of(dir.path(), 2, &application).await;
        assert!(second.lead.epoch() > leader.epoch);
        second
    };
    let (then, mut second) = tokio::join!(standby.turn(), played);
    assert_eq!(then.unwrap(), Then::Again);
    let ended = async {
        second.registered().await;
        let page = second.server.elsewhere().url().unwrap();
        leads_to(page.strip_prefix("http://").unwrap(), "master-2.example:8081").await;
        second.server.shut_down("the application is over", LIMIT).await;
    };
    let (then, ()) = tokio::join!(standby.turn(), ended);
    assert_eq!(then.unwrap(), Then::End);
}

/// What is answered to a GET.
async fn answer(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Waits until the page at an address says that it goes on at another one, and may look there.
async fn leads_to(page: &str, other: &str) {
    let told = async {
        while !answer(page, "/jobmanager/elsewhere").await.contains(&format!("\"http://{other}\"")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, told).await.unwrap();
    let shown = answer(page, "/").await;
    assert!(shown.contains("200 OK") && shown.contains(&format!("connect-src 'self' http://{other};")), "{shown}");
}

#[tokio::test]
async fn a_leader_that_only_closed_the_connection_is_followed_again() {
    let (_dir, _, mut master, mut standby) = leader_and_standby(&[]).await;
    let played = async {
        master.registered().await;
        // Closed by the leader: more commands than may wait.
        for _ in 0..3000 {
            master.server.send(&ExecutorId(NAME.into()), ExecutorCommand::Containers { here: vec![], gone: vec![] });
        }
        while !matches!(master.next().await, ExecutorEvent::StandbyLost(_)) {}
        while !matches!(master.next().await, ExecutorEvent::StandbyRegistered(_)) {}
        assert!(master.lead.still_leads().await.is_ok());
        master.server.shut_down("the application is over", LIMIT).await;
    };
    let (then, ()) = tokio::join!(standby.turn(), played);
    assert_eq!(then.unwrap(), Then::End);
}

#[tokio::test]
async fn a_leader_that_says_nothing_is_superseded_after_the_heartbeat_timeout() {
    let (dir, application, first, mut standby) = leader_and_standby(&[("heartbeat.timeout", "200 ms")]).await;
    // It listens, but after one answer it is as if stopped.
    let hangs = first.listens_elsewhere().await;
    let played = async {
        let (mut stream, _) = hangs.accept().await.unwrap();
        let hello: FromExecutor = frame::read(&mut stream).await.unwrap().unwrap();
        assert!(matches!(hello.report, ExecutorReport::StandBy(info) if info.id.0 == NAME));
        let command = ExecutorCommand::StandingBy { attempt: 1 };
        frame::write(&mut stream, &ToExecutor { epoch: first.lead.epoch(), command }).await.unwrap();
        let leader = next_leader(&application, first.lead.epoch()).await;
        assert!(leader.epoch > first.lead.epoch() && first.lead.still_leads().await.is_err());
        Master::of(dir.path(), 2, &application).await
    };
    let (then, _second) = tokio::join!(standby.turn(), played);
    assert_eq!(then.unwrap(), Then::Again);
}

#[tokio::test]
async fn a_leader_hears_that_it_is_superseded_before_it_hears_of_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), &[]);
    let mut first = Master::of(dir.path(), 1, &application).await;
    let address = next_leader(&application, Epoch::default()).await.addresses.unwrap().internal;
    let me = StandbyInfo {
        protocol: PROTOCOL_VERSION,
        id: ExecutorId(NAME.into()),
        host: "h".into(),
        pid: 1,
        page: Some("standby.example:1".into()),
    };
    let tls = InternalTls::disabled();
    let (link, ()) = tokio::join!(Link::dial(&address, &tls, &me, Epoch::default()), first.registered());
    assert_eq!(first.server.elsewhere().url().as_deref(), Some("http://standby.example:1"));
    let _other = Lead::take_over(store(&application), "application_1_0001".into(), 1).await.unwrap();
    drop(link);
    assert!(matches!(first.next().await, ExecutorEvent::Superseded(_)));
    assert!(matches!(first.next().await, ExecutorEvent::StandbyLost(_)));
    assert_eq!(first.server.elsewhere().url(), None, "nobody is there any more");
}

#[tokio::test]
async fn nobody_leads_a_cluster_that_was_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), &[]);
    let first = Master::of(dir.path(), 1, &application).await;
    first.lead.clean_up().await;
    let late = Lead::take_over(store(&application), "application_1_0001".into(), 1).await;
    assert!(matches!(late, Err(HaError::Superseded { .. })));
}

#[tokio::test]
async fn a_leader_that_is_gone_has_no_second_successor() {
    let (_dir, application, mut first, mut standby) = leader_and_standby(&[]).await;
    let played = async {
        first.registered().await;
        // Another standby is quicker, so that the store would let this one follow that one.
        let other = Lead::take_over(store(&application), "application_1_0001".into(), 1).await.unwrap();
        drop(first);
        other
    };
    let turn = async { timeout(LIMIT, standby.turn()).await };
    let (then, other) = tokio::join!(turn, played);
    assert_eq!(then.unwrap().unwrap(), Then::Again);
    assert!(other.still_leads().await.is_ok());
}

/// A leader at `listener` that takes the next standby.
async fn takes_standby(listener: &tokio::net::TcpListener, epoch: Epoch) -> tokio::net::TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let hello: FromExecutor = frame::read(&mut stream).await.unwrap().unwrap();
    assert!(matches!(hello.report, ExecutorReport::StandBy(_)));
    let command = ExecutorCommand::StandingBy { attempt: 1 };
    frame::write(&mut stream, &ToExecutor { epoch, command }).await.unwrap();
    stream
}

#[tokio::test]
async fn a_leader_that_is_slow_to_answer_is_not_superseded_before_its_time() {
    let (_dir, _, first, mut standby) = leader_and_standby(&[("heartbeat.timeout", "10 min")]).await;
    let epoch = first.lead.epoch();
    let slow = first.listens_elsewhere().await;
    let played = async {
        drop(takes_standby(&slow, epoch).await);
        // It says nothing for as long as the standby waits for an answer, and then does.
        let (mut unanswered, _) = slow.accept().await.unwrap();
        while frame::read::<FromExecutor>(&mut unanswered).await.is_ok_and(|message| message.is_some()) {}
        let mut stream = takes_standby(&slow, epoch).await;
        let command = ExecutorCommand::Shutdown { reason: "the application is over".into() };
        frame::write(&mut stream, &ToExecutor { epoch, command }).await.unwrap();
        stream
    };
    let (then, _stream) = timeout(LIMIT, async { tokio::join!(standby.turn(), played) }).await.unwrap();
    assert_eq!(then.unwrap(), Then::End);
    assert!(first.lead.still_leads().await.is_ok());
}
