//! What users want, and what breaks.

use flumen_jobmaster::{Event, RequestId, SnapshotRequest, SnapshotWish};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::ExecutorId;

use super::plan::StopWish;
use super::{CALM, Happening, Place, Sim};

const STOP: u64 = 1_000;

impl Sim {
    pub(super) fn schedule_user(&mut self) {
        for at in self.plan.faults.clone() {
            self.at(at, Happening::Fault);
        }
        for (at, alive) in self.plan.leader_losses.clone() {
            self.at(at, Happening::LeaderGone { alive });
        }
        for (number, at) in (0..).zip(self.plan.savepoints.clone()) {
            self.at(at, Happening::Ask(number));
        }
        if self.plan.stop.0 != StopWish::Never {
            self.at(self.plan.stop.1, Happening::Ask(STOP));
        }
    }

    pub(super) fn ask(&mut self, number: u64) {
        if self.leader.electing.is_some() {
            return;
        }
        let request = RequestId(number);
        let wish = match (number, self.random.percent(70)) {
            (STOP.., _) => {
                self.stop_request = Some(request);
                SnapshotWish::Stop { target: None, drain: self.plan.stop.0 == StopWish::Drain }
            }
            (_, true) => SnapshotWish::Savepoint { target: None },
            (_, false) => SnapshotWish::Checkpoint { full: self.random.percent(50) },
        };
        self.asked.insert(request);
        self.tell(Event::Snapshot(SnapshotRequest { request, wish }));
    }

    pub(super) fn offer_executors(&mut self) {
        for number in 0..self.graph.slots().div_ceil(self.plan.slots) {
            let at = self.now + self.random.between(0, 20);
            self.at(at, Happening::Register(ExecutorId(format!("e{number}"))));
        }
    }

    fn any_worker(&mut self) -> Option<Place> {
        let places: Vec<Place> = self.workers.keys().cloned().collect();
        let count = places.len() as u64;
        (count > 0).then(|| places[(self.random.next() % count) as usize].clone())
    }

    pub(super) fn fault(&mut self) {
        if self.life == 0 && self.now > CALM {
            return;
        }
        let Some(place) = self.any_worker() else { return };
        let failure = |text: &str| Failure::new(Blame::Outside, text);
        match self.random.between(0, 9) {
            0..=3 => {
                self.kill(&place);
                let ended = Happening::Ended(place.clone(), failure("killed by signal 9"));
                self.send_inside(format!("out {place:?}"), ended);
            }
            4..=6 => {
                let id = place.0;
                let all: Vec<Place> = self.workers.keys().filter(|(executor, _)| *executor == id).cloned().collect();
                all.iter().for_each(|place| self.kill(place));
                self.executors.remove(&id);
                self.reports.retain(|(executor, _), _| *executor != id);
                let epoch = self.leader.obeyed.remove(&id).unwrap_or_else(|| self.epoch_to_come());
                let seen = self.now + self.random.between(0, 100);
                let lost = Event::ExecutorLost { id: id.clone(), failure: failure("node lost") };
                self.at(seen, Happening::Hear(epoch, lost));
                let back = seen + self.random.between(1, 300);
                let again = match self.random.percent(50) {
                    true => id,
                    false => ExecutorId(format!("{id}'")),
                };
                self.at(back, Happening::Register(again));
            }
            kind => {
                let blame = if kind == 7 { Blame::User } else { Blame::Peer };
                let worker = &self.workers[&place];
                let running = worker.tasks.values().filter(|task| task.running);
                let tasks: Vec<_> = running.map(|task| (task.attempt, task.id)).collect();
                if let Some((attempt, id)) = tasks.first().copied() {
                    self.broken(&place, attempt, id, blame);
                }
            }
        }
    }
}
