//! Dependencies between our crates point in one direction: down the list of ARCHITECTURE.md.

use crate::metadata::{PACKAGES, members};

/// Which of our crates each of our crates may link. What isn't here isn't allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("flumen-examples", &["flumen"]),
    ("flumen-nexmark", &["flumen"]),
    (
        "flumen",
        // The state for its descriptors, which users name, and to compare a program's states with a snapshot's.
        &[
            "flumen-worker",
            "flumen-jobmaster",
            "flumen-state",
            "flumen-checkpoint",
            "flumen-fs",
            "flumen-wire",
            "flumen-model",
        ],
    ),
    (
        "flumen-worker",
        // The testkit for tests alone: it links the worker, so that cargo refuses anything else.
        &["flumen-testkit", "flumen-state", "flumen-checkpoint", "flumen-fs", "flumen-wire", "flumen-model"],
    ),
    ("flumen-testkit", &["flumen-worker", "flumen-fs", "flumen-model"]),
    // Decides, and acts through small traits: no YARN, no HDFS, no REST.
    ("flumen-jobmaster", &["flumen-wire", "flumen-model"]),
    // These three never link user code or the worker: a job can't crash them.
    (
        "flumen-yarn-client",
        &[
            "flumen-program",
            "flumen-staging",
            "flumen-checkpoint",
            "flumen-ha",
            "flumen-fs",
            "flumen-hadoop",
            "flumen-wire",
            "flumen-model",
        ],
    ),
    (
        "flumen-appmaster",
        &[
            "flumen-jobmaster",
            "flumen-program",
            "flumen-staging",
            "flumen-checkpoint",
            "flumen-ha",
            "flumen-fs",
            "flumen-hadoop",
            "flumen-wire",
            "flumen-model",
            "flumen-log",
        ],
    ),
    ("flumen-taskexecutor", &["flumen-ha", "flumen-wire", "flumen-model", "flumen-fs", "flumen-log"]),
    ("flumen-ha", &["flumen-fs", "flumen-model"]),
    ("flumen-fs", &["flumen-hadoop", "flumen-model"]),
    // Starts the user's program as a process, which is all that may be known of it.
    ("flumen-program", &["flumen-wire", "flumen-model"]),
    ("flumen-staging", &["flumen-fs", "flumen-model"]),
    ("flumen-checkpoint", &["flumen-fs", "flumen-model"]),
    ("flumen-wire", &["flumen-model"]),
    ("flumen-hadoop", &[]),
    ("flumen-state", &["flumen-model"]),
    ("flumen-model", &[]),
    ("flumen-log", &[]),
];

/// The tests on the real Hadoop may see everything; nothing sees them.
const TESTS: &str = "flumen-itests";

#[test]
fn every_arrow_between_our_crates_is_an_allowed_one() {
    let mut wrong = Vec::new();
    for package in members().filter(|package| package.name != TESTS) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            wrong.push(format!("{} is not in the list", package.name));
            continue;
        };
        for id in package.linked.union(&package.tested_with) {
            let to = &PACKAGES[id];
            if to.is_member && to.name != package.name && !allowed.contains(&to.name.as_str()) {
                wrong.push(format!("{} -> {}", package.name, to.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "see ARCHITECTURE.md for which crate may know which");
}

#[test]
fn the_model_does_no_input_or_output() {
    let model = members().find(|package| package.name == "flumen-model").unwrap();
    for forbidden in ["tokio", "reqwest", "hdfs-native", "rustix"] {
        let found = model.linked.iter().any(|id| PACKAGES[id].name == forbidden);
        assert!(!found, "flumen-model links {forbidden}");
    }
}

#[test]
fn the_list_names_no_crate_that_is_gone() {
    let names: Vec<_> = members().map(|package| package.name.as_str()).collect();
    for (name, allowed) in ARROWS {
        for name in allowed.iter().chain([name]) {
            assert!(names.contains(name), "{name} is in the list, but not in the workspace");
        }
    }
}
