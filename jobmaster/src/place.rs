//! Which slot is on which TaskExecutor.
//!
//! Slots are shared: slot `k` holds subtask `k` of every vertex whose parallelism is greater than `k`, so a job needs as
//! many slots as its largest parallelism.

use std::collections::HashMap;

use flumen_model::ids::ExecutorId;

/// Slots that a TaskExecutor has for the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer<'a> {
    pub(crate) executor: &'a ExecutorId,
    pub(crate) slots: u32,
}

/// The offers do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} slots are needed, {present} are there")]
pub(crate) struct NotEnough {
    /// Slots that the job needs.
    pub(crate) needed: u32,
    /// Slots that are offered.
    pub(crate) present: u32,
}

/// What is known of the slots before they are placed. Indexed by slot; slots beyond the end were never placed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Former<'a> {
    /// Where each slot was, if anywhere.
    pub(crate) places: &'a [Option<ExecutorId>],
    /// Slots that others run in or come back to: they do not move while their executor is there.
    pub(crate) held: &'a [usize],
}

/// The places of all slots, of which `wanted` have one afterwards.
///
/// A wanted slot stays where it was if that executor still has room, so that what the worker there holds can be used again.
/// The others fill the executors in the order of `offers`.
pub(crate) fn place(
    wanted: &[usize],
    offers: &[Offer<'_>],
    former: Former<'_>,
) -> Result<Vec<Option<ExecutorId>>, NotEnough> {
    let mut free: HashMap<&ExecutorId, u32> = offers.iter().map(|offer| (offer.executor, offer.slots)).collect();
    let mut take = |executor: &ExecutorId| match free.get_mut(executor) {
        Some(slots) if *slots > 0 => {
            *slots -= 1;
            true
        }
        _ => false,
    };
    let length = wanted.iter().map(|slot| slot + 1).chain([former.places.len()]).max().unwrap_or(0);
    let mut places = former.places.to_vec();
    places.resize(length, None);
    let stays = |slot: &&usize| {
        let place = former.places.get(**slot).and_then(Option::as_ref);
        former.held.contains(slot) && place.is_some_and(|place| offers.iter().any(|offer| offer.executor == place))
    };
    for executor in former.held.iter().filter(stays).filter_map(|slot| places.get(*slot)?.as_ref()) {
        take(executor);
    }
    let mut moving: Vec<usize> = Vec::new();
    for slot in wanted.iter().filter(|slot| !stays(slot)) {
        if !places[*slot].as_ref().is_some_and(&mut take) {
            moving.push(*slot);
        }
    }
    let mut rest = offers.iter().flat_map(|offer| std::iter::repeat_n(offer.executor, offer.slots as usize));
    for slot in moving {
        places[slot] = rest.by_ref().find(|executor| take(executor)).cloned();
        if places[slot].is_none() {
            let present = offers.iter().fold(0u32, |sum, offer| sum.saturating_add(offer.slots));
            return Err(NotEnough { needed: wanted.len() as u32, present });
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(name: &str) -> ExecutorId {
        ExecutorId(name.to_owned())
    }

    fn run(needed: u32, offers: &[(&str, u32)], former: &str) -> Result<String, NotEnough> {
        let ids: Vec<(ExecutorId, u32)> = offers.iter().map(|(name, slots)| (id(name), *slots)).collect();
        let offers: Vec<Offer> = ids.iter().map(|(executor, slots)| Offer { executor, slots: *slots }).collect();
        let places: Vec<Option<ExecutorId>> = former.chars().map(|c| Some(id(&c.to_string()))).collect();
        let wanted: Vec<usize> = (0..needed as usize).collect();
        let placed = place(&wanted, &offers, Former { places: &places, held: &[] })?;
        Ok(placed.iter().take(needed as usize).map(|slot| slot.as_ref().unwrap().0.as_str()).collect())
    }

    #[test]
    fn slots_are_placed_in_order_and_stay_where_they_were() {
        // Executors have one-letter names: "aab" means slots 0 and 1 on a, slot 2 on b.
        type Row<'a> = (&'a str, u32, &'a [(&'a str, u32)], &'a str, Result<&'a str, NotEnough>);
        let table: &[Row] = &[
            ("executors are filled in order", 3, &[("a", 2), ("b", 2)], "", Ok("aab")),
            ("more than needed stays unused", 1, &[("a", 2), ("b", 2)], "", Ok("a")),
            ("an executor without slots is passed over", 2, &[("a", 0), ("b", 2)], "", Ok("bb")),
            ("nothing is needed", 0, &[], "", Ok("")),
            ("nobody is there", 2, &[], "", Err(NotEnough { needed: 2, present: 0 })),
            ("one is missing", 3, &[("a", 1), ("b", 1)], "", Err(NotEnough { needed: 3, present: 2 })),
            ("every slot stays", 3, &[("b", 2), ("a", 2)], "aab", Ok("aab")),
            ("only the lost one moves", 3, &[("a", 2), ("c", 1)], "aba", Ok("aca")),
            ("a shrunken executor keeps what fits", 3, &[("a", 1), ("c", 2)], "aaa", Ok("acc")),
            ("a larger job keeps its first slots", 3, &[("a", 2), ("b", 1)], "b", Ok("baa")),
            ("a smaller job forgets the rest", 1, &[("a", 2), ("b", 1)], "ba", Ok("b")),
            ("counts do not overflow", 1, &[("a", u32::MAX), ("b", u32::MAX)], "", Ok("a")),
        ];
        for (name, needed, offers, former, expected) in table {
            assert_eq!(run(*needed, offers, former), expected.map(str::to_owned), "{name}");
        }
    }

    #[test]
    fn only_the_wanted_slots_move_and_held_ones_keep_their_place() {
        let (a, b) = (id("a"), id("b"));
        let offers = [Offer { executor: &a, slots: 1 }, Offer { executor: &b, slots: 2 }];
        let places = [Some(id("a")), Some(id("lost")), Some(id("b")), Some(id("lost"))];
        let placed = place(&[1], &offers, Former { places: &places, held: &[0, 2] }).unwrap();
        assert_eq!(placed, [Some(id("a")), Some(id("b")), Some(id("b")), Some(id("lost"))]);
        let enough = place(&[1, 3], &offers, Former { places: &places, held: &[0, 2] });
        assert_eq!(enough, Err(NotEnough { needed: 2, present: 3 }));
        let lost = place(&[1], &offers, Former { places: &places, held: &[0, 1] }).unwrap();
        assert_eq!(lost[1], Some(id("b")), "whoever holds a slot on a lost executor comes back to another one");
        let shared = place(&[0, 1], &offers, Former { places: &places, held: &[0, 2] }).unwrap();
        assert_eq!(shared[0], Some(id("a")), "a slot that is held already is not taken twice");
    }

    proptest! {
        #[test]
        fn enough_slots_are_always_placed_and_no_executor_gets_more_than_it_offers(
            needed in 0u32..20,
            slots in proptest::collection::vec(0u32..5, 0..6),
            former in proptest::collection::vec(0usize..8, 0..20),
        ) {
            let ids: Vec<ExecutorId> = (0..8).map(|i| id(&i.to_string())).collect();
            let offers: Vec<Offer> =
                slots.iter().zip(&ids).map(|(slots, executor)| Offer { executor, slots: *slots }).collect();
            let places: Vec<Option<ExecutorId>> = former.iter().map(|i| Some(ids[*i].clone())).collect();
            let present: u32 = slots.iter().sum();
            let wanted: Vec<usize> = (0..needed as usize).collect();
            match place(&wanted, &offers, Former { places: &places, held: &[] }) {
                Err(e) => prop_assert_eq!(e, NotEnough { needed, present }),
                Ok(placed) => {
                    let placed = &placed[..needed as usize];
                    prop_assert!(placed.iter().all(Option::is_some));
                    for offer in &offers {
                        let used = placed.iter().filter(|e| e.as_ref() == Some(offer.executor)).count();
                        prop_assert!(used <= offer.slots as usize);
                    }
                    prop_assert!(present >= needed);
                }
            }
        }
    }
}
