//! One run of the operator, in one mode.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::{CheckpointId, SubtaskSnapshot};
use flumen_model::key_group::{key_group, key_hash, subtask_of};
use flumen_worker::batch::{Batch, END_OF_TIME, EventTime};
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::operator::{Clock, Data, Push, Signal, SnapshotStep, TaskError, TaskResult};
use flumen_worker::restore::Restored;
use flumen_worker::subtask::SubtaskContext;

use crate::checkpoints::{self, Writing};
use crate::element::Element;
use crate::harness::{Harness, Mode};
use crate::receiver::{Received, Receiver};
use crate::world::{MAX_PARALLELISM, OPERATOR, World};

/// For how long one step of an operator may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Checkpoints that are running at the same time.
const OVERLAPPING: usize = 2;

/// One instance of the operator.
struct Instance<In> {
    context: SubtaskContext,
    head: Box<dyn Push<In>>,
}

/// A checkpoint that is running, by how it ends.
enum Running {
    Completes(CheckpointId, Vec<Writing>),
    /// Nobody takes what the instances write.
    GivenUp(CheckpointId, Vec<Snapshot>),
    StartedFrom(CheckpointId, Vec<Writing>, Place),
}

/// Where everything was at a barrier.
struct Place {
    emitted: usize,
    now: EventTime,
    watermark: Option<EventTime>,
    idle: bool,
}

/// See the module.
pub(crate) struct Run<'a, In, Out> {
    harness: &'a Harness<In, Out>,
    mode: Mode,
    world: World,
    instances: Vec<Instance<In>>,
    received: Received<Out>,
    /// What a new instance is told first, as it would be by its senders.
    watermark: Option<EventTime>,
    idle: bool,
    ended: bool,
    checkpoint: CheckpointId,
}

impl<'a, In: Data, Out: Data + PartialEq + Debug> Run<'a, In, Out> {
    pub(crate) fn new(harness: &'a Harness<In, Out>, mode: Mode, backend: &str) -> Self {
        Self {
            harness,
            mode,
            world: World::new(&harness.options, backend),
            instances: Vec::new(),
            received: Received::default(),
            watermark: None,
            idle: false,
            ended: false,
            checkpoint: CheckpointId(0),
        }
    }

    /// Runs it, and returns what was emitted.
    pub(crate) fn run(mut self) -> TaskResult<Vec<Element<Out>>> {
        self.start(1, None)?;
        let input = &self.harness.input;
        match self.mode {
            Mode::OneByOne | Mode::SlowReceiver => input.chunks(1).try_for_each(|step| self.step(step))?,
            Mode::Batched => batches(input).try_for_each(|step| self.step(step))?,
            Mode::Checkpoints | Mode::RestoreAfterEach | Mode::Rescaled => {
                for (number, step) in input.chunks(1).enumerate() {
                    self.step(step)?;
                    self.checkpoint(number + 1)?;
                }
            }
            Mode::DuringCheckpoints => self.during_checkpoints(&batches(input).collect::<Vec<_>>())?,
        }
        if self.ended {
            self.instances.iter_mut().try_for_each(|instance| instance.head.signal(Signal::Close))?;
        }
        self.instances.clear();
        Ok(std::mem::take(&mut *self.received.borrow_mut()))
    }

    /// Starts new instances, empty or from a checkpoint.
    fn start(&mut self, parallelism: u32, from: Option<(CheckpointId, Vec<SubtaskSnapshot>)>) -> TaskResult {
        self.instances.clear();
        self.world.next_attempt();
        let emitted = self.received.borrow().len();
        let mut restores = match &from {
            None => Vec::new(),
            Some((checkpoint, snapshots)) => checkpoints::assign(*checkpoint, snapshots, parallelism),
        };
        for index in (0..parallelism).rev() {
            let mut context = self.world.context(index, parallelism);
            if let Some(restore) = restores.pop() {
                context.restored = Arc::new(Restored::load(restore, &context)?);
            }
            let received = Received::clone(&self.received);
            let output = match self.mode {
                Mode::SlowReceiver => Receiver::slow(received, Arc::clone(&context.backlog)),
                _ => Receiver::new(received),
            };
            let mut head = (self.harness.make)(&context, OPERATOR, Box::new(output))?;
            head.signal(Signal::Resume)?;
            self.instances.insert(0, Instance { context, head });
        }
        if from.is_some() {
            // What the senders say first, after a restore. It has been compared already.
            for instance in &mut self.instances {
                instance.settle()?;
                if let Some(time) = self.watermark {
                    instance.head.signal(Signal::Watermark(time))?;
                }
                if self.idle {
                    instance.head.signal(Signal::Idle(true))?;
                }
                instance.settle()?;
            }
            let mut received = self.received.borrow_mut();
            let again = received.split_off(emitted);
            received.extend(again.into_iter().filter(Element::is_record));
        }
        Ok(())
    }

    /// Gives the operator a batch of records, or a signal.
    fn step(&mut self, step: &[Element<In>]) -> TaskResult {
        match step {
            [element] if !element.is_record() => self.signal(element),
            records => self.push(records),
        }
    }

    /// Gives records to the instances that own them.
    fn push(&mut self, records: &[Element<In>]) -> TaskResult {
        let parallelism = self.instances.len() as u32;
        let mut batches: Vec<Batch<In>> = self.instances.iter().map(|_| Batch::new()).collect();
        for element in records {
            let Element::Record(record, time) = element else { continue };
            let time = *time;
            let key = self.harness.route.as_ref().map(|route| route(record));
            match key {
                None => batches[0].push(record.clone(), time),
                Some(None) => batches.iter_mut().for_each(|batch| batch.push(record.clone(), time)),
                Some(Some(key)) => {
                    let group = key_group(key_hash(&key), MAX_PARALLELISM);
                    batches[subtask_of(group, parallelism, MAX_PARALLELISM) as usize].push(record.clone(), time);
                }
            }
        }
        for (instance, batch) in self.instances.iter_mut().zip(&mut batches) {
            if !batch.is_empty() {
                instance.head.push(batch)?;
                assert!(batch.is_empty(), "the operator left records in the batch");
            }
            instance.settle()?;
        }
        Ok(())
    }

    fn signal(&mut self, element: &Element<In>) -> TaskResult {
        match element {
            Element::Watermark(time) => self.watermark = Some(*time),
            Element::Idle(idle) => self.idle = *idle,
            Element::ProcessingTime(now) => self.world.clock.store(*now, Ordering::Relaxed),
            Element::End => {
                self.watermark = Some(END_OF_TIME);
                self.ended = true;
            }
            Element::Record(..) | Element::Split(_) => {}
        }
        for Instance { context, head } in &mut self.instances {
            match element {
                Element::Watermark(time) => head.signal(Signal::Watermark(*time))?,
                Element::Idle(idle) => head.signal(Signal::Idle(*idle))?,
                Element::Split(split) => head.signal(Signal::Split(*split))?,
                Element::End => {
                    head.signal(Signal::Watermark(END_OF_TIME))?;
                    head.signal(Signal::End)?;
                }
                Element::ProcessingTime(_) | Element::Record(..) => {}
            }
            settle(context, &mut **head)?;
        }
        Ok(())
    }

    /// Takes a checkpoint, and does with it what the mode does after each element.
    fn checkpoint(&mut self, step: usize) -> TaskResult {
        let snapshots = self.begin_snapshots()?;
        let snapshots = self.finish_snapshots(self.write(snapshots))?;
        let checkpoint = self.checkpoint;
        match self.mode {
            Mode::RestoreAfterEach if !self.ended => self.start(1, Some((checkpoint, snapshots))),
            Mode::Rescaled if !self.ended => self.start([1, 3, 2][step % 3], Some((checkpoint, snapshots))),
            _ => self.signal_all(|| Signal::Completed(checkpoint)),
        }
    }

    /// Begins a checkpoint before each step, which ends two steps later. From each second one a new instance starts: it takes the same
    /// steps again. All others are complete in the end, or given up, in turn.
    fn during_checkpoints(&mut self, steps: &[&[Element<In>]]) -> TaskResult {
        let mut running = VecDeque::new();
        let (mut next, mut fresh) = (0, 0);
        while next < steps.len() || !running.is_empty() {
            if (running.len() == OVERLAPPING || next == steps.len())
                && let Some((step, checkpoint)) = running.pop_front()
                && self.end_checkpoint(checkpoint)?
            {
                running.clear();
                (next, fresh) = (step, step + 1);
            }
            let Some(step) = steps.get(next) else { continue };
            running.push_back((next, self.begin_checkpoint(next, next >= fresh)?));
            self.step(step)?;
            if next.is_multiple_of(2) {
                // Some of it is written between two steps.
                self.instances[0].head.signal(Signal::Background(&mut SnapshotStep::Done))?;
            }
            next += 1;
        }
        Ok(())
    }

    /// `fresh`: no instance has started at that step yet.
    fn begin_checkpoint(&mut self, step: usize, fresh: bool) -> TaskResult<Running> {
        let snapshots = self.begin_snapshots()?;
        let checkpoint = self.checkpoint;
        // Behind the end of its data no instance starts.
        if fresh && step % 2 == 1 && !self.ended {
            let emitted = self.received.borrow().len();
            let now = self.world.clock.load(Ordering::Relaxed);
            let at = Place { emitted, now, watermark: self.watermark, idle: self.idle };
            return Ok(Running::StartedFrom(checkpoint, self.write(snapshots), at));
        }
        Ok(if step / 2 % 2 == 1 {
            Running::Completes(checkpoint, self.write(snapshots))
        } else {
            Running::GivenUp(checkpoint, snapshots)
        })
    }

    /// Returns whether a new instance starts from it.
    fn end_checkpoint(&mut self, running: Running) -> TaskResult<bool> {
        match running {
            Running::Completes(checkpoint, writing) => {
                self.finish_snapshots(writing)?;
                self.signal_all(|| Signal::Completed(checkpoint))?;
            }
            Running::GivenUp(checkpoint, snapshots) => {
                drop(snapshots);
                self.signal_all(|| Signal::Aborted(checkpoint))?;
            }
            Running::StartedFrom(checkpoint, writing, at) => {
                let snapshots = self.finish_snapshots(writing)?;
                (self.watermark, self.idle, self.ended) = (at.watermark, at.idle, false);
                self.world.clock.store(at.now, Ordering::Relaxed);
                self.instances.clear();
                self.received.borrow_mut().truncate(at.emitted);
                self.start(1, Some((checkpoint, snapshots)))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn signal_all(&mut self, signal: impl Fn() -> Signal<'static>) -> TaskResult {
        self.instances.iter_mut().try_for_each(|instance| instance.head.signal(signal()))
    }

    /// Begins a checkpoint.
    fn begin_snapshots(&mut self) -> TaskResult<Vec<Snapshot>> {
        self.checkpoint = CheckpointId(self.checkpoint.0 + 1);
        let mut snapshots = Vec::new();
        for instance in &mut self.instances {
            let mut snapshot = checkpoints::begin(self.checkpoint, self.world.directory.path());
            instance.head.signal(Signal::Barrier(&mut snapshot))?;
            snapshots.push(snapshot);
        }
        Ok(snapshots)
    }

    fn write(&self, snapshots: Vec<Snapshot>) -> Vec<Writing> {
        let each = snapshots.into_iter().zip(&self.instances);
        each.map(|(snapshot, instance)| Writing::start(snapshot, &instance.context)).collect()
    }

    /// Waits for a checkpoint: returns what each instance wrote.
    fn finish_snapshots(&mut self, writing: Vec<Writing>) -> TaskResult<Vec<SubtaskSnapshot>> {
        let mut snapshots = Vec::new();
        for (Instance { context, head }, mut writing) in self.instances.iter_mut().zip(writing) {
            let begun = Instant::now();
            snapshots.push(loop {
                head.signal(Signal::Background(&mut SnapshotStep::Done))?;
                if let Some(written) = writing.written()? {
                    break written;
                }
                assert!(begun.elapsed() < LIMIT, "the snapshot did not become complete");
                context.handle.park(Duration::from_millis(1));
            });
        }
        Ok(snapshots)
    }
}

/// All records between two signals, and each signal by itself.
fn batches<T>(input: &[Element<T>]) -> impl Iterator<Item = &[Element<T>]> {
    input.chunk_by(|one, next| one.is_record() && next.is_record())
}

impl<In> Instance<In> {
    fn settle(&mut self) -> TaskResult {
        settle(&self.context, &mut *self.head)
    }
}

/// What a subtask does between two batches, until it may take input again.
fn settle<In>(context: &SubtaskContext, head: &mut dyn Push<In>) -> TaskResult {
    let begun = Instant::now();
    loop {
        let mut clock = Clock { now: context.worker.time.now(), next: None };
        head.signal(Signal::Time(&mut clock))?;
        if context.backlog.is_empty() {
            return head.signal(Signal::Flush);
        }
        head.signal(Signal::Resume)?;
        if !context.backlog.is_empty() {
            if begun.elapsed() > LIMIT {
                return Err(TaskError::Canceled);
            }
            context.handle.park(Duration::from_millis(1));
        }
    }
}
