//! Gives records their event times, and the stream its watermarks.
//!
//! Each split of a source has a generator of its own, so that a split that is behind holds the watermark back, and one that
//! is ahead does not make the others late. Watermarks of the input are ignored.
//!
//! A checkpoint holds how far the watermarks were: after a restore the stream begins with the least of all subtasks, and what
//! was late before is late again.

mod alignment;
mod generators;
mod strategy;

use flumen_model::checkpoint::Redistribution;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use flumen_model::options::checkpointing::AUTO_WATERMARK_INTERVAL;

use crate::batch::{Batch, END_OF_TIME, EventTime, NO_TIME};
use crate::exchange::codec;
use crate::operator::{Clock, Push, Signal, SplitChange, TaskError, TaskResult};
use crate::subtask::{SubtaskContext, TimeSource};

use alignment::Member;
pub use generators::{BoundedOutOfOrderness, NoWatermarks, WatermarkGenerator, WatermarkOutput};
pub use strategy::{RecordTimestamps, TimestampAssigner, WatermarkAlignment, WatermarkStrategy};

/// The name of the list that holds how far the watermarks are.
const STATE: &str = "watermark";

/// One split, or the whole input where no splits are told.
struct Split<G> {
    id: Option<u64>,
    generator: G,
    output: WatermarkOutput,
    /// When its last record came, in processing time.
    last_record: EventTime,
    idle: bool,
}

/// See the module.
pub struct TimestampsWatermarks<T, G, A> {
    operator: OperatorId,
    strategy: WatermarkStrategy<T, G, A>,
    splits: Vec<Split<G>>,
    current: usize,
    /// The last watermark that was passed on.
    emitted: EventTime,
    /// What the stream begins with after a restore.
    restored: Option<EventTime>,
    idle: bool,
    ended: bool,
    interval_ms: i64,
    next_emit: EventTime,
    member: Option<Member>,
    clock: TimeSource,
    output: Box<dyn Push<T>>,
}

impl<T, G: WatermarkGenerator<T>, A: TimestampAssigner<T>> TimestampsWatermarks<T, G, A> {
    /// Pushes the records with their times into `output`.
    ///
    /// # Errors
    /// `pipeline.auto-watermark-interval` is no duration; the state can't be restored.
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        strategy: WatermarkStrategy<T, G, A>,
        output: Box<dyn Push<T>>,
    ) -> TaskResult<Self> {
        let interval = context.worker.configuration.get(&AUTO_WATERMARK_INTERVAL);
        let interval = interval.map_err(|error| TaskError::failed(Blame::User, error.to_string()))?;
        let mut restored = None;
        for item in context.restored_list(operator, STATE).unwrap_or_default() {
            let time: EventTime = codec::decode(&mut &item[..])?;
            restored = Some(restored.map_or(time, |least: EventTime| least.min(time)));
        }
        let member = strategy.alignment.as_ref().map(|alignment| Member::join(alignment, context));
        let mut this = Self {
            operator,
            splits: Vec::new(),
            current: 0,
            emitted: NO_TIME,
            restored: restored.filter(|time| *time != NO_TIME),
            idle: false,
            ended: false,
            interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX),
            next_emit: NO_TIME,
            member,
            clock: context.worker.time.clone(),
            strategy,
            output,
        };
        this.begin_split(None);
        Ok(this)
    }

    fn begin_split(&mut self, id: Option<u64>) {
        self.splits.push(Split {
            id,
            generator: self.strategy.generator.clone(),
            output: WatermarkOutput::default(),
            last_record: self.clock.now(),
            idle: false,
        });
        self.current = self.splits.len() - 1;
    }

    fn change_split(&mut self, change: SplitChange) {
        // The input is made of splits: there is none without a number.
        self.splits.retain(|split| split.id.is_some());
        match change {
            SplitChange::Current(id) => match self.splits.iter().position(|split| split.id == Some(id)) {
                Some(known) => self.current = known,
                None => self.begin_split(Some(id)),
            },
            SplitChange::Finished(id) => {
                let current = self.splits.get(self.current).and_then(|split| split.id);
                self.splits.retain(|split| split.id != Some(id));
                self.current = self.splits.iter().position(|split| split.id == current).unwrap_or(0);
            }
        }
    }

    /// The least watermark of the splits that are not idle.
    fn combined(&self) -> Option<EventTime> {
        self.splits.iter().filter(|split| !split.is_idle()).map(|split| split.output.watermark).min()
    }

    /// Passes on what is new.
    fn emit(&mut self) -> TaskResult {
        if self.ended {
            return Ok(());
        }
        if let Some(time) = self.combined().filter(|time| *time > self.emitted) {
            self.emitted = time;
            self.output.signal(Signal::Watermark(time))?;
        }
        let idle = !self.splits.is_empty() && self.splits.iter().all(Split::is_idle);
        self.tell_idle(idle)
    }

    fn ask_generators(&mut self) -> TaskResult {
        if self.interval_ms > 0 {
            self.splits.iter_mut().for_each(|split| split.generator.on_periodic_emit(&mut split.output));
        }
        self.emit()
    }

    fn tell_idle(&mut self, idle: bool) -> TaskResult {
        if idle != self.idle {
            self.idle = idle;
            self.output.signal(Signal::Idle(idle))?;
        }
        Ok(())
    }

    fn tell_time(&mut self, clock: &mut Clock) -> TaskResult {
        if self.ended || self.interval_ms == 0 {
            return self.align(clock);
        }
        if clock.now >= self.next_emit {
            self.next_emit = clock.now.saturating_add(self.interval_ms);
            // Who waits for others is not idle: its records would be there.
            let waits = self.member.as_ref().is_some_and(Member::waits);
            for split in &mut self.splits {
                if waits {
                    split.last_record = clock.now;
                }
                if let Some(limit) = self.strategy.idleness_ms {
                    split.idle = clock.now.saturating_sub(split.last_record) >= limit;
                }
            }
            self.ask_generators()?;
        }
        clock.call_at(self.next_emit);
        self.align(clock)
    }

    fn align(&mut self, clock: &mut Clock) -> TaskResult {
        if let Some(member) = &mut self.member {
            let watermark = Some(self.emitted).filter(|time| !self.idle && !self.ended && *time != NO_TIME);
            clock.call_at(member.update(watermark, clock.now));
        }
        Ok(())
    }
}

impl<G> Split<G> {
    fn is_idle(&self) -> bool {
        self.idle || self.output.idle
    }
}

impl<T, G: WatermarkGenerator<T>, A: TimestampAssigner<T>> Push<T> for TimestampsWatermarks<T, G, A> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        if self.splits.is_empty() {
            self.begin_split(None);
        }
        let Split { generator, output, last_record, idle, .. } = &mut self.splits[self.current];
        let assigner = &self.strategy.assigner;
        let before = (output.watermark, output.idle);
        output.idle = false;
        batch.assign_times(|record, time| {
            let time = assigner.extract_timestamp(record, time);
            generator.on_event(record, time, output);
            time
        });
        if self.strategy.idleness_ms.is_some() {
            *last_record = self.clock.now();
            *idle = false;
        }
        let changed = before != (output.watermark, output.idle);
        if self.idle {
            self.tell_idle(false)?;
        }
        self.output.push(batch)?;
        // A watermark in the middle of a batch may as well come behind it.
        if changed { self.emit() } else { Ok(()) }
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Watermark(END_OF_TIME) => {
                self.ended = true;
                if let Some(member) = self.member.take() {
                    member.leave();
                }
            }
            Signal::Watermark(_) | Signal::Idle(_) => return Ok(()),
            Signal::Split(change) => {
                self.change_split(*change);
                return self.emit();
            }
            Signal::Time(clock) => self.tell_time(clock)?,
            Signal::Align(group, least) => {
                if let Some(member) = &mut self.member {
                    member.heard(group, *least);
                }
            }
            Signal::Resume => {
                self.output.signal(Signal::Resume)?;
                // Behind the records that were on their way at the checkpoint.
                if let Some(time) = self.restored.take() {
                    self.emitted = time;
                    self.output.signal(Signal::Watermark(time))?;
                }
                let mut clock = Clock { now: self.clock.now(), next: None };
                return self.align(&mut clock);
            }
            Signal::Barrier(snapshot) => {
                // What the generators know is not in the checkpoint: so it has to be in the watermark.
                self.ask_generators()?;
                // Who is idle holds nobody back: not after a restore, either.
                let item = if self.idle { None } else { Some(self.emitted) };
                let mut bytes = Vec::new();
                if let Some(time) = item {
                    codec::encode(&time, &mut bytes)?;
                }
                let items = item.map(|_| bytes.as_slice());
                snapshot.list(self.operator, STATE, Redistribution::Union, "", items);
            }
            _ => {}
        }
        self.output.signal(signal)
    }
}
