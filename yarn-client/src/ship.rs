//! Which of the user's files go into every container: `-yt`, `yarn.ship-files`, `yarn.ship-archives`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::options::yarn;
use flumen_wire::application::{APPLICATION_FILE, APPMASTER_FILE, TASKEXECUTOR_FILE};
use flumen_wire::tls::SECURITY_FILE;

/// A shipped directory may not hold more files: each is a resource that every NodeManager looks after.
const FILES_MAX: usize = 10_000;

/// Endings of archives that NodeManagers unpack.
const ARCHIVES: [&str; 5] = [".tar.gz", ".tgz", ".tar", ".zip", ".jar"];

/// A file to be shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// Where it is.
    pub source: Source,
    /// Its path in the container's working directory.
    pub link: String,
    /// Whether it is unpacked there.
    pub archive: bool,
}

/// Where a shipped file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On this machine.
    Local(PathBuf),
    /// On a file system of the cluster: it is not uploaded.
    Remote(String),
}

/// Files that can't be shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// A local file or directory can't be read.
    #[error("`{path}`, which is to be shipped, can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It is not something that containers can have.
    #[error("`{path}` can't be shipped: {reason}")]
    Unfit {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The configuration is malformed.
    #[error("the configuration can't be used")]
    Configuration(#[from] BadConfiguration),
}

/// All files that are to be shipped beside `program`, if there is one; directories are listed.
///
/// # Errors
/// [`ShipError`], also when two would have the same name in the container.
pub fn shipped(configuration: &Configuration, program: Option<&str>) -> Result<Vec<Shipped>, ShipError> {
    let mut files = Vec::new();
    for text in listed(configuration.find(&yarn::SHIP_FILES)?) {
        match remote(&text) {
            Some(name) => {
                files.push(Shipped { link: name.to_owned(), source: Source::Remote(text.clone()), archive: false });
            }
            None => local(Path::new(&text), &mut files)?,
        }
    }
    for text in listed(configuration.find(&yarn::SHIP_ARCHIVES)?) {
        if !ARCHIVES.iter().any(|ending| text.to_lowercase().ends_with(ending)) {
            return Err(unfit(&text, format!("an archive ends with one of {}", ARCHIVES.join(" "))));
        }
        let path = PathBuf::from(&text);
        let (name, source) = match remote(&text) {
            Some(name) => (name.to_owned(), Source::Remote(text.clone())),
            None => (name_of(&path)?, Source::Local(path)),
        };
        files.push(Shipped { link: name, source, archive: true });
    }
    unique(&files, program)?;
    Ok(files)
}

fn listed(text: Option<String>) -> Vec<String> {
    let parts = text.unwrap_or_default();
    parts.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The last name of a full URL; `None` for local paths.
fn remote(text: &str) -> Option<&str> {
    let (scheme, path) = text.split_once("://")?;
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    (scheme != "file" && !name.is_empty()).then_some(name)
}

fn local(path: &Path, files: &mut Vec<Shipped>) -> Result<(), ShipError> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let read = |path: &Path, cause| ShipError::Read { path: path.to_owned(), cause };
    let path = path.canonicalize().map_err(|cause| read(path, cause))?;
    let mut found = vec![(path.clone(), name_of(&path)?)];
    while let Some((path, link)) = found.pop() {
        let metadata = std::fs::metadata(&path).map_err(|cause| read(&path, cause))?;
        if metadata.is_file() {
            files.push(Shipped { source: Source::Local(path), link, archive: false });
            continue;
        }
        if !metadata.is_dir() {
            return Err(unfit(&path.display().to_string(), "it is neither file nor directory".to_owned()));
        }
        for entry in std::fs::read_dir(&path).map_err(|cause| read(&path, cause))? {
            let entry = entry.map_err(|cause| read(&path, cause))?.path();
            let link = format!("{link}/{}", name_of(&entry)?);
            found.push((entry, link));
        }
        if files.len() + found.len() > FILES_MAX {
            let reason = format!("it holds more than {FILES_MAX} files: pack them and use yarn.ship-archives");
            return Err(unfit(&path.display().to_string(), reason));
        }
    }
    Ok(())
}

fn name_of(path: &Path) -> Result<String, ShipError> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(unfit(&path.display().to_string(), "it has no name that is valid UTF-8".to_owned())),
    }
}

fn unique(files: &[Shipped], program: Option<&str>) -> Result<(), ShipError> {
    let own = [APPMASTER_FILE, TASKEXECUTOR_FILE, APPLICATION_FILE, SECURITY_FILE];
    let own = own.into_iter().chain(program);
    let mut names: BTreeMap<&str, &str> = own.map(|name| (name, "Flumen or the program")).collect();
    for file in files {
        // The NodeManager's script has the name between double quotes, without escaping.
        if let Some(c) = file.link.chars().find(|c| matches!(c, '"' | '$' | '`' | '\\') || c.is_control()) {
            return Err(unfit(&file.link, format!("its name holds {c:?}, which YARN's launch script would interpret")));
        }
        if let Some(other) = names.insert(&file.link, "another shipped file") {
            let reason = format!("in the containers its name `{}` is taken by {other}", file.link);
            return Err(unfit(&file.link, reason));
        }
    }
    Ok(())
}

fn unfit(path: &str, reason: String) -> ShipError {
    ShipError::Unfit { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(files: &str, archives: &str) -> Result<Vec<String>, ShipError> {
        let mut conf = Configuration::new();
        conf.put(&yarn::SHIP_FILES, files);
        conf.put(&yarn::SHIP_ARCHIVES, archives);
        let mut links: Vec<_> = shipped(&conf, Some("wordcount"))?.into_iter().map(|file| file.link).collect();
        links.sort();
        Ok(links)
    }

    #[test]
    fn directories_keep_their_structure_and_remote_files_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(path("conf/sub")).unwrap();
        for name in ["conf/a", "conf/sub/b", "c", "d.tgz"] {
            std::fs::write(path(name), name).unwrap();
        }
        let files = format!("{} ; {};hdfs://nn:1/x/e;", path("conf"), path("c"));
        assert_eq!(links(&files, &path("d.tgz")).unwrap(), ["c", "conf/a", "conf/sub/b", "d.tgz", "e"]);
        for (files, archives, part) in [
            (path("none"), String::new(), "can't be read"),
            (format!("{0};{0}", path("c")), String::new(), "another shipped file"),
            ("hdfs://nn:1/wordcount".to_owned(), String::new(), "Flumen or the program"),
            (String::new(), path("c"), "an archive ends with"),
            ("hdfs://nn:1/a$b".to_owned(), String::new(), "would interpret"),
        ] {
            let error = links(&files, &archives).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
