//! Timers in memory: by time, each once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::canonical::{Row, SmallParts};
use crate::codec;
use crate::context::Context;
use crate::timers::{time_bytes, time_of};
use crate::traits::{Key, Namespace};

use super::shape::{Scratch, Shape};
use super::{AnyTable, SKIPPED_PER_ENTRY, restore_each};

struct Timer<K, N> {
    key: K,
    namespace: N,
    /// As in tables.
    version: u32,
}

/// The timers of one time.
struct Due<K, N> {
    timers: Vec<Timer<K, N>>,
    /// Positions in `timers`.
    index: HashTable<u32>,
}

struct Queue<K, N> {
    context: Rc<Context<K>>,
    by_time: BTreeMap<i64, Due<K, N>>,
    count: usize,
    state: usize,
    /// The walk: everything before this time and position was written.
    cursor: (i64, usize),
}

/// A row of a timer: its time takes the place of a user key.
pub(crate) struct TimerRow;

impl Shape for TimerRow {
    type Stored = i64;

    fn rows(time: &i64, each: &mut impl FnMut(&[u8], &[u8]), _: &mut Scratch) -> postcard::Result<()> {
        each(&time_bytes(*time), &[]);
        Ok(())
    }

    #[inline]
    fn small_row(time: &i64, parts: &mut SmallParts<'_>) -> Option<()> {
        parts.bytes(&time_bytes(*time))?;
        parts.bytes(&[])
    }

    fn read(stored: &mut Option<i64>, user_key: &[u8], _: &[u8]) -> postcard::Result<()> {
        *stored = Some(time_of(user_key)?);
        Ok(())
    }
}

/// A handle of timers.
pub(crate) struct MemoryTimers<K, N>(Rc<RefCell<Queue<K, N>>>);

impl<K, N> Clone for MemoryTimers<K, N> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K: Key, N: Namespace + Ord> Queue<K, N> {
    fn register(&mut self, time: i64, key: &K, namespace: &N) -> bool {
        let Self { context, by_time, count, .. } = self;
        let hash = context.hash(key, namespace);
        let due = by_time.entry(time).or_insert_with(|| Due { timers: Vec::new(), index: HashTable::new() });
        let timers = &mut due.timers;
        let equal = |at: &u32| is(&timers[*at as usize], key, namespace);
        match due.index.entry(hash, equal, |at| hash_of(context, &timers[*at as usize])) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                slot.insert(timers.len() as u32);
                timers.push(Timer { key: key.clone(), namespace: namespace.clone(), version: context.latest.get() });
                *count += 1;
                true
            }
        }
    }

    fn delete(&mut self, time: i64, key: &K, namespace: &N) -> bool {
        let hash = self.context.hash(key, namespace);
        let Some(due) = self.by_time.get_mut(&time) else { return false };
        let timers = &due.timers;
        let Ok(found) = due.index.find_entry(hash, |at| is(&timers[*at as usize], key, namespace)) else {
            return false;
        };
        let at = *found.get() as usize;
        found.remove();
        let cut = self.context.cut.get();
        // The last one takes the place of the deleted one. The walk may have passed that place.
        let last = due.timers.len() - 1;
        for moved in [at, last] {
            save(&self.context, self.state, time, cut, &mut due.timers[moved]);
        }
        due.timers.swap_remove(at);
        if at < last {
            let hash = hash_of(&self.context, &due.timers[at]);
            if let Some(position) = due.index.find_mut(hash, |position| *position as usize == last) {
                *position = at as u32;
            }
        }
        if due.timers.is_empty() {
            self.by_time.remove(&time);
        }
        self.count -= 1;
        true
    }

    fn pop_due(&mut self, upto: i64) -> Option<(i64, K, N)> {
        let mut first = self.by_time.first_entry().filter(|first| *first.key() <= upto)?;
        let time = *first.key();
        let due = first.get_mut();
        let mut timer = due.timers.pop()?;
        let at = due.timers.len() as u32;
        save(&self.context, self.state, time, self.context.cut.get(), &mut timer);
        if due.timers.is_empty() {
            first.remove();
        } else if let Ok(found) = due.index.find_entry(hash_of(&self.context, &timer), |position| *position == at) {
            found.remove();
        }
        self.count -= 1;
        Some((time, timer.key, timer.namespace))
    }
}

fn is<K: Key, N: Namespace>(timer: &Timer<K, N>, key: &K, namespace: &N) -> bool {
    timer.key == *key && timer.namespace == *namespace
}

fn hash_of<K: Key, N: Namespace>(context: &Context<K>, timer: &Timer<K, N>) -> u64 {
    context.hash(&timer.key, &timer.namespace)
}

#[inline]
fn save<K: Key, N: Namespace>(context: &Context<K>, state: usize, time: i64, cut: u32, timer: &mut Timer<K, N>) {
    if timer.version < cut {
        let Timer { key, namespace, version } = timer;
        context.running.borrow_mut().write::<K, N, TimerRow>(context, state, *version, key, namespace, &time);
        *version = cut;
    }
}

impl<K: Key, N: Namespace + Ord> MemoryTimers<K, N> {
    pub(crate) fn new(context: Rc<Context<K>>, state: usize) -> Self {
        let cursor = (i64::MIN, 0);
        Self(Rc::new(RefCell::new(Queue { context, by_time: BTreeMap::new(), count: 0, state, cursor })))
    }

    pub(crate) fn erased(&self) -> Rc<dyn AnyTable> {
        Rc::clone(&self.0) as Rc<dyn AnyTable>
    }

    pub(crate) fn register(&self, time: i64, key: &K, namespace: &N) -> bool {
        self.0.borrow_mut().register(time, key, namespace)
    }

    pub(crate) fn delete(&self, time: i64, key: &K, namespace: &N) -> bool {
        self.0.borrow_mut().delete(time, key, namespace)
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<i64> {
        self.0.borrow().by_time.first_key_value().map(|(time, _)| *time)
    }

    pub(crate) fn pop_due(&self, upto: i64) -> Option<(i64, K, N)> {
        self.0.borrow_mut().pop_due(upto)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.borrow().count
    }
}

impl<K: Key, N: Namespace + Ord> AnyTable for RefCell<Queue<K, N>> {
    fn walk(&self, budget: &mut usize) -> bool {
        let mut queue = self.borrow_mut();
        let Queue { context, by_time, state, cursor, .. } = &mut *queue;
        let cut = context.cut.get();
        let mut skipped = 0;
        for (time, due) in by_time.range_mut(cursor.0..) {
            let from = if *time == cursor.0 { cursor.1 } else { 0 };
            *cursor = (*time, from);
            for timer in due.timers.iter_mut().skip(from) {
                if *budget == 0 {
                    return true;
                }
                if timer.version < cut {
                    *budget -= 1;
                    save(context, *state, *time, cut, timer);
                } else {
                    skipped += 1;
                    if skipped == SKIPPED_PER_ENTRY {
                        skipped = 0;
                        *budget -= 1;
                    }
                }
                cursor.1 += 1;
            }
        }
        false
    }

    fn rewind(&self) {
        self.borrow_mut().cursor = (i64::MIN, 0);
    }

    fn restore(&self, rows: &[Row<'_>]) -> Result<(), (usize, postcard::Error)> {
        let mut queue = self.borrow_mut();
        restore_each(rows, |row| {
            let (key, namespace) = (codec::decode::<K>(row.key)?, codec::decode::<N>(row.namespace)?);
            queue.register(time_of(row.user_key)?, &key, &namespace);
            Ok(())
        })
    }
}
