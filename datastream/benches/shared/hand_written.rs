//! The reference: what a careful programmer writes without a framework.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the loop writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Each word once, at the end: what batch execution writes.
    Final,
    /// A line for every word that is read, as streaming execution does. Each thread writes its own counts: right with one
    /// thread, and with more at least the same work, without an exchange.
    #[allow(dead_code, reason = "not every benchmark compares with it")]
    Updates,
}

/// Counts the words of a file with this many threads, each with its part of the bytes and a hash map of its own, and writes
/// the counts. Lines are read into owned strings, and every word becomes an owned string.
pub fn word_count(input: &Path, threads: u64, emit: Emit) {
    let length = std::fs::metadata(input).expect("the input was made").len();
    let counts = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|i| scope.spawn(move || count(input, length * i / threads..length * (i + 1) / threads, i, emit)))
            .collect();
        let mut all = HashMap::new();
        for part in parts {
            for (word, n) in part.join().expect("a thread that counts") {
                *all.entry(word).or_insert(0) += n;
            }
        }
        all
    });
    if emit == Emit::Final {
        let mut output = Output::create(threads);
        counts.iter().for_each(|(word, n)| output.line(word, *n));
        output.remove();
    }
}

/// A file that is written and then of no more use.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(number: u64) -> Output {
        let path = output_path().with_extension(number.to_string());
        let file = BufWriter::with_capacity(1 << 16, File::create(&path).expect("a temporary file"));
        Output { path, file }
    }

    fn line(&mut self, word: &str, n: u64) {
        writeln!(self.file, "({word},{n})").expect("room in the temporary directory");
    }

    fn remove(mut self) {
        self.file.flush().expect("room in the temporary directory");
        std::fs::remove_file(self.path).expect("the output can be removed");
    }
}

/// Where this process writes its result.
pub fn output_path() -> PathBuf {
    std::env::temp_dir().join(format!("flumen-wordcount-{}", std::process::id()))
}

/// The words of the lines that begin in a range of bytes.
fn count(input: &Path, Range { start, end }: Range<u64>, thread: u64, emit: Emit) -> HashMap<String, u64> {
    let mut file = File::open(input).expect("the input was made");
    file.seek(SeekFrom::Start(start.saturating_sub(1))).expect("a position in the file");
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut position = start;
    let mut line = String::new();
    if start > 0 {
        position += reader.read_line(&mut line).expect("text") as u64 - 1;
    }
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut updates = (emit == Emit::Updates).then(|| Output::create(thread));
    while position < end {
        line.clear();
        position += match reader.read_line(&mut line).expect("text") {
            0 => break,
            n => n as u64,
        };
        for word in line.split_ascii_whitespace() {
            let n = counts.entry(word.to_owned()).or_default();
            *n += 1;
            if let Some(updates) = &mut updates {
                updates.line(word, *n);
            }
        }
    }
    if let Some(updates) = updates {
        updates.remove();
    }
    counts
}
