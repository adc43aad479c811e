//! Barriers that overtake records: what they overtake is part of the snapshot, and is sent again after a restore.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, InFlight, OperatorSnapshot, SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::{OperatorId, SubtaskId};

use super::super::plan::SOURCE;
use super::{Element, Out, Task, inline, owner_of, pairs, text};

/// A snapshot that waits for what its barrier overtakes.
#[derive(Debug)]
pub(super) struct Overtaking {
    barrier: Barrier,
    state: OperatorSnapshot,
    files: Vec<(String, String)>,
    /// Channels that have delivered the barrier.
    arrived: BTreeSet<SubtaskId>,
    records: BTreeMap<SubtaskId, Vec<(u64, u64)>>,
    /// What the subtask itself had not sent.
    held: Vec<InFlight>,
}

impl Task {
    /// Something has come, and waits to be worked on: it may be overtaken, or overtake.
    pub(super) fn arrived(&mut self, from: SubtaskId, element: &Element, out: &mut Vec<Out>) {
        match element {
            Element::Barrier(barrier) if barrier.alignment == Alignment::Unaligned => {
                self.overtake(barrier.clone(), out);
            }
            Element::Barrier(barrier) => {
                if let Alignment::AlignedUntil(_) = barrier.alignment {
                    self.seen.get_or_insert((barrier.clone(), None));
                }
            }
            Element::Record(..) | Element::EndOfData | Element::Close => {}
        }
        if let Some(overtaking) = &mut self.overtaking {
            overtaking.look(from, element);
        }
        self.overtaken(out);
    }

    /// Barriers that have waited for long enough overtake.
    pub(super) fn lose_patience(&mut self, now: u64, out: &mut Vec<Out>) {
        if self.seen.as_ref().is_some_and(|(barrier, _)| barrier.checkpoint <= self.last) {
            self.seen = None;
        }
        let Some((barrier, since)) = &mut self.seen else { return };
        let Alignment::AlignedUntil(patience) = barrier.alignment else { return };
        if now >= *since.get_or_insert(now) + patience {
            let barrier = Barrier { alignment: Alignment::Unaligned, ..barrier.clone() };
            self.seen = None;
            self.overtake(barrier, out);
            self.overtaken(out);
        }
    }

    pub(super) fn overtake(&mut self, barrier: Barrier, out: &mut Vec<Out>) {
        let id = barrier.checkpoint;
        if !self.running || id <= self.last {
            return;
        }
        let mut arrived = BTreeSet::new();
        if let Some((aligned, came)) = self.aligning.take() {
            match aligned.checkpoint == id {
                true => arrived = came,
                false => out.push(Out::Decline(aligned.checkpoint)),
            }
            self.unblock();
        }
        if let Some(older) = self.overtaking.take() {
            out.push(Out::Decline(older.barrier.checkpoint));
        }
        let held = self.overtaken_when_sending(&barrier);
        let (state, files) = self.collect(&barrier, out);
        let mut overtaking = Overtaking { barrier, state, files, arrived, records: BTreeMap::new(), held };
        for (from, input) in &self.inputs {
            if input.closed {
                overtaking.arrived.insert(*from);
            }
            input.queue.iter().for_each(|element| overtaking.look(*from, element));
        }
        self.overtaking = Some(overtaking);
    }

    /// Hands the snapshot over once all channels have delivered the barrier.
    pub(super) fn overtaken(&mut self, out: &mut Vec<Out>) {
        let inputs = &self.inputs;
        let Some(over) = self.overtaking.take_if(|o| inputs.keys().all(|id| o.arrived.contains(id))) else { return };
        let flight = |(from, records): (SubtaskId, Vec<(u64, u64)>)| InFlight {
            edge: u32::from(from.vertex != SOURCE),
            source: from.index,
            target: self.id.index,
            timed: false,
            records: inline(&text(records)),
        };
        let in_flight = over.held.into_iter().chain(over.records.into_iter().map(flight)).collect();
        let operators = BTreeMap::from([(OperatorId(self.id.vertex.0), over.state)]);
        out.push(Out::Snapshot(over.barrier, SubtaskSnapshot { operators, in_flight }, over.files));
    }

    /// Sends something, or holds it until its receiver wants it. A barrier may overtake what is held.
    pub(super) fn send(&mut self, target: SubtaskId, element: Element, out: &mut Vec<Out>) {
        let overtakes = matches!(&element, Element::Barrier(barrier) if barrier.alignment == Alignment::Unaligned);
        if matches!(element, Element::Close) {
            // Whoever ends waits until everything is gone.
            self.hand_over(usize::MAX, out);
        }
        match &mut self.held {
            Some(held) if !overtakes => held.entry(target).or_default().push_back(element),
            Some(_) | None => out.push(Out::Send(target, element)),
        }
        if !self.running {
            self.hand_over(usize::MAX, out);
        }
    }

    /// Receivers want so many of the things that are held for each.
    pub fn hand_over(&mut self, count: usize, out: &mut Vec<Out>) {
        for (target, held) in self.held.iter_mut().flatten() {
            let count = count.min(held.len());
            out.extend(held.drain(..count).map(|element| Out::Send(*target, element)));
        }
    }

    /// The records that a barrier overtakes before they are sent.
    pub(super) fn overtaken_when_sending(&self, barrier: &Barrier) -> Vec<InFlight> {
        if barrier.alignment != Alignment::Unaligned {
            return Vec::new();
        }
        let records = |held: &VecDeque<Element>| {
            text(held.iter().filter_map(|element| match element {
                Element::Record(key, count) => Some((*key, *count)),
                Element::Barrier(_) | Element::EndOfData | Element::Close => None,
            }))
        };
        let flight = |(target, held): (&SubtaskId, &VecDeque<Element>)| InFlight {
            edge: u32::from(self.id.vertex != SOURCE),
            source: self.id.index,
            target: target.index,
            timed: false,
            records: inline(&records(held)),
        };
        self.held.iter().flatten().map(flight).collect()
    }

    pub(super) fn give_up_overtaking(&mut self, id: CheckpointId) {
        self.overtaking.take_if(|overtaking| overtaking.barrier.checkpoint <= id);
        self.seen.take_if(|(barrier, _)| barrier.checkpoint <= id);
    }

    /// Takes over what it is to send again.
    pub(super) fn restore_in_flight(&mut self, restore: &SubtaskRestore) {
        self.in_flight = restore.state.in_flight.clone();
    }

    /// Sends what was on its way at the checkpoint, before anything else.
    pub fn resend(&mut self, out: &mut Vec<Out>) {
        for flight in std::mem::take(&mut self.in_flight) {
            let flumen_model::checkpoint::StateLocation::Inline(bytes) = &flight.records.location else {
                panic!("records in flight are inline here")
            };
            for (key, count) in pairs(std::str::from_utf8(bytes).expect("text")) {
                let known = self.outputs.iter().find(|target| target.index == flight.target);
                let target = known.unwrap_or_else(|| {
                    assert_eq!(flight.target, InFlight::ROUTE_AGAIN);
                    &self.outputs[owner_of(key, self.outputs.len() as u32) as usize]
                });
                out.push(Out::Send(*target, Element::Record(key, count)));
            }
        }
    }
}

impl Overtaking {
    /// Copies a record that stands in front of its channel's barrier; notes the barrier.
    fn look(&mut self, from: SubtaskId, element: &Element) {
        if self.arrived.contains(&from) {
            return;
        }
        match element {
            Element::Record(key, count) => self.records.entry(from).or_default().push((*key, *count)),
            Element::Barrier(barrier) if barrier.checkpoint >= self.barrier.checkpoint => {
                self.arrived.insert(from);
            }
            Element::Close => drop(self.arrived.insert(from)),
            Element::Barrier(_) | Element::EndOfData => {}
        }
    }
}
