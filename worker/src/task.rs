//! The thread of a subtask: it takes batches from its gate or source, pushes them through its chain, works on mails between
//! two batches, and ends in exactly one of finished, canceled and failed.
//!
//! ```text
//! running ─ end of input ─▶ ended ─ the first checkpoint after it is complete (or: no checkpoints) ─▶ finished
//!    └─ barrier of a stop with savepoint ─▶ stopped ─ that savepoint is complete ─▶ finished
//! ```

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use flumen_model::checkpoint::Barrier;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;

use crate::batch::{Batch, END_OF_TIME};
use crate::exchange::gate::Gate;
use crate::exchange::input::{Input, Taken};
use crate::operator::{BATCH_RECORDS, Data, Push, Signal, TaskError, TaskResult};
use crate::sources::pace::Pace;
use crate::sources::{Source, SourceStatus};
use crate::subtask::{Mail, SubtaskContext};
use crate::task_state::{Stage, TaskState};

/// What a subtask does from start to end; made and run in the subtask's own thread.
pub type SubtaskBody = Box<dyn FnOnce() -> TaskResult>;

/// The body of a subtask that receives from others.
pub fn receiving<T: Data>(context: SubtaskContext, gate: Arc<Gate<T>>, mut head: Box<dyn Push<T>>) -> SubtaskBody {
    Box::new(move || {
        let mut input = Input::new(gate, Arc::clone(&context.io));
        let mut state = TaskState::new(context.clone());
        let mut batch = Batch::with_capacity(BATCH_RECORDS);
        // Asked for by the JobMaster, because all senders have finished: what they sent last may still be on its way.
        let mut triggered: VecDeque<Barrier> = VecDeque::new();
        head.signal(Signal::Resume)?;
        while state.stage != Stage::Over {
            context.handle.check()?;
            while let Some(mail) = context.mailbox.take() {
                match mail {
                    Mail::Trigger(barrier) if barrier.alignment.may_overtake() && !input.is_closed() => {
                        if let Some(older) = input.trigger(barrier) {
                            state.overrun(older);
                        }
                    }
                    Mail::Trigger(barrier) => triggered.push_back(barrier),
                    Mail::Completed(checkpoint) => state.completed(&mut *head, checkpoint)?,
                    Mail::Aborted(checkpoint) => {
                        triggered.retain(|barrier| barrier.checkpoint != checkpoint);
                        input.abort(checkpoint);
                        state.aborted(&mut *head, checkpoint)?;
                    }
                    Mail::Align { group, least } => state.align(&mut *head, &group, least)?,
                    Mail::Split(_) | Mail::Drain => {}
                }
            }
            while input.is_closed()
                && let Some(barrier) = triggered.pop_front()
            {
                state.barrier(&mut *head, Arc::new(barrier), None)?;
            }
            if let Some((checkpoint, overtaken)) = input.take_overtaken() {
                state.overtaken(checkpoint, overtaken);
            }
            let blocked = state.is_blocked(&mut *head)?;
            let taken = if blocked { input.next_overtaking()? } else { input.next(&mut batch)? };
            match taken {
                Some(Taken::Records) => {
                    context.io.records_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    head.push(&mut batch)?;
                }
                Some(Taken::Watermark(time)) => head.signal(Signal::Watermark(time))?,
                Some(Taken::Idle(idle)) => head.signal(Signal::Idle(idle))?,
                Some(Taken::Barrier(barrier, times)) => state.barrier(&mut *head, barrier, Some(times))?,
                Some(Taken::Overrun(checkpoint)) => state.overrun(checkpoint),
                Some(Taken::EndOfData) => state.end_of_data(&mut *head)?,
                // Without an end of data the senders stopped with a savepoint: this subtask will hear of it as well.
                Some(Taken::Closed) => {}
                None => {
                    // Nothing else to do: let everything go before sleeping. A wake-up in between is kept by the thread.
                    let wait = state.rest(&mut *head)?;
                    context.handle.park(input.deadline().map_or(wait, |deadline| wait.min(deadline)));
                    continue;
                }
            }
            state.between_batches(&mut *head)?;
        }
        head.signal(Signal::Close)
    })
}

/// The body of a subtask that reads from a source, whose position is kept under the id of `operator`.
pub fn producing<T: Data>(
    mut context: SubtaskContext,
    operator: OperatorId,
    mut source: Box<dyn Source<T>>,
    mut head: Box<dyn Push<T>>,
) -> SubtaskBody {
    Box::new(move || {
        let mut state = TaskState::new(context.clone());
        let mut batch = Batch::with_capacity(BATCH_RECORDS);
        let mut idle = None;
        let mut pace = Pace::new();
        head.signal(Signal::Resume)?;
        while state.stage != Stage::Over {
            context.handle.check()?;
            while let Some(mail) = context.mailbox.take() {
                idle = None;
                match mail {
                    Mail::Trigger(barrier) => {
                        state.source_barrier(&mut *head, barrier, operator, &mut *source)?;
                    }
                    Mail::Completed(checkpoint) => {
                        source.checkpoint_completed(checkpoint)?;
                        state.completed(&mut *head, checkpoint)?;
                    }
                    Mail::Aborted(checkpoint) => state.aborted(&mut *head, checkpoint)?,
                    Mail::Split(split) => context.splits.answer(split),
                    Mail::Drain if state.stage == Stage::Running => state.end_of_data(&mut *head)?,
                    Mail::Drain => {}
                    Mail::Align { group, least } => state.align(&mut *head, &group, least)?,
                }
            }
            let blocked = state.is_blocked(&mut *head)?;
            if blocked || state.stage != Stage::Running || idle.is_some() {
                let wait = state.rest(&mut *head)?;
                context.handle.park(idle.take().map_or(wait, |idle| wait.min(idle)));
                continue;
            }
            context.batch_records = pace.records();
            let begun = Instant::now();
            let status = source.poll(&mut context, &mut batch)?;
            if let Some(split) = source.split_change() {
                head.signal(Signal::Split(split))?;
            }
            if !batch.is_empty() {
                let records = batch.len();
                context.io.records_in.fetch_add(records as u64, Ordering::Relaxed);
                head.push(&mut batch)?;
                pace.took(records, begun.elapsed());
            }
            match status {
                SourceStatus::More => {}
                SourceStatus::Idle(limit) => idle = Some(limit),
                SourceStatus::End => state.end_of_data(&mut *head)?,
            }
            state.between_batches(&mut *head)?;
        }
        head.signal(Signal::Close)
    })
}

/// The end of a stream as every operator sees it.
pub(crate) fn signal_end<T>(head: &mut dyn Push<T>) -> TaskResult {
    head.signal(Signal::Watermark(END_OF_TIME))?;
    head.signal(Signal::End)
}

/// For how long a subtask sleeps that waits for nothing but mails.
pub(crate) const REST_MAX: Duration = Duration::from_secs(1);

thread_local! {
    /// Where the last panic of this thread happened, left by the hook for [`run`].
    static PANIC_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a body in the current thread: a panic becomes a failure with message and place.
pub fn run(body: SubtaskBody) -> TaskResult {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let at = info.location().map(ToString::to_string);
            PANIC_AT.with_borrow_mut(|place| *place = at);
            before(info);
        }));
    });
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let at = PANIC_AT.take().map_or(String::new(), |at| format!(" at {at}"));
        Err(TaskError::failed(Blame::User, format!("panicked{at}: {}", panic_message(&*payload))))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_failure_of_the_user_with_message_and_place() {
        let error = run(Box::new(|| panic!("no {}", "way"))).unwrap_err();
        let TaskError::Failed { blame, message } = error else { panic!("{error:?}") };
        assert_eq!(blame, Blame::User);
        assert!(message.starts_with("panicked at ") && message.ends_with(": no way"), "{message}");
        assert!(message.contains("task.rs:"), "{message}");
    }
}
