//! Which file system a path belongs to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hdfs::HdfsFileSystem;
use crate::local::LocalFileSystem;
use crate::{FileSystem, FsError, FsOptions, FsPath};

/// The schemes that [`FileSystems`] knows, for messages.
const KNOWN: &str = "file, hdfs, viewfs";

/// All file systems of a process: one per scheme and authority, made when first asked for. Cheap to clone.
#[derive(Clone)]
pub struct FileSystems {
    shared: Arc<Shared>,
}

struct Shared {
    options: FsOptions,
    /// The root of the default file system.
    default: FsPath,
    working_dir: PathBuf,
    /// By scheme and authority.
    open: Mutex<BTreeMap<(String, String), Arc<dyn FileSystem>>>,
}

impl FileSystems {
    /// Checks the options; no connection is made.
    ///
    /// # Errors
    /// [`FsError::BadPath`] when `default_scheme` is no URI or the working directory can't be told.
    pub fn new(options: FsOptions) -> Result<Self, FsError> {
        let default = match &options.default_scheme {
            Some(text) => text.parse::<FsPath>()?.root(),
            None => FsPath::new("file", "", "/")?,
        };
        let working_dir = match &options.working_dir {
            Some(dir) => dir.clone(),
            None => std::env::current_dir().map_err(|_| FsError::BadPath {
                path: ".".to_owned(),
                reason: "the working directory can't be told: it was removed or may not be read",
            })?,
        };
        let open = Mutex::new(BTreeMap::new());
        Ok(Self { shared: Arc::new(Shared { options, default, working_dir, open }) })
    }

    /// The full name of what a user wrote: a URI, an absolute path of the default file system, or a path relative to
    /// that file system's home (on HDFS) or to the working directory (local).
    ///
    /// # Errors
    /// [`FsError::BadPath`] when the text is no path; those of [`get`](FileSystems::get) for relative paths on HDFS.
    pub fn resolve(&self, text: &str) -> Result<FsPath, FsError> {
        let shared = &self.shared;
        let home = match shared.default.scheme() {
            "file" => FsPath::local(Path::new(""), &shared.working_dir)?,
            _ => self.get(&shared.default)?.home_directory(),
        };
        FsPath::resolve(text, &shared.default, &home)
    }

    /// The file system of a path, made at the first call for its scheme and authority.
    ///
    /// # Errors
    /// [`FsError::UnknownScheme`]; [`FsError::BadConfiguration`] when the Hadoop configuration does not say how to
    /// reach it.
    pub fn get(&self, path: &FsPath) -> Result<Arc<dyn FileSystem>, FsError> {
        let key = (path.scheme().to_owned(), path.authority().to_owned());
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fs) = open.get(&key) {
            return Ok(Arc::clone(fs));
        }
        let fs = self.make(path)?;
        open.insert(key, Arc::clone(&fs));
        Ok(fs)
    }

    fn make(&self, path: &FsPath) -> Result<Arc<dyn FileSystem>, FsError> {
        let options = &self.shared.options;
        match path.scheme() {
            "file" => {
                let home = FsPath::local(Path::new(""), &self.shared.working_dir)?;
                Ok(Arc::new(LocalFileSystem::new(home, options.call_timeout)))
            }
            "hdfs" | "viewfs" => Ok(Arc::new(HdfsFileSystem::new(path, options)?)),
            other => Err(FsError::UnknownScheme { scheme: other.to_owned(), path: path.to_string(), known: KNOWN }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_files_conform() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = FsPath::local(Path::new("scratch"), dir.path()).unwrap();
        let fs = FileSystems::new(FsOptions::default()).unwrap().get(&scratch).unwrap();
        crate::conformance::check_all(&*fs, &scratch).await;
    }

    fn systems(default_scheme: Option<&str>) -> FileSystems {
        FileSystems::new(FsOptions {
            default_scheme: default_scheme.map(str::to_owned),
            working_dir: Some("/work dir".into()),
            user: Some("alice".to_owned()),
            ..FsOptions::default()
        })
        .unwrap()
    }

    #[test]
    fn what_a_user_wrote_becomes_a_full_path() {
        let cases = [
            (None, "a/b", "file:///work dir/a/b"),
            (None, "../b", "file:///b"),
            (None, "/a//b/", "file:///a/b"),
            (None, "file:/a", "file:///a"),
            (None, "hdfs://nn:1/a", "hdfs://nn:1/a"),
            (Some("hdfs://nn:1/"), "/a", "hdfs://nn:1/a"),
            (Some("hdfs://nn:1"), "a", "hdfs://nn:1/user/alice/a"),
            (Some("hdfs://nn:1"), "file:///a", "file:///a"),
            (Some("file:///"), "a", "file:///work dir/a"),
        ];
        for (default, text, expected) in cases {
            assert_eq!(systems(default).resolve(text).unwrap().to_string(), expected, "{text} with {default:?}");
        }
        assert!(systems(None).resolve("").is_err());
    }

    #[test]
    fn one_file_system_serves_all_paths_of_an_authority() {
        let systems = systems(None);
        let get = |text: &str| systems.get(&text.parse().unwrap()).unwrap();
        assert!(Arc::ptr_eq(&get("hdfs://nn:1/a"), &get("hdfs://nn:1/b")));
        assert!(!Arc::ptr_eq(&get("hdfs://nn:1/a"), &get("hdfs://nn:2/a")));
    }

    #[test]
    fn an_unknown_scheme_is_refused_with_the_known_ones() {
        let error = systems(None).get(&"s3://bucket/a".parse().unwrap()).err().unwrap().to_string();
        assert!(error.contains("s3") && error.contains("hdfs") && error.contains("file"), "{error}");
    }
}
