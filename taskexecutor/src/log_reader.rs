//! Answers questions about this container's log files, on threads of their own: a slow disk holds nobody else up.

use flumen_log::LogDirectory;
use flumen_wire::control::ExecutorReport;
use flumen_wire::logs::{LogAnswer, LogFileInfo, LogWish, PIECE_BYTES_MAX};
use tokio::task::JoinSet;

/// Questions that are worked on at once. The JobManager asks fewer; one more stays without an answer, which it takes for late.
const READING_MAX: usize = 64;

/// See the module.
pub struct LogReader {
    directory: LogDirectory,
    reading: JoinSet<ExecutorReport>,
}

impl LogReader {
    /// For the files of that directory.
    pub fn new(directory: LogDirectory) -> Self {
        Self { directory, reading: JoinSet::new() }
    }

    /// Begins to answer.
    pub fn ask(&mut self, request: u64, wish: LogWish) {
        if self.reading.len() >= READING_MAX {
            tracing::warn!(request, "too many questions about log files at once: one stays unanswered");
            return;
        }
        let directory = self.directory.clone();
        self.reading.spawn_blocking(move || ExecutorReport::Logs { request, answer: answer(&directory, wish) });
    }

    /// The next answer. Safe to cancel.
    pub async fn next(&mut self) -> ExecutorReport {
        loop {
            match self.reading.join_next().await {
                Some(Ok(report)) => return report,
                Some(Err(error)) => tracing::warn!(%error, "a log file could not be read"),
                None => std::future::pending().await,
            }
        }
    }
}

fn answer(directory: &LogDirectory, wish: LogWish) -> LogAnswer {
    match wish {
        LogWish::List => {
            let info = |file: flumen_log::LogFile| LogFileInfo {
                name: file.name,
                size: file.size,
                modified_ms: file.modified_ms,
            };
            LogAnswer::Files(directory.list().into_iter().map(info).collect())
        }
        LogWish::Piece { name, offset, length } => {
            match directory.piece(&name, offset, length.min(PIECE_BYTES_MAX) as usize) {
                Ok(Some((size, data))) => LogAnswer::Piece { size, data },
                Ok(None) => LogAnswer::NoSuchFile,
                Err(error) => LogAnswer::Unreadable(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(reader: &mut LogReader, wish: LogWish) -> LogAnswer {
        reader.ask(7, wish);
        match reader.next().await {
            ExecutorReport::Logs { request: 7, answer } => answer,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn files_are_listed_and_read_within_the_limit_and_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::fs::write(dir.path().join("logs/taskmanager.log"), vec![b'a'; 200_000]).unwrap();
        let mut reader = LogReader::new(LogDirectory::new(dir.path().join("logs")));
        let LogAnswer::Files(files) = asked(&mut reader, LogWish::List).await else { panic!("no list") };
        assert_eq!((files.len(), files[0].name.as_str(), files[0].size), (1, "taskmanager.log", 200_000));
        let piece = |name: &str, offset, length| LogWish::Piece { name: name.into(), offset, length };
        for (offset, length, expected) in
            [(0, 10, 10), (0, u32::MAX, 131_072), (131_072, u32::MAX, 68_928), (200_000, 1, 0)]
        {
            match asked(&mut reader, piece("taskmanager.log", offset, length)).await {
                LogAnswer::Piece { size: 200_000, data } => assert_eq!(data.len(), expected),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(asked(&mut reader, piece("../secret", 0, 9)).await, LogAnswer::NoSuchFile);
    }
}
