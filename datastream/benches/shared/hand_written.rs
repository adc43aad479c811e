//! The reference: what a careful programmer writes without a framework.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Counts the words of a file with this many threads, each with its part of the bytes and a hash map of its own, and writes
/// the merged counts. Lines are read into owned strings, and every word becomes an owned string.
pub fn word_count(input: &Path, threads: u64) {
    let length = std::fs::metadata(input).expect("the input was made").len();
    let counts = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|i| scope.spawn(move || count(input, length * i / threads, length * (i + 1) / threads)))
            .collect();
        let mut all = HashMap::new();
        for part in parts {
            for (word, n) in part.join().expect("a thread that counts") {
                *all.entry(word).or_insert(0) += n;
            }
        }
        all
    });
    let path = output_path();
    let mut output = BufWriter::new(File::create(&path).expect("a temporary file"));
    for (word, n) in &counts {
        writeln!(output, "({word},{n})").expect("room in the temporary directory");
    }
    drop(output);
    std::fs::remove_file(path).expect("the output can be removed");
}

/// Where this process writes its result.
pub fn output_path() -> PathBuf {
    std::env::temp_dir().join(format!("flumen-wordcount-{}", std::process::id()))
}

/// The words of the lines that begin in a range of bytes.
fn count(input: &Path, start: u64, end: u64) -> HashMap<String, u64> {
    let mut file = File::open(input).expect("the input was made");
    file.seek(SeekFrom::Start(start.saturating_sub(1))).expect("a position in the file");
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut position = start;
    let mut line = String::new();
    if start > 0 {
        position += reader.read_line(&mut line).expect("text") as u64 - 1;
    }
    let mut counts: HashMap<String, u64> = HashMap::new();
    while position < end {
        line.clear();
        position += match reader.read_line(&mut line).expect("text") {
            0 => break,
            n => n as u64,
        };
        for word in line.split_ascii_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    counts
}
