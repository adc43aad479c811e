//! A checkpoint with a file that is missing, torn or altered is named, and the one before it is used.

use std::path::{Path, PathBuf};

use crate::directory::{completed, files, load};
use crate::log::lines_with;
use crate::sums::{expected, sums};

/// All state is in files.
const IN_FILES: (&str, &str) = ("execution.checkpointing.data-inline-threshold", "0");
const RESTART: [(&str, &str); 3] = [
    ("restart-strategy.type", "fixed-delay"),
    ("restart-strategy.fixed-delay.delay", "10 ms"),
    ("restart-strategy.fixed-delay.attempts", "10"),
];

type Damage = fn(&Path);

fn remove(file: &Path) {
    std::fs::remove_file(file).unwrap();
}

fn truncate(file: &Path) {
    let length = std::fs::metadata(file).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length - 1).unwrap();
}

fn alter(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x10;
    }
    std::fs::write(file, bytes).unwrap();
}

/// Damages a file of each of these checkpoints; gives the files.
fn damage(checkpoints: &[PathBuf], damage: Damage) -> Vec<PathBuf> {
    let one_of = |checkpoint: &PathBuf| {
        let file = files(&load(checkpoint)?).pop()?;
        damage(&file);
        Some(file)
    };
    checkpoints.iter().filter_map(one_of).collect()
}

#[test]
fn a_checkpoint_with_a_bad_file_is_named_and_the_one_before_it_is_used() {
    for bad in [remove as Damage, truncate, alter] {
        let directory = tempfile::tempdir().unwrap();
        let watched = directory.path().to_owned();
        let (result, seen) = sums(
            directory.path(),
            &[RESTART[0], RESTART[1], RESTART[2], IN_FILES, ("execution.checkpointing.num-retained", "4")],
            move || {
                let found = completed(&watched);
                // All but the oldest: one more may complete meanwhile, and none of them may be used.
                found.len() > 3 && !damage(&found[1..], bad).is_empty()
            },
        );
        result.unwrap();
        assert_eq!(seen.sums, expected());
        assert_eq!(seen.first_read, 1, "it did not begin again");
        let named = lines_with(directory.path().to_str().unwrap());
        let named: Vec<_> = named.iter().filter(|line| line.contains("is used: ")).collect();
        assert!(!named.is_empty(), "no file is named in {:?}", lines_with("is used"));
    }
}

#[test]
fn without_another_checkpoint_the_job_fails_and_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let watched = directory.path().to_owned();
    // Long enough that no checkpoint completes between the damage and the failure.
    let rare = ("execution.checkpointing.interval", "400 ms");
    let (result, _) = sums(directory.path(), &[RESTART[0], RESTART[1], RESTART[2], IN_FILES, rare], move || {
        !damage(&completed(&watched), truncate).is_empty()
    });
    let failure = format!("{:?}", result.unwrap_err());
    assert!(failure.contains(directory.path().to_str().unwrap()), "{failure}");
    assert!(failure.contains("num-retained"), "{failure}");
}
