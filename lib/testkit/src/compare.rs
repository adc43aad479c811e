//! Whether what was emitted is what was expected.

use std::fmt::Debug;

use crate::element::Element;

/// Whether two records have the same key.
type SameKey<T> = Box<dyn Fn(&T, &T) -> bool>;

/// Which order is compared.
pub(crate) enum Order<T> {
    /// All of it.
    AsEmitted,
    /// That of records for which the function holds.
    ByKey(SameKey<T>),
    /// None.
    None,
}

impl<T> Order<T> {
    /// What is left of the order when there are several instances.
    pub(crate) fn of_several(&self) -> &Self {
        match self {
            Self::AsEmitted | Self::None => &Self::None,
            Self::ByKey(_) => self,
        }
    }
}

/// Says what the first difference is.
pub(crate) fn compare<T: PartialEq + Debug>(
    emitted: &[Element<T>],
    expected: &[Element<T>],
    order: &Order<T>,
) -> Result<(), String> {
    let with_signals = expected.iter().any(|element| !element.is_record());
    let mut left: Vec<&Element<T>> = emitted.iter().filter(|e| with_signals || e.is_record()).collect();
    for (index, wanted) in expected.iter().enumerate() {
        let found = match order {
            Order::AsEmitted => left.first().filter(|first| **first == wanted).map(|_| 0),
            Order::ByKey(same) => {
                left.iter().position(|e| is_same(e, wanted, same)).filter(|index| left[*index] == wanted)
            }
            Order::None => left.iter().position(|element| *element == wanted),
        };
        match found {
            Some(found) => left.remove(found),
            None => {
                return Err(format!("number {index}, {wanted:?}, was not emitted when it should; left is {left:?}"));
            }
        };
    }
    if left.is_empty() { Ok(()) } else { Err(format!("too much was emitted: {left:?}")) }
}

fn is_same<T>(a: &Element<T>, b: &Element<T>, same: &dyn Fn(&T, &T) -> bool) -> bool {
    match (a, b) {
        (Element::Record(a, _), Element::Record(b, _)) => same(a, b),
        (a, b) => !a.is_record() && !b.is_record(),
    }
}
