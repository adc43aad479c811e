//! Each kind of state, by itself.

use flumen_model::checkpoint::SnapshotKind;

use super::{Backend, KINDS, open_all, snapshot_of};
use crate::aggregate::AggregateFunction;
use crate::descriptor::{
    AggregatingStateDescriptor, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor, TableDescriptor,
    ValueStateDescriptor,
};
use crate::keyed::Keyed;

pub(super) fn check(backend: &impl Backend) {
    states_of_the_current_key_do_what_they_do_in_flink(backend);
    tables_tell_namespaces_apart(backend);
    timers_come_once_and_in_order(backend);
    a_name_has_one_type(backend);
    state_that_nobody_asked_for_stays(backend);
    a_snapshot_that_is_given_up_stops_nothing(backend);
}

struct Average;

impl AggregateFunction for Average {
    type In = u32;
    type Acc = (u64, u32);
    type Out = f64;

    fn create_accumulator(&self) -> Self::Acc {
        (0, 0)
    }

    fn add(&self, accumulator: &mut Self::Acc, value: u32) {
        accumulator.0 += u64::from(value);
        accumulator.1 += 1;
    }

    fn get_result(&self, accumulator: &Self::Acc) -> f64 {
        accumulator.0 as f64 / f64::from(accumulator.1)
    }

    fn merge(&self, a: Self::Acc, b: Self::Acc) -> Self::Acc {
        (a.0 + b.0, a.1 + b.1)
    }
}

fn states_of_the_current_key_do_what_they_do_in_flink(backend: &impl Backend) {
    let mut keyed: Keyed<String> = open_all(backend, &[]).unwrap();
    let value = keyed.value(ValueStateDescriptor::<u64>::new("value")).unwrap();
    let list = keyed.list(ListStateDescriptor::<String>::new("list")).unwrap();
    let units = keyed.list(ListStateDescriptor::<()>::new("units")).unwrap();
    let map = keyed.map(MapStateDescriptor::<String, i32>::new("map")).unwrap();
    let smallest = keyed.reducing(ReducingStateDescriptor::new("smallest", |a: i64, b: i64| a.min(b))).unwrap();
    let average = keyed.aggregating(AggregatingStateDescriptor::new("average", Average)).unwrap();
    for (number, key) in ["", "a", "a longer key than the others"].into_iter().enumerate() {
        let number = number as u64;
        keyed.set_current_key(&key.to_owned());
        assert_eq!(keyed.current_key().as_deref().map(String::as_str), Some(key));
        assert_eq!(value.get().unwrap(), None);
        assert_eq!(
            value
                .upsert(
                    || number,
                    |v| {
                        *v += 1;
                        *v
                    }
                )
                .unwrap(),
            number + 1
        );
        assert_eq!(value.update(|v| v.take()).unwrap(), Some(number + 1));
        assert_eq!(value.get().unwrap(), None);
        value.set(number + 7).unwrap();
        assert_eq!(value.with(|v| v.copied()).unwrap(), Some(number + 7));

        assert_eq!(list.get().unwrap(), Vec::<String>::new());
        list.add("x".to_owned()).unwrap();
        list.add_all([String::new(), "z".repeat(300)]).unwrap();
        assert_eq!(list.get().unwrap(), ["x".to_owned(), String::new(), "z".repeat(300)]);
        list.update([key.to_owned()]).unwrap();
        assert_eq!(list.get().unwrap(), [key]);
        units.add_all([(), ()]).unwrap();

        assert!(map.is_empty().unwrap());
        map.put("one".to_owned(), 1).unwrap();
        map.put_all([("two".to_owned(), 2), ("three".to_owned(), 3), ("on".to_owned(), 0)]).unwrap();
        map.update("one".to_owned(), |v| *v = v.map(|v| v + 10)).unwrap();
        map.remove(&"two".to_owned()).unwrap();
        assert!(!map.contains(&"two".to_owned()).unwrap());
        assert_eq!(map.get(&"one".to_owned()).unwrap(), Some(11));
        let mut entries = map.entries().unwrap();
        entries.sort();
        assert_eq!(entries, [("on".to_owned(), 0), ("one".to_owned(), 11), ("three".to_owned(), 3)]);
        let (mut keys, mut values) = (map.keys().unwrap(), map.values().unwrap());
        keys.sort();
        values.sort_unstable();
        assert_eq!((keys.len(), values), (3, vec![0, 3, 11]));

        assert_eq!(smallest.get().unwrap(), None);
        for added in [5, -3, 4] {
            smallest.add(added).unwrap();
        }
        assert_eq!(smallest.get().unwrap(), Some(-3));
        assert_eq!(average.get().unwrap(), None);
        average.add(1).unwrap();
        average.add(2).unwrap();
        assert_eq!(average.get().unwrap(), Some(1.5));
    }
    for kind in KINDS {
        let stored = snapshot_of(&mut keyed, kind);
        let mut again: Keyed<String> = open_all(backend, &[stored]).unwrap();
        let units = again.list(ListStateDescriptor::<()>::new("units")).unwrap();
        let list = again.list(ListStateDescriptor::<String>::new("list")).unwrap();
        let average = again.aggregating(AggregatingStateDescriptor::new("average", Average)).unwrap();
        again.set_current_key(&"a".to_owned());
        assert_eq!(units.get().unwrap().len(), 2);
        assert_eq!(list.get().unwrap(), ["a"]);
        assert_eq!(average.get().unwrap(), Some(1.5));
    }
    map.clear().unwrap();
    assert!(map.is_empty().unwrap());
    list.clear().unwrap();
    value.clear().unwrap();
    smallest.clear().unwrap();
    average.clear().unwrap();
    assert_eq!(list.get().unwrap(), Vec::<String>::new());
    assert_eq!((value.get().unwrap(), smallest.get().unwrap(), average.get().unwrap()), (None, None, None));
    keyed.set_current_key(&"a".to_owned());
    assert_eq!(value.get().unwrap(), Some(8));
    assert!(!map.is_empty().unwrap());
}

fn tables_tell_namespaces_apart(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let table = keyed.table::<(i64, i64), Vec<u8>>(TableDescriptor::new("windows")).unwrap();
    table.put(&1, &(0, 10), vec![1]).unwrap();
    table.put(&1, &(10, 20), vec![2]).unwrap();
    table.upsert(&2, &(0, 10), Vec::new, |bytes| bytes.push(3)).unwrap();
    table.update(&1, &(0, 10), |bytes| bytes.as_mut().unwrap().push(9)).unwrap();
    assert_eq!(table.get(&1, &(0, 10)).unwrap(), Some(vec![1, 9]));
    assert_eq!(table.take(&1, &(10, 20)).unwrap(), Some(vec![2]));
    assert_eq!(table.take(&1, &(10, 20)).unwrap(), None);
    table.remove(&2, &(0, 10)).unwrap();
    assert!(table.with(&2, &(0, 10), |bytes| bytes.is_none()).unwrap());
}

fn timers_come_once_and_in_order(backend: &impl Backend) {
    let mut keyed: Keyed<String> = open_all(backend, &[]).unwrap();
    let timers = keyed.timers::<u8>("timers").unwrap();
    assert_eq!(timers.peek().unwrap(), None);
    let key = |n: usize| "k".repeat(n);
    for (time, key_length, namespace) in
        [(5, 1, 0), (-7, 2, 0), (5, 1, 1), (5, 3, 0), (i64::MAX, 1, 0), (i64::MIN, 9, 9)]
    {
        assert!(timers.register(time, &key(key_length), &namespace).unwrap());
        assert!(!timers.register(time, &key(key_length), &namespace).unwrap());
    }
    assert!(timers.delete(5, &key(1), &1).unwrap());
    assert!(!timers.delete(5, &key(1), &1).unwrap());
    assert!(!timers.delete(6, &key(1), &0).unwrap());
    for kind in KINDS {
        let stored = snapshot_of(&mut keyed, kind);
        let mut again: Keyed<String> = open_all(backend, &[stored]).unwrap();
        let timers = again.timers::<u8>("timers").unwrap();
        assert_eq!(timers.peek().unwrap(), Some(i64::MIN));
        let mut popped = Vec::new();
        while let Some(timer) = timers.pop_due(5).unwrap() {
            popped.push(timer);
        }
        popped[2..].sort();
        assert_eq!(popped, [(i64::MIN, key(9), 9), (-7, key(2), 0), (5, key(1), 0), (5, key(3), 0)]);
        assert_eq!(timers.peek().unwrap(), Some(i64::MAX));
        assert_eq!(timers.pop_due(i64::MAX - 1).unwrap(), None);
    }
}

fn a_name_has_one_type(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let value = keyed.value(ValueStateDescriptor::<u64>::new("x")).unwrap();
    keyed.set_current_key(&1);
    value.set(5).unwrap();
    let same = keyed.value(ValueStateDescriptor::<u64>::new("x")).unwrap();
    assert_eq!(same.get().unwrap(), Some(5));
    assert!(keyed.value(ValueStateDescriptor::<u32>::new("x")).is_err());
    assert!(keyed.list(ListStateDescriptor::<u64>::new("x")).is_err());
}

fn state_that_nobody_asked_for_stays(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let value = keyed.value(ValueStateDescriptor::<u64>::new("x")).unwrap();
    for key in 0..50 {
        keyed.set_current_key(&key);
        value.set(key.into()).unwrap();
    }
    let mut stored = snapshot_of(&mut keyed, SnapshotKind::Checkpoint);
    for kind in KINDS {
        let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
        stored = snapshot_of(&mut again, kind);
    }
    let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
    let value = again.value(ValueStateDescriptor::<u64>::new("x")).unwrap();
    for key in 0..50 {
        again.set_current_key(&key);
        assert_eq!(value.get().unwrap(), Some(key.into()));
    }
}

fn a_snapshot_that_is_given_up_stops_nothing(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let value = keyed.value(ValueStateDescriptor::<Vec<u8>>::new("x")).unwrap();
    for key in 0..200 {
        keyed.set_current_key(&key);
        value.set(vec![1; 100_000]).unwrap();
    }
    drop(keyed.snapshot(SnapshotKind::Savepoint).unwrap());
    for key in 0..200 {
        keyed.set_current_key(&key);
        value.set(vec![2; 10]).unwrap();
        let _ = keyed.snapshot_step(1);
    }
    keyed.finish_snapshots();
    let stored = snapshot_of(&mut keyed, SnapshotKind::Savepoint);
    let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
    let value = again.value(ValueStateDescriptor::<Vec<u8>>::new("x")).unwrap();
    again.set_current_key(&199);
    assert_eq!(value.get().unwrap(), Some(vec![2; 10]));
}
