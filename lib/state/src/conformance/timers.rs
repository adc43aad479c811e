//! Timers that come and go while a snapshot walks over them: it holds those that there were when it began, each once.

use std::collections::BTreeSet;
use std::thread;

use flumen_model::checkpoint::SnapshotKind;

use super::random::Random;
use super::{Backend, Stored, open_all, store};
use crate::keyed::Keyed;
use crate::timers::Timers;

type Timer = (i64, u32, u8);

/// Few times and keys: most timers share their time with others, so that one that goes moves one that stays.
const TIMES: u64 = 2;
const KEYS: u64 = 12;

pub(super) fn check(backend: &impl Backend) {
    a_deleted_timer_moves_none_past_the_walk(backend);
    for seed in 0..10 {
        while_snapshots_walk(backend, seed);
    }
}

struct Subtask {
    keyed: Keyed<u32>,
    timers: Timers<u32, u8>,
    model: BTreeSet<Timer>,
}

impl Subtask {
    fn of(mut keyed: Keyed<u32>) -> Self {
        let timers = keyed.timers("timers").unwrap();
        Self { keyed, timers, model: BTreeSet::new() }
    }

    fn register(&mut self, (time, key, namespace): Timer) {
        self.keyed.set_current_key(&key);
        let is_new = self.timers.register(time, &key, &namespace).unwrap();
        assert_eq!(is_new, self.model.insert((time, key, namespace)));
    }

    fn delete(&mut self, (time, key, namespace): Timer) {
        self.keyed.set_current_key(&key);
        let was_there = self.timers.delete(time, &key, &namespace).unwrap();
        assert_eq!(was_there, self.model.remove(&(time, key, namespace)));
    }
}

fn content(backend: &impl Backend, stored: Stored) -> Vec<Timer> {
    let mut all = Vec::new();
    let subtask = Subtask::of(open_all(backend, &[stored]).unwrap());
    while let Some(timer) = subtask.timers.pop_due(i64::MAX).unwrap() {
        all.push(timer);
    }
    all.sort_unstable();
    all
}

/// Every timer that may go, at every place that the walk may have reached.
fn a_deleted_timer_moves_none_past_the_walk(backend: &impl Backend) {
    const COUNT: u32 = 5;
    for (walked, deleted) in (0..=COUNT as usize).flat_map(|walked| (0..COUNT).map(move |deleted| (walked, deleted))) {
        let mut subtask = Subtask::of(open_all(backend, &[]).unwrap());
        (0..COUNT).for_each(|key| subtask.register((1, key, 0)));
        let before: Vec<Timer> = subtask.model.iter().copied().collect();
        let pending = subtask.keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
        let storing = thread::spawn(|| store(pending));
        for _ in 0..walked {
            let _ = subtask.keyed.snapshot_step(1);
        }
        subtask.delete((1, deleted, 0));
        subtask.keyed.finish_snapshots();
        let found = content(backend, storing.join().unwrap().unwrap());
        assert_eq!(found, before, "timer {deleted} was deleted after {walked} steps");
    }
}

/// Random ones, which the seed decides, come and go between the steps of several snapshots.
pub(super) fn while_snapshots_walk(backend: &impl Backend, seed: u64) {
    let mut random = Random(seed);
    let mut subtask = Subtask::of(open_all(backend, &[]).unwrap());
    let mut snapshots = Vec::new();
    for step in 0..80 {
        let timer = (random.below(TIMES) as i64, random.below(KEYS) as u32, random.below(2) as u8);
        match random.below(20) {
            0..7 => subtask.register(timer),
            7..12 => subtask.delete(timer),
            12 => {
                if let Some(fired) = subtask.timers.pop_due(timer.0).unwrap() {
                    assert!(subtask.model.remove(&fired), "{fired:?}");
                }
            }
            13 if snapshots.len() < 3 => {
                let pending = subtask.keyed.snapshot(SnapshotKind::Checkpoint).unwrap();
                snapshots.push((step, subtask.model.clone(), thread::spawn(|| store(pending))));
            }
            _ => drop(subtask.keyed.snapshot_step(1 + random.below(2) as usize)),
        }
    }
    subtask.keyed.finish_snapshots();
    for (step, model, storing) in snapshots {
        let found = content(backend, storing.join().unwrap().unwrap());
        assert_eq!(found, model.into_iter().collect::<Vec<_>>(), "seed {seed}, snapshot at step {step}");
    }
}
