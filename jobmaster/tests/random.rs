//! The JobMaster in a world of chance: executors come and go, workers die, messages are late, doubled, lost or false.
//! The world of `world` checks the invariants JM-1 to JM-4 at every step.

mod world;

use flumen_jobmaster::{Event, RequestId, SnapshotRequest, SnapshotWish};
use flumen_model::checkpoint::CheckpointId;
use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, ExecutorId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{FromWorker, SubtaskIo, WorkerAddress};
use proptest::prelude::*;
use world::*;

#[derive(Debug, Clone)]
enum Chance {
    Deliver,
    /// The message is lost, and with it, sooner or later, the connection.
    Drop,
    Duplicate,
    Register(u8, u32),
    Lose(u8),
    KillWorker(u8),
    /// Anything at all, from any life.
    Noise {
        executor: u8,
        instance: u32,
        attempt: u32,
        index: u32,
        kind: u8,
    },
    Tick,
    Pass(u16),
    Rare(u8),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        30 => Just(Chance::Deliver),
        2 => Just(Chance::Drop),
        3 => Just(Chance::Duplicate),
        6 => (0u8..5, 0u32..4).prop_map(|(name, slots)| Chance::Register(name, slots)),
        2 => (0u8..5).prop_map(Chance::Lose),
        2 => (0u8..5).prop_map(Chance::KillWorker),
        6 => (0u8..5, 0u32..4, 0u32..4, 0u32..3, 0u8..17).prop_map(|(executor, instance, attempt, index, kind)| {
            Chance::Noise { executor, instance, attempt, index, kind }
        }),
        2 => Just(Chance::Tick),
        3 => (0u16..3000).prop_map(Chance::Pass),
        1 => (0u8..40).prop_map(Chance::Rare),
    ]
}

fn name(number: u8) -> String {
    format!("e{number}")
}

fn noise(attempt: u32, index: u32, kind: u8) -> FromWorker {
    let attempt = ExecutionAttempt(attempt);
    let id = subtask(if kind.is_multiple_of(2) { SOURCE } else { SINK }, index);
    let failed = |blame| FromWorker::State {
        attempt,
        subtask: id,
        state: ExecutionState::Failed,
        failure: Some(failure(blame, "noise")),
        io: SubtaskIo::default(),
    };
    match kind {
        0 => FromWorker::Ready { address: WorkerAddress { host: "h".into(), port: 0, socket: None }, pid: 1 },
        1 => FromWorker::Refused(failure(Blame::Outside, "noise")),
        2 | 3 => FromWorker::Deployed { region: 0, attempt },
        4 => state(attempt, id, ExecutionState::Running),
        5 => state(attempt, id, ExecutionState::Canceled),
        6 => state(attempt, id, ExecutionState::Canceling),
        7 => FromWorker::RequestSplit { attempt, subtask: id },
        8 => FromWorker::Io { attempt, subtasks: vec![(id, SubtaskIo::default())] },
        9 => failed(Blame::Outside),
        10 => failed(Blame::Peer),
        12 => FromWorker::EndOfData { attempt, subtask: id },
        13 => FromWorker::CheckpointAck {
            attempt,
            subtask: id,
            checkpoint: CheckpointId(index.into()),
            snapshot: Box::default(),
            times: Default::default(),
        },
        14 => FromWorker::CheckpointDeclined {
            attempt,
            subtask: id,
            checkpoint: CheckpointId(index.into()),
            failure: failure(Blame::Outside, "noise"),
        },
        15 => FromWorker::GroupWatermark {
            attempt,
            subtask: id,
            group: "all".to_owned(),
            watermark: (index > 0).then_some(index.into()),
        },
        _ => failed(Blame::User),
    }
}

/// Executors whose connection has lost a message: they break when the world behaves again.
fn sender(event: &Event) -> Option<ExecutorId> {
    if let Event::Worker { executor, .. } = event { Some(executor.clone()) } else { None }
}

fn live(world: &mut World, chances: Vec<Chance>) {
    let mut broken: Vec<ExecutorId> = vec![];
    let lose = |world: &mut World, executor: &ExecutorId| {
        world.mail.retain(|event| sender(event).as_ref() != Some(executor));
        world.lose(&executor.0);
    };
    for chance in chances {
        match chance {
            Chance::Deliver => {
                if let Some(event) = world.mail.pop_front() {
                    world.tell(event);
                }
            }
            // The answer to a commit is the driver's own and is not lost.
            Chance::Drop => match world.mail.pop_front() {
                Some(event @ Event::OutputsCommitted(_)) => world.mail.push_front(event),
                Some(event) => broken.extend(sender(&event)),
                None => {}
            },
            Chance::Duplicate => {
                if let Some(event) = world.mail.front().cloned() {
                    world.mail.push_back(event);
                }
            }
            Chance::Register(number, slots) => drop(world.register(&name(number), slots)),
            Chance::Lose(number) => lose(world, &executor(&name(number))),
            Chance::KillWorker(number) => {
                if world.workers.contains_key(&executor(&name(number))) {
                    world.kill_worker(&name(number));
                }
            }
            Chance::Noise { executor: number, instance, attempt, index, kind } => {
                let (executor, message) = (executor(&name(number)), noise(attempt, index, kind));
                world.tell(Event::Worker { executor, instance, message });
            }
            Chance::Tick => {
                if world.master.next_timer().is_some() {
                    world.tick();
                }
            }
            Chance::Pass(ms) => drop(world.pass(ms.into())),
            Chance::Rare(0) => drop(world.tell(Event::Cancel)),
            Chance::Rare(1) => {
                let failure = failure(Blame::Outside, "no such resources");
                world.tell(Event::ResourcesUnavailable { failure });
            }
            Chance::Rare(2) => {
                let failure = failure(Blame::Outside, "disk full");
                world.tell(Event::OutputsCommitted(Err(failure)));
            }
            Chance::Rare(kind @ 3..=8) => {
                let wish = match kind {
                    3..=5 => SnapshotWish::Savepoint { target: Some("/s".into()) },
                    6 => SnapshotWish::Checkpoint { full: true },
                    _ => SnapshotWish::Stop { target: Some("/s".into()), drain: kind == 8 },
                };
                world.tell(Event::Snapshot(SnapshotRequest { request: RequestId(kind.into()), wish }));
            }
            Chance::Rare(kind @ 9..=14) => {
                let result = if kind % 2 == 0 { Ok(()) } else { Err(failure(Blame::Outside, "disk full")) };
                world.tell(Event::CheckpointStored { checkpoint: CheckpointId(kind as u64 - 8), result });
            }
            Chance::Rare(_) => {}
        }
    }
    for executor in broken {
        lose(world, &executor);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_job_ends_once_the_world_behaves(
        (source, sink, splits) in (1u32..4, 1u32..4, 0usize..6),
        forgiving in any::<bool>(),
        chances in proptest::collection::vec(chance(), 0..150),
    ) {
        let options: &[(&str, &str)] = match forgiving {
            true => &[
                ("restart-strategy.type", "fixed-delay"),
                ("restart-strategy.fixed-delay.attempts", "1000"),
                ("restart-strategy.fixed-delay.delay", "300"),
            ],
            false => &[],
        };
        let mut world = World::new(graph(source, sink, splits), options);
        live(&mut world, chances);
        // A false report of a subtask's state leaves the world and the JobMaster of two opinions about it only until that
        // subtask ends, so now everything ends: slots for all come, all mail arrives, the time passes.
        for executor in ["new1", "new2", "new3"] {
            world.register(executor, 1);
        }
        let mut ticks = 0;
        loop {
            world.deliver();
            if world.result.is_some() {
                break;
            }
            ticks += 1;
            prop_assert!(ticks <= 10, "still {} after {ticks} ticks", world.status());
            prop_assert!(world.master.next_timer().is_some(), "{} waits for nothing", world.status());
            world.tick();
        }
    }
}
