//! What one process sees of the disk: every operation of it may fail, be lost, be late, or wait for its turn.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flumen_fs::{CreateOptions, FileReader, FileStatus, FileSystem, FileWriter, FsError, FsPath};

use super::disk::{Disk, no_answer};

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not take place, and there is no answer.
    Before,
    /// It takes place, and there is no answer.
    After,
    /// There is no answer, and it takes place after that many more operations.
    Late(usize),
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it.
    CrashAfter,
}

/// Whether each operation waits until the process is polled once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// It goes on at once.
    No,
    /// One operation for one poll.
    Yes,
}

/// A process on the disk. A clone is the same process.
#[derive(Clone)]
pub struct Process {
    disk: Disk,
    turns: Turns,
    /// The operations, counted from 0, at which something happens.
    faults: Vec<(usize, Fault)>,
    count: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
}

impl Process {
    pub fn new(disk: &Disk, turns: Turns, faults: &[(usize, Fault)]) -> Self {
        Self { disk: disk.clone(), turns, faults: faults.to_vec(), count: Arc::default(), dead: Arc::default() }
    }

    /// Operations that it has begun.
    pub fn operations(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    async fn act<T, F>(&self, path: &FsPath, operation: F) -> Result<T, FsError>
    where
        T: Send,
        F: FnOnce(&Disk) -> Result<T, FsError> + Send + 'static,
    {
        if self.turns == Turns::Yes {
            Turn(false).await;
        }
        if self.dead.load(Ordering::Relaxed) {
            return Err(no_answer(path));
        }
        self.disk.tick();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let fault = self.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        if matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter)) {
            self.dead.store(true, Ordering::Relaxed);
        }
        match fault {
            None => operation(&self.disk),
            Some(Fault::Before | Fault::CrashBefore) => Err(no_answer(path)),
            Some(Fault::After | Fault::CrashAfter) => {
                let _ = operation(&self.disk);
                Err(no_answer(path))
            }
            Some(Fault::Late(after)) => {
                self.disk.later(after, move |disk| drop(operation(disk)));
                Err(no_answer(path))
            }
        }
    }
}

/// Ready when it is polled for the second time.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[async_trait]
impl FileSystem for Process {
    async fn status(&self, path: &FsPath) -> Result<FileStatus, FsError> {
        let of = path.clone();
        self.act(path, move |disk| disk.status(&of)).await
    }

    async fn list(&self, directory: &FsPath) -> Result<Vec<FileStatus>, FsError> {
        let of = directory.clone();
        self.act(directory, move |disk| disk.list(&of)).await
    }

    async fn open(&self, path: &FsPath) -> Result<Box<dyn FileReader>, FsError> {
        let of = path.clone();
        Ok(Box::new(Reader(self.act(path, move |disk| disk.read(&of)).await?)))
    }

    async fn create(&self, path: &FsPath, options: &CreateOptions) -> Result<Box<dyn FileWriter>, FsError> {
        let (of, options) = (path.clone(), options.clone());
        self.act(path, move |disk| disk.create(&of, &options)).await?;
        Ok(Box::new(Writer { process: self.clone(), path: path.clone(), content: BytesMut::new() }))
    }

    async fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<(), FsError> {
        let (of, to) = (from.clone(), to.clone());
        self.act(from, move |disk| disk.rename(&of, &to, overwrite)).await
    }

    async fn delete(&self, path: &FsPath, recursive: bool) -> Result<bool, FsError> {
        let of = path.clone();
        self.act(path, move |disk| disk.delete(&of, recursive)).await
    }

    async fn mkdirs(&self, path: &FsPath, permission: Option<u16>) -> Result<(), FsError> {
        let of = path.clone();
        self.act(path, move |disk| disk.mkdirs(&of, permission)).await
    }

    fn home_directory(&self) -> FsPath {
        FsPath::new("file", "", "/").unwrap()
    }
}

struct Reader(Bytes);

#[async_trait]
impl FileReader for Reader {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&mut self, offset: u64, len: usize) -> Result<Bytes, FsError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(start..start.saturating_add(len).min(self.0.len())))
    }
}

struct Writer {
    process: Process,
    path: FsPath,
    content: BytesMut,
}

#[async_trait]
impl FileWriter for Writer {
    async fn write(&mut self, data: Bytes) -> Result<(), FsError> {
        self.content.extend_from_slice(&data);
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), FsError> {
        let (path, content) = (self.path.clone(), self.content.freeze());
        self.process.act(&self.path, move |disk| disk.fill(&path, content)).await
    }
}
