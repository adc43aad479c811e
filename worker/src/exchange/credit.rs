//! The credit of one channel, on the sender's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flumen_model::failure::Blame;

use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskHandle;

/// Buffers that the sender may still send. Taken by the sending subtask's thread alone; given by whoever hears of the
/// receiver.
#[derive(Debug)]
pub struct Credit {
    available: AtomicU32,
    sender: Arc<SubtaskHandle>,
}

/// The receiver is gone. Above every credit that can be given.
const BROKEN: u32 = u32::MAX;

impl Credit {
    /// A channel's first credit.
    pub fn new(buffers: u32, sender: Arc<SubtaskHandle>) -> Self {
        Self { available: AtomicU32::new(buffers), sender }
    }

    /// Takes one buffer's credit, waiting until there is some.
    ///
    /// # Errors
    /// Cancellation of the sender; a failure with [`Blame::Peer`] when the receiver is gone.
    #[inline]
    pub fn take(&self) -> TaskResult {
        if self.try_take()? {
            return Ok(());
        }
        self.sender.wait_for(|| match self.try_take() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })?
    }

    /// Takes one buffer's credit if there is some.
    ///
    /// # Errors
    /// A failure with [`Blame::Peer`] when the receiver is gone.
    pub fn try_take(&self) -> TaskResult<bool> {
        let one_less = |now: u32| if now == BROKEN { None } else { now.checked_sub(1) };
        match self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) {
            Ok(_) => Ok(true),
            Err(BROKEN) => Err(TaskError::failed(Blame::Peer, "the connection to a receiver broke, or it has ended")),
            Err(_) => Ok(false),
        }
    }

    /// The receiver has processed that many buffers.
    pub fn give(&self, buffers: u32) {
        let add = |now: u32| (now != BROKEN).then(|| now.saturating_add(buffers).min(BROKEN - 1));
        let _ = self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.sender.wake();
    }

    /// The receiver is gone: the sender fails when it next wants to send.
    pub fn break_off(&self) {
        self.available.store(BROKEN, Ordering::Release);
        self.sender.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_sender_without_credit_waits_until_some_is_given() {
        let handle = Arc::new(SubtaskHandle::default());
        let credit = Arc::new(Credit::new(2, Arc::clone(&handle)));
        let sent = Arc::new(AtomicU32::new(0));
        let sender = std::thread::spawn({
            let (handle, credit, sent) = (Arc::clone(&handle), Arc::clone(&credit), Arc::clone(&sent));
            move || {
                handle.attach_current_thread();
                (0..5).try_for_each(|_| {
                    credit.take()?;
                    sent.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, TaskError>(())
                })
            }
        });
        let reached = |n| {
            let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while sent.load(Ordering::SeqCst) < n {
                assert!(std::time::Instant::now() < limit, "only {} sent", sent.load(Ordering::SeqCst));
                std::thread::yield_now();
            }
            assert_eq!(sent.load(Ordering::SeqCst), n);
        };
        reached(2);
        credit.give(1);
        reached(3);
        credit.give(2);
        reached(5);
        assert_eq!(sender.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_waiting_sender_ends_when_it_is_cancelled_or_its_receiver_is_gone() {
        for cancel in [true, false] {
            let handle = Arc::new(SubtaskHandle::default());
            let credit = Arc::new(Credit::new(0, Arc::clone(&handle)));
            let started = Arc::new(AtomicBool::new(false));
            let sender = std::thread::spawn({
                let (handle, credit, started) = (Arc::clone(&handle), Arc::clone(&credit), Arc::clone(&started));
                move || {
                    handle.attach_current_thread();
                    started.store(true, Ordering::SeqCst);
                    credit.take()
                }
            });
            while !started.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            if cancel {
                handle.cancel();
            } else {
                credit.break_off();
            }
            let result = sender.join().unwrap();
            match cancel {
                true => assert_eq!(result, Err(TaskError::Canceled)),
                false => assert!(matches!(result, Err(TaskError::Failed { blame: Blame::Peer, .. })), "{result:?}"),
            }
            credit.give(5);
            assert!(cancel || credit.take().is_err(), "a broken channel stays broken");
        }
    }
}
