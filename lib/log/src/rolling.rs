//! A file that never outgrows its limit.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// How much of a [`RollingFile`] is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes at which the file is rolled. A single write is never divided, so a file may be longer by less than one write.
    pub file_size: u64,
    /// Rolled files that are kept: `<file>.1` is the youngest. 0: nothing but the file itself.
    pub files: u32,
}

/// A file that is renamed to `<file>.1` when it reaches its size, the older ones moving on to `.2`, `.3` … and the last one
/// going.
///
/// Writing never fails: what can't be written, because the disk is full or the directory is gone, is counted, and a line
/// says how much is missing once writing works again. Nothing is buffered, so an abort of the process loses nothing.
#[derive(Debug)]
pub struct RollingFile {
    path: PathBuf,
    limits: Limits,
    /// `None` while it can't be opened.
    file: Option<File>,
    written: u64,
    dropped: Dropped,
}

/// What could not be written.
#[derive(Debug, Default)]
struct Dropped {
    total: u64,
    /// Since the last line about it.
    unsaid: u64,
    cause: Option<io::Error>,
}

impl RollingFile {
    /// Opens the file for appending; it is made when there is none, its directory is not.
    ///
    /// # Errors
    /// What the operating system says. Later errors are not returned but counted.
    pub fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let (file, written) = append(path)?;
        Ok(Self { path: path.to_owned(), limits, file: Some(file), written, dropped: Dropped::default() })
    }

    /// The same, opened at the first write: a file to which nothing is written is not made, and nothing can fail here.
    pub fn lazy(path: &Path, limits: Limits) -> Self {
        Self { path: path.to_owned(), limits, file: None, written: 0, dropped: Dropped::default() }
    }

    /// Removes the file and the rolled ones, all that these limits let be there. What can't be removed is left.
    pub fn remove(path: &Path, limits: Limits) {
        let files = Self::lazy(path, limits);
        for file in (1..=limits.files).map(|number| files.numbered(number)).chain([path.to_owned()]) {
            let _ = std::fs::remove_file(file);
        }
    }

    /// Number of writes that were dropped since the file was opened.
    pub fn dropped(&self) -> u64 {
        self.dropped.total
    }

    /// Changes the limits; they hold from the next write on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open_again()?;
        if self.written > 0 && self.written.saturating_add(bytes.len() as u64) > self.limits.file_size {
            self.roll()?;
            self.open_again()?;
        }
        if self.dropped.unsaid > 0 {
            let cause = self.dropped.cause.take().map(|cause| format!(": {cause}")).unwrap_or_default();
            let line = format!("[{} writes to this file were lost{cause}]\n", self.dropped.unsaid);
            self.put(line.as_bytes())?;
            self.dropped.unsaid = 0;
        }
        self.put(bytes)
    }

    fn open_again(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let (file, written) = append(&self.path)?;
            self.file = Some(file);
            self.written = written;
        }
        Ok(())
    }

    /// Writes to the open file. A part may be written when it fails; it counts as written, the whole as dropped.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        while !bytes.is_empty() {
            match file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the files on by one. When that fails the file is left as it is: it may not grow, so writes are dropped until
    /// it works.
    fn roll(&mut self) -> io::Result<()> {
        let oldest = self.limits.files;
        if oldest == 0 {
            if let Some(file) = &self.file {
                file.set_len(0)?;
            }
            self.written = 0;
            return Ok(());
        }
        for number in (1..oldest).rev() {
            present(std::fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        present(std::fs::rename(&self.path, self.numbered(1)))?;
        self.file = None;
        self.written = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// A file that is not there needs no renaming.
fn present(renamed: io::Result<()>) -> io::Result<()> {
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Write for RollingFile {
    /// Takes all of `bytes`, always; whole lines should be given, because a file ends after a write.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(cause) = self.try_write(bytes) {
            self.dropped.total += 1;
            self.dropped.unsaid += 1;
            self.dropped.cause = Some(cause);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One [`RollingFile`] with several writers: what is given in one write stays together.
#[derive(Debug, Clone)]
pub struct SharedFile(Arc<Mutex<RollingFile>>);

impl SharedFile {
    /// Shares the file.
    pub fn new(file: RollingFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// [`RollingFile::set_limits`].
    pub fn set_limits(&self, limits: Limits) {
        self.lock().set_limits(limits);
    }

    /// A file whose writer panicked is still a file.
    fn lock(&self) -> MutexGuard<'_, RollingFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for SharedFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn open(dir: &TempDir, file_size: u64, files: u32) -> RollingFile {
        RollingFile::open(&dir.path().join("a.log"), Limits { file_size, files }).unwrap()
    }

    fn contents(dir: &TempDir) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    fn expected(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_log_is_removed_with_its_rolled_files_and_no_other() {
        let dir = TempDir::new().unwrap();
        let mut log = open(&dir, 4, 2);
        for text in ["1111", "2222", "3333", "4444"] {
            log.write_all(text.as_bytes()).unwrap();
        }
        fs::write(dir.path().join("a.log.x"), "other").unwrap();
        assert_eq!(contents(&dir).len(), 4);
        RollingFile::remove(&dir.path().join("a.log"), Limits { file_size: 4, files: 2 });
        assert_eq!(contents(&dir), expected(&[("a.log.x", "other")]));
        RollingFile::remove(&dir.path().join("a.log"), Limits { file_size: 4, files: 2 });
    }

    #[test]
    fn full_files_move_on_and_the_oldest_goes() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(&dir), expected(&[("a.log", "six\n"), ("a.log.1", "five\n"), ("a.log.2", "four\n")]));
        assert_eq!(file.dropped(), 0);
    }

    #[test]
    fn a_line_is_never_divided_even_when_it_is_longer_than_a_file() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 4, 3);
        for line in ["a\n", "0123456789\n", "b\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(&dir), expected(&[("a.log", "b\n"), ("a.log.1", "0123456789\n"), ("a.log.2", "a\n")]));
    }

    #[test]
    fn without_rolled_files_the_file_starts_anew() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 0);
        for line in ["one\n", "two\n", "three\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(&dir), expected(&[("a.log", "three\n")]));
    }

    #[test]
    fn an_existing_file_is_continued_and_counts() {
        let dir = TempDir::new().unwrap();
        open(&dir, 8, 2).write_all(b"before\n").unwrap();
        let mut file = open(&dir, 8, 2);
        file.write_all(b"after\n").unwrap();
        assert_eq!(contents(&dir), expected(&[("a.log", "after\n"), ("a.log.1", "before\n")]));
    }

    #[test]
    fn a_lazy_file_is_made_by_its_first_line_and_rolls_what_it_finds() {
        let dir = TempDir::new().unwrap();
        let mut file = RollingFile::lazy(&dir.path().join("a.log"), Limits { file_size: 8, files: 2 });
        assert_eq!(contents(&dir), []);
        open(&dir, 8, 2).write_all(b"before\n").unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(contents(&dir), expected(&[("a.log", "after\n"), ("a.log.1", "before\n")]));
    }

    #[test]
    fn changed_limits_hold_from_the_next_write_on() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 1 << 20, 5);
        file.write_all(b"one\n").unwrap();
        file.set_limits(Limits { file_size: 4, files: 1 });
        file.write_all(b"two\n").unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(contents(&dir), expected(&[("a.log", "three\n"), ("a.log.1", "two\n")]));
    }

    #[test]
    fn a_full_disk_is_survived_and_what_is_missing_is_said() {
        // The device that is always full.
        let mut file = RollingFile::open(Path::new("/dev/full"), Limits { file_size: 100, files: 1 }).unwrap();
        for _ in 0..3 {
            file.write_all(b"lost\n").unwrap();
        }
        assert_eq!(file.dropped(), 3);

        let dir = TempDir::new().unwrap();
        let (there, _) = append(&dir.path().join("a.log")).unwrap();
        file.file = Some(there);
        file.write_all(b"back\n").unwrap();
        file.write_all(b"again\n").unwrap();
        let text = fs::read_to_string(dir.path().join("a.log")).unwrap();
        assert_eq!(text, "[3 writes to this file were lost: No space left on device (os error 28)]\nback\nagain\n");
        assert_eq!(file.dropped(), 3);
    }

    #[test]
    fn a_vanished_directory_costs_lines_but_no_more() {
        let dir = TempDir::new().unwrap();
        let inner = dir.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let mut file = RollingFile::open(&inner.join("a.log"), Limits { file_size: 4, files: 1 }).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        for _ in 0..3 {
            file.write_all(b"line\n").unwrap();
        }
        assert!(file.dropped() >= 1, "{file:?}");
        fs::create_dir(&inner).unwrap();
        file.write_all(b"back\n").unwrap();
        assert!(fs::read_to_string(inner.join("a.log")).unwrap().ends_with("back\n"));
    }

    #[test]
    fn lines_of_several_writers_stay_whole() {
        let dir = TempDir::new().unwrap();
        let shared = SharedFile::new(open(&dir, 1 << 20, 1));
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let mut shared = shared.clone();
                scope.spawn(move || {
                    for _ in 0..500 {
                        shared.write_all(format!("{}\n", name.repeat(50)).as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(dir.path().join("a.log")).unwrap();
        assert_eq!(text.lines().count(), 1500);
        assert!(text.lines().all(|line| ["a", "b", "c"].iter().any(|name| line == name.repeat(50))));
    }
}
