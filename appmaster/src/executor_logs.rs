//! Questions to TaskExecutors about their log files, and the answers, which bypass the main loop: nothing depends on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_model::ids::ExecutorId;
use flumen_wire::control::ExecutorCommand;
use flumen_wire::logs::{LogAnswer, LogWish};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::executors::ExecutorHandle;

/// Questions that may be open at once: what is answered is held in memory.
const OPEN_MAX: usize = 32;

/// A TaskExecutor answers within milliseconds unless its disk or its node is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It is not there.
    #[error("the TaskExecutor is not connected")]
    NotConnected,
    /// Others ask, too.
    #[error("too many log files are being read; try again")]
    Busy,
    /// It did not answer in time.
    #[error("the TaskExecutor did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
}

/// Asks TaskExecutors; cheap to clone.
#[derive(Debug, Clone)]
pub struct ExecutorLogs {
    executors: ExecutorHandle,
    open: OpenQuestions,
}

/// The questions that are not answered yet.
#[derive(Debug, Clone, Default)]
pub struct OpenQuestions(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    /// The last number. The first one is random: an answer to the JobManager before this one must not be taken for one to
    /// this.
    asked: u64,
    by_number: BTreeMap<u64, (ExecutorId, oneshot::Sender<LogAnswer>)>,
}

impl Default for Open {
    fn default() -> Self {
        Self { asked: u64::from(uuid::Uuid::new_v4().as_fields().0) << 16, by_number: BTreeMap::new() }
    }
}

impl ExecutorLogs {
    /// Asks through `executors`; the answers come to `open`.
    pub fn new(executors: ExecutorHandle, open: OpenQuestions) -> Self {
        Self { executors, open }
    }

    /// Asks a TaskExecutor and waits for its answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask(&self, id: &ExecutorId, wish: LogWish) -> Result<LogAnswer, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        let question = self.open.enter(id, sender)?;
        let request = question.number;
        if !self.executors.is_connected(id) {
            return Err(NoAnswer::NotConnected);
        }
        self.executors.send(id, ExecutorCommand::ReadLogs { request, wish });
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::NotConnected),
            Err(_) => Err(NoAnswer::Late),
        }
    }
}

impl OpenQuestions {
    /// An answer has come. One that nobody waits for any more, or of somebody who was not asked, is dropped.
    pub fn answered(&self, id: &ExecutorId, request: u64, answer: LogAnswer) {
        let mut open = self.lock();
        if open.by_number.get(&request).is_some_and(|(asked, _)| asked == id)
            && let Some((_, waiting)) = open.by_number.remove(&request)
        {
            let _ = waiting.send(answer);
        }
    }

    /// A TaskExecutor is gone, and answers nothing any more.
    pub fn lost(&self, id: &ExecutorId) {
        self.lock().by_number.retain(|_, (asked, _)| asked != id);
    }

    fn enter(&self, id: &ExecutorId, waiting: oneshot::Sender<LogAnswer>) -> Result<Question<'_>, NoAnswer> {
        let mut open = self.lock();
        if open.by_number.len() >= OPEN_MAX {
            return Err(NoAnswer::Busy);
        }
        open.asked += 1;
        let number = open.asked;
        open.by_number.insert(number, (id.clone(), waiting));
        Ok(Question { open: self, number })
    }

    /// Held for a look-up only, never over an await.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgotten when it is dropped: whoever asked may have gone.
struct Question<'a> {
    open: &'a OpenQuestions,
    number: u64,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.open.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
impl ExecutorLogs {
    /// A single TaskExecutor that answers with this function.
    pub(crate) fn played(id: &str, answer: impl Fn(LogWish) -> LogAnswer + Send + 'static) -> Self {
        let id = ExecutorId(id.into());
        let open = OpenQuestions::default();
        let (executors, mut commands) = ExecutorHandle::played(&id);
        let logs = Self::new(executors, open.clone());
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                if let ExecutorCommand::ReadLogs { request, wish } = command {
                    open.answered(&id, request, answer(wish));
                }
            }
        });
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ExecutorId {
        ExecutorId(name.into())
    }

    #[tokio::test]
    async fn an_answer_reaches_the_one_who_asked() {
        let logs = ExecutorLogs::played("c1", |wish| match wish {
            LogWish::List => LogAnswer::Files(vec![]),
            LogWish::Piece { offset, .. } => LogAnswer::Piece { size: 100, data: vec![offset as u8] },
        });
        let piece = |offset| LogWish::Piece { name: "a".into(), offset, length: 1 };
        let (one, other, executor) = (piece(1), piece(2), id("c1"));
        let (one, other) = tokio::join!(logs.ask(&executor, one), logs.ask(&executor, other));
        assert_eq!(one, Ok(LogAnswer::Piece { size: 100, data: vec![1] }));
        assert_eq!(other, Ok(LogAnswer::Piece { size: 100, data: vec![2] }));
        assert_eq!(logs.ask(&id("c2"), LogWish::List).await, Err(NoAnswer::NotConnected));
        assert!(logs.open.lock().by_number.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for_and_questions_are_bounded() {
        let (executors, mut commands) = ExecutorHandle::played(&id("c1"));
        let logs = ExecutorLogs::new(executors, OpenQuestions::default());
        let asking: Vec<_> = (0..OPEN_MAX)
            .map(|_| {
                let logs = logs.clone();
                tokio::spawn(async move { logs.ask(&id("c1"), LogWish::List).await })
            })
            .collect();
        for _ in 0..OPEN_MAX {
            commands.recv().await.unwrap();
        }
        assert_eq!(logs.ask(&id("c1"), LogWish::List).await, Err(NoAnswer::Busy));
        // An answer of another one than was asked counts for nothing.
        let number = *logs.open.lock().by_number.keys().next().unwrap();
        logs.open.answered(&id("c2"), number, LogAnswer::NoSuchFile);
        assert_eq!(logs.open.lock().by_number.len(), OPEN_MAX);
        logs.open.lost(&id("c1"));
        for asking in asking {
            assert_eq!(asking.await.unwrap(), Err(NoAnswer::NotConnected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_after_the_limit() {
        let (executors, _commands) = ExecutorHandle::played(&id("c1"));
        let logs = ExecutorLogs::new(executors, OpenQuestions::default());
        assert_eq!(logs.ask(&id("c1"), LogWish::List).await, Err(NoAnswer::Late));
        assert!(logs.open.lock().by_number.is_empty());
    }
}
