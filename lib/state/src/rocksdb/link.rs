//! Hard links to what an instance has, made in another thread: RocksDB first writes its write buffers to files, which takes some
//! time. Until the links are made, nothing is written to RocksDB, so that they hold exactly what was there when they were begun;
//! changes wait in memory.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{StateError, StateErrorKind};

use super::contents::{self, Contents};
use super::instance::{Directory, Instance, db_path};

/// Links that are to be made.
pub(super) struct Link {
    instance: Arc<Instance>,
    number: u64,
    contents: Contents,
    /// Dropped when they are made, or never will be.
    over: SyncSender<()>,
}

/// For the thread of the store.
pub(super) struct Linking(Receiver<()>);

/// Links, in a directory that is one of an instance.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) directory: Directory,
    /// In which the directory is.
    pub(super) parent: Arc<Directory>,
    pub(super) contents: Contents,
}

/// Links to what there is now.
pub(super) fn begin(instance: &Arc<Instance>, number: u64, contents: Contents) -> (Link, Linking) {
    let (over, linking) = sync_channel(0);
    (Link { instance: Arc::clone(instance), number, contents, over }, Linking(linking))
}

impl Link {
    /// Starts a thread, in which the links are to be made. Whoever takes the snapshot joins it, also when it is given up:
    /// a process that ends while another thread is in RocksDB may abort, because RocksDB's own static data go first.
    pub(super) fn in_thread<T: Send + 'static>(
        self,
        name: &str,
        work: impl FnOnce(Self) -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, StateError> {
        thread::Builder::new().name(name.to_owned()).spawn(move || work(self)).map_err(|source| {
            StateErrorKind::Backend { what: "starting the thread of a snapshot".to_owned(), source: source.into() }
                .into()
        })
    }

    /// Makes the links.
    pub(super) fn make(self) -> Result<Links, StateError> {
        let Self { instance, number, contents, over } = self;
        let parent = Arc::clone(instance.directory());
        let directory = Directory::create(parent.path().join(format!("snapshot-{number}")))?;
        instance.link_to(&db_path(&directory))?;
        drop(over);
        contents.write(&directory.path().join(contents::PART))?;
        Ok(Links { directory, parent, contents })
    }
}

impl Linking {
    /// Whether the links are made, or never will be.
    pub(super) fn is_over(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for it: RocksDB's own errors end it.
    pub(super) fn wait(self) {
        // Nothing is ever sent.
        let _ = self.0.recv();
    }
}
