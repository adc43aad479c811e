//! What the keyed subtasks of the stateful job note: when they had their first record, and when they were long without one.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::wait;

/// The folder that they write to.
#[derive(Debug, Clone)]
pub struct Notes(PathBuf);

impl Notes {
    /// That folder.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Notes {
        Notes(folder.into())
    }

    /// Time in milliseconds since 1970, and the gap that ended then, in milliseconds: 0 with a subtask's first record.
    fn all(&self) -> Vec<(u64, u64)> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let lines = |text: String| {
            let pairs = text.lines().filter_map(|line| line.split_once(' '));
            pairs.filter_map(|(time, gap)| Some((time.parse().ok()?, gap.parse().ok()?))).collect::<Vec<_>>()
        };
        texts.flat_map(lines).collect()
    }

    /// When subtasks had their first records, of those that had them after `since`, in milliseconds since 1970.
    #[must_use]
    pub fn first_records(&self, since: u64) -> Vec<u64> {
        self.all().into_iter().filter(|(time, gap)| *gap == 0 && *time > since).map(|(time, _)| time).collect()
    }

    /// The longest time without a record that has ended since then; zero when none was long.
    #[must_use]
    pub fn longest_gap(&self, since: SystemTime) -> Duration {
        let since = milliseconds(since);
        let gaps = self.all().into_iter().filter(|(time, _)| *time >= since).map(|(_, gap)| gap);
        Duration::from_millis(gaps.max().unwrap_or(0))
    }

    /// The longest one in the next stretch of that length, in which nothing happens.
    ///
    /// # Errors
    /// None that are expected.
    pub fn jitter(&self, stretch: Duration) -> Result<Duration> {
        let (start, since) = (Instant::now(), SystemTime::now());
        wait_out(start, stretch)?;
        Ok(self.longest_gap(since))
    }
}

/// Waits until that time has passed since `start`.
pub(super) fn wait_out(start: Instant, time: Duration) -> Result<()> {
    wait::until("a stretch of time is over", time * 2, || (start.elapsed() >= time).then_some(()))
}

/// In milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_all_subtasks_count_from_a_time_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1"), "1000 0\n1500 60\n2000 300\n").unwrap();
        // The second line is still being written.
        std::fs::write(folder.path().join("2"), "1900 0\n2100 ").unwrap();
        let notes = Notes::in_folder(folder.path());
        assert_eq!(notes.first_records(1000), [1900]);
        let since = |ms| notes.longest_gap(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!((since(0), since(2001)), (Duration::from_millis(300), Duration::ZERO));
    }
}
