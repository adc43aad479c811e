//! The set-up of a whole process; it can be done once, so this is one test.

use std::fs;

use flumen_log::{Limits, LogError, Options, init};

#[test]
fn events_and_panics_become_lines_of_the_file_and_the_level_can_be_changed() {
    let dir = tempfile::TempDir::new().unwrap();
    let options = Options {
        dir: Some(dir.path().to_owned()),
        file_name: "jobmanager.log".into(),
        level: "info".into(),
        file_size: 1 << 20,
        files: 2,
    };
    let loud = Options { level: "loud".into(), ..options.clone() };
    assert!(matches!(init(&loud), Err(LogError::Level { .. })));
    let nowhere = Options { dir: Some("/nowhere".into()), ..options.clone() };
    assert!(matches!(init(&nowhere), Err(LogError::File { .. })));

    let logging = init(&options).unwrap();
    tracing::info!(job = 7, "a job was submitted");
    tracing::debug!("too fine");
    log::warn!("from a library");
    logging.reconfigure("debug", Limits { file_size: 1 << 20, files: 2 }).unwrap();
    tracing::debug!("fine enough");
    std::thread::Builder::new().name("user-code".into()).spawn(|| panic!("boom")).unwrap().join().unwrap_err();

    let text = fs::read_to_string(dir.path().join("jobmanager.log")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("Z  INFO init: a job was submitted job=7"), "{}", lines[0]);
    assert!(lines[0].starts_with("20"), "{}", lines[0]);
    assert!(lines[1].contains(" WARN init: from a library"), "{}", lines[1]);
    assert!(lines[2].contains("DEBUG init: fine enough"), "{}", lines[2]);
    assert!(lines[3].contains("ERROR") && lines[3].contains("panicked: boom"), "{}", lines[3]);
    assert!(lines[3].contains("thread=\"user-code\"") && lines[3].contains("tests/init.rs"), "{}", lines[3]);

    assert!(matches!(init(&options), Err(LogError::Twice(_))));
}
