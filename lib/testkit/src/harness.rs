//! The description of a test: an operator, its input, its output.

use std::fmt::Debug;

use flumen_model::ids::OperatorId;
use flumen_worker::keyed_state::StateSettings;
use flumen_worker::operator::{Data, Push, TaskError, TaskResult};
use flumen_worker::subtask::SubtaskContext;
use serde::Serialize;

use crate::compare::{self, Order};
use crate::element::Element;
use crate::run::Run;

/// How the operator is made in front of its output.
pub(crate) type Make<In, Out> =
    Box<dyn Fn(&SubtaskContext, OperatorId, Box<dyn Push<Out>>) -> TaskResult<Box<dyn Push<In>>>>;
/// The serialised key of a record; `None` for one that goes to all instances.
pub(crate) type RouteKey<In> = Box<dyn Fn(&In) -> Option<Vec<u8>>>;

/// What can be done to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each record is a batch.
    OneByOne,
    /// All records between two signals are a batch.
    Batched,
    /// The receiver takes records only now and then; until it does, the operator is told the time and to flush, and given
    /// nothing.
    SlowReceiver,
    /// A checkpoint after each element, which is then complete.
    Checkpoints,
    /// A checkpoint after each element, from which a new instance starts.
    RestoreAfterEach,
    /// As before, with one, three, two, one, … instances.
    Rescaled,
    /// All records between two signals are a batch, and whatever is given comes while two checkpoints are running. From each second one
    /// a new instance starts, which is given again what came since its barrier; others are complete in the end, or given up.
    DuringCheckpoints,
}

/// A test of one operator. See [`harness`].
pub struct Harness<In, Out> {
    pub(crate) make: Make<In, Out>,
    pub(crate) input: Vec<Element<In>>,
    expected: Vec<Element<Out>>,
    order: Order<Out>,
    pub(crate) route: Option<RouteKey<In>>,
    pub(crate) options: Vec<(String, String)>,
    skipped: Vec<Mode>,
    stateless: bool,
}

/// A test of the operator that the function makes: of its subtask, of the id that its state is kept under, in front of its
/// output.
pub fn harness<In: Data, Out: Data + PartialEq + Debug>(
    make: impl Fn(&SubtaskContext, OperatorId, Box<dyn Push<Out>>) -> TaskResult<Box<dyn Push<In>>> + 'static,
) -> Harness<In, Out> {
    Harness {
        make: Box::new(make),
        input: Vec::new(),
        expected: Vec::new(),
        order: Order::AsEmitted,
        route: None,
        options: Vec::new(),
        skipped: Vec::new(),
        stateless: false,
    }
}

impl<In: Data, Out: Data + PartialEq + Debug> Harness<In, Out> {
    /// What the operator is given.
    #[must_use]
    pub fn input(mut self, input: impl IntoIterator<Item = Element<In>>) -> Self {
        self.input = input.into_iter().collect();
        self
    }

    /// What it should emit. Watermarks and idleness are compared only if there are some in here.
    #[must_use]
    pub fn expect(mut self, expected: impl IntoIterator<Item = Element<Out>>) -> Self {
        self.expected = expected.into_iter().collect();
        self
    }

    /// It is an operator on keyed streams: the harness gives each record to the instance that owns its key, and runs with
    /// several instances, too. There, records are compared without regard to order unless
    /// [`ordered_by`](Self::ordered_by) says otherwise.
    #[must_use]
    pub fn keyed_by<K: Serialize>(self, key: impl Fn(&In) -> K + 'static) -> Self {
        self.routed_by(move |record| Some(key(record)))
    }

    /// As [`keyed_by`](Self::keyed_by), but records without a key go to all instances (broadcast).
    #[must_use]
    pub fn routed_by<K: Serialize>(mut self, key: impl Fn(&In) -> Option<K> + 'static) -> Self {
        self.route = Some(Box::new(move |record| key(record).map(|key| postcard::to_stdvec(&key).unwrap())));
        self
    }

    /// The order of the output is not defined.
    #[must_use]
    pub fn in_any_order(mut self) -> Self {
        self.order = Order::None;
        self
    }

    /// The order of the output is defined only among records of the same key.
    #[must_use]
    pub fn ordered_by<K: PartialEq + 'static>(mut self, key: impl Fn(&Out) -> K + 'static) -> Self {
        self.order = Order::ByKey(Box::new(move |a, b| key(a) == key(b)));
        self
    }

    /// Sets an option of the job.
    #[must_use]
    pub fn option(mut self, key: &str, value: &str) -> Self {
        self.options.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The operator can't be run in that mode. Say why beside it.
    #[must_use]
    pub fn except(mut self, mode: Mode) -> Self {
        self.skipped.push(mode);
        self
    }

    /// The operator keeps no state, so that one backend is enough.
    #[must_use]
    pub fn stateless(mut self) -> Self {
        self.stateless = true;
        self
    }

    /// Runs the operator in all modes, with all backends that the worker was built with: RocksDB needs its feature `rocksdb`.
    ///
    /// # Panics
    /// It emitted something else, failed, or took longer than a minute.
    #[track_caller]
    pub fn in_all_modes(self) {
        for backend in self.backends() {
            let modes = [
                Mode::OneByOne,
                Mode::Batched,
                Mode::SlowReceiver,
                Mode::Checkpoints,
                Mode::RestoreAfterEach,
                Mode::Rescaled,
                Mode::DuringCheckpoints,
            ];
            for mode in modes {
                let impossible = mode == Mode::Rescaled && self.route.is_none();
                if !impossible && !self.skipped.contains(&mode) {
                    self.check(mode, backend);
                }
            }
        }
    }

    /// Runs the operator one by one, and returns how it failed.
    ///
    /// # Panics
    /// It didn't.
    #[track_caller]
    pub fn fails(self) -> TaskError {
        match Run::new(&self, Mode::OneByOne, "hashmap").run() {
            Err(error) => error,
            Ok(emitted) => panic!("no failure; it emitted {emitted:?}"),
        }
    }

    #[track_caller]
    fn check(&self, mode: Mode, backend: &str) {
        let emitted = match Run::new(self, mode, backend).run() {
            Ok(emitted) => emitted,
            Err(error) => panic!("in mode {mode:?} with backend {backend}, the operator failed: {error:?}"),
        };
        let order = if mode == Mode::Rescaled { self.order.of_several() } else { &self.order };
        if let Err(difference) = compare::compare(&emitted, &self.expected, order) {
            panic!("in mode {mode:?} with backend {backend}, {difference}\nall: {emitted:#?}");
        }
    }

    fn backends(&self) -> Vec<&'static str> {
        let mut backends = vec!["hashmap"];
        if StateSettings::HAS_ROCKSDB && !self.stateless {
            backends.push("rocksdb");
        }
        backends
    }
}
