//! Random conversations with a model of the ResourceManager: whatever is lost on the way, and however often it restarts, in
//! the end it wants to give exactly what the master still wants.

use proptest::prelude::*;

use super::tests::{ask, given};
use super::*;

/// What the ResourceManager does with heartbeats, as its `ApplicationMasterService` does it.
#[derive(Default)]
struct ResourceManager {
    registered: bool,
    response_id: i32,
    last_answer: Option<Vec<Container>>,
    /// By allocation request id and memory.
    table: BTreeMap<(i64, i64), i32>,
    ready: Vec<Container>,
    containers: i64,
}

impl ResourceManager {
    fn register(&mut self) {
        self.registered = true;
        self.response_id = 0;
        self.last_answer = None;
    }

    fn restart(&mut self) {
        *self = Self { containers: self.containers, ..Self::default() };
    }

    /// Gives a container for the `choice`-th row, as nodes report room.
    fn give(&mut self, choice: usize) {
        let rows = self.table.len();
        if let Some((key, count)) = self.table.iter_mut().nth(choice % rows.max(1)) {
            *count -= 1;
            self.containers += 1;
            self.ready.push(given(key.0, self.containers));
        }
        self.table.retain(|_, count| *count > 0);
    }

    /// Response id and containers, or `None` when it does not know the attempt.
    fn allocate(&mut self, request: &AllocateRequestProto) -> Option<(i32, Vec<Container>)> {
        if !self.registered {
            return None;
        }
        let sent = request.response_id.unwrap();
        if let Some(answer) = self.last_answer.clone().filter(|_| sent == self.response_id - 1) {
            return Some((self.response_id, answer));
        }
        assert_eq!(sent, self.response_id, "the real one would refuse");
        for row in &request.ask {
            let memory = row.capability.as_ref().unwrap().memory.unwrap();
            self.table.insert((row.allocation_request_id.unwrap(), memory), row.num_containers.unwrap());
        }
        self.table.retain(|_, count| *count > 0);
        let answer = std::mem::take(&mut self.ready);
        self.response_id += 1;
        self.last_answer = Some(answer.clone());
        Some((self.response_id, answer))
    }
}

#[derive(Debug, Clone)]
enum Event {
    Ask { id: i64, memory_mb: u64, count: u32 },
    Give(usize),
    Beat,
    RequestLost,
    AnswerLost,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0i64..3, 1u64..3, 0u32..5).prop_map(|(id, memory_mb, count)| Event::Ask { id, memory_mb, count }),
        3 => (0usize..3).prop_map(Event::Give),
        4 => Just(Event::Beat),
        1 => Just(Event::RequestLost),
        2 => Just(Event::AnswerLost),
        1 => Just(Event::Restart),
    ]
}

/// One heartbeat whose answer arrives; registers again when told so.
fn beat(heartbeat: &mut Heartbeat, manager: &mut ResourceManager) {
    let request = heartbeat.request();
    match manager.allocate(&request) {
        Some((id, containers)) => heartbeat.answered(id, &containers, &[]),
        None => {
            manager.register();
            heartbeat.reset();
        }
    }
}

proptest! {
    #[test]
    fn in_the_end_the_manager_gives_what_is_still_wanted(events in proptest::collection::vec(event(), 0..60)) {
        let (mut heartbeat, mut manager) = (Heartbeat::default(), ResourceManager::default());
        manager.register();
        for event in events {
            match event {
                Event::Ask { id, memory_mb, count } => heartbeat.note(&AllocateRequest {
                    asks: vec![ask(id, memory_mb, count)],
                    ..AllocateRequest::default()
                }),
                Event::Give(choice) => manager.give(choice),
                Event::Beat => beat(&mut heartbeat, &mut manager),
                Event::RequestLost => {
                    heartbeat.request();
                }
                Event::AnswerLost => {
                    let request = heartbeat.request();
                    manager.allocate(&request);
                }
                Event::Restart => manager.restart(),
            }
        }
        // an answer fetched again, a registration, all changes, and the corrections of what crossed
        for _ in 0..4 {
            beat(&mut heartbeat, &mut manager);
        }
        let wanted: BTreeMap<(i64, i64), i32> = heartbeat
            .wanted
            .values()
            .filter(|wish| wish.count > 0)
            .map(|wish| ((wish.allocation_request_id, wish.capability.memory_mb as i64), wish.count as i32))
            .collect();
        prop_assert_eq!(manager.table, wanted);
    }
}
