//! State that expires.

use flumen_model::checkpoint::SnapshotKind;

use super::{Backend, KINDS, advance, open_all, snapshot_of};
use crate::descriptor::{ListStateDescriptor, MapStateDescriptor, ValueStateDescriptor};
use crate::keyed::Keyed;
use crate::ttl::{StateTtlConfig, TtlUpdate, TtlVisibility};

pub(super) fn check(backend: &impl Backend) {
    state_is_forgotten_some_time_after_its_last_use(backend);
    expired_state_may_be_seen_when_it_is_allowed(backend);
    items_and_entries_expire_one_by_one(backend);
    a_state_may_begin_and_cease_to_expire(backend);
}

fn state_is_forgotten_some_time_after_its_last_use(backend: &impl Backend) {
    for kind in KINDS {
        let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
        let ttl = StateTtlConfig::new(100);
        let written = ValueStateDescriptor::<u64>::new("written").with_ttl(ttl);
        let used = ValueStateDescriptor::<u64>::new("used").with_ttl(ttl.update_type(TtlUpdate::OnReadAndWrite));
        let (w, u) = (keyed.value(written.clone()).unwrap(), keyed.value(used.clone()).unwrap());
        keyed.set_current_key(&1);
        w.set(1).unwrap();
        u.set(1).unwrap();
        advance(60);
        assert_eq!((w.get().unwrap(), u.get().unwrap()), (Some(1), Some(1)));
        keyed.set_current_key(&2);
        w.upsert(|| 1, |v| *v += 1).unwrap();
        advance(60);
        let stored = snapshot_of(&mut keyed, kind);
        let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
        let (w, u) = (again.value(written).unwrap(), again.value(used).unwrap());
        assert_eq!(w.get_of(&mut again, 1), None);
        assert_eq!(u.get_of(&mut again, 1), Some(1));
        assert_eq!(w.get_of(&mut again, 2), Some(2));
        advance(60);
        assert_eq!(w.get_of(&mut again, 2), None);
        assert_eq!(u.get_of(&mut again, 1), Some(1));
        advance(100);
        assert_eq!(u.get_of(&mut again, 1), None);
        w.update(|value| assert_eq!(value.replace(9), None)).unwrap();
        assert_eq!(w.get().unwrap(), Some(9));
    }
}

/// Short for what is asked above.
trait GetOf {
    fn get_of(&self, keyed: &mut Keyed<u32>, key: u32) -> Option<u64>;
}

impl GetOf for crate::ValueState<u32, u64> {
    fn get_of(&self, keyed: &mut Keyed<u32>, key: u32) -> Option<u64> {
        keyed.set_current_key(&key);
        self.get().unwrap()
    }
}

fn expired_state_may_be_seen_when_it_is_allowed(backend: &impl Backend) {
    let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
    let ttl = StateTtlConfig::new(100).visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    let value = keyed.value(ValueStateDescriptor::<u64>::new("x").with_ttl(ttl)).unwrap();
    keyed.set_current_key(&1);
    value.set(1).unwrap();
    advance(200);
    assert_eq!(value.get().unwrap(), Some(1));
    snapshot_of(&mut keyed, SnapshotKind::Savepoint);
}

fn items_and_entries_expire_one_by_one(backend: &impl Backend) {
    for kind in KINDS {
        let mut keyed: Keyed<u32> = open_all(backend, &[]).unwrap();
        let ttl = StateTtlConfig::new(100);
        let list_descriptor = ListStateDescriptor::<u8>::new("list").with_ttl(ttl);
        let map_descriptor = MapStateDescriptor::<u8, u8>::new("map").with_ttl(ttl);
        let (list, map) = (keyed.list(list_descriptor.clone()).unwrap(), keyed.map(map_descriptor.clone()).unwrap());
        keyed.set_current_key(&1);
        for item in 0..5 {
            list.add(item).unwrap();
            map.put(item, item).unwrap();
            advance(30);
        }
        // Written 150, 120, 90, 60 and 30 milliseconds ago.
        assert_eq!(list.get().unwrap(), [2, 3, 4]);
        let stored = snapshot_of(&mut keyed, kind);
        let mut again: Keyed<u32> = open_all(backend, &[stored]).unwrap();
        let (list, map) = (again.list(list_descriptor).unwrap(), again.map(map_descriptor).unwrap());
        again.set_current_key(&1);
        assert_eq!(list.get().unwrap(), [2, 3, 4]);
        let mut keys = map.keys().unwrap();
        keys.sort_unstable();
        assert_eq!(keys, [2, 3, 4]);
        assert_eq!((map.get(&1).unwrap(), map.get(&2).unwrap()), (None, Some(2)));
        advance(50);
        assert_eq!(list.get().unwrap(), [4]);
        assert!(!map.contains(&3).unwrap());
        advance(50);
        assert!(map.is_empty().unwrap());
        assert!(list.get().unwrap().is_empty());
    }
}

fn a_state_may_begin_and_cease_to_expire(backend: &impl Backend) {
    let mut stored = None;
    for (round, ttl) in [None, Some(StateTtlConfig::new(100)), None].into_iter().enumerate() {
        let mut keyed: Keyed<u32> = open_all(backend, stored.as_slice()).unwrap();
        let (mut value, mut list) = (ValueStateDescriptor::<u64>::new("x"), ListStateDescriptor::<u16>::new("y"));
        (value.ttl, list.ttl) = (ttl, ttl);
        let (value, list) = (keyed.value(value).unwrap(), keyed.list(list).unwrap());
        keyed.set_current_key(&1);
        if round == 0 {
            value.set(7).unwrap();
            list.add_all([1, 300]).unwrap();
        }
        assert_eq!(value.get().unwrap(), Some(7), "round {round}");
        assert_eq!(list.get().unwrap(), [1, 300], "round {round}");
        advance(50);
        stored = Some(snapshot_of(&mut keyed, SnapshotKind::Savepoint));
    }
}
