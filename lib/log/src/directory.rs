//! The log files of a container, for those who want to read them. Nothing outside of their directory is ever opened: a name
//! is a file's name, no path, and links are not followed.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files that are listed at most; rolled files are few.
const LISTED_MAX: usize = 1000;

/// A directory of log files.
#[derive(Debug, Clone)]
pub struct LogDirectory(PathBuf);

/// One of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its name, without directories.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Last change, in milliseconds since 1970.
    pub modified_ms: u64,
}

impl LogDirectory {
    /// The files of this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its files by name, the first 1000. A directory that can't be read is taken for an empty one: it is a view.
    pub fn list(&self) -> Vec<LogFile> {
        let Ok(entries) = fs::read_dir(&self.0) else { return vec![] };
        let mut files: Vec<LogFile> = entries.filter_map(|entry| described(&entry.ok()?)).take(LISTED_MAX).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// A file and its length as it is now; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn open(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let Some(path) = path_of(&self.0, name) else { return Ok(None) };
        let Ok(meta) = fs::symlink_metadata(&path) else { return Ok(None) };
        if !meta.is_file() {
            return Ok(None);
        }
        match File::open(&path) {
            Ok(file) => Ok(Some((file, meta.len()))),
            // Rolled away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// At most `length` bytes of a file from `offset`, fewer only at its end, with the length of the whole file; `None`
    /// when there is none of that name.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn piece(&self, name: &str, offset: u64, length: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some((mut file, size)) = self.open(name)? else { return Ok(None) };
        file.seek(SeekFrom::Start(offset))?;
        let mut data = Vec::new();
        file.take(length as u64).read_to_end(&mut data)?;
        Ok(Some((size, data)))
    }
}

fn described(entry: &fs::DirEntry) -> Option<LogFile> {
    // Of the entry itself, not of what a link points to.
    let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(LogFile {
        name: entry.file_name().into_string().ok()?,
        size: meta.len(),
        modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
    })
}

/// The path of a file directly in the directory; `None` when the name is anything but a file's name.
fn path_of(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains(['\\', '\0']) => Some(dir.join(only)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_a_files_name_and_no_path() {
        for name in ["jobmanager.log", "jobmanager.log.1", "a b", "..."] {
            assert_eq!(path_of(Path::new("/logs"), name), Some(Path::new("/logs").join(name)), "{name}");
        }
        for name in ["", ".", "..", "/", "a/", "a/b", "../a", "/etc/passwd", "./a", "a\\b", "a\0", "//a"] {
            assert_eq!(path_of(Path::new("/logs"), name), None, "{name}");
        }
    }

    #[test]
    fn links_and_directories_are_no_logs() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        let path = dir.path().join("logs");
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join("jobmanager.log"), "hello").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), path.join("link.log")).unwrap();
        let logs = LogDirectory::new(&path);
        let listed: Vec<(String, u64)> = logs.list().into_iter().map(|file| (file.name, file.size)).collect();
        assert_eq!(listed, [("jobmanager.log".to_owned(), 5)]);
        assert_eq!(logs.open("jobmanager.log").unwrap().unwrap().1, 5);
        for name in ["link.log", "sub", "absent", "../secret"] {
            assert!(logs.open(name).unwrap().is_none(), "{name}");
            assert!(logs.piece(name, 0, 10).unwrap().is_none(), "{name}");
        }
        assert!(LogDirectory::new(dir.path().join("absent")).list().is_empty());
    }

    #[test]
    fn a_piece_is_what_stands_there_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), "0123456789").unwrap();
        let logs = LogDirectory::new(dir.path());
        for (offset, length, text) in [(0, 4, "0123"), (4, 100, "456789"), (10, 4, ""), (99, 4, ""), (3, 0, "")] {
            let piece = logs.piece("a.log", offset, length).unwrap();
            assert_eq!(piece, Some((10, text.as_bytes().to_vec())), "{offset} {length}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_directory(name in "[a./\\\\\0-]{0,12}|\\PC{0,20}") {
            if let Some(path) = path_of(Path::new("/logs"), &name) {
                prop_assert_eq!(path.parent(), Some(Path::new("/logs")));
            }
        }
    }
}
