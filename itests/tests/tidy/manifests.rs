//! Each crate's Cargo.toml leaves to the workspace what belongs to all.

use crate::metadata::members;

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in members() {
        let text = std::fs::read_to_string(&package.manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true\n"), "{}: no workspace lints", package.manifest.display());
    }
}

#[test]
fn versions_stand_only_in_the_one_table_of_the_workspace() {
    let mut wrong = Vec::new();
    for package in members() {
        let text = std::fs::read_to_string(&package.manifest).unwrap();
        wrong.extend(own_versions(&text).into_iter().map(|line| format!("{}: {line}", package.name)));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_version_in_a_crate_is_found() {
    let text = "[package]\nversion = \"1\"\n\n[dependencies]\na.workspace = true\nb = { workspace = true }\nc = \"1\"\n\n[[bin]]\nname = \"x\"\n";
    assert_eq!(own_versions(text), ["c = \"1\""]);
}

/// The lines of the dependency tables that don't take their version from the workspace.
fn own_versions(manifest: &str) -> Vec<&str> {
    let mut in_dependencies = false;
    let mut lines = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') && !line.contains("workspace = true")
        {
            lines.push(line);
        }
    }
    lines
}
