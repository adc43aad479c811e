//! What a program can do about its job while that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen::{Configuration, Error, JobClient, StreamExecutionEnvironment};

/// Counts without end. Notes the least and the greatest number that it emits.
fn count(options: &[(&str, &str)]) -> (JobClient, Arc<[AtomicU64; 2]>) {
    crate::log::capture();
    let mut configuration = Configuration::new();
    options.iter().for_each(|(key, value)| configuration.set(*key, *value));
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    let seen = Arc::new([AtomicU64::new(u64::MAX), AtomicU64::new(0)]);
    let sees = Arc::clone(&seen);
    env.generate(u64::MAX, Some(10_000.0), |i| i).uid("numbers").map(move |i| {
        sees[0].fetch_min(i, Ordering::Relaxed);
        sees[1].fetch_max(i, Ordering::Relaxed);
    });
    (env.execute_async("count").unwrap(), seen)
}

#[test]
fn a_job_goes_on_after_a_savepoint_and_ends_with_another_from_which_it_starts_again() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().to_str().unwrap();
    let (job, seen) = count(&[("state.savepoints.dir", target), ("parallelism.default", "1")]);
    let first = job.trigger_savepoint(None).unwrap();
    let at_first = seen[1].load(Ordering::Relaxed);
    assert!(!job.is_over());
    let elsewhere = format!("{target}/elsewhere");
    let last = job.stop_with_savepoint(false, Some(&elsewhere)).unwrap();
    job.wait().unwrap();
    assert_ne!(first, last);
    assert!(last.contains("/elsewhere/savepoint-"), "{last}");
    let end = seen[1].load(Ordering::Relaxed);
    assert!(end >= at_first && end > 0);

    let (job, seen) = count(&[("execution.state-recovery.path", &last), ("parallelism.default", "1")]);
    let refused = job.trigger_savepoint(None).unwrap_err();
    assert!(
        refused.to_string().contains("state.savepoints.dir") || refused.to_string().contains("savepoint-dir"),
        "{refused}"
    );
    job.stop_with_savepoint(true, Some(target)).unwrap_err();
    job.stop_with_savepoint(false, Some(target)).unwrap();
    job.wait().unwrap();
    assert_eq!(seen[0].load(Ordering::Relaxed), end + 1, "it goes on behind the last number");
}

#[test]
fn a_job_that_is_cancelled_says_so_and_answers_nothing_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (job, _) = count(&[]);
    job.trigger_savepoint(directory.path().to_str()).unwrap();
    job.cancel();
    let late = job.trigger_savepoint(directory.path().to_str()).unwrap_err();
    assert!(matches!(&late, Error::NotTaken { .. }) && late.to_string().contains("the job is over"), "{late}");
    assert!(matches!(job.wait(), Err(Error::JobCanceled { .. })));
}
