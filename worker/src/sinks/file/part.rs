//! One part file while it is written: the subtask hands over chunks, a task of the runtime writes them.

use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FsError, FsPath};
use tokio::sync::{mpsc, watch};

use super::shared::{Outcome, Shared};
use crate::operator::{TaskError, TaskResult};
use crate::sources::file_failure;
use crate::subtask::SubtaskContext;

/// Messages that wait for a part's writer. What bounds the memory is the number of bytes under way; small chunks of many
/// buckets must not make a barrier wait.
const MESSAGES: usize = 64;

enum Message {
    Write(Bytes),
    Close,
}

/// The subtask's end of a part. Dropped before it is closed, it removes the file: no checkpoint knows of it.
pub(super) struct PartWriter {
    messages: mpsc::Sender<Message>,
    outcome: Outcome,
}

impl PartWriter {
    /// Begins to create the file.
    pub(super) fn start(
        context: &SubtaskContext,
        fs: &Arc<dyn FileSystem>,
        path: FsPath,
        shared: &Arc<Shared>,
    ) -> Self {
        let (messages, received) = mpsc::channel(MESSAGES);
        let (ended, outcome) = watch::channel(None);
        let (fs, shared) = (Arc::clone(fs), Arc::clone(shared));
        context.worker.runtime.spawn(async move {
            let result = write(&*fs, &path, received, &shared).await;
            let result = result.map_err(|error| file_failure(format!("writing `{path}`"), &error));
            if let Err(failure) = &result {
                shared.fail(failure.clone());
            }
            let _ = ended.send(Some(result));
        });
        Self { messages, outcome }
    }

    /// Hands a chunk over; waits until fewer bytes than `below` are under way in the whole sink.
    pub(super) fn write(&self, shared: &Shared, chunk: Vec<u8>, below: usize) -> TaskResult {
        shared.hand_over(chunk.len(), below)?;
        self.send(shared, Message::Write(chunk.into()))
    }

    /// Has the file completed; it is when the outcome says so.
    pub(super) fn close(self, shared: &Shared) -> TaskResult<Outcome> {
        self.send(shared, Message::Close)?;
        Ok(self.outcome)
    }

    fn send(&self, shared: &Shared, message: Message) -> TaskResult {
        let mut message = Some(message);
        shared.wait(|| match self.messages.try_send(message.take()?) {
            Ok(()) => Some(Ok(())),
            Err(mpsc::error::TrySendError::Full(back)) => {
                message = Some(back);
                None
            }
            // It ended before its time: because it failed, or the worker is going down.
            Err(mpsc::error::TrySendError::Closed(_)) => Some(shared.check().and(Err(TaskError::Canceled))),
        })?
    }
}

async fn write(
    fs: &dyn FileSystem,
    path: &FsPath,
    mut messages: mpsc::Receiver<Message>,
    shared: &Shared,
) -> Result<(), FsError> {
    // The name is random, so replacing can only mean: creating once more after a lost answer.
    let mut file = fs.create(path, &CreateOptions::overwriting()).await?;
    loop {
        match messages.recv().await {
            Some(Message::Write(chunk)) => {
                let bytes = chunk.len();
                file.write(chunk).await?;
                shared.written(bytes);
            }
            Some(Message::Close) => return file.close().await,
            None => {
                drop(file);
                return fs.delete(path, false).await.map(drop);
            }
        }
    }
}
