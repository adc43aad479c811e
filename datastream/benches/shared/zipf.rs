//! The input: lines of twelve words whose ranks follow Zipf's law. The same size gives the same bytes.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Different words of a long text.
const WORDS: usize = 100_000;
const WORDS_PER_LINE: u32 = 12;

/// A text in the system's place for temporary files, kept there for the next benchmark.
#[derive(Debug)]
pub struct Text {
    /// Where it is.
    pub path: PathBuf,
    /// How many words it has.
    pub words: u64,
}

impl Text {
    /// The text of this many MiB (up to a line more); written unless it is there already.
    pub fn of(megabytes: u64) -> Text {
        let path = std::env::temp_dir().join(format!("flumen-zipf-{megabytes}.txt"));
        if !path.try_exists().expect("a look at the temporary directory") {
            write(&path, megabytes << 20);
        }
        let words = count(&path);
        Text { path, words }
    }
}

fn write(path: &Path, bytes: u64) {
    let words: Vec<String> = (0..WORDS).map(word).collect();
    let mut total = 0.0;
    let cumulative: Vec<f64> = (0..WORDS)
        .map(|rank| {
            total += 1.0 / (rank + 1) as f64;
            total
        })
        .collect();
    // Under its name it is complete.
    let temporary = path.with_extension("tmp");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary).expect("a temporary file"));
    let (mut random, mut written) = (0x9e37_79b9_7f4a_7c15, 0);
    while written < bytes {
        for i in 1..=WORDS_PER_LINE {
            let at = (xorshift(&mut random) >> 11) as f64 / (1u64 << 53) as f64 * total;
            let word = &words[cumulative.partition_point(|sum| *sum < at).min(WORDS - 1)];
            write!(file, "{word}{}", if i == WORDS_PER_LINE { '\n' } else { ' ' }).expect("room for the input");
            written += word.len() as u64 + 1;
        }
    }
    file.flush().expect("room for the input");
    std::fs::rename(temporary, path).expect("the file can be renamed");
}

/// The word of a rank: frequent words are short, as in prose.
fn word(rank: usize) -> String {
    let mut n = rank as u64 + 1;
    let mut word = String::new();
    while n > 0 {
        word.push(char::from(b'a' + (n % 23) as u8));
        n /= 23;
    }
    word + ["", "s", "ing", "tion"][rank % 4]
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Every word is followed by one separator. Reading it all also brings it into the page cache, for whoever is measured first.
fn count(path: &Path) -> u64 {
    let mut file = File::open(path).expect("the input");
    let mut buffer = vec![0; 1 << 20];
    let mut words = 0;
    loop {
        let n = file.read(&mut buffer).expect("the input can be read");
        if n == 0 {
            return words;
        }
        words += buffer[..n].iter().filter(|b| **b == b' ' || **b == b'\n').count() as u64;
    }
}
