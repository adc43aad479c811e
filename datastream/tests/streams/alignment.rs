//! Sources that wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen::{FunctionResult, ReadStatus, RuntimeContext, SourceFunction, SourceOutput, WatermarkStrategy};

use crate::world::with_options;

/// How far the fast source is, and whether it may come to its end.
#[derive(Clone, Default)]
struct Fast {
    emitted: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl SourceFunction for Fast {
    type Out = u64;
    type Split = i64;
    type State = ();

    fn splits(&self) -> Vec<i64> {
        vec![0]
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult {
        Ok(())
    }

    fn read(&mut self, time: &mut i64, (): &mut (), out: &mut SourceOutput<'_, u64>) -> FunctionResult<ReadStatus> {
        if self.over.load(Ordering::SeqCst) {
            return Ok(ReadStatus::Finished);
        }
        while !out.is_full() {
            out.collect_with_timestamp(1, *time);
            *time += 1;
            self.emitted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(ReadStatus::More)
    }
}

/// Emits one early record, and ends as soon as the fast source has emitted nothing for a while.
#[derive(Clone)]
struct Slow {
    fast: Fast,
    begun: Instant,
}

#[derive(Default)]
struct Watched {
    emitted: u64,
    unchanged: u32,
}

impl SourceFunction for Slow {
    type Out = u64;
    type Split = bool;
    type State = Watched;

    fn splits(&self) -> Vec<bool> {
        vec![false]
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult<Watched> {
        Ok(Watched::default())
    }

    fn read(
        &mut self,
        emitted: &mut bool,
        watched: &mut Watched,
        out: &mut SourceOutput<'_, u64>,
    ) -> FunctionResult<ReadStatus> {
        if !*emitted {
            *emitted = true;
            out.collect_with_timestamp(0, 0);
            return Ok(ReadStatus::More);
        }
        let now = self.fast.emitted.load(Ordering::SeqCst);
        watched.unchanged = if now == watched.emitted { watched.unchanged + 1 } else { 0 };
        watched.emitted = now;
        if now > 0 && watched.unchanged >= 20 {
            self.fast.over.store(true, Ordering::SeqCst);
            return Ok(ReadStatus::Finished);
        }
        if self.begun.elapsed() > Duration::from_secs(60) {
            return Err("the fast source did not wait".into());
        }
        Ok(ReadStatus::Idle(Duration::from_millis(10)))
    }
}

#[test]
fn a_source_that_is_ahead_waits_for_the_slowest_of_its_group_until_that_ends() {
    let env = with_options(1, &[("pipeline.auto-watermark-interval", "1 ms")]);
    let times = || {
        let drift = Duration::from_secs(1);
        WatermarkStrategy::for_monotonous_timestamps().with_watermark_alignment("all", drift, Duration::from_millis(1))
    };
    let fast = Fast::default();
    let slow = Slow { fast: fast.clone(), begun: Instant::now() };
    let arrived = Arc::new(AtomicU64::new(0));
    // No exchange connects the two: they are deployed, and could run on two workers, each by itself.
    for stream in [env.add_source(fast.clone()), env.add_source(slow)] {
        let arrived = Arc::clone(&arrived);
        stream.assign_timestamps_and_watermarks(times()).map(move |_| arrived.fetch_add(1, Ordering::SeqCst));
    }
    env.execute("test").unwrap();
    assert_eq!(arrived.load(Ordering::SeqCst), fast.emitted.load(Ordering::SeqCst) + 1);
}
