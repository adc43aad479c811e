//! Operator state through snapshots and restores: each kind, with other numbers of subtasks, of other types, damaged.

use std::collections::BTreeMap;

use flumen_model::checkpoint::{StateHandle, StateLocation};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::error::StateErrorKind;

/// What subtasks have written, each by state name.
type Written = Vec<BTreeMap<String, ListBytes>>;

fn restored(list: &ListBytes) -> RestoredList {
    let items =
        StateHandle { location: StateLocation::Inline(Vec::new()), length: list.items.len() as u64, checksum: 0 };
    let ListBytes { redistribution, schema, ends, .. } = list.clone();
    let state = ListSnapshot { redistribution, schema, items, start: 0, ends };
    RestoredList { state, bytes: list.items.clone() }
}

/// The items `from..to` of a list, as one that has only these.
fn part(list: &ListBytes, from: usize, to: usize) -> ListBytes {
    let start = if from == 0 { 0 } else { list.ends[from - 1] };
    let end = if to == 0 { 0 } else { list.ends[to - 1] };
    let ends = list.ends[from..to].iter().map(|end| end - start).collect();
    ListBytes { items: list.items[start as usize..end as usize].to_vec(), ends, ..list.clone() }
}

/// One of `subtasks` subtasks that begin with what others have written: a share of what is divided, all of a union, and what
/// one of them had of what is broadcast.
fn open(written: &Written, index: usize, subtasks: usize) -> OperatorState {
    let mut pieces: BTreeMap<String, Vec<RestoredList>> = BTreeMap::new();
    let names: std::collections::BTreeSet<&String> = written.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let holders: Vec<&ListBytes> = written.iter().filter_map(|lists| lists.get(name)).collect();
        let total: usize = holders.iter().map(|list| list.ends.len()).sum();
        let (first, end) = (total * index / subtasks, total * (index + 1) / subtasks);
        let mut before = 0;
        for (number, list) in holders.iter().enumerate() {
            let count = list.ends.len();
            let own = |at: usize| at.clamp(before, before + count) - before;
            let piece = match list.redistribution {
                Redistribution::Split if own(first) < own(end) => Some(part(list, own(first), own(end))),
                Redistribution::Split => None,
                Redistribution::Union => Some((*list).clone()),
                Redistribution::Broadcast => (number == index % holders.len()).then(|| (*list).clone()),
            };
            pieces.entry(name.clone()).or_default().extend(piece.as_ref().map(restored));
            before += count;
        }
    }
    OperatorState::new(pieces, index == 0)
}

fn rescale<R>(
    written: &Written,
    subtasks: usize,
    mut of_each: impl FnMut(&mut OperatorState) -> R,
) -> (Written, Vec<R>) {
    let opened = (0..subtasks).map(|index| {
        let mut state = open(written, index, subtasks);
        let result = of_each(&mut state);
        (state.snapshot().unwrap(), result)
    });
    opened.unzip()
}

fn empty() -> OperatorState {
    OperatorState::new(BTreeMap::new(), true)
}

#[test]
fn the_items_of_a_list_are_divided_and_none_is_lost_or_doubled() {
    let mut one = empty();
    one.list::<String>("words").unwrap().add_all((0..10).map(|number| number.to_string()));
    let mut written = vec![one.snapshot().unwrap()];
    for subtasks in [1, 3, 2, 5, 1] {
        let (next, lists) = rescale(&written, subtasks, |state| state.list::<String>("words").unwrap().get());
        let sizes: Vec<_> = lists.iter().map(Vec::len).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        assert_eq!(lists.concat(), (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
        written = next;
    }
}

#[test]
fn every_subtask_gets_the_union_of_all_lists() {
    let mut written = vec![BTreeMap::new()];
    for (subtasks, expected) in [(1, vec![]), (3, vec![0]), (2, vec![0, 1, 2]), (1, vec![0, 1])] {
        let mut index = 0;
        (written, _) = rescale(&written, subtasks, |state| {
            let list = state.union_list::<u32>("offsets").unwrap();
            assert_eq!(list.get(), expected, "{subtasks} subtasks");
            // As sources do: each keeps what is its own.
            list.update([index]);
            index += 1;
        });
    }
}

#[test]
fn every_subtask_gets_the_broadcast_map_of_one() {
    let mut one = empty();
    let map = one.broadcast::<String, u64>("rules").unwrap();
    map.put("a".into(), 1);
    map.put("b".into(), 2);
    map.put("c".into(), 3);
    map.remove(&"c".into());
    let mut written = vec![one.snapshot().unwrap()];
    for subtasks in [1, 3, 2, 1] {
        let (next, maps) = rescale(&written, subtasks, |state| {
            let mut entries = state.broadcast::<String, u64>("rules").unwrap().entries();
            entries.sort();
            entries
        });
        assert_eq!(maps, vec![[("a".to_owned(), 1), ("b".to_owned(), 2)]; subtasks]);
        written = next;
    }
}

#[test]
fn what_nobody_asks_for_stays_through_restores_with_other_numbers_of_subtasks() {
    let mut one = empty();
    one.list::<u8>("list").unwrap().add_all(0..7);
    one.union_list::<u8>("union").unwrap().add_all(0..4);
    one.broadcast::<u8, u8>("map").unwrap().put(1, 2);
    let mut written = vec![one.snapshot().unwrap()];
    for subtasks in [3, 2, 2, 3, 1] {
        (written, _) = rescale(&written, subtasks, |_| ());
    }
    let mut last = open(&written, 0, 1);
    assert_eq!(last.list::<u8>("list").unwrap().get(), (0..7).collect::<Vec<u8>>());
    assert_eq!(last.union_list::<u8>("union").unwrap().get(), (0..4).collect::<Vec<u8>>());
    assert_eq!(last.broadcast::<u8, u8>("map").unwrap().entries(), [(1, 2)]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Old {
    count: u32,
    gone: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct New {
    added: Option<u8>,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Narrow {
    count: u16,
}

fn of_old() -> Written {
    let old = |count: u32| Old { count, gone: "x".repeat(count as usize) };
    let mut one = empty();
    one.list::<Old>("list").unwrap().add_all((0..5).map(old));
    one.union_list::<Old>("union").unwrap().add_all((0..5).map(old));
    one.broadcast::<u8, Old>("map").unwrap().put(7, old(7));
    vec![one.snapshot().unwrap()]
}

#[test]
fn items_are_read_with_the_schema_they_were_written_with() {
    let new = |count: u64| New { added: None, count };
    let mut written = of_old();
    for subtasks in [2, 1] {
        let mut all = Vec::new();
        (written, _) = rescale(&written, subtasks, |state| {
            all.extend(state.list::<New>("list").unwrap().get());
            assert_eq!(state.union_list::<New>("union").unwrap().get(), (0..5).map(new).collect::<Vec<_>>());
            assert_eq!(state.broadcast::<u8, New>("map").unwrap().get(&7), Some(new(7)));
            let union = state.union_list::<New>("union").unwrap();
            if state.keeps_unions { drop(union) } else { union.clear() }
        });
        assert_eq!(all, (0..5).map(new).collect::<Vec<_>>());
    }
    let schemas = |written: &Written| written[0].values().map(|list| list.schema.clone()).collect::<Vec<_>>();
    assert_ne!(schemas(&written), schemas(&of_old()), "they have the new schema now");
}

#[test]
fn parts_that_were_written_with_different_schemas_come_together_when_the_type_is_known() {
    let mut later = empty();
    later.list::<New>("list").unwrap().add(New { added: Some(1), count: 9 });
    let pieces: Vec<RestoredList> =
        [&of_old()[0]["list"], &later.snapshot().unwrap()["list"]].into_iter().map(restored).collect();
    let mut state = OperatorState::new(BTreeMap::from([("list".to_owned(), pieces.clone())]), true);
    let error = state.snapshot().unwrap_err().to_string();
    assert!(error.contains("`list`") && error.contains("`open`"), "{error}");
    let counts: Vec<u64> = state.list::<New>("list").unwrap().get().into_iter().map(|item| item.count).collect();
    assert_eq!(counts, [0, 1, 2, 3, 4, 9]);
    state.snapshot().unwrap();
    // Written by one program that asked for it in some subtasks as a union, in others as a list: not to be guessed either.
    let mut other = pieces;
    other.truncate(1);
    other.push(other[0].clone());
    other[1].state.redistribution = Redistribution::Union;
    assert!(OperatorState::new(BTreeMap::from([("list".to_owned(), other)]), true).snapshot().is_err());
}

#[test]
fn a_type_or_kind_that_can_not_take_the_place_of_the_former_is_refused_and_named() {
    type Ask = fn(&mut OperatorState) -> Option<StateError>;
    let asks: [(&str, &str, Ask); 5] = [
        ("list", "count", |state| state.list::<Narrow>("list").err()),
        ("union", "count", |state| state.union_list::<Narrow>("union").err()),
        ("map", "count", |state| state.broadcast::<u8, Narrow>("map").err()),
        ("list", "Split", |state| state.union_list::<Old>("list").err()),
        ("map", "Broadcast", |state| state.list::<(u8, Old)>("map").err()),
    ];
    for (name, word, ask) in asks {
        let mut state = open(&of_old(), 0, 1);
        let error = ask(&mut state).unwrap();
        assert!(matches!(error.kind(), StateErrorKind::Incompatible(_)), "{error}");
        assert!(error.to_string().contains(name) && error.to_string().contains(word), "{error}");
        assert_eq!(vec![state.snapshot().unwrap()], of_old(), "nothing is lost by the attempt");
    }
}

#[test]
fn one_name_is_one_state() {
    let mut state = empty();
    let list = state.list::<u8>("it").unwrap();
    state.list::<u8>("it").unwrap().add(1);
    assert_eq!(list.get(), [1], "asked for again, it is the same");
    assert!(matches!(state.list::<u16>("it").err().unwrap().kind(), StateErrorKind::Misuse(_)));
    assert!(matches!(state.union_list::<u8>("it").err().unwrap().kind(), StateErrorKind::Misuse(_)));
}

#[test]
fn torn_lists_are_refused_and_named() {
    type Spoil = fn(&mut RestoredList);
    let spoils: [Spoil; 5] = [
        |list| list.bytes.truncate(list.bytes.len() - 1),
        |list| list.bytes.push(0),
        |list| list.state.ends.truncate(list.state.ends.len() - 1),
        |list| list.state.ends[0] = u64::MAX,
        |list| list.state.ends.swap(1, 2),
    ];
    for name in ["list", "union", "map"] {
        for (number, spoil) in spoils.iter().enumerate() {
            let mut list = of_old()[0][name].clone();
            if name == "map" {
                // One entry only: the same as often as it takes.
                let end = list.items.len();
                list.items = list.items.repeat(3);
                list.ends = vec![end as u64, 2 * end as u64, 3 * end as u64];
            }
            let mut piece = restored(&list);
            spoil(&mut piece);
            let mut state = OperatorState::new(BTreeMap::from([(name.to_owned(), vec![piece])]), true);
            let error = match name {
                "list" => state.list::<Old>(name).err(),
                "union" => state.union_list::<Old>(name).err(),
                _ => state.broadcast::<u8, Old>(name).err(),
            };
            let error = error.unwrap_or_else(|| panic!("{name} {number}"));
            assert!(matches!(error.kind(), StateErrorKind::Corrupt { .. }), "{name} {number}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_restore_panic(bytes: Vec<u8>, ends: Vec<u8>, old in any::<bool>()) {
        let mut list = of_old()[0]["list"].clone();
        if !old {
            list.schema = of_old()[0]["map"].schema.clone();
        }
        list.items = bytes;
        list.ends = ends.into_iter().map(u64::from).collect();
        let pieces = BTreeMap::from([("list".to_owned(), vec![restored(&list)])]);
        let _ = OperatorState::new(pieces.clone(), true).list::<Old>("list");
        let _ = OperatorState::new(pieces.clone(), true).list::<New>("list");
        let _ = OperatorState::new(pieces, true).snapshot();
    }
}
