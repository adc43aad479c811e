//! Random operations against plain maps, with snapshots that begin and end in between, and restores with other numbers of
//! subtasks.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::{self, JoinHandle};

use flumen_model::checkpoint::KeyGroupRange;
use flumen_model::key_group::{key_group, key_hash, subtask_of};

use super::{Backend, GROUPS, KINDS, Stored, store};
use crate::descriptor::{ListStateDescriptor, MapStateDescriptor, TableDescriptor, ValueStateDescriptor};
use crate::error::StateError;
use crate::handles::{ListState, MapState, ValueState};
use crate::keyed::Keyed;
use crate::table::Table;
use crate::timers::Timers;

/// Keys: few enough that most operations meet what is there, and enough that tables grow.
const KEYS: u64 = 300;

/// What there should be.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    values: BTreeMap<String, u64>,
    lists: BTreeMap<String, Vec<u16>>,
    maps: BTreeMap<(String, u8), String>,
    tables: BTreeMap<(String, u8), i32>,
    timers: BTreeSet<(i64, String, u8)>,
}

struct Subtask {
    keyed: Keyed<String>,
    value: ValueState<String, u64>,
    list: ListState<String, u16>,
    map: MapState<String, u8, String>,
    table: Table<String, u8, i32>,
    timers: Timers<String, u8>,
}

struct Running {
    stored: Vec<JoinHandle<Result<Stored, StateError>>>,
    model: Model,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that ends while another thread is in RocksDB may abort. After a panic the subtasks, which these wait for,
        // are still there.
        if !thread::panicking() {
            self.stored.drain(..).for_each(|storing| drop(storing.join()));
        }
    }
}

/// Random numbers that a seed decides.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn key_of(number: u64) -> String {
    "k".repeat((number % 7) as usize) + &number.to_string()
}

fn owner(key: &String, subtasks: usize) -> usize {
    let group = key_group(key_hash(&postcard::to_stdvec(key).unwrap()), GROUPS);
    subtask_of(group, subtasks as u32, GROUPS) as usize
}

fn open(backend: &impl Backend, subtasks: usize, pieces: &[Stored]) -> Vec<Subtask> {
    let open_one = |index| {
        let groups = KeyGroupRange::of_subtask(index as u32, subtasks as u32, GROUPS);
        let pieces = pieces.iter().filter(|piece| piece.state.groups.overlaps(groups));
        let mut keyed = backend.open(groups, GROUPS, pieces.map(Stored::restored).collect()).unwrap();
        Subtask {
            value: keyed.value(ValueStateDescriptor::new("value")).unwrap(),
            list: keyed.list(ListStateDescriptor::new("list")).unwrap(),
            map: keyed.map(MapStateDescriptor::new("map")).unwrap(),
            table: keyed.table(TableDescriptor::new("table")).unwrap(),
            timers: keyed.timers("timers").unwrap(),
            keyed,
        }
    };
    (0..subtasks).map(open_one).collect()
}

/// Runs so many random operations, which the seed decides.
///
/// # Panics
/// What was restored is not what there was when the snapshot began.
pub fn simulate(backend: &impl Backend, seed: u64, steps: usize) {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut subtasks = open(backend, 1, &[]);
    let mut running: Vec<Running> = Vec::new();
    for step in 0..steps {
        match random.below(100) {
            0..90 => change(&mut random, &mut model, &mut subtasks),
            90..96 => {
                let budget = random.below(60) as usize;
                for subtask in &mut subtasks {
                    let _ = subtask.keyed.snapshot_step(budget);
                }
            }
            96..98 if running.len() < 3 => {
                let kind = KINDS[random.below(3) as usize];
                let begin = |subtask: &mut Subtask| {
                    let pending = subtask.keyed.snapshot(kind).unwrap();
                    thread::spawn(|| store(pending))
                };
                running.push(Running { stored: subtasks.iter_mut().map(begin).collect(), model: model.clone() });
            }
            98 if !running.is_empty() => {
                subtasks.iter_mut().for_each(|subtask| subtask.keyed.finish_snapshots());
                let mut chosen = running.swap_remove(random.below(running.len() as u64) as usize);
                let pieces: Vec<_> = chosen.stored.drain(..).map(|s| s.join().unwrap().unwrap()).collect();
                let parallelism = [3, 2, 1, 5][random.below(4) as usize];
                compare(open(backend, parallelism, &pieces), &chosen.model, &format!("seed {seed}, step {step}"));
                if random.below(2) == 0 {
                    // Back to then, with another number of subtasks.
                    running.clear();
                    model = chosen.model.clone();
                    subtasks = open(backend, parallelism, &pieces);
                }
            }
            _ => {}
        }
    }
    compare(subtasks, &model, &format!("seed {seed}, at the end"));
}

fn change(random: &mut Random, model: &mut Model, subtasks: &mut [Subtask]) {
    let key = key_of(random.below(KEYS));
    let count = subtasks.len();
    let Subtask { keyed, value, list, map, table, timers } = &mut subtasks[owner(&key, count)];
    keyed.set_current_key(&key);
    let small = random.below(4) as u8;
    let number = random.next();
    match random.below(22) {
        0..3 => {
            let now = value
                .upsert(
                    || 1,
                    |v| {
                        *v = v.wrapping_add(number);
                        *v
                    },
                )
                .unwrap();
            let was = model.values.entry(key).or_insert(1);
            *was = was.wrapping_add(number);
            assert_eq!(now, *was);
        }
        3 => {
            value.update(|v| *v = v.is_none().then_some(number)).unwrap();
            if model.values.remove(&key).is_none() {
                model.values.insert(key, number);
            }
        }
        4 => {
            value.clear().unwrap();
            model.values.remove(&key);
        }
        5..7 => {
            list.add(number as u16).unwrap();
            model.lists.entry(key).or_default().push(number as u16);
        }
        7 => {
            list.clear().unwrap();
            model.lists.remove(&key);
        }
        8..10 => {
            map.put(small, number.to_string()).unwrap();
            model.maps.insert((key, small), number.to_string());
        }
        10 => {
            map.remove(&small).unwrap();
            model.maps.remove(&(key, small));
        }
        11 => {
            table.put(&key, &small, number as i32).unwrap();
            model.tables.insert((key, small), number as i32);
        }
        12 => assert_eq!(table.take(&key, &small).unwrap(), model.tables.remove(&(key, small))),
        13..17 => {
            let time = number as i64 % 3;
            let is_new = timers.register(time, &key, &small).unwrap();
            assert_eq!(is_new, model.timers.insert((time, key, small)));
        }
        17..21 => {
            let time = (number / 2) as i64 % 3;
            // One that is there, if there is one of this time at or after this key.
            let from = (time, key.clone(), small);
            let found = model.timers.range(from.clone()..).next().filter(|timer| timer.0 == time).cloned();
            let (time, key, small) = found.filter(|timer| owner(&timer.1, count) == owner(&key, count)).unwrap_or(from);
            let was_there = timers.delete(time, &key, &small).unwrap();
            assert_eq!(was_there, model.timers.remove(&(time, key, small)));
        }
        _ => {
            if let Some(timer) = timers.pop_due(0).unwrap() {
                assert!(model.timers.remove(&timer), "{timer:?}");
            }
        }
    }
}

fn compare(mut subtasks: Vec<Subtask>, model: &Model, place: &str) {
    let mut found = Model::default();
    let count = subtasks.len();
    for key in (0..KEYS).map(key_of) {
        let Subtask { keyed, value, list, map, table, .. } = &mut subtasks[owner(&key, count)];
        keyed.set_current_key(&key);
        found.values.extend(value.get().unwrap().map(|value| (key.clone(), value)));
        let items = list.get().unwrap();
        if !items.is_empty() {
            found.lists.insert(key.clone(), items);
        }
        found.maps.extend(map.entries().unwrap().into_iter().map(|(k, v)| ((key.clone(), k), v)));
        for namespace in 0..4 {
            found.tables.extend(table.get(&key, &namespace).unwrap().map(|v| ((key.clone(), namespace), v)));
        }
    }
    for subtask in &subtasks {
        let mut last = i64::MIN;
        while let Some(timer) = subtask.timers.pop_due(i64::MAX).unwrap() {
            assert!(timer.0 >= last, "{place}: timers are not in order");
            last = timer.0;
            assert!(found.timers.insert(timer), "{place}: a timer came twice");
        }
    }
    assert_eq!(&found, model, "{place}");
}
