//! Checkpoints of large keyed state of which a small part changes between them, and the recovery from one: through the public
//! API in the embedded cluster, beside copying the same bytes with `std::fs` in the same process, in turns.
//!
//! ```text
//! cargo bench -p flumen --features rocksdb --bench large_state -- [--megabytes 1024] [--value-bytes 1000] [--changed 1]
//!     [--rounds 5] [--variants hashmap,rocksdb-full,rocksdb-incremental] [--local false,true] [--directory DIR]
//! ```
//!
//! Each line is a process of its own: a source fills the state of one subtask; then, again and again, some keys change and
//! the next periodic checkpoint is measured; then the subtask fails, and starts again from the newest checkpoint. Meanwhile the
//! source sends a record each half millisecond: the longest time between two of them is the pause.

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

#[path = "large_state/disk.rs"]
mod disk;
#[path = "large_state/job.rs"]
mod job;
#[path = "large_state/report.rs"]
mod report;
#[path = "large_state/watch.rs"]
mod watch;

use std::path::PathBuf;
use std::process::Command;

use job::Setting;

/// The first argument of a process that measures.
const MEASURE: &str = "--measure";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default.to_owned(), |at| arguments.get(at + 1).expect("a value").clone())
    };
    let number = |name: &str, default: &str| value(name, default).parse::<u64>().expect("a number");
    let value_bytes = number("--value-bytes", "1000");
    let setting = |backend: &str, local: bool| Setting {
        backend: backend.to_owned(),
        local,
        keys: number("--megabytes", "1024") * 1_000_000 / value_bytes,
        value_bytes: value_bytes as usize,
        changed_percent: number("--changed", "1"),
        rounds: number("--rounds", "5") as usize,
        directory: PathBuf::from(value("--directory", &std::env::temp_dir().to_string_lossy())),
    };
    if let Some(at) = arguments.iter().position(|argument| argument == MEASURE) {
        return report::line(&job::run(setting(&arguments[at + 1], arguments[at + 2] == "true")));
    }
    let with_rocksdb = "hashmap,rocksdb-full,rocksdb-incremental";
    let variants = value("--variants", if cfg!(feature = "rocksdb") { with_rocksdb } else { "hashmap" });
    report::head(&setting("", false));
    for backend in variants.split(',') {
        for local in value("--local", "false,true").split(',') {
            let measured = Command::new(std::env::current_exe().expect("this executable"))
                .args([MEASURE, backend, local])
                .args(&arguments[1..])
                .status();
            assert!(measured.expect("the measurement can be started").success(), "{backend} was not measured");
        }
    }
}
