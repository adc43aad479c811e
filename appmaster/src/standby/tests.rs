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
        lead.announce(&Addresses { internal: format!("127.0.0.1:{port}"), rest: String::new() }).await.unwrap();
        Self { lead, server }
    }

    async fn next(&mut self) -> ExecutorEvent {
        timeout(LIMIT, self.server.next()).await.unwrap()
    }

    async fn registered(&mut self) {
        match self.next().await {
            ExecutorEvent::StandbyRegistered(id) => assert_eq!(id.0, NAME),
            other => panic!("{other:?}"),
        }
    }
}

fn standby(dir: &Path, application: &Application) -> Standby {
    Standby { environment: environment(dir, NAME), application: application.clone(), seen: Epoch::default(), own: None }
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
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), &[]);
    let mut first = Master::of(dir.path(), 1, &application).await;
    let mut standby = standby(dir.path(), &application);
    let played = async {
        first.registered().await;
        let epoch = first.lead.epoch();
        // All its sockets close, as when its process dies.
        drop(first);
        let leader = next_leader(&application, epoch).await;
        let rest = leader.addresses.unwrap().rest;
        let overview = jobs_of(&rest).await;
        assert!(overview.contains("200 OK") && overview.contains("\"jobs\":[]"), "{overview}");
        let second = Master::of(dir.path(), 2, &application).await;
        assert!(second.lead.epoch() > leader.epoch);
        second
    };
    let (then, mut second) = tokio::join!(standby.turn(), played);
    assert_eq!(then.unwrap(), Then::Again);
    let ended = async {
        second.registered().await;
        second.server.shut_down("the application is over", LIMIT).await;
    };
    let (then, ()) = tokio::join!(standby.turn(), ended);
    assert_eq!(then.unwrap(), Then::End);
}

/// What `GET /jobs` answers.
async fn jobs_of(rest: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(rest).await.unwrap();
    stream.write_all(b"GET /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_leader_that_only_closed_the_connection_is_followed_again() {
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), &[]);
    let mut master = Master::of(dir.path(), 1, &application).await;
    let mut standby = standby(dir.path(), &application);
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
    let dir = tempfile::tempdir().unwrap();
    let application = application(dir.path(), &[("heartbeat.timeout", "200 ms")]);
    let first = Master::of(dir.path(), 1, &application).await;
    // It listens, but after one answer it is as if stopped.
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let internal = hangs.local_addr().unwrap().to_string();
    first.lead.announce(&Addresses { internal, rest: String::new() }).await.unwrap();
    let mut standby = standby(dir.path(), &application);
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
    let me = StandbyInfo { protocol: PROTOCOL_VERSION, id: ExecutorId(NAME.into()), host: "h".into(), pid: 1 };
    let tls = InternalTls::disabled();
    let (link, ()) = tokio::join!(Link::dial(&address, &tls, &me, Epoch::default()), first.registered());
    let _other = Lead::take_over(store(&application), "application_1_0001".into(), 1).await.unwrap();
    drop(link);
    assert!(matches!(first.next().await, ExecutorEvent::Superseded(_)));
    assert!(matches!(first.next().await, ExecutorEvent::StandbyLost(_)));
}
