//! Aggregates of one field over windows.

use std::ops::AddAssign;

use flumen_worker::keyed::KeySelector;
use flumen_worker::operator::Data;
use flumen_worker::windows::Trigger;

use crate::stream::DataStream;
use crate::windowed::{OpenWindows, WindowedStream};

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Data,
    S: KeySelector<T>,
    A: OpenWindows<T>,
    G: Trigger<T, A::Window>,
{
    /// Adds up a field; the other fields are those of the window's first record.
    pub fn sum<N: AddAssign + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.reduce(move |value: &mut T, mut record: T| {
            let added = *field(&mut record);
            *field(value) += added;
        })
    }

    /// The least value of a field; the other fields are those of the window's first record.
    pub fn min<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.reduce(move |value: &mut T, mut record: T| {
            let other = *field(&mut record);
            let least = field(value);
            if other < *least {
                *least = other;
            }
        })
    }

    /// The greatest value of a field; the other fields are those of the window's first record.
    pub fn max<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.reduce(move |value: &mut T, mut record: T| {
            let other = *field(&mut record);
            let greatest = field(value);
            if other > *greatest {
                *greatest = other;
            }
        })
    }

    /// The record with the greatest value of a field.
    pub fn max_by<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.reduce(move |value: &mut T, record: T| {
            if field(&record) > field(value) {
                *value = record;
            }
        })
    }

    /// The record with the least value of a field.
    pub fn min_by<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&T) -> N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.reduce(move |value: &mut T, record: T| {
            if field(&record) < field(value) {
                *value = record;
            }
        })
    }
}
