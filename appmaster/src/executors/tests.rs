//! Real sockets and real TLS; TaskExecutors are played.

use super::*;
use flumen_wire::certificate::application_pem;
use tokio::io::AsyncReadExt as _;

/// Limit of every wait: generous, because machines are busy.
const LIMIT: Duration = Duration::from_secs(60);

const EPOCH: Epoch = Epoch(5);

/// An application with a certificate of its own.
fn application() -> InternalTls {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), application_pem().unwrap()).unwrap();
    InternalTls::from_file(file.path()).unwrap()
}

struct JobManager {
    server: ExecutorServer,
    port: u16,
    tls: InternalTls,
}

impl JobManager {
    async fn start(options: &[(&str, &str)]) -> Self {
        let mut configuration = Configuration::new();
        for (key, value) in options {
            configuration.set(*key, *value);
        }
        let tls = application();
        let hadoop = [("fs.defaultFS".to_owned(), "hdfs://nn".to_owned())].into();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, port) = ExecutorServer::bind(any, tls.clone(), EPOCH, configuration, hadoop).await.unwrap();
        Self { server, port, tls }
    }

    async fn next(&mut self) -> ExecutorEvent {
        timeout(LIMIT, self.server.next()).await.unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    async fn connect(&self) -> Executor {
        Executor(self.tls.connect(self.tcp().await).await.unwrap())
    }

    /// A registered TaskExecutor.
    async fn executor(&mut self, name: &str) -> Executor {
        let mut executor = self.connect().await;
        executor.say(register(info(name))).await;
        assert!(matches!(executor.hear().await, Some(ExecutorCommand::Registered { .. })));
        match self.next().await {
            ExecutorEvent::Registered { info, workers } => assert_eq!((info.id.0.as_str(), workers.len()), (name, 0)),
            other => panic!("{other:?}"),
        }
        executor
    }

    /// The next event must be the loss of this one.
    async fn lost(&mut self, name: &str) -> String {
        match self.next().await {
            ExecutorEvent::Lost { id, failure } if id.0 == name => {
                assert_eq!((failure.blame, failure.executor), (Blame::Outside, Some(id)));
                failure.message
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Executor(Stream);

impl Executor {
    async fn say(&mut self, report: ExecutorReport) {
        self.say_in(Epoch(0), report).await;
    }

    async fn say_in(&mut self, epoch: Epoch, report: ExecutorReport) {
        frame::write(&mut self.0, &FromExecutor { epoch, report }).await.unwrap();
    }

    /// The next command; `None` when the connection was closed.
    async fn hear(&mut self) -> Option<ExecutorCommand> {
        match timeout(LIMIT, frame::read::<ToExecutor>(&mut self.0)).await.unwrap() {
            Ok(Some(message)) => {
                assert_eq!(message.epoch, EPOCH);
                Some(message.command)
            }
            Ok(None) | Err(FrameError::Io(_)) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The next command that is no heartbeat.
    async fn hear_order(&mut self) -> Option<ExecutorCommand> {
        loop {
            match self.hear().await {
                Some(ExecutorCommand::Heartbeat) => {}
                other => return other,
            }
        }
    }
}

fn info(name: &str) -> ExecutorInfo {
    ExecutorInfo {
        protocol: PROTOCOL_VERSION,
        id: ExecutorId(name.to_owned()),
        slots: 2,
        host: "node1".into(),
        pid: 7,
        memory: 1 << 30,
        cpu_cores: 4,
    }
}

fn register(info: ExecutorInfo) -> ExecutorReport {
    ExecutorReport::Register { info, workers: Vec::new() }
}

fn stop(instance: u32) -> ExecutorCommand {
    ExecutorCommand::StopWorker { job: flumen_model::ids::JobId(1), instance }
}

#[tokio::test]
async fn a_taskexecutor_is_answered_with_the_configuration_and_then_talks_both_ways() {
    let mut jobmanager = JobManager::start(&[("some.key", "some value")]).await;
    let mut executor = jobmanager.connect().await;
    executor.say(register(info("a"))).await;
    let Some(ExecutorCommand::Registered { configuration, hadoop }) = executor.hear().await else { panic!() };
    assert_eq!(configuration.raw("some.key"), Some("some value"));
    assert_eq!(hadoop.get("fs.defaultFS").map(String::as_str), Some("hdfs://nn"));
    assert!(matches!(jobmanager.next().await, ExecutorEvent::Registered { info, .. } if info.slots == 2));

    for instance in 0..50 {
        jobmanager.server.send(&ExecutorId("a".into()), stop(instance));
        executor.say(ExecutorReport::Heartbeat { resident: u64::from(instance) }).await;
    }
    for expected in 0..50 {
        let Some(ExecutorCommand::StopWorker { instance, .. }) = executor.hear_order().await else { panic!() };
        assert_eq!(instance, expected);
        match jobmanager.next().await {
            ExecutorEvent::Report { id, report: ExecutorReport::Heartbeat { resident } } => {
                assert_eq!((id.0.as_str(), resident), ("a", u64::from(expected)));
            }
            other => panic!("{other:?}"),
        }
    }
    // To nobody: nothing happens.
    jobmanager.server.handle().send(&ExecutorId("b".into()), stop(0));
}

#[tokio::test]
async fn a_closed_connection_is_a_loss_at_once_and_the_name_is_free_again() {
    let mut jobmanager = JobManager::start(&[]).await;
    let executor = jobmanager.executor("a").await;
    let other = jobmanager.executor("b").await;
    drop(executor);
    assert!(jobmanager.lost("a").await.contains("closed its connection"));
    // The name is free only after the event was given out.
    let deadline = Instant::now() + LIMIT;
    while jobmanager.server.handle.ids().len() > 1 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let _again = jobmanager.executor("a").await;
    drop(other);
    jobmanager.lost("b").await;
}

#[tokio::test]
async fn silence_is_a_loss_and_heartbeats_prevent_it() {
    // The time-out is longer than a busy machine may let a process wait.
    let options = [("heartbeat.interval", "20 ms"), ("heartbeat.timeout", "3 s")];
    let mut jobmanager = JobManager::start(&options).await;
    let mut executor = jobmanager.executor("a").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert!(matches!(executor.hear().await, Some(ExecutorCommand::Heartbeat)));
        executor.say(ExecutorReport::Heartbeat { resident: 1 }).await;
        assert!(matches!(jobmanager.next().await, ExecutorEvent::Report { .. }));
    }
    assert!(jobmanager.lost("a").await.contains("silent for 3 s (heartbeat.timeout)"));
    assert!(executor.hear_order().await.is_none(), "its connection is closed");
}

#[tokio::test]
async fn a_second_one_of_the_same_name_replaces_nothing() {
    let mut jobmanager = JobManager::start(&[]).await;
    let mut first = jobmanager.executor("a").await;
    let mut second = jobmanager.connect().await;
    second.say(register(info("a"))).await;
    assert!(second.hear().await.is_none());
    jobmanager.server.send(&ExecutorId("a".into()), stop(3));
    assert!(matches!(first.hear_order().await, Some(ExecutorCommand::StopWorker { instance: 3, .. })));
}

#[tokio::test]
async fn another_version_is_told_why_it_is_refused() {
    let jobmanager = JobManager::start(&[]).await;
    let mut executor = jobmanager.connect().await;
    executor.say(register(ExecutorInfo { protocol: 99, ..info("a") })).await;
    let Some(ExecutorCommand::Shutdown { reason }) = executor.hear().await else { panic!() };
    assert!(reason.contains("protocol 99") && reason.contains("one distribution"), "{reason}");
    assert!(executor.hear().await.is_none());
}

#[tokio::test]
async fn strangers_and_nonsense_get_nothing_and_disturb_nobody() {
    let mut jobmanager = JobManager::start(&[]).await;
    assert!(
        async {
            // Under TLS 1.3 a client learns of its refusal when it first reads.
            let mut stream = application().connect(jobmanager.tcp().await).await?;
            stream.read_u8().await
        }
        .await
        .is_err()
    );
    let mut plain = InternalTls::disabled().connect(jobmanager.tcp().await).await.unwrap();
    let report = FromExecutor { epoch: EPOCH, report: register(info("plain")) };
    frame::write(&mut plain, &report).await.unwrap();
    let mut rude = jobmanager.connect().await;
    rude.say(ExecutorReport::Heartbeat { resident: 0 }).await;
    assert!(rude.hear().await.is_none());
    let _silent = jobmanager.tcp().await;
    let _executor = jobmanager.executor("a").await;
}

#[tokio::test]
async fn a_taskexecutor_that_obeys_a_newer_jobmanager_is_lost_to_this_one() {
    let mut jobmanager = JobManager::start(&[]).await;
    let mut executor = jobmanager.executor("a").await;
    executor.say_in(Epoch(EPOCH.0 + 1), ExecutorReport::Heartbeat { resident: 0 }).await;
    assert!(jobmanager.lost("a").await.contains("newer JobManager, of epoch 6"));
}

#[tokio::test]
async fn one_that_takes_no_commands_is_given_up_and_holds_up_nobody() {
    let options = [("heartbeat.interval", "20 ms"), ("heartbeat.timeout", "3 s")];
    let mut jobmanager = JobManager::start(&options).await;
    let mut other = jobmanager.executor("b").await;
    let mut stuck = jobmanager.executor("a").await;
    let id = ExecutorId("a".into());
    let reason = "x".repeat(64 << 10);
    for _ in 0..2 * COMMANDS_MAX {
        jobmanager.server.send(&id, ExecutorCommand::Shutdown { reason: reason.clone() });
    }
    assert!(jobmanager.server.handle.lock().get(&id).unwrap().is_none(), "it gets no more commands");
    jobmanager.server.send(&ExecutorId("b".into()), stop(1));
    assert!(matches!(other.hear_order().await, Some(ExecutorCommand::StopWorker { .. })));
    // Both speak, so that nobody is silent; one of them does not listen.
    let speaking = async {
        loop {
            for executor in [&mut other, &mut stuck] {
                let report = FromExecutor { epoch: EPOCH, report: ExecutorReport::Heartbeat { resident: 0 } };
                let _ = frame::write(&mut executor.0, &report).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let loss = async {
        loop {
            match jobmanager.next().await {
                ExecutorEvent::Report { .. } => {}
                ExecutorEvent::Lost { id, failure } => return (id, failure.message),
                other => panic!("{other:?}"),
            }
        }
    };
    let (lost, message) = tokio::select! { lost = loss => lost, () = speaking => unreachable!() };
    assert_eq!(lost, id);
    assert!(message.contains("did not take its commands"), "{message}");
}

#[tokio::test]
async fn all_are_told_to_shut_down() {
    let mut jobmanager = JobManager::start(&[]).await;
    let mut tasks = JoinSet::new();
    for name in ["a", "b"] {
        let mut executor = jobmanager.executor(name).await;
        tasks.spawn(async move { matches!(executor.hear_order().await, Some(ExecutorCommand::Shutdown { .. })) });
    }
    jobmanager.server.shut_down("the job is over", LIMIT).await;
    assert!(tasks.join_all().await.into_iter().all(|told| told));
}
