//! The open slices of a key, as they stand in memory.

use crate::batch::{END_OF_TIME, EventTime, NO_TIME};

use super::super::contents::Fold;
use super::open::{self, OpenSlices};
use super::shape::Slicing;

/// Two slices: with records a little out of order that is as many as get records. Alone in their cache line, where their size
/// allows it: a record touches nothing else of its key.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Recent<A> {
    /// [`NO_TIME`] where there is none.
    ends: [EventTime; 2],
    accs: [Option<A>; 2],
}

/// Other slices of a key, by end.
pub(super) type More<A> = Vec<(EventTime, A)>;

/// When something has to be done for a key, as in [`OpenSlices`].
#[derive(Debug)]
pub(super) struct Wake {
    pub(super) due: EventTime,
    pub(super) registered: EventTime,
}

impl<A> Default for Recent<A> {
    fn default() -> Self {
        Self { ends: [NO_TIME; 2], accs: [None, None] }
    }
}

impl Default for Wake {
    fn default() -> Self {
        Self { due: END_OF_TIME, registered: NO_TIME }
    }
}

impl Wake {
    /// Something has to be done for the key at that time at the latest. Returns whether nothing had to be done before.
    #[inline]
    pub(super) fn at(&mut self, time: EventTime) -> bool {
        open::wake_at(time, &mut self.due, &mut self.registered)
    }
}

impl<A> Recent<A> {
    /// Asks for the memory.
    #[inline]
    pub(super) fn touch(&self) -> EventTime {
        self.ends[1]
    }

    /// Adds a record to the slice with that end; gives it back when the slice is not here.
    #[inline]
    pub(super) fn add<T, F: Fold<T, Acc = A>>(&mut self, end: EventTime, record: T, fold: &mut F) -> Result<(), T> {
        // No branch: which of the two it is can't be foreseen.
        let at = usize::from(self.ends[1] == end);
        match &mut self.accs[at] {
            Some(acc) if self.ends[at] == end => {
                fold.add(acc, record);
                Ok(())
            }
            _ => Err(record),
        }
    }

    /// Adds a slice that is not here; gives it back when there is no room. Says whether an older one is here.
    #[inline]
    pub(super) fn begin(&mut self, end: EventTime, acc: A) -> Result<bool, A> {
        let Some(place) = self.accs.iter().position(Option::is_none) else { return Err(acc) };
        self.put(place, end, acc);
        let other = self.ends[1 - place];
        Ok(other != NO_TIME && other < end)
    }

    #[inline]
    fn put(&mut self, place: usize, end: EventTime, acc: A) {
        self.ends[place] = end;
        self.accs[place] = Some(acc);
    }

    /// Moves the slices that end by `upto` to `taken`, the oldest first.
    #[inline]
    pub(super) fn take_upto(&mut self, more: Option<&mut More<A>>, upto: EventTime, taken: &mut Vec<(EventTime, A)>) {
        for (end, acc) in self.ends.iter_mut().zip(&mut self.accs) {
            if *end <= upto {
                taken.extend(acc.take().map(|acc| (*end, acc)));
                *end = NO_TIME;
            }
        }
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            self.take_more(more, upto, taken);
        }
        if taken.len() > 1 {
            taken.sort_unstable_by_key(|(end, _)| *end);
        }
    }

    #[inline(never)]
    fn take_more(&mut self, more: &mut More<A>, upto: EventTime, taken: &mut Vec<(EventTime, A)>) {
        let old = more.partition_point(|(end, _)| *end <= upto);
        taken.extend(more.drain(..old));
        // The next ones are those that get records. The list keeps its room: it is filled again with the next slice.
        for place in 0..2 {
            if self.accs[place].is_none() && !more.is_empty() {
                let (end, acc) = more.remove(0);
                self.put(place, end, acc);
            }
        }
    }

    /// The first end of a window that one of the slices is in.
    #[inline]
    pub(super) fn next_due(&self, more: Option<&More<A>>, slicing: &Slicing) -> Option<EventTime> {
        let ends = self.ends.into_iter().filter(|end| *end != NO_TIME);
        let oldest = ends.chain(more.and_then(|more| more.first()).map(|(end, _)| *end)).min();
        oldest.map(|end| slicing.first_window_end(end))
    }

    /// As other backends keep it.
    pub(super) fn to_open(&self, wake: &Wake, more: Option<&More<A>>) -> OpenSlices<A>
    where
        A: Clone,
    {
        let slice = |at: usize| self.accs[at].clone().map(|acc| (self.ends[at], acc));
        let Wake { due, registered } = *wake;
        OpenSlices { due, registered, one: slice(0), other: slice(1), more: more.cloned().unwrap_or_default() }
    }

    /// From what other backends keep.
    pub(super) fn from_open(open: OpenSlices<A>) -> (Self, Wake, More<A>) {
        let OpenSlices { due, registered, one, other, more } = open;
        let mut recent = Self::default();
        for (place, slice) in [one, other].into_iter().enumerate() {
            if let Some((end, acc)) = slice {
                recent.put(place, end, acc);
            }
        }
        (recent, Wake { due, registered }, more)
    }
}
