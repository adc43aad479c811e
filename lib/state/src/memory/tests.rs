//! Snapshots that are given up while others are being taken.

use std::collections::BTreeMap;
use std::thread;

use flumen_model::checkpoint::{KeyGroupRange, SnapshotKind};

use crate::conformance::store;
use crate::descriptor::{TableDescriptor, ValueStateDescriptor};
use crate::handles::ValueState;
use crate::keyed::Keyed;
use crate::options::BackendOptions;
use crate::restore::RestoredKeyed;
use crate::snapshot::SnapshotStep;
use crate::table::Table;

const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 8 };
const KEYS: u64 = 150;

type Content = BTreeMap<u64, (Option<String>, Option<u64>)>;

struct State {
    keyed: Keyed<u64>,
    texts: ValueState<u64, String>,
    /// Walked behind the other one.
    numbers: Table<u64, (), u64>,
}

/// So long that bytes of each snapshot are ready at any time: only then is it seen that nobody takes them.
fn text(key: u64, round: u64) -> String {
    format!("{key} {round} ").repeat(1500)
}

impl State {
    fn open(restore: Vec<RestoredKeyed>) -> Self {
        let mut keyed = Keyed::open(&BackendOptions::default(), ALL, ALL.end, restore).unwrap();
        let texts = keyed.value(ValueStateDescriptor::new("text")).unwrap();
        let numbers = keyed.table(TableDescriptor::new("number")).unwrap();
        Self { keyed, texts, numbers }
    }

    fn set(&mut self, key: u64, round: u64) {
        self.keyed.set_current_key(&key);
        self.texts.set(text(key, round)).unwrap();
        self.numbers.put(&key, &(), round).unwrap();
    }

    fn remove(&mut self, key: u64) {
        self.keyed.set_current_key(&key);
        self.texts.clear().unwrap();
        self.numbers.take(&key, &()).unwrap();
    }

    fn content(&mut self) -> Content {
        let mut content = Content::new();
        for key in 0..2 * KEYS {
            self.keyed.set_current_key(&key);
            content.insert(key, (self.texts.get().unwrap(), self.numbers.get(&key, &()).unwrap()));
        }
        content
    }
}

#[test]
fn a_snapshot_holds_everything_whichever_others_are_given_up_and_however_far_they_are() {
    // A long row takes 4 of a budget: nothing, some, a third, almost all, and more than all of the first walk.
    for budget in [0, 100, 250, 700, 2000] {
        for given_up in 0..8 {
            let mut state = State::open(vec![]);
            (0..KEYS).for_each(|key| state.set(key, 0));
            let mut begun = Vec::new();
            for round in 1..4 {
                begun.push((state.keyed.snapshot(SnapshotKind::Checkpoint).unwrap(), state.content()));
                let _ = state.keyed.snapshot_step(budget);
                (0..KEYS).step_by(3 + round as usize).for_each(|key| state.set(key, round));
                state.set(KEYS + round, round);
                state.remove(7 * round);
            }
            let kept = begun.into_iter().enumerate().filter(|(number, _)| given_up & (1 << number) == 0);
            let kept: Vec<_> =
                kept.map(|(number, (pending, content))| (number, thread::spawn(|| store(pending)), content)).collect();
            // In small steps: that nobody takes the bytes is seen in the middle of a walk.
            (0..8).for_each(|_| assert!(state.keyed.snapshot_step(60) <= SnapshotStep::More));
            state.set(1, 9);
            state.remove(2);
            state.keyed.finish_snapshots();
            for (number, storing, content) in kept {
                let found = State::open(vec![storing.join().unwrap().unwrap().restored()]).content();
                assert!(found == content, "snapshot {number}, budget {budget}, given up {given_up:03b}");
            }
        }
    }
}
