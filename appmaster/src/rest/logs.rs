//! The ApplicationMaster's own log files. Nothing outside their directory is ever opened: a name is a file's name, no path,
//! and links are not followed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::RestError;

/// The file that the ApplicationMaster writes.
pub(super) const MAIN_LOG: &str = "jobmanager.log";

/// What is read, sent and held in memory of a file at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// `LogInfo` of Flink.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct LogInfo {
    name: String,
    size: u64,
    /// Milliseconds since 1970.
    mtime: u64,
}

/// The files of the log directory, by name. A directory that cannot be read is taken for an empty one: it is a view.
pub(super) fn list(dir: &Path) -> Vec<LogInfo> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut logs: Vec<LogInfo> = entries.filter_map(|entry| info(&entry.ok()?)).collect();
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    logs
}

fn info(entry: &fs::DirEntry) -> Option<LogInfo> {
    // Of the entry itself, not of what a link points to.
    let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let mtime = meta.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(LogInfo {
        name: entry.file_name().into_string().ok()?,
        size: meta.len(),
        mtime: u64::try_from(mtime.as_millis()).unwrap_or(u64::MAX),
    })
}

/// A log file as a plain text, as long as it is now.
pub(super) fn serve(dir: &Path, name: &str) -> Result<Response, RestError> {
    let no_log = || RestError::NoLog(name.to_owned());
    let unreadable = |cause| RestError::LogUnreadable { name: name.to_owned(), cause };
    let path = path_of(dir, name).ok_or_else(no_log)?;
    let meta = fs::symlink_metadata(&path).map_err(|_| no_log())?;
    if !meta.is_file() {
        return Err(no_log());
    }
    let file = File::open(&path).map_err(unreadable)?;
    let body = Body::from_stream(futures::stream::unfold(Some(file.take(meta.len())), next_chunk));
    // What a user's program writes is shown as a text, whatever a browser would guess.
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, body).into_response())
}

type Rest = Option<io::Take<File>>;

async fn next_chunk(rest: Rest) -> Option<(io::Result<Bytes>, Rest)> {
    let mut file = rest?;
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = file.read(&mut chunk)?;
        chunk.truncate(length);
        Ok((Bytes::from(chunk), file))
    });
    match read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
        Ok((chunk, _)) if chunk.is_empty() => None,
        Ok((chunk, file)) => Some((Ok(chunk), Some(file))),
        Err(cause) => Some((Err(cause), None)),
    }
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
        let logs = dir.path().join("logs");
        fs::create_dir_all(logs.join("sub")).unwrap();
        fs::write(logs.join("jobmanager.log"), "hello").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), logs.join("link.log")).unwrap();
        let listed: Vec<(String, u64)> = list(&logs).into_iter().map(|log| (log.name, log.size)).collect();
        assert_eq!(listed, [("jobmanager.log".to_owned(), 5)]);
        assert!(serve(&logs, "jobmanager.log").is_ok());
        for name in ["link.log", "sub", "absent"] {
            assert!(matches!(serve(&logs, name), Err(RestError::NoLog(_))), "{name}");
        }
        assert!(list(&dir.path().join("absent")).is_empty());
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
