//! The credit of one channel, on the sender's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use flumen_model::failure::Blame;

use crate::operator::{TaskError, TaskResult};
use crate::subtask::SubtaskHandle;

/// Buffers that the sender may still send. Taken by the sending subtask's thread alone; given by whoever hears of the
/// receiver.
#[derive(Debug)]
pub struct Credit {
    available: AtomicU32,
    /// The sender found none, and was not woken since.
    wanted: AtomicBool,
    /// So much wakes a sender that found none. Woken for each buffer, it would send one and sleep again: going to sleep and
    /// waking up costs more than most buffers.
    enough: u32,
    sender: Arc<SubtaskHandle>,
}

/// The receiver is gone. Above every credit that can be given.
const BROKEN: u32 = u32::MAX;

impl Credit {
    /// A channel's first credit, which is all that it ever has.
    pub fn new(buffers: u32, sender: Arc<SubtaskHandle>) -> Self {
        // The receiver tells of three quarters of it at least when it has nothing left to do.
        let enough = (buffers / 2).max(1);
        Self { available: AtomicU32::new(buffers), wanted: AtomicBool::new(false), enough, sender }
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

    /// Takes one buffer's credit if there is some. If not, the sender is woken when there is enough for several.
    ///
    /// # Errors
    /// A failure with [`Blame::Peer`] when the receiver is gone.
    pub fn try_take(&self) -> TaskResult<bool> {
        if self.take_one()? {
            return Ok(true);
        }
        // Some may have been given since. Both sides write one of the two and then read the other, in one order that all
        // see: either this look finds the credit, or whoever gives it finds that it is wanted.
        self.wanted.store(true, Ordering::SeqCst);
        self.take_one()
    }

    fn take_one(&self) -> TaskResult<bool> {
        let one_less = |now: u32| if now == BROKEN { None } else { now.checked_sub(1) };
        match self.available.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Ok(true),
            Err(BROKEN) => Err(TaskError::failed(Blame::Peer, "the connection to a receiver broke, or it has ended")),
            Err(_) => Ok(false),
        }
    }

    /// The receiver has processed that many buffers.
    pub fn give(&self, buffers: u32) {
        if self.add(buffers) {
            self.sender.wake();
        }
    }

    /// Whether the sender has to be woken.
    fn add(&self, buffers: u32) -> bool {
        let more = |now: u32| (now != BROKEN).then(|| now.saturating_add(buffers).min(BROKEN - 1));
        let Ok(before) = self.available.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) else { return false };
        before.saturating_add(buffers) >= self.enough && self.wanted.swap(false, Ordering::SeqCst)
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

    #[test]
    fn a_sender_that_found_no_credit_is_woken_once_when_half_of_it_is_there_and_no_other_is() {
        let credit = Credit::new(8, Arc::default());
        let given = |count: u32| (0..count).map(|_| credit.add(1)).collect::<Vec<_>>();
        (0..8).for_each(|_| assert_eq!(credit.try_take(), Ok(true)));
        assert_eq!(given(4), [false; 4], "nobody found that there was none");
        (0..4).for_each(|_| assert_eq!(credit.try_take(), Ok(true)));
        assert_eq!(credit.try_take(), Ok(false));
        assert_eq!(given(8), [false, false, false, true, false, false, false, false]);
        (0..8).for_each(|_| assert_eq!(credit.try_take(), Ok(true)));
        assert_eq!(credit.try_take(), Ok(false));
        assert!(credit.add(6), "several at once");
        let one = Credit::new(1, Arc::default());
        assert_eq!((one.try_take(), one.try_take(), one.add(1)), (Ok(true), Ok(false), true));
    }

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
