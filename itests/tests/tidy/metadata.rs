//! What `cargo metadata` says of the workspace and of everything it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use flumen_itests::binaries::repository;
use serde_json::Value;

/// A package of the dependency graph.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    pub(crate) manifest: PathBuf,
    pub(crate) is_member: bool,
    /// Ids of the packages that are linked into it: neither only built with it, nor only tested with it.
    pub(crate) linked: BTreeSet<String>,
    /// Ids of the packages that only its tests use.
    pub(crate) tested_with: BTreeSet<String>,
}

/// All packages by id, as built on Linux with all features.
pub(crate) static PACKAGES: LazyLock<BTreeMap<String, Package>> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu", "--all-features"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let members: BTreeSet<_> = strings(&metadata["workspace_members"]).collect();
    let nodes: BTreeMap<_, _> =
        array(&metadata["resolve"]["nodes"]).iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let packages = array(&metadata["packages"]).iter();
    let packages = packages.filter_map(|package| {
        let id = package["id"].as_str().unwrap();
        // What isn't in the resolved graph is for other platforms.
        let node = nodes.get(id)?;
        let of_kind = |kind: Value| {
            let dependencies = array(&node["deps"]).iter();
            let of_kind = dependencies.filter(|dep| array(&dep["dep_kinds"]).iter().any(|known| known["kind"] == kind));
            of_kind.map(|dep| dep["pkg"].as_str().unwrap().to_owned()).collect()
        };
        let package = Package {
            name: package["name"].as_str().unwrap().to_owned(),
            version: package["version"].as_str().unwrap().to_owned(),
            licence: package["license"].as_str().map(str::to_owned),
            manifest: package["manifest_path"].as_str().unwrap().into(),
            is_member: members.contains(id),
            linked: of_kind(Value::Null),
            tested_with: of_kind("dev".into()),
        };
        Some((id.to_owned(), package))
    });
    packages.collect()
});

/// The packages of this workspace.
pub(crate) fn members() -> impl Iterator<Item = &'static Package> {
    PACKAGES.values().filter(|package| package.is_member)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> impl Iterator<Item = String> + '_ {
    array(value).iter().map(|value| value.as_str().unwrap().to_owned())
}
