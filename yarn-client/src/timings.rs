//! Where the time of a submission goes, for benchmarks: `FLUMEN_TIMINGS=1` prints one line of JSON on standard error.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::json;

/// Environment variable that asks for the breakdown.
const VARIABLE: &str = "FLUMEN_TIMINGS";

/// Times of one submission, in milliseconds.
#[derive(Debug)]
pub struct Timings {
    start: Instant,
    /// Durations of parts, which may overlap.
    parts: Mutex<BTreeMap<&'static str, f64>>,
    /// Points in time since the start.
    reached: Mutex<BTreeMap<&'static str, f64>>,
}

impl Timings {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: Instant::now(), parts: Mutex::default(), reached: Mutex::default() }
    }

    /// Awaits a part of the work and keeps how long it took.
    pub async fn part<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += took;
        result
    }

    /// Keeps when a point was reached for the first time.
    pub fn reached(&self, name: &'static str) {
        let at = self.start.elapsed().as_secs_f64() * 1000.0;
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(at);
    }

    /// The line, when it was asked for.
    pub fn line(&self) -> Option<String> {
        std::env::var_os(VARIABLE).filter(|value| value == "1")?;
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let total = self.start.elapsed().as_secs_f64() * 1000.0;
        Some(json!({ "flumen_timings_ms": { "parts": parts, "reached": reached, "total": total } }).to_string())
    }
}
