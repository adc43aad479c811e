//! A checkpoint with a file that is missing, torn or altered is named, and the one before it is used.

use std::io::Result;
use std::path::{Path, PathBuf};

use crate::directory::{completed, files, load};
use crate::log::lines_with;
use crate::sums::{expected, once, sums};

/// All state is in files.
const IN_FILES: (&str, &str) = ("execution.checkpointing.data-inline-threshold", "0");
const RESTART: [(&str, &str); 3] = [
    ("restart-strategy.type", "fixed-delay"),
    ("restart-strategy.fixed-delay.delay", "10 ms"),
    ("restart-strategy.fixed-delay.attempts", "10"),
];

type Damage = fn(&Path) -> Result<()>;

fn truncate(file: &Path) -> Result<()> {
    let length = std::fs::metadata(file)?.len();
    std::fs::OpenOptions::new().write(true).open(file)?.set_len(length - 1)
}

fn alter(file: &Path) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    for byte in &mut bytes {
        *byte ^= 0x10;
    }
    std::fs::write(file, bytes)
}

/// Damages a file of each of these checkpoints, as far as they are still there; gives the number of files.
fn damage(checkpoints: &[PathBuf], damage: Damage) -> usize {
    let one_of = |checkpoint: &PathBuf| damage(&files(&load(checkpoint)?).pop()?).ok();
    checkpoints.iter().filter_map(one_of).count()
}

/// What the log says of a checkpoint in that directory that could not be used.
fn named(directory: &Path) -> bool {
    lines_with(directory.to_str().unwrap()).iter().any(|line| line.contains("is used: "))
}

/// How often a test may be unlucky: another checkpoint completes between the damage and the failure, and is used.
const TRIES: usize = 20;

#[test]
fn a_checkpoint_with_a_bad_file_is_named_and_the_one_before_it_is_used() {
    for bad in [|file: &Path| std::fs::remove_file(file), truncate as Damage, alter] {
        let used_another = || {
            let directory = tempfile::tempdir().unwrap();
            let watched = directory.path().to_owned();
            let retained = ("execution.checkpointing.num-retained", "4");
            let fails = once(move || {
                let found = completed(&watched);
                found.len() > 3 && damage(&found[1..], bad) > 0
            });
            let (result, seen) =
                sums(directory.path(), &[RESTART[0], RESTART[1], RESTART[2], IN_FILES, retained], fails);
            result.unwrap();
            assert_eq!(seen.sums, expected());
            assert_eq!(seen.first_read, 1, "it did not begin again");
            named(directory.path())
        };
        assert!((0..TRIES).any(|_| used_another()), "{:?}", lines_with("is used"));
    }
}

#[test]
fn without_another_checkpoint_the_job_fails_and_names_the_file() {
    let failed = || {
        let directory = tempfile::tempdir().unwrap();
        let watched = directory.path().to_owned();
        let fails = once(move || damage(&completed(&watched), truncate) > 0);
        let (result, seen) = sums(directory.path(), &[RESTART[0], RESTART[1], RESTART[2], IN_FILES], fails);
        let Err(failure) = result else {
            assert_eq!(seen.sums, expected());
            return false;
        };
        let failure = format!("{failure:?}");
        assert!(failure.contains(directory.path().to_str().unwrap()), "{failure}");
        assert!(failure.contains("num-retained"), "{failure}");
        true
    };
    assert!((0..TRIES).any(|_| failed()));
}
