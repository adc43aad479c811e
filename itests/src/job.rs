//! The job for tests (`itest-job`): a gate for its source, and what it must find.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::workload::Counts;

/// How many names the job has.
const NAMES: u64 = 1000;

/// The name under which `itest-job` counts a number.
#[must_use]
pub fn name_of(number: u64) -> String {
    format!("n{}", number % NAMES)
}

/// What `itest-job` finds in the numbers below `count`.
#[must_use]
pub fn expected_counts(count: u64) -> Counts {
    let of = |name: u64| count / NAMES + u64::from(name < count % NAMES);
    (0..NAMES.min(count)).map(|name| (name_of(name), of(name))).collect()
}

/// A file that a running job waits for. All containers are on this machine, so a local file does.
#[derive(Debug)]
pub struct Gate {
    dir: TempDir,
}

impl Gate {
    /// A closed gate: the job is slow, and lasts for minutes.
    ///
    /// # Errors
    /// When there is no place for a temporary file.
    pub fn closed() -> Result<Gate> {
        Ok(Gate { dir: tempfile::Builder::new().prefix("flumen-gate-").tempdir()? })
    }

    /// The value for `--gate`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("open")
    }

    /// A path for `--once`: a file that does not exist yet.
    #[must_use]
    pub fn once(&self) -> PathBuf {
        self.dir.path().join("once")
    }

    /// From now on the job is as fast as it can be.
    ///
    /// # Errors
    /// When the file can't be created.
    pub fn open(&self) -> Result<()> {
        File::create(self.path())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_counts_are_those_of_all_numbers() {
        for count in [0, 1, 999, 1000, 1001, 4321] {
            let mut counts = Counts::new();
            for number in 0..count {
                *counts.entry(name_of(number)).or_default() += 1;
            }
            assert_eq!(expected_counts(count), counts, "{count}");
        }
    }
}
