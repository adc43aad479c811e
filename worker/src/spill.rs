//! Sorted runs of serialised keys and values in temporary files, and their merge.
//!
//! ```text
//! entry: hash of the key (8 bytes) | length of the key (4) | length of the value (4) | key | value    little-endian
//! ```
//!
//! Entries are sorted by hash, then by the key's bytes. A file is unlinked as soon as it is open, so that no end of the
//! process, however sudden, leaves it behind.

use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flumen_model::failure::Blame;
use flumen_model::key_group::key_hash;

use crate::exchange::codec;
use crate::keyed::Key;
use crate::operator::{Data, TaskError, TaskResult};

const FILE_BUFFER: usize = 128 << 10;

/// Where runs are written: one directory after another.
#[derive(Debug, Clone)]
pub struct SpillDirectories(Arc<[PathBuf]>);

impl SpillDirectories {
    /// These directories must exist; with none, the system's temporary directory is used.
    pub fn new(directories: Arc<[PathBuf]>) -> Self {
        Self(if directories.is_empty() { [std::env::temp_dir()].into() } else { directories })
    }

    fn create(&self) -> TaskResult<(File, PathBuf)> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = &self.0[number % self.0.len()];
        let path = directory.join(format!("flumen-spill-{}-{number}", std::process::id()));
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file =
            open.map_err(|error| failure(format!("creating a spill file in {}", directory.display()), &error))?;
        std::fs::remove_file(&path).map_err(|error| failure(format!("unlinking {}", path.display()), &error))?;
        Ok((file, directory.clone()))
    }

    /// Collects entries for one run.
    pub fn sorter(&self) -> Sorter {
        Sorter { directories: self.clone(), bytes: Vec::new(), entries: Vec::new() }
    }

    /// Writes entries that are already sorted.
    pub fn run_writer(&self) -> TaskResult<RunWriter> {
        let (file, directory) = self.create()?;
        Ok(RunWriter { file: BufWriter::with_capacity(FILE_BUFFER, file), directory, value: Vec::new() })
    }
}

fn failure(what: impl std::fmt::Display, error: &std::io::Error) -> TaskError {
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ". The local disk is full: make room there, or name directories on other disks in io.tmp.dirs"
        }
        _ => "",
    };
    TaskError::failed(Blame::Outside, format!("{what}: {error}{advice}"))
}

struct SortedEntry {
    hash: u64,
    start: usize,
    key_end: usize,
    end: usize,
}

/// Entries in memory, on their way to a run.
pub struct Sorter {
    directories: SpillDirectories,
    bytes: Vec<u8>,
    entries: Vec<SortedEntry>,
}

impl Sorter {
    /// Adds an entry; keys must differ from each other.
    pub fn add<K: Key, T: Data>(&mut self, key: &K, value: &T) -> TaskResult {
        let start = self.bytes.len();
        codec::encode(key, &mut self.bytes)?;
        let key_end = self.bytes.len();
        codec::encode(value, &mut self.bytes)?;
        let hash = key_hash(&self.bytes[start..key_end]);
        self.entries.push(SortedEntry { hash, start, key_end, end: self.bytes.len() });
        Ok(())
    }

    /// Sorts and writes.
    pub fn write(mut self) -> TaskResult<Run> {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|a, b| {
            a.hash.cmp(&b.hash).then_with(|| bytes[a.start..a.key_end].cmp(&bytes[b.start..b.key_end]))
        });
        let mut writer = self.directories.run_writer()?;
        for entry in &self.entries {
            writer.append_bytes(entry.hash, &bytes[entry.start..entry.key_end], &bytes[entry.key_end..entry.end])?;
        }
        writer.finish()
    }
}

fn write_failure(directory: &Path, error: &std::io::Error) -> TaskError {
    failure(format!("writing a spill file in {}", directory.display()), error)
}

/// A run that is being written.
pub struct RunWriter {
    file: BufWriter<File>,
    /// Where it was made, for errors: it has no name any more.
    directory: PathBuf,
    value: Vec<u8>,
}

impl RunWriter {
    /// Appends an entry that is greater than the one before.
    pub fn append<T: Data>(&mut self, key: &[u8], value: &T) -> TaskResult {
        let mut bytes = std::mem::take(&mut self.value);
        bytes.clear();
        codec::encode(value, &mut bytes)?;
        self.append_bytes(key_hash(key), key, &bytes)?;
        self.value = bytes;
        Ok(())
    }

    fn append_bytes(&mut self, hash: u64, key: &[u8], value: &[u8]) -> TaskResult {
        let too_large = |_| TaskError::failed(Blame::User, "a record of more than 4 GiB can't be spilled");
        let key_length = u32::try_from(key.len()).map_err(too_large)?;
        let value_length = u32::try_from(value.len()).map_err(too_large)?;
        let mut header = [0; 16];
        header[..8].copy_from_slice(&hash.to_le_bytes());
        header[8..12].copy_from_slice(&key_length.to_le_bytes());
        header[12..].copy_from_slice(&value_length.to_le_bytes());
        [&header[..], key, value]
            .into_iter()
            .try_for_each(|part| self.file.write_all(part))
            .map_err(|error| self.failed(&error))
    }

    /// Makes it readable from its start.
    pub fn finish(self) -> TaskResult<Run> {
        let Self { mut file, directory, .. } = self;
        let failed = |error: std::io::Error| write_failure(&directory, &error);
        file.flush().map_err(failed)?;
        let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(Run { file })
    }

    fn failed(&self, error: &std::io::Error) -> TaskError {
        write_failure(&self.directory, error)
    }
}

/// A written run.
#[derive(Debug)]
pub struct Run {
    file: File,
}

struct Head {
    hash: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    reader: BufReader<File>,
}

impl Head {
    /// Moves to the next entry; false at the end of the run.
    fn advance(&mut self) -> TaskResult<bool> {
        let mut header = [0; 16];
        let failed = |error: std::io::Error| failure("reading a spill file", &error);
        match self.reader.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        self.hash = u64::from(number(0) as u32) | u64::from(number(4) as u32) << 32;
        self.key.resize(number(8), 0);
        self.value.resize(number(12), 0);
        self.reader.read_exact(&mut self.key).map_err(failed)?;
        self.reader.read_exact(&mut self.value).map_err(failed)?;
        Ok(true)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}
impl Eq for Head {}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Head {
    /// Reversed: a [`BinaryHeap`] gives the greatest, and the smallest entry is wanted.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.hash.cmp(&self.hash).then_with(|| other.key.cmp(&self.key))
    }
}

/// Several runs read as one, with the values of equal keys folded together.
pub struct Merge<T> {
    heads: BinaryHeap<Head>,
    key: Vec<u8>,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: Data> Merge<T> {
    /// Begins at the first entries.
    pub fn new(runs: Vec<Run>) -> TaskResult<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for run in runs {
            let reader = BufReader::with_capacity(FILE_BUFFER, run.file);
            let mut head = Head { hash: 0, key: Vec::new(), value: Vec::new(), reader };
            if head.advance()? {
                heads.push(head);
            }
        }
        Ok(Self { heads, key: Vec::new(), value: std::marker::PhantomData })
    }

    /// The next key (serialised) with its value, `None` when all runs are read.
    pub fn next(&mut self, reduce: &mut impl FnMut(&mut T, T)) -> TaskResult<Option<(&[u8], T)>> {
        let Some(mut head) = self.heads.pop() else { return Ok(None) };
        self.key.clone_from(&head.key);
        let mut value: T = codec::decode(&mut head.value.as_slice())?;
        if head.advance()? {
            self.heads.push(head);
        }
        while self.heads.peek().is_some_and(|next| next.key == self.key) {
            let Some(mut head) = self.heads.pop() else { break };
            reduce(&mut value, codec::decode(&mut head.value.as_slice())?);
            if head.advance()? {
                self.heads.push(head);
            }
        }
        Ok(Some((&self.key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_where_it_is_and_what_to_do() {
        let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let (file, directory) = (BufWriter::with_capacity(16, full), PathBuf::from("/disks/1"));
        let mut writer = RunWriter { file, directory, value: Vec::new() };
        let Err(TaskError::Failed { blame: Blame::Outside, message }) = writer.append_bytes(1, b"key", b"value") else {
            panic!("nothing failed")
        };
        assert!(message.contains("/disks/1") && message.contains("No space left"), "{message}");
        assert!(message.contains("io.tmp.dirs"), "{message}");
    }
}
