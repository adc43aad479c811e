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

/// The links of snapshots that are being made, for the thread of the store. There may be several: a snapshot before which nothing
/// changed does not wait for the one before it.
#[derive(Default)]
pub(super) struct Linking(Vec<Receiver<()>>);

/// Links, in a directory that is one of an instance.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) directory: Directory,
    /// In which the directory is.
    pub(super) parent: Arc<Directory>,
    pub(super) contents: Contents,
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
    /// Links to what there is now.
    pub(super) fn begin(&mut self, instance: &Arc<Instance>, number: u64, contents: Contents) -> Link {
        let (over, made) = sync_channel(0);
        self.0.retain(|made| !is_over(made));
        self.0.push(made);
        Link { instance: Arc::clone(instance), number, contents, over }
    }

    /// Whether all links are made, or never will be.
    pub(super) fn is_over(&self) -> bool {
        self.0.iter().all(is_over)
    }

    /// Waits for all: RocksDB's own errors end it.
    pub(super) fn wait(&mut self) {
        for made in self.0.drain(..) {
            // Nothing is ever sent.
            let _ = made.recv();
        }
    }
}

fn is_over(made: &Receiver<()>) -> bool {
    made.try_recv() == Err(TryRecvError::Disconnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocksdb::SharedRocksDb;

    use flumen_model::checkpoint::KeyGroupRange;

    #[test]
    fn links_are_waited_for_that_were_begun_before_others_that_are_made() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::create(parent.path().join("instance")).unwrap());
        let instance = Arc::new(Instance::open(directory, SharedRocksDb::default(), || 0, &[]).unwrap());
        let contents = || Contents::new(1, KeyGroupRange { start: 0, end: 1 }, Vec::new());
        let mut linking = Linking::default();
        let first = linking.begin(&instance, 1, contents());
        let second = linking.begin(&instance, 2, contents());
        second.make().unwrap();
        assert!(!linking.is_over());
        let third = linking.begin(&instance, 3, contents());
        first.make().unwrap();
        assert!(!linking.is_over());
        drop(third);
        assert!(linking.is_over());
        linking.wait();
    }
}
