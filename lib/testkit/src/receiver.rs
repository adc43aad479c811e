//! The outputs of the operator under test.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use flumen_worker::batch::{Batch, END_OF_TIME};
use flumen_worker::operator::{Push, Signal, TaskResult};
use flumen_worker::subtask::Backlog;

use crate::element::Element;

/// What was emitted, by all instances.
pub(crate) type Received<T> = Rc<RefCell<Vec<Element<T>>>>;

/// Notes what is emitted.
pub(crate) struct Receiver<T> {
    received: Received<T>,
    /// Set where it takes records only now and then.
    slow: Option<Slow>,
    waiting: Vec<Element<T>>,
}

struct Slow {
    backlog: Arc<Backlog>,
    resumed: u32,
}

/// Calls of `Resume` until a slow receiver takes what waits.
const SLOWNESS: u32 = 3;

impl<T> Receiver<T> {
    pub(crate) fn new(received: Received<T>) -> Self {
        Self { received, slow: None, waiting: Vec::new() }
    }

    pub(crate) fn slow(received: Received<T>, backlog: Arc<Backlog>) -> Self {
        Self { received, slow: Some(Slow { backlog, resumed: 0 }), waiting: Vec::new() }
    }

    fn take(&mut self, element: Element<T>) {
        match &self.slow {
            None => self.received.borrow_mut().push(element),
            Some(slow) => {
                if self.waiting.is_empty() {
                    slow.backlog.add();
                }
                self.waiting.push(element);
            }
        }
    }

    fn resume(&mut self) {
        let Some(slow) = self.slow.as_mut().filter(|_| !self.waiting.is_empty()) else { return };
        slow.resumed += 1;
        if slow.resumed.is_multiple_of(SLOWNESS) {
            self.received.borrow_mut().append(&mut self.waiting);
            slow.backlog.remove();
        }
    }
}

impl<T> Push<T> for Receiver<T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        assert!(!batch.is_empty(), "the operator pushed an empty batch");
        for (record, time) in batch.drain().collect::<Vec<_>>() {
            self.take(Element::Record(record, time));
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        match signal {
            // The end of time comes with every end: nobody has to expect it.
            Signal::Watermark(time) if time != END_OF_TIME => self.take(Element::Watermark(time)),
            Signal::Idle(idle) => self.take(Element::Idle(idle)),
            Signal::Resume => self.resume(),
            _ => {}
        }
        Ok(())
    }
}

/// An output that several outputs of an operator lead to: the main one, which passes signals on, and side outputs.
pub struct Shared<T> {
    output: Rc<RefCell<Box<dyn Push<T>>>>,
    main: bool,
}

/// Makes an output one that can be given to an operator several times.
pub fn share<T>(output: Box<dyn Push<T>>) -> Shared<T> {
    Shared { output: Rc::new(RefCell::new(output)), main: true }
}

impl<T> Shared<T> {
    /// The same output once more, for records alone.
    #[must_use]
    pub fn side(&self) -> Self {
        Self { output: Rc::clone(&self.output), main: false }
    }
}

impl<T> Push<T> for Shared<T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        self.output.borrow_mut().push(batch)
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        if self.main { self.output.borrow_mut().signal(signal) } else { Ok(()) }
    }
}
