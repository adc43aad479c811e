//! A job goes on from its own checkpoint, or from that of another job.

use crate::directory::{completed, newest};
use crate::sums::{Next, expected, once, sums};

#[test]
fn a_job_that_fails_goes_on_from_its_newest_checkpoint_and_leaves_none_behind() {
    let directory = tempfile::tempdir().unwrap();
    let restart = [("restart-strategy.type", "fixed-delay"), ("restart-strategy.fixed-delay.delay", "10 ms")];
    let watched = directory.path().to_owned();
    let (result, seen) = sums(directory.path(), &restart, once(move || newest(&watched) > 2));
    result.unwrap();
    assert_eq!(seen.sums, expected());
    assert_eq!(seen.first_read, 1, "it did not begin again");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{:?}", completed(directory.path()));
}

#[test]
fn what_a_job_is_to_start_from_must_be_there_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("absent", None), ("torn", Some("FLUMENCP"))] {
        let path = directory.path().join(name);
        if let Some(content) = content {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("_metadata"), content).unwrap();
        }
        let from = [("execution.state-recovery.path", path.to_str().unwrap())];
        let (result, seen) = sums(directory.path(), &from, || Next::Wait);
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(seen.sums.is_empty());
    }
}
