//! One version of each library: a second one is compiled, linked and understood for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use flumen_itests::binaries::repository;

/// Libraries of which two versions are linked: name, and why it can't be helped now.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("ahash", "two, of the two older hashbrowns, and only with the feature `zookeeper`"),
    (
        "base64",
        "hdfs-native 0.14 is at 0.22, and lib/hadoop with it; the HTTP crates (hyper-util, reqwest) and pem are at 0.23",
    ),
    ("hashbrown", "zookeeper-client 0.11 is at 0.12, its hashlink at 0.14: only with the feature `zookeeper`"),
    ("thiserror", "zookeeper-client 0.11 is at 1: only with the feature `zookeeper`"),
    ("getrandom", "ring 0.17 is at 0.2; rand, tempfile and uuid are at 0.4"),
];

#[test]
fn no_library_is_linked_in_two_versions_without_a_reason() {
    let doubles: Vec<_> = linked_versions().into_iter().filter(|(_, versions)| versions.len() > 1).collect();
    let unexcused: Vec<_> =
        doubles.iter().filter(|(name, _)| !EXCEPTIONS.iter().any(|(known, _)| known == name)).collect();
    assert!(unexcused.is_empty(), "{unexcused:?}: `cargo tree -e normal -i <name>@<version>` says who brings them");
    for (name, reason) in EXCEPTIONS {
        assert!(doubles.iter().any(|(double, _)| double == name), "{name} is not double any more: {reason}");
    }
}

/// The versions of each package that end up in our programs (and not only in the compiler while it builds them).
fn linked_versions() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--all-features",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
        ])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        // «name v1.2.3 (path or mark)»
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    assert!(versions.contains_key("flumen-model"), "cargo tree lists our own packages too");
    assert!(versions.contains_key("librocksdb-sys"), "and those of optional features");
    versions
}
