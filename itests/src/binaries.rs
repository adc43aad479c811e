//! The programs under test, of the same profile as the test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::say;

static FOLDER: LazyLock<Result<PathBuf, String>> = LazyLock::new(build);

/// The path of a program of this workspace, by its name: `flink`, `flumen-appmaster`, `wordcount`, …
///
/// The first call lets cargo build all of them, which is quick when they are fresh.
///
/// # Panics
/// When they don't build.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    match &*FOLDER {
        Ok(folder) => folder.join(name),
        Err(error) => panic!("{error}"),
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let itests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    itests.parent().map(PathBuf::from).unwrap_or(itests)
}

/// Takes from a command that builds what cargo has told this test about its own package: some build scripts would take it
/// for a change of theirs.
pub fn hide_own_package(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| key.to_string_lossy().starts_with(prefix)) {
            command.env_remove(key);
        }
    }
}

/// Builds all programs and returns their folder.
fn build() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| format!("finding the test's own program: {error}"))?;
    // target/<profile>/deps/<test>
    let folder = test.parent().and_then(|deps| deps.parent()).ok_or("the test lies outside of a target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With this test's features and a test among the targets cargo builds nothing twice.
    cargo.args(["build", "--workspace", "--bins", "--test", "tidy", "--quiet"]).current_dir(repository());
    for (feature, is_on) in [("rocksdb", cfg!(feature = "rocksdb")), ("zookeeper", cfg!(feature = "zookeeper"))] {
        if is_on {
            cargo.args(["--features", feature]);
        }
    }
    hide_own_package(&mut cargo);
    match folder.file_name().and_then(|profile| profile.to_str()) {
        Some("debug") => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
        None => return Err("the target folder has no name".into()),
    }
    say("building the programs under test");
    let output = cargo.output().map_err(|error| format!("starting cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the programs under test do not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(folder.to_owned())
}
