//! Event times and watermarks.

use std::sync::Arc;
use std::time::Duration;

use flumen_testkit::{
    Harness, Mode, active, end, harness, idle, processing_time, rec, split, split_finished, watermark,
};
use flumen_worker::batch::EventTime;
use flumen_worker::operators::timestamps_watermarks::{
    TimestampAssigner, TimestampsWatermarks, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn own_time(record: &i64, _: EventTime) -> EventTime {
    *record
}

fn assigning<G: WatermarkGenerator<i64>, A: TimestampAssigner<i64>>(
    strategy: WatermarkStrategy<i64, G, A>,
) -> Harness<i64, i64> {
    let strategy = Arc::new(strategy);
    harness(move |context, operator, output| {
        Ok(Box::new(TimestampsWatermarks::open(context, operator, (*strategy).clone(), output)?))
    })
    .stateless()
}

#[test]
fn watermarks_follow_the_latest_record_by_the_bound_and_come_with_the_interval() {
    assigning(WatermarkStrategy::for_bounded_out_of_orderness(ms(3)).with_timestamp_assigner(own_time))
        .input([
            processing_time(1),
            rec(10).at(99),
            rec(20),
            rec(15),
            processing_time(150),
            rec(17),
            processing_time(201),
            rec(30),
            processing_time(401),
            processing_time(601),
            end(),
        ])
        .expect([
            rec(10).at(10),
            rec(20).at(20),
            rec(15).at(15),
            rec(17).at(17),
            watermark(16),
            rec(30).at(30),
            watermark(26),
        ])
        .except(Mode::Checkpoints) // there is a watermark before each barrier
        .except(Mode::DuringCheckpoints)
        .except(Mode::RestoreAfterEach)
        .in_all_modes();
}

#[test]
fn watermarks_do_not_go_back_also_not_after_a_restore() {
    assigning(WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(own_time))
        .option("pipeline.auto-watermark-interval", "1 ms")
        .input([rec(20), processing_time(1), rec(10), processing_time(2), rec(30), processing_time(3), end()])
        .expect([rec(20).at(20), watermark(19), rec(10).at(10), rec(30).at(30), watermark(29)])
        .in_all_modes();
}

#[test]
fn times_of_the_source_are_kept_and_watermarks_of_the_input_are_not() {
    assigning(WatermarkStrategy::no_watermarks())
        .input([rec(1).at(5), watermark(4), idle(), active(), rec(2), end()])
        .expect([rec(1).at(5), rec(2)])
        .in_all_modes();
}

#[test]
fn the_slowest_split_holds_the_watermark_back_until_it_is_finished() {
    assigning(WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(own_time))
        .input([
            split(1),
            rec(100),
            split(2),
            rec(10),
            processing_time(200),
            split(1),
            rec(200),
            processing_time(400),
            split(2),
            rec(20),
            processing_time(600),
            split_finished(2),
            processing_time(800),
            end(),
        ])
        .expect([
            rec(100).at(100),
            rec(10).at(10),
            watermark(9),
            rec(200).at(200),
            rec(20).at(20),
            watermark(19),
            watermark(199),
        ])
        .except(Mode::Checkpoints) // there is a watermark before each barrier
        .except(Mode::DuringCheckpoints)
        .except(Mode::RestoreAfterEach) // and splits are told again
        .in_all_modes();
}

#[test]
fn an_idle_split_holds_nobody_back_and_when_all_are_idle_so_is_the_stream() {
    assigning(WatermarkStrategy::for_monotonous_timestamps().with_timestamp_assigner(own_time).with_idleness(ms(500)))
        .input([
            split(1),
            rec(100),
            split(2),
            rec(10),
            processing_time(300),
            split(1),
            rec(110),
            processing_time(500),
            processing_time(900),
            split(2),
            rec(120),
            processing_time(1100),
            end(),
        ])
        .expect([
            rec(100).at(100),
            rec(10).at(10),
            watermark(9),
            rec(110).at(110),
            watermark(109),
            idle(),
            active(),
            rec(120).at(120),
            watermark(119),
        ])
        .except(Mode::Checkpoints) // there is a watermark before each barrier
        .except(Mode::DuringCheckpoints)
        .except(Mode::RestoreAfterEach) // and splits are told again
        .in_all_modes();
}

/// A watermark with each record that is a multiple of ten.
#[derive(Clone)]
struct Punctuated;

impl WatermarkGenerator<i64> for Punctuated {
    fn on_event(&mut self, record: &i64, timestamp: EventTime, output: &mut WatermarkOutput) {
        if record % 10 == 0 {
            output.emit_watermark(timestamp);
        }
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}

#[test]
fn a_generator_of_ones_own_may_give_watermarks_with_records() {
    assigning(WatermarkStrategy::for_generator(Punctuated).with_timestamp_assigner(own_time))
        .input([rec(7), rec(10), processing_time(1), rec(12), rec(20), end()])
        .expect([rec(7).at(7), rec(10).at(10), watermark(10), rec(12).at(12), rec(20).at(20), watermark(20)])
        .in_all_modes();
}
