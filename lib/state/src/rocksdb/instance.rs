//! One RocksDB instance in a local directory that goes with it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, DBPinnableSlice, DBWithThreadMode, MultiThreaded, WriteBatch,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{StateError, StateErrorKind};
use crate::meta::{StateKind, StateMeta};
use crate::options::BackendOptions;
use crate::ttl::StateTtlConfig;

use super::expiry::Expiry;
use super::shared::SharedRocksDb;
use super::tuning;

type Db = DBWithThreadMode<MultiThreaded>;

/// A local directory that is removed with everything in it when nobody needs it any more.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// A new one for a store: in one of the backend's directories.
    pub(super) fn of(options: &BackendOptions, instance: &str) -> Result<Self, StateError> {
        let fallback = [std::env::temp_dir()];
        let directories = if options.directories.is_empty() { &fallback[..] } else { &options.directories };
        let chosen = xxh3_64(options.name.as_bytes()) % directories.len() as u64;
        Self::create(directories[chosen as usize].join(format!("{}-{instance}", options.name)))
    }

    /// A new one.
    pub(super) fn create(path: PathBuf) -> Result<Self, StateError> {
        fs::create_dir_all(&path).map_err(io_error(format!("creating the local directory {}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is removed with the container's directories.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A clock, and what expires by it: one entry for each state.
type Expiries = (fn() -> i64, Mutex<Vec<Expiry>>);

/// An open instance. State number `n` is the column family `n`.
pub(super) struct Instance {
    db: Db,
    shared: SharedRocksDb,
    /// The clock of expiring state, and when it expires, by state; none in an instance for reading.
    expiry: Option<Expiries>,
    directory: Arc<Directory>,
}

impl Instance {
    /// Opens the instance in the subdirectory `db`, with the states that are in it.
    pub(super) fn open(
        directory: Arc<Directory>,
        shared: SharedRocksDb,
        clock: fn() -> i64,
        states: &[StateMeta],
    ) -> Result<Self, StateError> {
        let path = db_path(&directory);
        let expiry: Vec<_> = states.iter().map(|meta| Expiry::of(meta, clock)).collect();
        let families = families(&shared, states, |state| expiry.get(state));
        let db = Db::open_cf_descriptors(&tuning::instance(&shared), &path, families)
            .map_err(backend(format!("opening RocksDB in {}", path.display())))?;
        Ok(Self { db, shared, expiry: Some((clock, Mutex::new(expiry))), directory })
    }

    /// Opens what is in that directory for reading alone.
    pub(super) fn open_for_reading(
        directory: Arc<Directory>,
        shared: SharedRocksDb,
        states: &[StateMeta],
    ) -> Result<Self, StateError> {
        let path = db_path(&directory);
        let mut options = tuning::instance(&shared);
        options.create_if_missing(false);
        let db = Db::open_cf_descriptors_read_only(&options, &path, families(&shared, states, |_| None), false)
            .map_err(backend(format!("opening the RocksDB snapshot in {}", path.display())))?;
        Ok(Self { db, shared, expiry: None, directory })
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Adds the next state.
    pub(super) fn create_state(&self, state: usize, meta: &StateMeta) -> Result<(), StateError> {
        let expiry = self.expiry.as_ref().map(|(clock, known)| {
            let expiry = Expiry::of(meta, *clock);
            lock(known).push(expiry.clone());
            expiry
        });
        self.db
            .create_cf(Name::of(state).as_str(), &tuning::family(&self.shared, meta.kind, expiry.as_ref()))
            .map_err(backend("creating a column family"))
    }

    /// Says when a state's rows expire from now on, and so may be dropped.
    pub(super) fn set_ttl(&self, state: usize, ttl: Option<StateTtlConfig>) {
        if let Some((_, known)) = &self.expiry
            && let Some(expiry) = lock(known).get(state)
        {
            expiry.set(ttl);
        }
    }

    /// Rewrites all files, without what has expired.
    #[cfg(test)]
    pub(super) fn compact(&self, state: usize) -> Result<(), StateError> {
        let family = self.family(state)?;
        self.db.flush_cf(&family).map_err(backend("flushing"))?;
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    pub(super) fn family(&self, state: usize) -> Result<Arc<BoundColumnFamily<'_>>, StateError> {
        let family = self.db.cf_handle(Name::of(state).as_str());
        family.ok_or_else(|| StateError::misuse(format!("there is no state number {state}")))
    }

    pub(super) fn get(&self, state: usize, row: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StateError> {
        self.db.get_pinned_cf(&self.family(state)?, row).map_err(backend("reading a row"))
    }

    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), StateError> {
        self.db.write_opt(batch, &tuning::write_options()).map_err(backend("writing rows"))
    }

    /// Calls with the rows from `from` on that begin with `prefix`, until told to stop.
    pub(super) fn scan(
        &self,
        state: usize,
        prefix: &[u8],
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StateError> {
        let family = self.family(state)?;
        let mut rows = self.db.raw_iterator_cf_opt(&family, tuning::scan_options(prefix));
        rows.seek(if from < prefix { prefix } else { from });
        while let Some((row, value)) = rows.item() {
            if !row.starts_with(prefix) || !each(row, value) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(backend("scanning rows"))
    }

    /// Adds files of sorted rows, which are moved.
    pub(super) fn ingest(&self, state: usize, files: Vec<PathBuf>) -> Result<(), StateError> {
        let mut options = rocksdb::IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db
            .ingest_external_file_cf_opts(&self.family(state)?, &options, files)
            .map_err(backend("taking in restored rows"))
    }

    /// Removes the rows from `from` on and before `to`. Files of such rows alone go at once; a mark hides the others until
    /// RocksDB rewrites their files.
    pub(super) fn remove(&self, state: usize, from: &[u8], to: &[u8]) -> Result<(), StateError> {
        let family = self.family(state)?;
        self.db.delete_file_in_range_cf(&family, from, to).map_err(backend("removing files of other key groups"))?;
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(&family, from, to);
        self.write(batch)
    }

    /// Makes a directory of hard links to the files that hold what there is now.
    pub(super) fn link_to(&self, path: &Path) -> Result<(), StateError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(backend(format!("linking RocksDB's files to {}", path.display())))
    }
}

/// Where in the directory RocksDB's own files are.
pub(super) fn db_path(directory: &Directory) -> PathBuf {
    directory.path().join("db")
}

fn families<'a>(
    shared: &SharedRocksDb,
    states: &[StateMeta],
    expiry: impl Fn(usize) -> Option<&'a Expiry>,
) -> Vec<ColumnFamilyDescriptor> {
    let family = |(state, meta): (usize, &StateMeta)| {
        ColumnFamilyDescriptor::new(Name::of(state).as_str(), tuning::family(shared, meta.kind, expiry(state)))
    };
    // It is always there, and empty.
    let default = ColumnFamilyDescriptor::new("default", tuning::family(shared, StateKind::Value, None));
    [default].into_iter().chain(states.iter().enumerate().map(family)).collect()
}

fn lock(expiry: &Mutex<Vec<Expiry>>) -> MutexGuard<'_, Vec<Expiry>> {
    expiry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a state's column family is called. Not on the heap: it is needed for each row that is read.
struct Name {
    digits: [u8; 20],
    first: usize,
}

impl Name {
    fn of(mut state: usize) -> Self {
        let mut name = Self { digits: [b'0'; 20], first: 19 };
        name.digits[19] += (state % 10) as u8;
        while state >= 10 {
            state /= 10;
            name.first -= 1;
            name.digits[name.first] += (state % 10) as u8;
        }
        name
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.digits[self.first..]).unwrap_or_default()
    }
}

/// A name that no other instance has, in any process.
pub(super) fn unique_name() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

pub(super) fn backend(what: impl Into<String>) -> impl FnOnce(rocksdb::Error) -> StateError {
    move |source| match source.kind() {
        // It compares a checksum for each block that it reads. The files came from a snapshot, or stand in the next one.
        rocksdb::ErrorKind::Corruption => StateError::corrupt(&what.into(), 0, source.into_string()),
        // It names the file, and repeats the system's words; its subcodes can't be asked for.
        rocksdb::ErrorKind::IOError if FULL.iter().any(|sign| source.as_ref().contains(sign)) => {
            StateError::disk_full(what, source.into_string())
        }
        _ => StateErrorKind::Backend { what: what.into(), source: source.into() }.into(),
    }
}

/// What the system says when there is no room on a disk, or none for this user.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::of_local_file(what, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_families_are_called_by_their_number() {
        for state in [0, 7, 10, 65535, usize::MAX] {
            assert_eq!(Name::of(state).as_str(), state.to_string());
        }
    }

    #[test]
    fn a_full_disk_is_told_with_what_to_do() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = io_error("writing /d/contents")(full()).to_string();
        assert!(error.contains("/d/contents") && error.contains("state.backend.rocksdb.localdir"), "{error}");
        let other = io_error("writing /d/contents")(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(!other.contains("full"), "{other}");
    }

    #[test]
    fn a_directory_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let options = BackendOptions {
            directories: vec![parent.path().to_owned()],
            name: "sum-0".to_owned(),
            ..BackendOptions::default()
        };
        let directory = Directory::of(&options, &unique_name()).unwrap();
        let path = directory.path().to_owned();
        assert!(path.starts_with(parent.path()) && path.is_dir());
        drop(directory);
        assert!(!path.try_exists().unwrap());
    }

    #[test]
    fn expired_rows_go_when_files_are_merged() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::create(parent.path().join("instance")).unwrap());
        let instance = Instance::open(directory, SharedRocksDb::default(), || 5_000, &[]).unwrap();
        let ttl = Some(StateTtlConfig::new(1_000));
        let text = String::new;
        let meta = StateMeta {
            name: text(),
            kind: StateKind::Value,
            key: text(),
            namespace: text(),
            user_key: text(),
            value: text(),
            ttl,
        };
        instance.create_state(0, &meta).unwrap();
        let fill = || {
            let mut batch = WriteBatch::default();
            for (row, used) in [(b"a", 3_999i64), (b"b", 4_000), (b"c", 4_001)] {
                batch.put_cf(&instance.family(0).unwrap(), row, used.to_le_bytes());
            }
            instance.write(batch).unwrap();
        };
        let rows = || {
            instance.compact(0).unwrap();
            let mut rows = String::new();
            instance
                .scan(0, &[], &[], |row, _| {
                    rows.push_str(str::from_utf8(row).unwrap());
                    true
                })
                .unwrap();
            rows
        };
        fill();
        assert_eq!(rows(), "c");
        instance.set_ttl(0, None);
        fill();
        assert_eq!(rows(), "abc");
        instance.set_ttl(0, ttl);
        assert_eq!(rows(), "c");
    }
}
