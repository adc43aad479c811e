//! Several measurements of one thing.

use std::fmt;

/// Measurements of one thing, in whatever unit.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// One more measurement.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The least value that so large a share of the measurements does not exceed. 0 without any.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The one in the middle; of an even number, between the two in the middle. 0 without any.
    pub fn median(&self) -> f64 {
        let at = |i: usize| self.0.get(i).copied().unwrap_or_default();
        let half = self.0.len() / 2;
        if self.0.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut spread = Spread::default();
        values.into_iter().for_each(|value| spread.add(value));
        spread
    }
}

/// `median (least–greatest)`, with the formatter's precision.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(0);
        let (least, greatest) = (self.0.first().copied(), self.0.last().copied());
        let (least, greatest) = (least.unwrap_or_default(), greatest.unwrap_or_default());
        write!(f, "{:.precision$} ({least:.precision$}–{greatest:.precision$})", self.median())
    }
}
