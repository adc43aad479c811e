//! Checkpoints whose barriers overtake records: they complete while all channels are full, and what they overtook comes
//! again, once and in its order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::directory::{completed, newest, number};
use crate::slow::{Control, MANY, newest_overtaking, overtaken, run};

const UNALIGNED: (&str, &str) = ("execution.checkpointing.unaligned.enabled", "true");
const AFTER_A_TIME: (&str, &str) = ("execution.checkpointing.aligned-checkpoint-timeout", "100 ms");

/// Fails once a checkpoint has overtaken records, and is slow until that has happened once more.
fn fails_once(directory: &Path) -> impl Fn(&Control) -> Result<(), &'static str> + Send + Sync + 'static {
    let (directory, failed_behind) = (directory.to_owned(), AtomicU64::new(0));
    move |control| {
        let Some(found) = newest_overtaking(&directory) else { return Ok(()) };
        let found = number(&found);
        match failed_behind.load(Ordering::Relaxed) {
            0 if failed_behind.swap(found, Ordering::Relaxed) == 0 => return Err("as the test wants it"),
            before if found > before => control.slow.store(false, Ordering::Relaxed),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn an_aligned_checkpoint_does_not_complete_while_channels_are_full() {
    let directory = tempfile::tempdir().unwrap();
    let (watched, before) = (directory.path().to_owned(), AtomicU64::new(0));
    let control = Control::new((MANY, true), move |control| {
        match control.worked.load(Ordering::Relaxed) {
            // Channels fill at the beginning.
            0..1_500 => before.store(newest(&watched), Ordering::Relaxed),
            1_500..4_000 if newest(&watched) > before.load(Ordering::Relaxed) => {
                control.wrong.lock().unwrap().push("a checkpoint is complete".to_owned());
            }
            1_500..4_000 => {}
            _ => control.slow.store(false, Ordering::Relaxed),
        }
        Ok(())
    });
    run(directory.path(), 2, &[], &control).unwrap();
    control.check();
}

#[test]
fn barriers_overtake_full_channels_and_what_they_overtook_comes_again_in_order() {
    for after_a_time in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::new((MANY, true), fails_once(directory.path()));
        let mut options = vec![UNALIGNED];
        options.extend(after_a_time.then_some(AFTER_A_TIME));
        run(directory.path(), 2, &options, &control).unwrap();
        assert!(!control.slow.load(Ordering::Relaxed), "no checkpoint has overtaken anything: after {after_a_time}");
        control.check();
    }
}

#[test]
fn sources_that_have_finished_have_nothing_on_its_way_any_more() {
    for after_a_time in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (watched, ended_before) = (directory.path().to_owned(), AtomicU64::new(0));
        // So many that the sources end with full channels, and finish while most of it is still on its way.
        let control = Control::new((10_000, true), move |control| {
            let newest = newest(&watched);
            match ended_before.load(Ordering::Relaxed) {
                0 if control.made.load(Ordering::Relaxed) < control.events => {}
                0 => ended_before.store(newest.max(1), Ordering::Relaxed),
                u64::MAX => control.slow.store(false, Ordering::Relaxed),
                before if newest > before + 5 => {
                    ended_before.store(u64::MAX, Ordering::Relaxed);
                    return Err("as the test wants it");
                }
                _ => {}
            }
            Ok(())
        });
        let mut options = vec![UNALIGNED];
        options.extend(after_a_time.then_some(AFTER_A_TIME));
        run(directory.path(), 2, &options, &control).unwrap();
        assert!(!control.slow.load(Ordering::Relaxed), "it did not fail: after {after_a_time}");
        control.check();
    }
}

#[test]
fn records_that_were_overtaken_are_sent_to_the_receivers_that_there_are_now() {
    for (had, has) in [(2, 3), (3, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let (watched, failed) = (directory.path().to_owned(), AtomicBool::new(false));
        let control = Control::new((MANY, true), move |_| {
            let fails = newest_overtaking(&watched).is_some() && !failed.swap(true, Ordering::Relaxed);
            if fails { Err("as the test wants it") } else { Ok(()) }
        });
        let retained = [
            UNALIGNED,
            ("restart-strategy.type", "none"),
            ("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION"),
        ];
        let failure = run(directory.path(), had, &retained, &control).unwrap_err();
        assert!(failure.to_string().contains("as the test wants it"), "{failure}");
        assert!(control.wrong.lock().unwrap().is_empty());
        let left = completed(directory.path()).pop().unwrap();
        assert!(!overtaken(&left).is_empty());

        let other = tempfile::tempdir().unwrap();
        // What one subtask had sent is sent again by another one perhaps, beside newer events of the same key.
        let control = Control::new((MANY, false), |control| {
            control.slow.store(false, Ordering::Relaxed);
            Ok(())
        });
        let from = [UNALIGNED, ("execution.state-recovery.path", left.to_str().unwrap())];
        run(other.path(), has, &from, &control).unwrap();
        control.check();
    }
}
