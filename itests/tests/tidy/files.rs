//! The tracked files themselves.

use std::path::PathBuf;
use std::process::Command;

use flumen_itests::binaries::repository;

/// A file longer than this has two subjects.
const LINES_MAX: usize = 600;

/// What must not stay in a file, and why.
const BANNED: &[(&str, &str)] = &[
    // Put together here, so that this file doesn't contain them.
    (concat!("FIX", "ME"), "fix it, or say in prose what is missing"),
    (concat!("TO", "DO"), "do it, or say in prose what is missing"),
    (concat!("<<<", "<<<<"), "the mark of a merge conflict"),
    (concat!("\r", "\n"), "lines end with a line feed"),
];

/// Files that may contain one of the banned texts: path, text, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<_> = texts()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert_eq!(long, [], "at most {LINES_MAX} lines");
}

#[test]
fn no_file_contains_what_should_not_stay() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for (banned, why) in BANNED {
            let excepted = EXCEPTIONS.iter().any(|(file, known, _)| path.ends_with(file) && known == banned);
            if text.contains(banned) && !excepted {
                wrong.push(format!("{}: {banned:?}: {why}", path.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_names_a_path_of_the_machine_it_was_written_on() {
    // `/root` is the same everywhere, and `/` is everybody's.
    let home = std::env::home_dir().filter(|home| home.as_os_str().len() > 3 && !home.ends_with("root"));
    let machine: Vec<_> =
        [Some(repository()), home].into_iter().flatten().filter_map(|path| path.to_str().map(str::to_owned)).collect();
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let lines = text.lines().enumerate().filter(|(_, line)| machine.iter().any(|place| names_path(line, place)));
        wrong.extend(lines.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_path_is_found_as_a_whole_only() {
    for (line, found) in [
        ("cd /src/flumen/x", true),
        ("\"/src/flumen\"", true),
        ("HOME=/src/flumen", true),
        ("/usr/src/flumen", false),
        ("/src/flumen.git", false),
        ("/src/flumen-2", false),
    ] {
        assert_eq!(names_path(line, "/src/flumen"), found, "{line}");
    }
}

/// Whether `line` has `place` as a path of this machine, and not as a part of a longer word or path.
fn names_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + place.len()..].chars().next();
        let continues = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        !before.is_some_and(|c| continues(c) || c == '/') && !after.is_some_and(continues)
    })
}

/// Every tracked file that is text, with its text.
fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<_> = names.split_terminator('\0').map(|name| repository().join(name)).collect();
    // A file that is deleted but still tracked, or isn't UTF-8, is none.
    paths.into_iter().filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
}
