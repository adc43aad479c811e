//! What hand-written code does with the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All files below a directory, with their lengths.
pub fn files(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => left.push(entry.path()),
                Ok(meta) => drop(found.insert(entry.path(), meta.len())),
                // Removed meanwhile.
                Err(_) => {}
            }
        }
    }
    found
}

/// Copies files into a directory that is made and removed; `sync`: each is on the disk before the next, as with checkpoints.
pub fn copy<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, directory: &Path, sync: bool) -> Duration {
    fs::create_dir_all(directory).expect("a directory for the copies");
    let begun = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    for (number, path) in paths.into_iter().enumerate() {
        // Removed meanwhile.
        let Ok(mut from) = File::open(path) else { continue };
        let mut to = File::create_new(directory.join(number.to_string())).expect("a copy");
        loop {
            let count = from.read(&mut buffer).expect("a file of the newest checkpoint");
            if count == 0 {
                break;
            }
            to.write_all(&buffer[..count]).expect("room for a copy");
        }
        if sync {
            to.sync_all().expect("a disk");
        }
    }
    let taken = begun.elapsed();
    fs::remove_dir_all(directory).expect("the copies");
    taken
}

/// CPU time of this process, user and system: all threads but the one that asks.
pub fn cpu_time_of_others() -> Duration {
    ticks("/proc/self/stat") - ticks("/proc/thread-self/stat")
}

fn ticks(path: &str) -> Duration {
    let stat = fs::read_to_string(path).expect("Linux");
    // The name of the program stands in parentheses and may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}
