//! One run of the operator, in one mode.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flumen_model::checkpoint::{CheckpointId, SubtaskSnapshot};
use flumen_model::key_group::{key_group, key_hash, subtask_of};
use flumen_worker::batch::{Batch, END_OF_TIME, EventTime};
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

/// Batches and signals that are given while a checkpoint is running.
const DURING_CHECKPOINT: usize = 3;

/// One instance of the operator.
struct Instance<In> {
    context: SubtaskContext,
    head: Box<dyn Push<In>>,
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
            Mode::DuringCheckpoints => {
                let steps: Vec<&[Element<In>]> = batches(input).collect();
                for (number, steps) in steps.chunks(DURING_CHECKPOINT).enumerate() {
                    self.during_checkpoint(number, steps)?;
                }
            }
        }
        if self.ended {
            self.instances.iter_mut().try_for_each(|instance| instance.head.signal(Signal::Close))?;
        }
        self.instances.clear();
        Ok(std::mem::take(&mut *self.received.borrow_mut()))
    }

    fn start(&mut self, parallelism: u32, snapshots: Option<Vec<SubtaskSnapshot>>) -> TaskResult {
        self.instances.clear();
        self.world.next_attempt();
        let emitted = self.received.borrow().len();
        let mut restores = match &snapshots {
            None => Vec::new(),
            Some(snapshots) => checkpoints::assign(self.checkpoint, snapshots, parallelism),
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
        if snapshots.is_some() {
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
        let running = self.begin_snapshots()?;
        let snapshots = self.finish_snapshots(running)?;
        match self.mode {
            Mode::RestoreAfterEach if !self.ended => self.start(1, Some(snapshots)),
            Mode::Rescaled if !self.ended => self.start([1, 3, 2][step % 3], Some(snapshots)),
            _ => self.completed(),
        }
    }

    /// Takes steps while a checkpoint is running. Every second time a new instance starts from that, and takes them again.
    fn during_checkpoint(&mut self, number: usize, steps: &[&[Element<In>]]) -> TaskResult {
        let (watermark, idle, ended) = (self.watermark, self.idle, self.ended);
        let now = self.world.clock.load(Ordering::Relaxed);
        let running = self.begin_snapshots()?;
        let emitted = self.received.borrow().len();
        for (at, step) in steps.iter().enumerate() {
            self.step(step)?;
            if at > 0 {
                // Some of it is written between batches.
                let background = Signal::Background(&mut SnapshotStep::Done);
                self.instances[0].head.signal(background)?;
            }
        }
        let snapshots = self.finish_snapshots(running)?;
        // Behind the end of its data no instance starts.
        if number.is_multiple_of(2) || ended {
            return self.completed();
        }
        (self.watermark, self.idle, self.ended) = (watermark, idle, ended);
        self.world.clock.store(now, Ordering::Relaxed);
        self.instances.clear();
        self.received.borrow_mut().truncate(emitted);
        self.start(1, Some(snapshots))?;
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Says that the newest checkpoint is complete.
    fn completed(&mut self) -> TaskResult {
        let completed = self.checkpoint;
        self.instances.iter_mut().try_for_each(|instance| instance.head.signal(Signal::Completed(completed)))
    }

    /// Begins a checkpoint.
    fn begin_snapshots(&mut self) -> TaskResult<Vec<Writing>> {
        self.checkpoint = CheckpointId(self.checkpoint.0 + 1);
        let mut running = Vec::new();
        for Instance { context, head } in &mut self.instances {
            let mut snapshot = checkpoints::begin(self.checkpoint, self.world.directory.path());
            head.signal(Signal::Barrier(&mut snapshot))?;
            running.push(Writing::start(snapshot, context));
        }
        Ok(running)
    }

    /// Waits for it: returns what each instance wrote.
    fn finish_snapshots(&mut self, running: Vec<Writing>) -> TaskResult<Vec<SubtaskSnapshot>> {
        let mut snapshots = Vec::new();
        for (Instance { context, head }, mut writing) in self.instances.iter_mut().zip(running) {
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
