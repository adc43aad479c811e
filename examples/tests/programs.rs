//! The example programs, run by hand as their users do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program to its end, with parallelism 3 unless the options say otherwise, and gives back what it printed.
fn run(program: &str, arguments: &[&str], options: &[(&str, &str)]) -> String {
    let mut configuration = BTreeMap::from([("parallelism.default", "3")]);
    configuration.extend(options.iter().copied());
    let text: Vec<String> = configuration.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    let output = Command::new(program)
        .args(arguments)
        .env("FLUMEN_CONFIGURATION", format!("{{{}}}", text.join(",")))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of what was printed, without the numbers of the subtasks, sorted.
fn lines(printed: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        printed.lines().map(|line| line.split_once("> ").map_or(line, |(_, line)| line).to_owned()).collect();
    lines.sort();
    lines
}

/// The lines of all files of a probe sink, as fields.
fn probed(directory: &Path) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("sink-") && name.contains("-a0-p") && name.ends_with(".log"), "{name}");
        let text = std::fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>()));
    }
    lines
}

fn total(lines: &[Vec<String>], tag: &str, field: usize) -> u64 {
    lines.iter().filter(|line| line[3] == tag).map(|line| line[field].parse::<u64>().unwrap()).sum()
}

#[test]
fn keyed_sum_emits_a_sum_for_each_event_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let probe = directory.path().join("probe");
    let arguments = ["--events", "100000", "--keys", "1000", "--probe", probe.to_str().unwrap(), "--name", "sums"];
    run(env!("CARGO_BIN_EXE_keyed-sum"), &arguments, &[]);
    let lines = probed(&probe);
    assert_eq!(total(&lines, "END", 1), 100_000);
    assert_eq!(total(&lines, "END", 2), 0);
    for tag in ["OPEN", "FIRST", "END", "CLOSE"] {
        assert_eq!(lines.iter().filter(|line| line[3] == tag).count(), 3, "{tag} once for each subtask");
    }
}

#[test]
fn window_count_counts_every_event_once_also_with_checkpoints() {
    for interval in ["0", "10 ms"] {
        let directory = tempfile::tempdir().unwrap();
        let probe = directory.path().join("probe");
        let checkpoints = directory.path().join("checkpoints");
        let options =
            [("execution.checkpointing.interval", interval), ("state.checkpoints.dir", checkpoints.to_str().unwrap())];
        let arguments =
            ["--events", "300000", "--keys", "100", "--evrate", "10000", "--probe", probe.to_str().unwrap()];
        run(env!("CARGO_BIN_EXE_window-count"), &arguments, &options);
        let lines = probed(&probe);
        // 30 s of event time: three windows for each key.
        assert_eq!(total(&lines, "END", 1), 300, "interval {interval}");
        assert_eq!(total(&lines, "END", 2), 300_000, "interval {interval}");
    }
}

#[test]
fn sessions_end_after_their_gap() {
    let printed = run(env!("CARGO_BIN_EXE_session-windowing"), &[], &[]);
    assert_eq!(lines(&printed), ["(a,1,4,1)", "(a,10,13,1)", "(b,1,8,3)", "(c,11,14,1)", "(c,6,9,1)"]);
}

#[test]
fn words_of_files_are_counted_in_windows_of_a_count() {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("in.txt");
    std::fs::write(&input, "a a b a a\nb a\n").unwrap();
    let arguments = ["--input", input.to_str().unwrap(), "--window", "3", "--slide", "2"];
    let printed = run(env!("CARGO_BIN_EXE_windowed-wordcount"), &arguments, &[]);
    assert_eq!(lines(&printed), ["(a,2)", "(a,3)", "(b,2)"]);
}

#[test]
fn words_from_a_socket_are_counted_in_windows_of_the_clock() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_windowed-wordcount"))
        .args(["--hostname", "127.0.0.1", "--port", &port, "--window-seconds", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"to be or not to be\n").unwrap();
    // Windows of the clock fire while the stream lives; all words are in one, unless it ended between two of them.
    let mut words = 0;
    let mut counts = BufReader::new(program.stdout.take().unwrap()).lines();
    while words < 6 {
        let line = counts.next().expect("the program goes on as long as the socket is open").unwrap();
        let count = line.trim_end_matches(')').rsplit(',').next().unwrap();
        words += count.parse::<u32>().unwrap();
    }
    drop(stream);
    assert_eq!(words, 6);
    assert!(counts.next().is_none(), "nothing is counted twice");
    assert!(program.wait().unwrap().success());
}

#[test]
fn averages_of_sensors_have_every_reading() {
    let arguments = ["--sensors", "4", "--readings", "300"];
    let printed = lines(&run(env!("CARGO_BIN_EXE_sensor-average"), &arguments, &[]));
    assert_eq!(printed.len(), 4 * 5, "{printed:?}");
    let mut readings = 0;
    for line in &printed {
        let fields: Vec<i64> = line.trim_matches(['(', ')']).split(',').map(|field| field.parse().unwrap()).collect();
        let [sensor, start, average, count] = fields[..] else { panic!("{line}") };
        assert_eq!(start % 60_000, 0, "{line}");
        assert!((19_000..21_000).contains(&(average - sensor * 100)), "{line}");
        readings += count;
    }
    assert_eq!(readings, 4 * 300);
}

#[test]
fn the_state_machine_sees_every_illegal_step_and_no_other() {
    let program = env!("CARGO_BIN_EXE_state-machine");
    let arguments = ["--users", "50", "--events", "20000"];
    assert_eq!(run(program, &arguments, &[]), "");
    let with_errors = [&arguments[..], &["--error-rate", "0.1"]].concat();
    let alerts = lines(&run(program, &with_errors, &[]));
    assert!((1800..2200).contains(&alerts.len()), "{} alerts", alerts.len());
    assert!(alerts.iter().all(|alert| alert.starts_with("user ") && alert.contains(" and did ")), "{alerts:?}");
    // The events follow from the seed, whatever the number of subtasks.
    assert_eq!(lines(&run(program, &with_errors, &[("parallelism.default", "1")])), alerts);
    let other = [&with_errors[..], &["--seed", "2"]].concat();
    assert_ne!(lines(&run(program, &other, &[])), alerts);
}
