//! Uploaded programs on the JobManager's disk: one directory, in which each file has its complete content from the moment it
//! has its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::JarError;

/// Within the upload directory; Flink's name.
const DIRECTORY: &str = "flink-web-upload";

/// Programs that are kept; then one has to be removed before the next comes.
const STORED_MAX: usize = 64;

/// Longest name of a program.
const NAME_MAX: usize = 100;

/// Only the user may read or run what was uploaded.
const MODE: u32 = 0o700;

/// Digits and dashes before the program's own name.
const UUID_LENGTH: usize = 36;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct JarStore(PathBuf);

/// An uploaded program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Jar {
    /// `<uuid>_<name>`.
    pub(super) id: String,
    /// Milliseconds since 1970.
    pub(super) uploaded_ms: u64,
}

impl Jar {
    /// The name under which it was uploaded.
    pub(super) fn name(&self) -> &str {
        name_of(&self.id).unwrap_or(&self.id)
    }
}

impl JarStore {
    /// In a directory of that upload directory, which is made when it is needed.
    pub(super) fn new(upload_dir: &Path) -> Self {
        Self(upload_dir.join(DIRECTORY))
    }

    /// All programs, the latest first. A directory that can't be read is taken for an empty one.
    pub(super) fn list(&self) -> Vec<Jar> {
        let Ok(entries) = fs::read_dir(&self.0) else { return vec![] };
        let mut jars: Vec<Jar> = entries.filter_map(|entry| described(&entry.ok()?)).collect();
        jars.sort_by(|a, b| b.uploaded_ms.cmp(&a.uploaded_ms).then_with(|| a.id.cmp(&b.id)));
        jars
    }

    /// The file of a program.
    ///
    /// # Errors
    /// [`JarError::Missing`].
    pub(super) fn path(&self, id: &str) -> Result<PathBuf, JarError> {
        let missing = || JarError::Missing(id.to_owned());
        // An id has neither a slash nor a dot at its beginning, so it leads nowhere else.
        name_of(id).ok_or_else(missing)?;
        let path = self.0.join(id);
        let is_file = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
        if is_file { Ok(path) } else { Err(missing()) }
    }

    /// Removes a program. A job that runs it is not concerned.
    ///
    /// # Errors
    /// [`JarError::Missing`], [`JarError::Disk`].
    pub(super) fn remove(&self, id: &str) -> Result<(), JarError> {
        fs::remove_file(self.path(id)?).map_err(JarError::Disk)
    }

    /// A place for a program of that name, to be filled.
    ///
    /// # Errors
    /// [`JarError::Name`], [`JarError::TooMany`], [`JarError::Disk`].
    pub(super) fn begin(&self, name: &str) -> Result<Upload, JarError> {
        let name = usable(name)?;
        fs::DirBuilder::new().recursive(true).mode(MODE).create(&self.0).map_err(JarError::Disk)?;
        if self.list().len() >= STORED_MAX {
            return Err(JarError::TooMany(STORED_MAX));
        }
        let id = format!("{}_{name}", uuid::Uuid::new_v4());
        let temporary = self.0.join(format!(".{id}.tmp"));
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary);
        let file = file.map_err(JarError::Disk)?;
        Ok(Upload { file, temporary: Temporary(temporary), path: self.0.join(&id) })
    }
}

/// A program that is being received. Dropped before [`Upload::complete`] it leaves nothing.
pub(super) struct Upload {
    file: File,
    temporary: Temporary,
    path: PathBuf,
}

impl Upload {
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`JarError::NotNative`] when it is no program that can be run here; [`JarError::Disk`].
    pub(super) fn complete(self) -> Result<PathBuf, JarError> {
        let Self { file, temporary, path } = self;
        // Whoever runs it must not find it open for writing.
        drop(file);
        check_native(&temporary.0)?;
        fs::rename(&temporary.0, &path).map_err(JarError::Disk)?;
        Ok(path)
    }
}

/// A file that goes unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What starts as no executable does would fail later, and less clearly.
fn check_native(path: &Path) -> Result<(), JarError> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut head)).map_err(JarError::Disk)?;
    match head.as_slice() {
        b"\x7fELF" => Ok(()),
        [b'#', b'!', ..] => Ok(()),
        [b'P', b'K', ..] => Err(JarError::NotNative("a Java archive")),
        [] => Err(JarError::NotNative("empty")),
        _ => Err(JarError::NotNative("no executable")),
    }
}

/// The last part of a path as some browsers send it, without what a file system may not like.
fn usable(name: &str) -> Result<String, JarError> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '_' };
    let plain: String = last.trim_start_matches('.').chars().map(plain).take(NAME_MAX).collect();
    if plain.is_empty() { Err(JarError::Name(name.chars().take(NAME_MAX).collect())) } else { Ok(plain) }
}

/// The name in an id; `None` when it is no id.
pub(super) fn name_of(id: &str) -> Option<&str> {
    let (uuid, name) = (id.get(..UUID_LENGTH)?, id.get(UUID_LENGTH..)?.strip_prefix('_')?);
    let is_uuid = uuid::Uuid::try_parse(uuid).is_ok();
    (is_uuid && usable(name).is_ok_and(|usable| usable == name)).then_some(name)
}

fn described(entry: &fs::DirEntry) -> Option<Jar> {
    let id = entry.file_name().into_string().ok()?;
    name_of(&id)?;
    let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Jar { id, uploaded_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(store: &JarStore, name: &str, content: &[u8]) -> Result<PathBuf, JarError> {
        let mut upload = store.begin(name)?;
        upload.write(content).unwrap();
        upload.complete()
    }

    fn id_of(path: &Path) -> String {
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_program_is_there_when_it_is_complete_and_goes_when_it_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let store = JarStore::new(dir.path());
        assert_eq!(store.list(), []);
        let upload = store.begin("wordcount").unwrap();
        assert_eq!(store.list(), [], "not before it is complete");
        drop(upload);
        let path = stored(&store, "C:\\programs\\word count", b"\x7fELF...").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let id = id_of(&path);
        let listed = store.list();
        assert_eq!((listed.len(), listed[0].id.as_str(), listed[0].name()), (1, id.as_str(), "word_count"));
        assert_eq!(store.path(&id).unwrap(), path);
        store.remove(&id).unwrap();
        assert!(matches!(store.remove(&id), Err(JarError::Missing(_))));
        assert_eq!(fs::read_dir(dir.path().join(DIRECTORY)).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn what_is_no_program_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = JarStore::new(dir.path());
        for (content, what) in [(&b"PK\x03\x04"[..], "a Java archive"), (b"", "empty"), (b"hello", "no executable")] {
            let error = stored(&store, "job.jar", content).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        for name in ["", "..", "a/", "...", "\\"] {
            assert!(matches!(store.begin(name), Err(JarError::Name(_))), "{name}");
        }
        assert_eq!(fs::read_dir(dir.path().join(DIRECTORY)).unwrap().count(), 0);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let store = JarStore::new(dir.path());
        for _ in 0..STORED_MAX {
            stored(&store, "a", b"#!/bin/sh").unwrap();
        }
        assert!(matches!(store.begin("a"), Err(JarError::TooMany(STORED_MAX))));
    }

    #[test]
    fn an_id_leads_to_uploaded_programs_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = JarStore::new(dir.path());
        let id = id_of(&stored(&store, "a", b"#!/bin/sh").unwrap());
        fs::write(dir.path().join("secret"), "x").unwrap();
        let uuid = &id[..UUID_LENGTH];
        let link = dir.path().join(DIRECTORY).join(format!("{uuid}_link"));
        std::os::unix::fs::symlink(dir.path().join("secret"), link).unwrap();
        let (up, absolute) = (format!("{uuid}_/../../secret"), format!("{uuid}_//etc/passwd"));
        for id in
            ["", ".", "..", "../secret", "secret", &up, &absolute, &format!("{uuid}_link"), &format!("{uuid}_"), uuid]
        {
            assert!(matches!(store.path(id), Err(JarError::Missing(_))), "{id}");
            assert!(store.remove(id).is_err(), "{id}");
        }
        assert!(dir.path().join("secret").is_file());
    }

    proptest! {
        #[test]
        fn a_name_becomes_one_that_any_file_system_takes(name in "\\PC{0,40}|[./\\\\\0: a-z]{0,20}") {
            if let Ok(usable) = usable(&name) {
                prop_assert!(!usable.is_empty() && !usable.starts_with('.') && usable.len() <= NAME_MAX);
                prop_assert!(usable.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b)));
                let id = format!("{}_{usable}", uuid::Uuid::nil());
                prop_assert_eq!(name_of(&id), Some(usable.as_str()));
            }
        }
    }
}
