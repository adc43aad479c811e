//! `.yarn-properties-<user>`: where `yarn-session.sh` leaves the session that `flink run` submits to, as Flink does.
//!
//! The file is a hint and nothing more: whoever reads it asks the ResourceManager whether the session still runs. It lies in
//! a directory that all users write to, so only a file that belongs to this user, and that nobody else can change, counts.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::yarn;
use flumen_staging::ProcessIdentity;

mod java;

/// Flink's key of the application's id.
const APPLICATION: &str = "applicationID";

/// Flink's key of what `-D` said when the session was started.
const DYNAMIC_PROPERTIES: &str = "dynamicPropertiesString";

/// Between two dynamic properties.
const SEPARATOR: &str = "@@";

/// A longer file is none of ours.
const LENGTH_MAX: u64 = 1 << 16;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The session's application.
    pub application: String,
    /// `key=value` each: what `-D` said when the session was started; holds for jobs in it, too.
    pub dynamic_properties: Vec<String>,
}

/// A file that is there and can't be used.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` {problem}: it is not used; remove it if it is yours")]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The file of one user.
#[derive(Debug, Clone)]
pub struct PropertiesFile {
    path: PathBuf,
}

impl PropertiesFile {
    /// The file of a user in `yarn.properties-file.location`.
    ///
    /// # Errors
    /// When the option is malformed.
    pub fn of(configuration: &Configuration, user: &str) -> Result<Self, BadConfiguration> {
        let directory = PathBuf::from(configuration.get(&yarn::PROPERTIES_FILE_LOCATION)?);
        Ok(Self { path: directory.join(format!(".yarn-properties-{}", user.replace(['/', '\0'], "_"))) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; `None` when there is none.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn read(&self) -> Result<Option<Remembered>, Unusable> {
        let unusable = |problem: String| Unusable { path: self.path.clone(), problem };
        let text = match self.text() {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(problem) => return Err(unusable(problem)),
        };
        let properties = java::parsed(&text);
        let Some(application) = properties.get(APPLICATION).map(|id| id.trim()).filter(|id| !id.is_empty()) else {
            return Err(unusable(format!("does not name an application ({APPLICATION})")));
        };
        if application.parse::<flumen_hadoop::yarn::ApplicationId>().is_err() {
            return Err(unusable(format!("names `{application}`, which is no id of an application")));
        }
        let dynamic = properties.get(DYNAMIC_PROPERTIES).map(String::as_str).unwrap_or_default();
        let dynamic = dynamic.split(SEPARATOR).filter(|property| !property.is_empty());
        Ok(Some(Remembered {
            application: application.to_owned(),
            dynamic_properties: dynamic.map(str::to_owned).collect(),
        }))
    }

    fn text(&self) -> Result<Option<String>, String> {
        let readable = |error: std::io::Error| format!("can't be read: {error}");
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => return Err("is no ordinary file".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(readable(error)),
        }
        let file = File::open(&self.path).map_err(readable)?;
        // Of what was opened, not of what stands there now.
        let metadata = file.metadata().map_err(readable)?;
        let (own, owner, mode) = (rustix::process::geteuid().as_raw(), metadata.uid(), metadata.mode() & 0o777);
        if owner != own {
            return Err(format!("belongs to another user ({owner}, not {own})"));
        }
        if mode & 0o022 != 0 {
            return Err(format!("can be changed by other users (mode {mode:o})"));
        }
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX + 1).read_to_end(&mut bytes).map_err(readable)?;
        if bytes.len() as u64 > LENGTH_MAX {
            return Err("is too long for a properties file".to_owned());
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes it anew, readable by this user alone.
    ///
    /// # Errors
    /// When the directory does not take it, or another user's file stands there.
    pub fn write(&self, remembered: &Remembered) -> std::io::Result<()> {
        let text = java::written(&[
            (APPLICATION, &remembered.application),
            (DYNAMIC_PROPERTIES, &remembered.dynamic_properties.join(SEPARATOR)),
        ]);
        // Renamed, so that nobody reads half of it; never through a link that somebody else has put there.
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.path.with_file_name(format!("{name}.{}.tmp", ProcessIdentity::own()));
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// Removes it if it still names this application. Returns whether it did.
    pub fn forget(&self, application: &str) -> bool {
        let named = matches!(self.read(), Ok(Some(remembered)) if remembered.application == application);
        named && std::fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(directory: &Path, user: &str) -> PropertiesFile {
        let mut configuration = Configuration::new();
        configuration.put(&yarn::PROPERTIES_FILE_LOCATION, directory.display());
        PropertiesFile::of(&configuration, user).unwrap()
    }

    fn session(id: &str) -> Remembered {
        let properties = ["a=b:c".to_owned(), "env=x=y".to_owned()];
        Remembered { application: id.to_owned(), dynamic_properties: properties.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_and_the_newest_session_owns_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let own = file(dir.path(), "alice");
        assert_eq!(own.read().unwrap(), None);
        own.write(&session("application_1_0001")).unwrap();
        own.write(&session("application_1_0002")).unwrap();
        assert_eq!(own.read().unwrap(), Some(session("application_1_0002")));
        assert_eq!(std::fs::metadata(own.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!own.forget("application_1_0001"), "that is not the session in it");
        assert!(own.forget("application_1_0002"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn users_have_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "alice").write(&session("application_1_0001")).unwrap();
        assert_eq!(file(dir.path(), "bob").read().unwrap(), None);
        assert_eq!(file(dir.path(), "a/../alice").path().parent(), Some(dir.path()), "no name leaves the directory");
        assert!(file(Path::new("/tmp"), "bob").path().ends_with(".yarn-properties-bob"));
    }

    #[test]
    fn flinks_own_file_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let own = file(dir.path(), "alice");
        let text = "#Generated YARN properties file\n#Sat Nov 21 12:00:00 UTC 2026\n\
                    dynamicPropertiesString=taskmanager.numberOfTaskSlots\\=2@@a\\=b\nparallelism=4\n\
                    applicationID=application_1795228637142_0003\n";
        std::fs::write(own.path(), text).unwrap();
        let read = own.read().unwrap().unwrap();
        assert_eq!(read.application, "application_1795228637142_0003");
        assert_eq!(read.dynamic_properties, ["taskmanager.numberOfTaskSlots=2", "a=b"]);
    }

    #[test]
    fn odd_files_are_named_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let own = file(dir.path(), "alice");
        for (text, mode, part) in [
            (String::new(), 0o600, "does not name an application"),
            ("applicationID=".to_owned(), 0o600, "does not name an application"),
            ("applicationID=job_1".to_owned(), 0o600, "`job_1`"),
            ("\u{0}\u{1}\u{fffd}".to_owned(), 0o600, "does not name an application"),
            ("applicationID=application_1_1".to_owned(), 0o666, "mode 666"),
            ("x".repeat(100_000), 0o600, "too long"),
        ] {
            std::fs::write(own.path(), text).unwrap();
            std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let error = own.read().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(".yarn-properties-alice"), "{error}");
            assert!(!own.forget("application_1_1"), "what can't be used is not removed");
        }
        std::fs::remove_file(own.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", own.path()).unwrap();
        assert!(own.read().unwrap_err().to_string().contains("no ordinary file"));
        own.write(&session("application_1_0001")).unwrap();
        assert!(std::fs::symlink_metadata(own.path()).unwrap().is_file(), "the link is replaced, not followed");
    }
}
