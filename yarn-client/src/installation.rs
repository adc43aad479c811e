//! Where things are: configuration and Flumen's own executables, relative to this one.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flumen_model::config::Configuration;
use flumen_wire::application::{APPMASTER_FILE, TASKEXECUTOR_FILE};

/// Names of the configuration file, the first that is there counts.
const CONFIGURATION_FILES: [&str; 2] = ["flink-conf.yaml", "config.yaml"];

/// Environment variable with the directory of the configuration file.
const CONF_DIR_VARIABLE: &str = "FLINK_CONF_DIR";

/// Environment variable with the directory of flumen-appmaster and flumen-taskexecutor.
const LIB_DIR_VARIABLE: &str = "FLUMEN_LIB_DIR";

/// The directory of this executable, through symbolic links.
fn executable_dir() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("the path of this executable can't be told")?;
    let path = path.canonicalize().with_context(|| format!("`{}` can't be resolved", path.display()))?;
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The configuration file's content: from `FLINK_CONF_DIR`, else from `../conf` beside the executable. No file is no error
/// unless the variable was set.
///
/// # Errors
/// When the file can't be read or understood, or when `FLINK_CONF_DIR` holds none.
pub fn configuration() -> anyhow::Result<Configuration> {
    let set = std::env::var_os(CONF_DIR_VARIABLE).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = match &set {
        Some(dir) => dir.clone(),
        None => executable_dir()?.join("../conf"),
    };
    match (read_configuration(&dir)?, set) {
        (Some(configuration), _) => Ok(configuration),
        (None, None) => Ok(Configuration::new()),
        (None, Some(dir)) => anyhow::bail!(
            "{CONF_DIR_VARIABLE} is `{}`, but there is no {} in it",
            dir.display(),
            CONFIGURATION_FILES.join(" or ")
        ),
    }
}

fn read_configuration(dir: &Path) -> anyhow::Result<Option<Configuration>> {
    for name in CONFIGURATION_FILES {
        let path = dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let configuration = Configuration::from_conf_text(&text);
                return configuration.map(Some).with_context(|| format!("`{}` can't be used", path.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("`{}` can't be read", path.display())),
        }
    }
    Ok(None)
}

/// Flumen's executables for the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executables {
    /// flumen-appmaster.
    pub appmaster: PathBuf,
    /// flumen-taskexecutor.
    pub taskexecutor: PathBuf,
}

/// Finds them: in `FLUMEN_LIB_DIR` when it is set, else beside this executable, else in `../lib`.
///
/// # Errors
/// When one of them is in none of these places.
pub fn executables() -> anyhow::Result<Executables> {
    let dirs = match std::env::var_os(LIB_DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        Some(dir) => vec![PathBuf::from(dir)],
        None => {
            let dir = executable_dir()?;
            vec![dir.clone(), dir.join("../lib")]
        }
    };
    Ok(Executables { appmaster: find(&dirs, APPMASTER_FILE)?, taskexecutor: find(&dirs, TASKEXECUTOR_FILE)? })
}

fn find(dirs: &[PathBuf], name: &str) -> anyhow::Result<PathBuf> {
    let found = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        let dirs: Vec<_> = dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
        format!("`{name}` is not in {}: build it, or name its directory in {LIB_DIR_VARIABLE}", dirs.join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_file_counts_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_configuration(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join("config.yaml"), "a: 1\n").unwrap();
        assert_eq!(read_configuration(dir.path()).unwrap().unwrap().raw("a"), Some("1"));
        std::fs::write(dir.path().join("flink-conf.yaml"), "nonsense\n").unwrap();
        let error = format!("{:#}", read_configuration(dir.path()).unwrap_err());
        assert!(error.contains("flink-conf.yaml") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn a_missing_executable_is_named_with_the_places_that_were_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().to_owned()];
        let error = find(&dirs, APPMASTER_FILE).unwrap_err().to_string();
        assert!(error.contains(APPMASTER_FILE) && error.contains(dir.path().to_str().unwrap()), "{error}");
        std::fs::write(dir.path().join(APPMASTER_FILE), "").unwrap();
        assert_eq!(find(&dirs, APPMASTER_FILE).unwrap(), dir.path().join(APPMASTER_FILE));
    }
}
