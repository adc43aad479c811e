use flumen_model::checkpoint::SnapshotKind;

use super::*;
use crate::checkpoint::decode_records;
use crate::exchange::gate::ChannelOrigin;

/// A barrier of a checkpoint that was triggered just now.
fn barrier(checkpoint: u64, alignment: Alignment) -> Arc<Barrier> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Arc::new(Barrier {
        checkpoint: CheckpointId(checkpoint),
        kind: SnapshotKind::Checkpoint,
        alignment,
        triggered_ms: now.as_millis() as u64,
        directory: String::new(),
        shared_directory: String::new(),
    })
}

struct Test {
    gate: Arc<Gate<u32>>,
    input: Input<u32>,
}

impl Test {
    fn new(channels: u32) -> Self {
        let origins: Vec<_> = (0..channels).map(|source| ChannelOrigin { edge: 3, source }).collect();
        let gate = Arc::new(Gate::new(&origins, 4, Arc::default()));
        Self { input: Input::new(Arc::clone(&gate), Arc::default()), gate }
    }

    fn records(&self, channel: u32, records: &[u32]) {
        self.gate.put(channel, Item::Batch(records.to_vec().into()));
    }

    fn control(&self, channel: u32, control: Control) {
        self.gate.put(channel, Item::Control(control));
    }

    fn barrier(&self, channel: u32, checkpoint: u64, alignment: Alignment) {
        self.control(channel, Control::Barrier(barrier(checkpoint, alignment)));
    }

    /// Everything that can be taken now, as text.
    fn taken(&mut self) -> String {
        let mut text = Vec::new();
        let mut batch = Batch::new();
        while let Some(taken) = self.input.next(&mut batch).unwrap() {
            text.push(match taken {
                Taken::Records => {
                    let records: Vec<u32> = batch.drain().map(|(record, _)| record).collect();
                    format!("{records:?}")
                }
                Taken::Watermark(time) => format!("watermark {time}"),
                Taken::Idle(idle) => format!("idle {idle}"),
                Taken::Barrier(barrier, times) => {
                    format!("barrier {}{}", barrier.checkpoint, if times.unaligned { " overtakes" } else { "" })
                }
                Taken::Overrun(checkpoint) => format!("overrun {checkpoint}"),
                Taken::EndOfData => "end".to_owned(),
                Taken::Closed => "closed".to_owned(),
            });
        }
        text.join(", ")
    }

    /// The overtaken records of the last barrier, by sender.
    fn overtaken(&mut self) -> Option<Vec<(u32, u32)>> {
        let (_, overtaken) = self.input.take_overtaken()?;
        let mut records = Vec::new();
        for run in overtaken.runs {
            assert_eq!((run.origin.edge, run.target), (3, None));
            decode_records::<u32>(&run.bytes, run.timed, |record, _| {
                records.push((run.origin.source, record));
                Ok(())
            })
            .unwrap();
        }
        Some(records)
    }
}

#[test]
fn a_channel_that_has_delivered_its_barrier_waits_for_the_others() {
    let mut test = Test::new(2);
    test.records(0, &[1]);
    test.barrier(0, 1, Alignment::Aligned);
    test.records(0, &[2]);
    test.records(1, &[3]);
    assert_eq!(test.taken(), "[1], [3]");
    test.control(0, Control::Watermark(7));
    test.barrier(1, 1, Alignment::Aligned);
    test.records(1, &[4]);
    test.control(1, Control::Watermark(5));
    assert_eq!(test.taken(), "barrier 1, [2], [4], watermark 5");
}

#[test]
fn without_blocking_the_others_records_go_on() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::Unblocked);
    test.records(0, &[2]);
    assert_eq!(test.taken(), "[2]");
    test.barrier(1, 1, Alignment::Unblocked);
    assert_eq!(test.taken(), "barrier 1");
}

#[test]
fn barriers_of_several_checkpoints_come_one_after_the_other() {
    let mut test = Test::new(2);
    for checkpoint in [1, 2] {
        test.barrier(0, checkpoint, Alignment::Aligned);
        test.records(0, &[checkpoint as u32]);
    }
    assert_eq!(test.taken(), "");
    test.barrier(1, 1, Alignment::Aligned);
    assert_eq!(test.taken(), "barrier 1, [1]");
    test.barrier(1, 2, Alignment::Aligned);
    assert_eq!(test.taken(), "barrier 2, [2]");
}

#[test]
fn a_newer_barrier_ends_the_wait_for_an_older_one() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::Aligned);
    test.records(0, &[1]);
    test.barrier(1, 2, Alignment::Aligned);
    test.records(1, &[2]);
    assert_eq!(test.taken(), "overrun 1, [1]");
    test.barrier(0, 2, Alignment::Aligned);
    assert_eq!(test.taken(), "barrier 2, [2]");
}

#[test]
fn an_aborted_checkpoint_releases_what_it_held_and_its_late_barriers_mean_nothing() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::Aligned);
    test.records(0, &[1]);
    assert_eq!(test.taken(), "");
    test.input.abort(CheckpointId(1));
    assert_eq!(test.taken(), "[1]");
    test.barrier(1, 1, Alignment::Aligned);
    test.records(1, &[2]);
    assert_eq!(test.taken(), "[2]");
}

#[test]
fn a_late_barrier_of_an_older_checkpoint_is_not_taken_for_one_of_the_newer() {
    let mut test = Test::new(2);
    // Its sender had heard that 1 was given up before that one's barrier came to it.
    test.barrier(1, 2, Alignment::Aligned);
    test.barrier(0, 1, Alignment::Aligned);
    test.records(0, &[1]);
    assert_eq!(test.taken(), "[1]");
    test.barrier(0, 2, Alignment::Aligned);
    test.records(0, &[2]);
    assert_eq!(test.taken(), "barrier 2, [2]");
}

#[test]
fn a_late_barrier_of_an_older_checkpoint_overtakes_nothing() {
    let mut test = Test::new(2);
    let patient = Alignment::AlignedUntil(3_600_000);
    test.barrier(1, 2, patient);
    assert_eq!(test.taken(), "");
    test.records(0, &[1]);
    test.barrier(0, 1, Alignment::Unaligned);
    test.records(0, &[2]);
    assert_eq!(test.taken(), "[1], [2]");
    test.input.abort(CheckpointId(1));
    test.barrier(0, 2, patient);
    assert_eq!(test.taken(), "barrier 2");
}

#[test]
fn a_checkpoint_goes_on_when_a_newer_one_is_given_up() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::Aligned);
    test.records(0, &[1]);
    test.barrier(0, 2, Alignment::Aligned);
    test.records(0, &[2]);
    assert_eq!(test.taken(), "");
    test.input.abort(CheckpointId(2));
    assert_eq!(test.taken(), "", "1 is still waited for");
    test.barrier(1, 1, Alignment::Aligned);
    test.barrier(1, 2, Alignment::Aligned);
    test.records(1, &[3]);
    assert_eq!(test.taken(), "barrier 1, [1], [2], [3]");
    // However many are given up, and although nothing else comes of them.
    (3..1000).for_each(|checkpoint| test.input.abort(CheckpointId(checkpoint)));
    assert!(test.input.aborted.len() <= ABORTED_MAX);
    test.barrier(0, 500, Alignment::Aligned);
    test.records(0, &[4]);
    assert_eq!(test.taken(), "[4]");
}

#[test]
fn a_closed_channel_counts_as_one_that_has_delivered() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::Aligned);
    test.control(1, Control::EndOfData);
    assert_eq!(test.taken(), "");
    test.control(1, Control::Close);
    assert_eq!(test.taken(), "barrier 1");
    test.control(0, Control::EndOfData);
    assert_eq!(test.taken(), "end");
    test.barrier(0, 2, Alignment::Aligned);
    test.control(0, Control::Close);
    assert_eq!(test.taken(), "barrier 2, closed");
}

#[test]
fn an_overtaking_barrier_takes_copies_of_what_it_overtakes() {
    let mut test = Test::new(2);
    test.records(0, &[1]);
    test.records(1, &[2]);
    test.barrier(0, 1, Alignment::Unaligned);
    test.records(0, &[3]);
    let mut batch = Batch::new();
    assert!(matches!(test.input.next(&mut batch), Ok(Some(Taken::Barrier(_, BarrierTimes { unaligned: true, .. })))));
    assert_eq!(test.overtaken(), None, "the other channel's barrier is still to come");
    test.records(1, &[4]);
    assert_eq!(test.taken(), "[1], [2], [3], [4]");
    test.barrier(1, 1, Alignment::Unaligned);
    test.records(1, &[5]);
    assert_eq!(test.taken(), "[5]");
    assert_eq!(test.overtaken(), Some(vec![(0, 1), (1, 2), (1, 4)]));
    assert_eq!(test.overtaken(), None);
}

#[test]
fn a_barrier_that_has_waited_too_long_overtakes() {
    let mut test = Test::new(2);
    test.barrier(0, 1, Alignment::AlignedUntil(0));
    test.records(0, &[1]);
    test.records(1, &[2]);
    assert_eq!(test.taken(), "barrier 1 overtakes, [1], [2]");
    test.barrier(1, 1, Alignment::AlignedUntil(0));
    assert_eq!(test.taken(), "");
    assert_eq!(test.overtaken(), Some(vec![(1, 2)]));
}

#[test]
fn a_barrier_that_has_waited_too_long_elsewhere_overtakes_at_once() {
    let mut test = Test::new(2);
    let old = Barrier { triggered_ms: 0, ..(*barrier(1, Alignment::AlignedUntil(3_600_000))).clone() };
    test.records(0, &[1]);
    test.control(0, Control::Barrier(Arc::new(old)));
    test.records(1, &[2]);
    assert_eq!(test.taken(), "barrier 1 overtakes, [1], [2]");
}

#[test]
fn nothing_slips_between_a_look_at_what_waits_and_the_taking_of_it() {
    for _ in 0..300 {
        let mut test = Test::new(2);
        test.barrier(0, 1, Alignment::Unaligned);
        let gate = Arc::clone(&test.gate);
        let sender = std::thread::spawn(move || {
            for record in 0..50 {
                gate.put(1, Item::Batch(vec![record].into()));
                std::hint::spin_loop();
            }
            gate.put(1, Item::Control(Control::Barrier(barrier(1, Alignment::Unaligned))));
        });
        let overtaken = loop {
            test.taken();
            if let Some(overtaken) = test.overtaken() {
                break overtaken;
            }
        };
        sender.join().unwrap();
        assert_eq!(overtaken, (0..50).map(|record| (1, record)).collect::<Vec<_>>());
    }
}

#[test]
fn a_barrier_that_waits_behind_records_overtakes_them_when_its_time_is_over() {
    let mut test = Test::new(2);
    test.records(0, &[1]);
    test.barrier(0, 1, Alignment::AlignedUntil(0));
    assert_eq!(test.taken(), "barrier 1 overtakes, [1]");
    test.barrier(1, 1, Alignment::AlignedUntil(0));
    assert_eq!(test.overtaken(), None);
    assert_eq!(test.taken(), "");
    assert_eq!(test.overtaken(), Some(vec![(0, 1)]));

    let patient = Alignment::AlignedUntil(3_600_000);
    test.records(0, &[2]);
    test.barrier(0, 2, patient);
    test.control(0, Control::EndOfData);
    test.records(1, &[3]);
    assert_eq!(test.taken(), "[2], [3]", "nothing is held before a barrier was taken");
    assert!(test.input.deadline().is_some());
    test.barrier(1, 2, patient);
    assert_eq!(test.taken(), "barrier 2");
}

#[test]
fn the_end_is_told_before_a_barrier_that_comes_behind_it() {
    let mut test = Test::new(2);
    (0..2).for_each(|channel| test.control(channel, Control::EndOfData));
    (0..2).for_each(|channel| test.barrier(channel, 1, Alignment::AlignedUntil(3_600_000)));
    assert_eq!(test.taken(), "end, barrier 1");
}

#[test]
fn a_triggered_barrier_overtakes_what_finished_senders_have_left() {
    let mut test = Test::new(2);
    for channel in 0..2 {
        test.records(channel, &[channel]);
        test.control(channel, Control::EndOfData);
        test.control(channel, Control::Close);
    }
    assert_eq!(test.input.trigger((*barrier(1, Alignment::Unaligned)).clone()), None);
    assert_eq!(test.taken(), "barrier 1 overtakes, [0], [1]");
    assert_eq!(test.overtaken(), Some(vec![(0, 0), (1, 1)]));
    assert_eq!(test.taken(), "end, closed");
}

#[test]
fn the_watermark_is_the_least_of_the_channels_that_are_not_idle() {
    let mut test = Test::new(3);
    test.control(0, Control::Watermark(10));
    test.control(1, Control::Watermark(20));
    assert_eq!(test.taken(), "");
    test.control(2, Control::Idle(true));
    assert_eq!(test.taken(), "watermark 10");
    test.control(0, Control::EndOfData);
    assert_eq!(test.taken(), "watermark 20");
    test.control(1, Control::Idle(true));
    assert_eq!(test.taken(), "idle true");
    test.control(2, Control::Watermark(15));
    assert_eq!(test.taken(), "idle false");
    test.control(2, Control::Watermark(30));
    assert_eq!(test.taken(), "watermark 30");
}
