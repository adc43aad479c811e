//! The thread of a subtask: it takes batches from its gate or source, pushes them through its chain, and ends in exactly
//! one of finished, canceled and failed.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use flumen_model::failure::Blame;

use crate::exchange::codec;
use crate::exchange::gate::{Gate, Item};
use crate::operator::{BATCH_RECORDS, Data, Push, TaskError, TaskResult};
use crate::sources::{Source, SourceStatus};
use crate::subtask::SubtaskContext;

/// What a subtask does from start to end; made in the worker's thread, run in its own.
pub type SubtaskBody = Box<dyn FnOnce() -> TaskResult + Send>;

/// The body of a subtask that receives from others.
pub fn receiving<T: Data>(context: SubtaskContext, gate: Arc<Gate<T>>, mut head: Box<dyn Push<T>>) -> SubtaskBody {
    Box::new(move || {
        let mut open = gate.channels();
        let mut decoded = Vec::new();
        while open > 0 {
            context.handle.check()?;
            let Some((channel, item)) = gate.take()? else {
                // Nothing else to do: let everything go before sleeping. A wake-up in between is kept by the thread.
                head.flush()?;
                context.handle.park(context.worker.buffer_timeout);
                continue;
            };
            match item {
                Item::Batch(mut batch) => {
                    context.io.records_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    head.push(&mut batch)?;
                    gate.give_back(channel);
                }
                Item::Bytes(bytes) => {
                    context.io.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        decoded.push(codec::decode(&mut rest)?);
                        if decoded.len() >= BATCH_RECORDS || rest.is_empty() {
                            context.io.records_in.fetch_add(decoded.len() as u64, Ordering::Relaxed);
                            head.push(&mut decoded)?;
                        }
                    }
                    gate.give_back(channel);
                }
                Item::End => open -= 1,
            }
        }
        head.end()
    })
}

/// The body of a subtask that reads from a source.
pub fn producing<T: Data>(
    mut context: SubtaskContext,
    mut source: Box<dyn Source<T>>,
    mut head: Box<dyn Push<T>>,
) -> SubtaskBody {
    Box::new(move || {
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        loop {
            context.handle.check()?;
            let status = source.poll(&mut context, &mut batch)?;
            if !batch.is_empty() {
                context.io.records_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
                head.push(&mut batch)?;
            }
            match status {
                SourceStatus::More => {}
                SourceStatus::Idle(limit) => {
                    head.flush()?;
                    context.handle.park(limit);
                }
                SourceStatus::End => return head.end(),
            }
        }
    })
}

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
