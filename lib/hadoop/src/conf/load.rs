//! Finding and reading the files.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::xml::{self, Item};
use super::{ConfError, Configuration, Lookup};

/// The files that Hadoop's clients read, later ones over earlier ones.
const FILES: [&str; 3] = ["core-site.xml", "hdfs-site.xml", "yarn-site.xml"];
/// Variables that name a directory of configuration files, in the order of their precedence.
const DIR_VARIABLES: [&str; 3] = ["YARN_CONF_DIR", "HADOOP_CONF_DIR", "HADOOP_CONF_PATH"];
/// The variable that names the installation, and where it keeps its configuration.
const HOME_VARIABLE: &str = "HADOOP_HOME";
const HOME_SUBDIRS: [&str; 2] = ["etc/hadoop", "conf"];

/// A real configuration has some 100 kB.
const MAX_FILE_BYTES: u64 = 16 << 20;
const MAX_INCLUDE_DEPTH: usize = 8;

/// A place that may hold the files.
struct Candidate {
    /// The variable, with what is appended to it.
    origin: String,
    /// `None` when the variable is not set.
    dir: Option<PathBuf>,
}

fn candidates(env: &Lookup) -> Vec<Candidate> {
    let set = |name: &str| env(name).filter(|value| !value.trim().is_empty()).map(PathBuf::from);
    let dirs = DIR_VARIABLES.map(|name| Candidate { origin: name.to_owned(), dir: set(name) });
    let homes = HOME_SUBDIRS.map(|sub| Candidate {
        origin: format!("{HOME_VARIABLE}/{sub}"),
        dir: set(HOME_VARIABLE).map(|home| home.join(sub)),
    });
    dirs.into_iter().chain(homes).collect()
}

/// Each file from the first place that has it, as Java takes it from the class path.
pub(super) fn load(env: Lookup) -> Result<Configuration, ConfError> {
    let candidates = candidates(&env);
    let found: Vec<PathBuf> = FILES
        .iter()
        .filter_map(|name| {
            let mut files = candidates.iter().filter_map(|candidate| Some(candidate.dir.as_ref()?.join(name)));
            files.find(|file| file.is_file())
        })
        .collect();
    if found.is_empty() {
        let looked_at: Vec<String> = candidates.iter().map(describe).collect();
        return Err(ConfError::NoFiles { looked_at: looked_at.join(", ") });
    }
    let mut conf = Configuration::with_lookup(env);
    for file in found {
        conf.add_file(&file)?;
    }
    Ok(conf)
}

fn describe(candidate: &Candidate) -> String {
    match &candidate.dir {
        None => format!("{} is not set", candidate.origin),
        Some(dir) if dir.is_dir() => format!("{} ({}) holds none", candidate.origin, dir.display()),
        Some(dir) => format!("{} ({}) is no directory", candidate.origin, dir.display()),
    }
}

/// Reads one file with what it includes into `conf`.
pub(super) fn add_file(conf: &mut Configuration, file: &Path, depth: usize) -> Result<(), ConfError> {
    let items = parse_file(file)?;
    add_items(conf, items, file, depth)
}

fn parse_file(file: &Path) -> Result<Vec<Item>, ConfError> {
    let text = read(file).map_err(|cause| ConfError::Read { file: file.to_owned(), cause })?;
    let name = || file.display().to_string();
    xml::parse(&text).map_err(|fault| ConfError::Xml { file: name(), line: fault.line, reason: fault.reason })
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn add_items(conf: &mut Configuration, items: Vec<Item>, file: &Path, depth: usize) -> Result<(), ConfError> {
    for item in items {
        match item {
            Item::Property { name, value, is_final } => conf.add(&name, value, is_final),
            Item::Include { href, fallback, line } => {
                let fault = |reason: String| Err(ConfError::Xml { file: file.display().to_string(), line, reason });
                if depth >= MAX_INCLUDE_DEPTH {
                    return fault(format!("files include each other more than {MAX_INCLUDE_DEPTH} deep"));
                }
                let included = included_file(file, &href);
                match fallback {
                    _ if included.is_file() => add_file(conf, &included, depth + 1)?,
                    Some(fallback) => add_items(conf, fallback, file, depth + 1)?,
                    None => return fault(format!("the included file {} does not exist", included.display())),
                }
            }
        }
    }
    Ok(())
}

/// Relative names count from the directory of the including file.
fn included_file(file: &Path, href: &str) -> PathBuf {
    let href = href.strip_prefix("file://").or_else(|| href.strip_prefix("file:")).unwrap_or(href);
    file.parent().unwrap_or(Path::new("")).join(href)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use super::*;

    fn property(name: &str, value: &str, is_final: bool) -> String {
        format!("<property><name>{name}</name><value>{value}</value><final>{is_final}</final></property>")
    }

    fn write(file: &Path, content: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let head = "<configuration xmlns:xi='http://www.w3.org/2001/XInclude'>";
        fs::write(file, format!("{head}{content}</configuration>")).unwrap();
    }

    fn env_of(variables: &[(&str, &Path)]) -> Lookup {
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, dir)| (name.to_string(), dir.to_str().unwrap().to_owned())).collect();
        Arc::new(move |name| variables.get(name).cloned())
    }

    #[test]
    fn each_file_comes_from_the_first_place_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("yarn/yarn-site.xml"), &property("y", "from YARN_CONF_DIR", false));
        write(&at("hadoop/yarn-site.xml"), &property("y", "no", false));
        write(&at("hadoop/core-site.xml"), &property("c", "from HADOOP_CONF_DIR", false));
        write(&at("home/etc/hadoop/core-site.xml"), &property("c", "no", false));
        write(&at("home/conf/hdfs-site.xml"), &property("h", "from HADOOP_HOME/conf", false));
        let conf = load(env_of(&[
            ("YARN_CONF_DIR", &at("yarn")),
            ("HADOOP_CONF_DIR", &at("hadoop")),
            ("HADOOP_CONF_PATH", &at("missing")),
            ("HADOOP_HOME", &at("home")),
        ]))
        .unwrap();
        let get = |key| conf.get(key).unwrap().unwrap();
        assert_eq!(get("y"), "from YARN_CONF_DIR");
        assert_eq!(get("c"), "from HADOOP_CONF_DIR");
        assert_eq!(get("h"), "from HADOOP_HOME/conf");
    }

    #[test]
    fn without_any_file_the_error_names_every_variable() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(env_of(&[("HADOOP_CONF_DIR", dir.path()), ("HADOOP_HOME", Path::new("/no/where"))]));
        let text = error.unwrap_err().to_string();
        for part in
            ["YARN_CONF_DIR is not set", "HADOOP_CONF_DIR (", "holds none", "/no/where/etc/hadoop) is no directory"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_final_value_stays_and_an_ordinary_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("core-site.xml"), &(property("kept", "1", true) + &property("changed", "1", false)));
        write(&dir.path().join("yarn-site.xml"), &(property("kept", "2", false) + &property("changed", "2", false)));
        let mut conf = load(env_of(&[("HADOOP_CONF_DIR", dir.path())])).unwrap();
        let get = |conf: &Configuration, key| conf.get(key).unwrap().unwrap();
        assert_eq!((get(&conf, "kept"), get(&conf, "changed")), ("1".to_owned(), "2".to_owned()));
        conf.set("kept", "3");
        assert_eq!(get(&conf, "kept"), "3", "what the user says on the command line counts over files");
    }

    #[test]
    fn includes_are_relative_and_fall_back() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("sub/core-site.xml");
        write(&dir.path().join("other.xml"), &property("a", "included", false));
        let fallback = format!("<xi:fallback>{}</xi:fallback>", property("b", "fallback", false));
        write(
            &main,
            &format!(
                "<xi:include href='../other.xml'>{fallback}</xi:include><xi:include href='no.xml'>{fallback}</xi:include>"
            ),
        );
        let mut conf = Configuration::with_lookup(env_of(&[]));
        conf.add_file(&main).unwrap();
        assert_eq!(conf.get("a").unwrap().unwrap(), "included");
        assert_eq!(conf.get("b").unwrap().unwrap(), "fallback");

        write(&main, "\n<xi:include href='no.xml'/>");
        let text = conf.add_file(&main).unwrap_err().to_string();
        assert!(text.contains("core-site.xml") && text.contains("line 2") && text.contains("no.xml"), "{text}");
        write(&main, "<xi:include href='core-site.xml'/>");
        assert!(conf.add_file(&main).unwrap_err().to_string().contains("include each other"));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_naming_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("core-site.xml");
        fs::write(&file, b"<configuration>\xff\xfe</configuration>").unwrap();
        let error = load(env_of(&[("HADOOP_CONF_DIR", dir.path())])).unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}
