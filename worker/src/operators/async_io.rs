//! Results that others give, while the subtask goes on: a bounded number of calls is on its way at once.
//!
//! Records stand in a queue in the order in which they came, with the watermarks between them. In-order results leave at its
//! head; others leave as they come, but only from in front of the first watermark. What stands in the queue is part of every
//! checkpoint and asked again after a restore, so a call may be made more than once, while its results are emitted once.

mod call;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flumen_model::checkpoint::Redistribution;
use flumen_model::ids::OperatorId;

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::exchange::codec;
use crate::functions::{AsyncFunction, AsyncMode, AsyncOptions, RuntimeContext, not_opened, user_failure};
use crate::operator::{Data, Push, Signal, TaskResult};
use crate::operator_state::schema_of;
use crate::operators::Collector;
use crate::subtask::SubtaskContext;

use call::{Call, Caller};

/// The name of the list that holds the records on their way: pairs of [`EventTime`] and record.
pub const IN_FLIGHT: &str = "async-in-flight";

/// Something that stands in the queue.
enum Entry<In, Out> {
    /// A record that was not asked for yet.
    Waiting { record: In, time: EventTime },
    /// A record whose results are to come.
    Called { record: In, time: EventTime, deadline: EventTime, call: Call<Out> },
    /// Results that have to wait for those before them.
    Done { record: In, time: EventTime, results: Vec<Out> },
    /// A watermark.
    Watermark(EventTime),
    /// A change of idleness.
    Idle(bool),
}

/// See the module.
pub struct AsyncIo<In, Out, F> {
    context: SubtaskContext,
    operator: OperatorId,
    /// Of what it keeps.
    schema: String,
    caller: Caller<F, Out>,
    mode: AsyncMode,
    timeout_ms: i64,
    capacity: usize,
    queue: VecDeque<Entry<In, Out>>,
    /// Calls on their way.
    called: usize,
    /// Records that were not asked for yet, because as many as may be are on their way.
    waiting: usize,
    /// Whether the subtask was told to take no input.
    blocks: bool,
    out: Collector<Out>,
}

impl<In: Data, Out: Send + 'static, F: AsyncFunction<In, Out>> AsyncIo<In, Out, F> {
    /// Emits into `output`.
    ///
    /// # Errors
    /// The function's `open` failed; the checkpoint holds records of another type.
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        mut function: F,
        options: AsyncOptions<Out>,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        function.open(&RuntimeContext::new(context)).map_err(not_opened)?;
        let mut this = Self {
            context: context.clone(),
            operator,
            schema: schema_of::<(EventTime, In)>(IN_FLIGHT),
            caller: Caller::new(context, function, options.retry),
            mode: options.mode,
            timeout_ms: milliseconds(options.timeout),
            capacity: options.capacity.max(1),
            queue: VecDeque::new(),
            called: 0,
            waiting: 0,
            blocks: false,
            out: Collector::new(output),
        };
        for (time, record) in context.restored_values(operator, IN_FLIGHT)?.unwrap_or_default() {
            this.queue.push_back(Entry::Waiting { record, time });
            this.waiting += 1;
        }
        this.call_waiting();
        Ok(this)
    }

    /// Asks for records that wait, as far as there is room, and stops the input where there is none.
    fn call_waiting(&mut self) {
        if self.waiting > 0 && self.called < self.capacity {
            let deadline = self.context.worker.time.now().saturating_add(self.timeout_ms);
            for entry in &mut self.queue {
                if self.called >= self.capacity || self.waiting == 0 {
                    break;
                }
                if let Entry::Waiting { record, time } = entry {
                    let call = self.caller.call(record.clone());
                    *entry = Entry::Called { record: record.clone(), time: *time, deadline, call };
                    self.called += 1;
                    self.waiting -= 1;
                }
            }
        }
        let blocks = self.waiting > 0;
        if blocks != self.blocks {
            self.blocks = blocks;
            // Counts as something that has to be sent first: until then the subtask takes no input.
            if blocks { self.context.backlog.add() } else { self.context.backlog.remove() }
        }
    }

    /// Takes results that have come and calls that took too long, and emits what may be emitted.
    fn advance(&mut self) -> TaskResult {
        let now = self.context.worker.time.now();
        for entry in &mut self.queue {
            let Entry::Called { record, time, deadline, call } = entry else { continue };
            let results = match call.take() {
                Some(results) => results.map_err(|error| user_failure("the asynchronous call failed", error))?,
                None if now >= *deadline => {
                    call.abort();
                    let results = self.caller.function().timeout(record.clone());
                    results.map_err(|error| user_failure("the asynchronous function failed", error))?
                }
                None => continue,
            };
            self.called -= 1;
            *entry = Entry::Done { record: record.clone(), time: *time, results };
        }
        self.emit()?;
        self.call_waiting();
        Ok(())
    }

    fn emit(&mut self) -> TaskResult {
        while let Some(entry) = self.queue.pop_front() {
            match entry {
                Entry::Done { time, results, .. } => self.collect(time, results),
                Entry::Watermark(time) => self.out.signal(Signal::Watermark(time))?,
                Entry::Idle(idle) => self.out.signal(Signal::Idle(idle))?,
                Entry::Waiting { .. } | Entry::Called { .. } => {
                    self.queue.push_front(entry);
                    break;
                }
            }
        }
        if self.mode == AsyncMode::Unordered {
            self.emit_before_watermark();
        }
        self.out.finish()
    }

    /// Emits all results in front of the first watermark.
    fn emit_before_watermark(&mut self) {
        let mut index = 0;
        while let Some(entry) = self.queue.get(index) {
            match entry {
                Entry::Watermark(_) | Entry::Idle(_) => break,
                Entry::Waiting { .. } | Entry::Called { .. } => index += 1,
                Entry::Done { .. } => {
                    if let Some(Entry::Done { time, results, .. }) = self.queue.remove(index) {
                        self.collect(time, results);
                    }
                }
            }
        }
    }

    fn collect(&mut self, time: EventTime, results: Vec<Out>) {
        self.out.set_time(time);
        results.into_iter().for_each(|result| self.out.collect(result));
    }

    /// Holds a signal back until everything before it is emitted.
    fn enqueue(&mut self, entry: Entry<In, Out>) -> TaskResult {
        self.queue.push_back(entry);
        self.advance()
    }

    /// Waits until nothing is on its way.
    fn drain(&mut self) -> TaskResult {
        let handle = Arc::clone(&self.context.handle);
        self.advance()?;
        while !self.queue.is_empty() {
            handle.check()?;
            handle.park(self.until_deadline());
            self.advance()?;
        }
        Ok(())
    }

    fn first_deadline(&self) -> Option<EventTime> {
        let deadlines = self.queue.iter().filter_map(|entry| match entry {
            Entry::Called { deadline, .. } => Some(*deadline),
            Entry::Waiting { .. } | Entry::Done { .. } | Entry::Watermark(_) | Entry::Idle(_) => None,
        });
        deadlines.min()
    }

    fn until_deadline(&self) -> Duration {
        let left = self.first_deadline().map(|at| at.saturating_sub(self.context.worker.time.now()).max(1));
        left.map_or(Duration::from_millis(1), |left| Duration::from_millis(left.unsigned_abs()))
    }
}

impl<In: Data, Out: Send + 'static, F: AsyncFunction<In, Out>> Push<In> for AsyncIo<In, Out, F> {
    fn push(&mut self, batch: &mut Batch<In>) -> TaskResult {
        for (record, time) in batch.drain() {
            self.queue.push_back(Entry::Waiting { record, time });
            self.waiting += 1;
        }
        self.call_waiting();
        self.advance()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Watermark(time) => return self.enqueue(Entry::Watermark(*time)),
            Signal::Idle(idle) => return self.enqueue(Entry::Idle(*idle)),
            Signal::Time(clock) => {
                self.advance()?;
                if let Some(deadline) = self.first_deadline() {
                    clock.call_at(deadline);
                }
            }
            Signal::Barrier(snapshot) => {
                let mut bytes = Vec::new();
                let mut ends = vec![0];
                for entry in &self.queue {
                    let (record, time) = match entry {
                        Entry::Waiting { record, time }
                        | Entry::Called { record, time, .. }
                        | Entry::Done { record, time, .. } => (record, time),
                        // Those that send them say them again after a restore.
                        Entry::Watermark(_) | Entry::Idle(_) => continue,
                    };
                    codec::encode(time, &mut bytes)?;
                    codec::encode(record, &mut bytes)?;
                    ends.push(bytes.len());
                }
                let items = ends.windows(2).map(|item| &bytes[item[0]..item[1]]);
                snapshot.list(self.operator, IN_FLIGHT, Redistribution::Split, &self.schema, items);
            }
            Signal::End => self.drain()?,
            _ => {}
        }
        self.out.set_time(NO_TIME);
        self.out.signal(signal)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
