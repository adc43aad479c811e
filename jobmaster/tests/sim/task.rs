//! A subtask that really aligns barriers or lets them overtake, keeps state and commits by checkpoint. It acts through
//! `Out`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flumen_model::checkpoint::{
    Alignment, Barrier, CheckpointId, InFlight, KeyGroupRange, KeyedFormat, KeyedState, ListState, OperatorSnapshot,
    Redistribution, SnapshotKind, StateHandle, StateLocation, SubtaskRestore, SubtaskSnapshot,
};
use flumen_model::ids::{ExecutionAttempt, OperatorId, SubtaskId};
use flumen_model::key_group::{key_group, key_hash, subtask_of};

use super::plan::{COUNT, MAX_PARALLELISM, SINK, SOURCE};
use overtaking::Overtaking;

mod overtaking;

/// What flows between subtasks.
#[derive(Debug, Clone)]
pub enum Element {
    /// A key, or a record's number, and how often it was seen.
    Record(u64, u64),
    Barrier(Barrier),
    EndOfData,
    Close,
}

/// What a subtask does to the world.
#[derive(Debug)]
pub enum Out {
    Send(SubtaskId, Element),
    RequestSplit,
    EndOfData,
    /// The snapshot of a checkpoint, and the files that are to be written for it.
    Snapshot(Barrier, SubtaskSnapshot, Vec<(String, String)>),
    Decline(CheckpointId),
    /// A transaction of the sink and what it holds.
    Commit(String, Vec<(u64, u64)>),
    Finished,
}

#[derive(Debug, Default)]
struct Input {
    queue: VecDeque<Element>,
    blocked: bool,
    ended: bool,
    pub closed: bool,
}

#[derive(Debug)]
pub struct Task {
    pub id: SubtaskId,
    pub attempt: ExecutionAttempt,
    parallelism: u32,
    pub running: bool,
    started: bool,
    inputs: BTreeMap<SubtaskId, Input>,
    outputs: Vec<SubtaskId>,
    aligning: Option<(Barrier, BTreeSet<SubtaskId>)>,
    triggered: Option<Barrier>,
    overtaking: Option<Overtaking>,
    /// A barrier that will overtake, and since when it waits.
    seen: Option<(Barrier, Option<u64>)>,
    /// What it sends again when it starts.
    in_flight: Vec<InFlight>,
    /// Works on what has come when it is told to, not at once.
    slow: bool,
    /// What it sends waits here until its receivers want it; `None` when they always do.
    held: Option<BTreeMap<SubtaskId, VecDeque<Element>>>,
    /// Barriers up to this one are over.
    last: CheckpointId,
    ended: Option<Option<CheckpointId>>,
    stopped: Option<CheckpointId>,
    // The source.
    reading: VecDeque<(u64, u64)>,
    asked: bool,
    // The count.
    counts: BTreeMap<u64, u64>,
    dirty: BTreeSet<u64>,
    /// Shared files and the keys in them, oldest first; with the checkpoint that brought them.
    chunks: Vec<(String, String, CheckpointId)>,
    completed: CheckpointId,
    // The sink.
    buffer: Vec<(u64, u64)>,
    prepared: BTreeMap<String, Vec<(u64, u64)>>,
    life: u32,
}

pub fn owner_of(key: u64, parallelism: u32) -> u32 {
    subtask_of(group_of(key), parallelism, MAX_PARALLELISM)
}

fn group_of(key: u64) -> u32 {
    key_group(key_hash(&key.to_le_bytes()), MAX_PARALLELISM)
}

fn pairs(text: &str) -> impl Iterator<Item = (u64, u64)> {
    text.split_terminator(';').map(|pair| {
        let (a, b) = pair.split_once('-').expect("two numbers");
        (a.parse().expect("a number"), b.parse().expect("a number"))
    })
}

fn text(pairs: impl IntoIterator<Item = (u64, u64)>) -> String {
    pairs.into_iter().map(|(a, b)| format!("{a}-{b};")).collect()
}

fn inline(text: &str) -> StateHandle {
    let bytes = text.as_bytes().to_vec();
    StateHandle { length: bytes.len() as u64, checksum: 0, location: StateLocation::Inline(bytes) }
}

fn in_file(path: &str, length: usize, shared: bool) -> StateHandle {
    let location = StateLocation::File { path: path.to_owned(), offset: 0, shared };
    StateHandle { length: length as u64, checksum: 0, location }
}

fn list(items: Vec<String>) -> ListState {
    let mut ends = Vec::new();
    let mut all = String::new();
    for item in items {
        all.push_str(&item);
        ends.push(all.len() as u64);
    }
    let items = inline(&all);
    ListState { redistribution: Redistribution::Split, schema: String::new(), items, start: 0, ends }
}

fn items(list: &ListState) -> Vec<String> {
    let StateLocation::Inline(bytes) = &list.items.location else { panic!("lists are inline here") };
    let mut from = list.start as usize;
    let mut items = Vec::new();
    for end in &list.ends {
        items.push(String::from_utf8(bytes[from..*end as usize].to_vec()).expect("text"));
        from = *end as usize;
    }
    items
}

impl Task {
    /// A subtask with its channels; `life` counts the jobs that ran one after another.
    pub fn new(
        (id, attempt, parallelism, life): (SubtaskId, ExecutionAttempt, u32, u32),
        inputs: Vec<SubtaskId>,
        outputs: Vec<SubtaskId>,
    ) -> Self {
        Self {
            id,
            attempt,
            parallelism,
            running: false,
            started: false,
            inputs: inputs.into_iter().map(|id| (id, Input::default())).collect(),
            outputs,
            aligning: None,
            triggered: None,
            overtaking: None,
            seen: None,
            in_flight: Vec::new(),
            slow: false,
            held: None,
            last: CheckpointId(0),
            ended: None,
            stopped: None,
            reading: VecDeque::new(),
            asked: false,
            counts: BTreeMap::new(),
            dirty: BTreeSet::new(),
            chunks: Vec::new(),
            completed: CheckpointId(0),
            buffer: Vec::new(),
            prepared: BTreeMap::new(),
            life,
        }
    }

    /// Takes its state over. `read` gives the content of a file, which must be there (CC-4).
    pub fn restore(&mut self, restore: &SubtaskRestore, read: impl Fn(&str) -> String, out: &mut Vec<Out>) {
        assert_eq!(restore.subtask, self.id);
        self.restore_in_flight(restore);
        let Some(state) = restore.state.operators.get(&OperatorId(self.id.vertex.0)) else { return };
        let range = KeyGroupRange::of_subtask(self.id.index, self.parallelism, MAX_PARALLELISM);
        for piece in &state.keyed {
            for handle in piece.parts.values() {
                let content = match &handle.location {
                    StateLocation::Inline(bytes) => String::from_utf8(bytes.clone()).expect("text"),
                    StateLocation::File { path, .. } => read(path),
                };
                // Counts only grow: the greatest is the newest.
                for (key, count) in pairs(&content).filter(|(key, _)| range.contains(group_of(*key))) {
                    let known = self.counts.entry(key).or_default();
                    *known = count.max(*known);
                }
            }
        }
        self.dirty = self.counts.keys().copied().collect();
        for item in state.lists.get("splits").into_iter().flatten().flat_map(items) {
            self.reading.extend(pairs(&item));
        }
        for item in state.lists.get("prepared").into_iter().flatten().flat_map(items) {
            let (name, content) = item.split_once('=').expect("a transaction");
            // The checkpoint is complete: what it prepared is committed, once more if need be.
            out.push(Out::Commit(name.to_owned(), pairs(content).collect()));
        }
    }

    pub fn start(&mut self, slow: bool) {
        self.slow = slow && self.id.vertex != SOURCE;
        self.held = slow.then(BTreeMap::new);
        self.running = true;
        self.started = true;
    }

    /// Whether it was not started yet.
    pub fn waits(&self) -> bool {
        !self.started
    }

    /// Whether nothing more will come from that subtask.
    pub fn is_closed_by(&self, sender: SubtaskId) -> bool {
        self.inputs.get(&sender).is_none_or(|input| input.closed)
    }

    pub fn outputs(&self) -> &[SubtaskId] {
        &self.outputs
    }

    /// A source reads a few records.
    pub fn work(&mut self, keys: u64, keyed: bool, out: &mut Vec<Out>) {
        if !self.running || self.id.vertex != SOURCE || self.ended.is_some() || self.stopped.is_some() {
            return;
        }
        for _ in 0..3 {
            let Some((at, end)) = self.reading.pop_front() else { break };
            if at < end {
                self.reading.push_front((at + 1, end));
                let record = if keyed { at % keys } else { at };
                let target = match keyed {
                    true => self.outputs[owner_of(record, self.outputs.len() as u32) as usize],
                    false => self.outputs[0],
                };
                self.send(target, Element::Record(record, 1), out);
            }
        }
        if self.reading.is_empty() && !self.asked {
            self.asked = true;
            out.push(Out::RequestSplit);
        }
    }

    pub fn split(&mut self, split: Option<&str>, out: &mut Vec<Out>) {
        self.asked = false;
        match split {
            Some(split) => self.reading.extend(pairs(split)),
            None => self.end(out),
        }
    }

    /// Whether a source was told to end: what it has not read stays in its state.
    pub fn drain(&mut self, out: &mut Vec<Out>) {
        self.end(out);
    }

    fn end(&mut self, out: &mut Vec<Out>) {
        if self.running && self.ended.is_none() {
            self.ended = Some(None);
            self.broadcast(&Element::EndOfData, out);
            out.push(Out::EndOfData);
        }
    }

    fn broadcast(&mut self, element: &Element, out: &mut Vec<Out>) {
        for target in self.outputs.clone() {
            self.send(target, element.clone(), out);
        }
    }

    pub fn receive(&mut self, from: SubtaskId, element: Element, out: &mut Vec<Out>) {
        self.arrived(from, &element, out);
        if let Some(input) = self.inputs.get_mut(&from) {
            input.queue.push_back(element);
        }
        self.pump(out);
    }

    /// A slow receiver works on a few of the things that wait.
    pub fn work_on(&mut self, count: usize, now: u64, out: &mut Vec<Out>) {
        if self.slow {
            self.lose_patience(now, out);
            self.pump_some(count, out);
        }
    }

    /// Processes what waits on channels that are not blocked, unless it takes its time.
    pub fn pump(&mut self, out: &mut Vec<Out>) {
        if !self.slow {
            self.pump_some(usize::MAX, out);
        }
    }

    fn pump_some(&mut self, mut count: usize, out: &mut Vec<Out>) {
        while self.running && count > 0 {
            count -= 1;
            let next = self.inputs.iter_mut().find(|(_, input)| !input.blocked && !input.queue.is_empty());
            let Some((from, element)) = next.and_then(|(from, input)| Some((*from, input.queue.pop_front()?))) else {
                return;
            };
            match element {
                Element::Record(key, count) => self.record(key, count, out),
                Element::Barrier(barrier) => self.barrier(from, barrier, out),
                Element::EndOfData => {
                    self.input(from).ended = true;
                    if self.inputs.values().all(|input| input.ended) {
                        self.end(out);
                    }
                }
                Element::Close => {
                    self.input(from).closed = true;
                    self.align(out);
                    self.take_trigger(out);
                }
            }
        }
    }

    fn input(&mut self, from: SubtaskId) -> &mut Input {
        self.inputs.get_mut(&from).expect("a known channel")
    }

    fn record(&mut self, key: u64, count: u64, out: &mut Vec<Out>) {
        if self.id.vertex == COUNT {
            let seen = self.counts.entry(key).or_default();
            *seen += 1;
            self.dirty.insert(key);
            let element = Element::Record(key, *seen);
            self.send(self.outputs[0], element, out);
        } else {
            self.buffer.push((key, count));
        }
    }

    fn barrier(&mut self, from: SubtaskId, barrier: Barrier, out: &mut Vec<Out>) {
        let id = barrier.checkpoint;
        if id <= self.last {
            return;
        }
        match &mut self.aligning {
            Some((aligned, _)) if aligned.checkpoint > id => return,
            Some((aligned, came)) if aligned.checkpoint == id => drop(came.insert(from)),
            Some((aligned, _)) => {
                out.push(Out::Decline(aligned.checkpoint));
                self.unblock();
                self.aligning = Some((barrier, BTreeSet::from([from])));
            }
            None => self.aligning = Some((barrier, BTreeSet::from([from]))),
        }
        self.input(from).blocked = true;
        self.align(out);
    }

    fn align(&mut self, out: &mut Vec<Out>) {
        let Some((_, came)) = &self.aligning else { return };
        if self.inputs.iter().all(|(id, input)| input.closed || came.contains(id)) {
            let (barrier, _) = self.aligning.take().expect("it is there");
            self.unblock();
            self.snapshot(barrier, out);
        }
    }

    fn unblock(&mut self) {
        self.inputs.values_mut().for_each(|input| input.blocked = false);
    }

    pub fn trigger(&mut self, barrier: Barrier, out: &mut Vec<Out>) {
        if barrier.alignment == Alignment::Unaligned && self.inputs.values().any(|input| !input.closed) {
            self.overtake(barrier, out);
            return self.overtaken(out);
        }
        self.triggered = Some(barrier);
        self.take_trigger(out);
    }

    /// A trigger may come before the last element of the input that the JobMaster knows to be over.
    fn take_trigger(&mut self, out: &mut Vec<Out>) {
        if self.running
            && self.inputs.values().all(|input| input.closed)
            && let Some(barrier) = self.triggered.take().filter(|barrier| barrier.checkpoint > self.last)
        {
            self.snapshot(barrier, out);
        }
    }

    fn snapshot(&mut self, barrier: Barrier, out: &mut Vec<Out>) {
        let in_flight = self.overtaken_when_sending(&barrier);
        let (state, files) = self.collect(&barrier, out);
        let operators = BTreeMap::from([(OperatorId(self.id.vertex.0), state)]);
        out.push(Out::Snapshot(barrier, SubtaskSnapshot { operators, in_flight }, files));
    }

    /// Sends the barrier on; gives the state, and the files that are to be written for it.
    fn collect(&mut self, barrier: &Barrier, out: &mut Vec<Out>) -> (OperatorSnapshot, Vec<(String, String)>) {
        let id = barrier.checkpoint;
        self.last = id;
        match &mut self.ended {
            Some(first) => drop(first.get_or_insert(id)),
            None if barrier.kind == SnapshotKind::StopWithSavepoint => self.stopped = Some(id),
            None => {}
        }
        self.broadcast(&Element::Barrier(barrier.clone()), out);
        let mut state = OperatorSnapshot::default();
        let mut files = Vec::new();
        if self.id.vertex == SOURCE {
            let unread = self.reading.iter().filter(|(at, end)| at < end);
            state.lists.insert("splits".into(), vec![list(unread.map(|split| text([*split])).collect())]);
        } else if self.id.vertex == COUNT {
            state.keyed.push(self.keyed(barrier, &mut files));
        } else {
            assert_eq!(self.id.vertex, SINK);
            let name = format!("{}.{}.{}", self.life, self.id.index, id);
            self.prepared.insert(name, std::mem::take(&mut self.buffer));
            let transactions = self.prepared.iter();
            let item =
                |(name, records): (&String, &Vec<(u64, u64)>)| format!("{name}={}", text(records.iter().copied()));
            state.lists.insert("prepared".into(), vec![list(transactions.map(item).collect())]);
        }
        (state, files)
    }

    /// As an LSM tree does: new files for what has changed, references to those that are known to be kept.
    fn keyed(&mut self, barrier: &Barrier, files: &mut Vec<(String, String)>) -> KeyedState {
        let id = barrier.checkpoint;
        let me = format!("{}-{}-{}-{id}", self.id.vertex.0, self.id.index, self.attempt);
        let groups = KeyGroupRange::of_subtask(self.id.index, self.parallelism, MAX_PARALLELISM);
        let mut parts = BTreeMap::new();
        if barrier.kind.may_share() {
            let lost: Vec<(String, String, CheckpointId)> =
                self.chunks.extract_if(.., |(_, _, brought)| *brought > self.completed).collect();
            self.dirty.extend(lost.iter().flat_map(|(_, content, _)| pairs(content).map(|(key, _)| key)));
            if self.chunks.len() > 3 {
                // Compaction: one file for all.
                self.chunks.clear();
                self.dirty = self.counts.keys().copied().collect();
            }
            let changed = std::mem::take(&mut self.dirty);
            let content = text(changed.iter().filter_map(|key| Some((*key, *self.counts.get(key)?))));
            if !content.is_empty() {
                let path = format!("{}/{me}", barrier.shared_directory);
                files.push((path.clone(), content.clone()));
                self.chunks.push((path, content, id));
            }
            for (number, (path, content, _)) in self.chunks.iter().enumerate() {
                parts.insert(number.to_string(), in_file(path, content.len(), true));
            }
        } else {
            let content = text(self.counts.iter().map(|(key, count)| (*key, *count)));
            let path = format!("{}/{me}", barrier.directory);
            parts.insert("state".to_owned(), in_file(&path, content.len(), false));
            files.push((path, content));
        }
        KeyedState { format: KeyedFormat::Canonical, groups, parts }
    }

    pub fn completed(&mut self, id: CheckpointId, out: &mut Vec<Out>) {
        if !self.running {
            return;
        }
        self.completed = self.completed.max(id);
        let number = |name: &str| name.rsplit('.').next().and_then(|n| n.parse().ok()).map(CheckpointId);
        for (name, records) in std::mem::take(&mut self.prepared) {
            match number(&name).is_some_and(|prepared| prepared <= id) {
                true => out.push(Out::Commit(name, records)),
                false => drop(self.prepared.insert(name, records)),
            }
        }
        if matches!(self.ended, Some(Some(first)) if first <= id) || self.stopped == Some(id) {
            self.running = false;
            self.broadcast(&Element::Close, out);
            out.push(Out::Finished);
        }
    }

    pub fn aborted(&mut self, id: CheckpointId, out: &mut Vec<Out>) {
        self.triggered.take_if(|barrier| barrier.checkpoint == id);
        self.give_up_overtaking(id);
        if self.aligning.take_if(|(barrier, _)| barrier.checkpoint == id).is_some() {
            self.last = self.last.max(id);
            self.unblock();
        }
        self.stopped.take_if(|savepoint| *savepoint == id);
        self.pump(out);
    }
}
