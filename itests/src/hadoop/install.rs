//! Hadoop's jars, fetched through Maven once per machine, and what is prepared from them.
//!
//! Everything is kept in `${XDG_CACHE_HOME:-~/.cache}/flumen/hadoop-<version>/`. A folder appears there by one rename when
//! it is complete, and one process at a time prepares: a run that is killed half-way costs nothing but its time.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::warm;
use crate::say;

/// What Maven resolves; names the version.
const POM: &str = include_str!("../../hadoop/pom.xml");

/// The oldest Java that is tested with this Hadoop.
const JAVA_MIN: u32 = 17;

const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// A Hadoop on this machine that daemons can be started from.
#[derive(Debug, Clone)]
pub struct Installation {
    dir: PathBuf,
    java_home: PathBuf,
    java_version: String,
}

impl Installation {
    /// Finds Java, and fetches and prepares Hadoop where this machine doesn't have it yet; says what takes time.
    ///
    /// # Errors
    /// When Java or Maven is missing or too old, or the jars can't be fetched.
    pub fn ready() -> Result<Installation> {
        let (java_home, java_version) = java()?;
        let dir = fetched("hadoop", "hadoop.version", POM, 600, tidied)?;
        let lock = Lock::of(&dir)?;
        let installation = Installation { dir, java_home, java_version };
        warm::prepare(&installation)?;
        drop(lock);
        Ok(installation)
    }

    /// The `java` that daemons run on.
    pub(super) fn java(&self) -> PathBuf {
        self.java_home.join("bin/java")
    }

    pub(super) fn java_home(&self) -> &Path {
        &self.java_home
    }

    /// A formatted, empty `dfs.namenode.name.dir`, to be copied: formatting costs a JVM.
    pub(super) fn name_image(&self) -> PathBuf {
        self.dir.join("name")
    }

    /// Where the class-data archives for this Java are, if they could be made.
    pub(super) fn class_data(&self) -> PathBuf {
        self.dir.join(format!("class-data-{}", self.java_version))
    }

    /// A folder for things that will be renamed to their place in the cache.
    pub(super) fn scratch(&self, name: &str) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix(&format!(".{name}.")).tempdir_in(&self.dir)?)
    }

    /// The class path with the configuration `conf_dir`.
    pub(super) fn class_path(&self, conf_dir: &Path) -> Result<String> {
        let mut jars: Vec<_> = std::fs::read_dir(self.dir.join("jars"))?
            .map(|entry| Ok(entry?.path().display().to_string()))
            .collect::<Result<_>>()?;
        jars.sort();
        // Jars first: a class-data archive allows no folder before them. None of them carries a *-site.xml.
        jars.push(conf_dir.display().to_string());
        jars.push(self.dir.join("web").display().to_string());
        Ok(jars.join(":"))
    }
}

fn cache_dir() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("flumen"))
}

/// The home and the full version of the Java in JAVA_HOME, else on the path.
pub(crate) fn java() -> Result<(PathBuf, String)> {
    const MISSING: &str = "a Java runtime is needed: scripts/setup.sh --hadoop installs one";
    let home = match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let java = std::env::split_paths(&path).map(|dir| dir.join("java")).find(|java| java.is_file());
            let java = java.context(MISSING)?.canonicalize()?;
            java.ancestors().nth(2).context(MISSING)?.to_owned()
        }
    };
    let release = home.join("release");
    let release =
        std::fs::read_to_string(&release).with_context(|| format!("{MISSING}: reading {}", release.display()))?;
    let value = |key: &str| between(&release, &format!("{key}=\""), "\"").map(str::to_owned);
    let version =
        value("JAVA_RUNTIME_VERSION").or_else(|| value("JAVA_VERSION")).context("no version in Java's release file")?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|major| major.parse().ok()).unwrap_or(0);
    ensure!(
        major >= JAVA_MIN,
        "Java {version} in {} is older than {JAVA_MIN}; set JAVA_HOME to a newer one",
        home.display()
    );
    Ok((home, version))
}

/// The folder in the cache with all jars that `pom` resolves to, in `jars`; fetched where this machine doesn't have them yet.
/// `property` is the one of the pom that names the version, `files` about how many files Maven fetches, and `tidied` what is to
/// be done to the folder before it gets its name.
///
/// # Errors
/// When Maven is missing, or the jars can't be fetched.
pub(crate) fn fetched(
    name: &str,
    property: &str,
    pom: &str,
    files: u32,
    tidied: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let version = between(pom, &format!("<{property}>"), &format!("</{property}>")).context("no version in pom.xml")?;
    let cache = cache_dir()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let dir = cache.join(format!("{name}-{version}"));
    let _lock = Lock::of(&dir)?;
    // The pom is the mark of completeness, and of being what is asked for.
    if std::fs::read_to_string(dir.join("pom.xml")).ok().as_deref() == Some(pom) {
        return Ok(dir);
    }
    say(&format!("fetching {name} {version} (once) into {}", dir.display()));
    let tmp = tempfile::Builder::new().prefix(&format!(".{name}.")).tempdir_in(&cache)?;
    std::fs::write(tmp.path().join("pom.xml"), pom)?;
    maven(tmp.path(), files)?;
    tidied(tmp.path())?;
    if dir.try_exists()? {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing the outdated {}", dir.display()))?;
    }
    std::fs::rename(tmp.keep(), &dir).with_context(|| format!("moving the jars to {}", dir.display()))?;
    Ok(dir)
}

/// One process at a time prepares a folder of the cache.
struct Lock {
    _file: File,
}

impl Lock {
    fn of(dir: &Path) -> Result<Lock> {
        let mut path = dir.as_os_str().to_owned();
        path.push(".lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        file.lock().context("waiting for another process that prepares the same")?;
        Ok(Lock { _file: file })
    }
}

/// Hadoop's jars as the daemons need them.
fn tidied(dir: &Path) -> Result<()> {
    for jar in std::fs::read_dir(dir.join("jars"))? {
        let jar = jar?.path();
        let name = jar.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Native parts for other systems, and a database driver that nothing here loads.
        if name.contains("-osx-") || name.ends_with("-riscv64.jar") || name.starts_with("mssql-jdbc-") {
            std::fs::remove_file(&jar)?;
        }
    }
    // The hadoop-hdfs jar lacks the web pages that NameNode and DataNode look for at start. JMX and WebHDFS are servlets
    // added in code, so empty folders do.
    for page in ["hdfs", "datanode", "static", "logs"] {
        std::fs::create_dir_all(dir.join("web/webapps").join(page))?;
    }
    Ok(())
}

/// Lets Maven put all jars of `dir/pom.xml` into `dir/jars`.
fn maven(dir: &Path, files: u32) -> Result<()> {
    const ATTEMPTS: u32 = 3; // it goes on where it stopped, so a shaky network gets through
    for attempt in 1..=ATTEMPTS {
        let mut maven = Command::new("mvn")
            .args([
                "-B",
                "-Dstyle.color=never",
                "-f",
                "pom.xml",
                COPY_DEPENDENCIES,
                "-DincludeScope=runtime",
                "-DoutputDirectory=jars",
            ])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting mvn; scripts/setup.sh --hadoop installs Maven")?;
        let (mut fetched, mut errors) = (0, Vec::new());
        for line in BufReader::new(maven.stdout.take().context("mvn's stdout")?).lines() {
            let line = line?;
            if line.contains("Downloaded from") {
                fetched += 1;
                if fetched % 50 == 0 {
                    say(&format!("  {fetched} files (of about {files})"));
                }
            } else if line.starts_with("[ERROR]") && errors.len() < 5 {
                errors.push(line);
            }
        }
        if maven.wait()?.success() {
            return Ok(());
        }
        say(&format!("mvn failed (attempt {attempt} of {ATTEMPTS}): {}", errors.join("\n")));
    }
    bail!("mvn could not fetch the jars; its messages are above")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(value, _)| value)
}
