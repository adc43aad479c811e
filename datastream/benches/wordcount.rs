//! WordCount, embedded, beside a hand-written loop over the same file in the same invocation.
//!
//! ```text
//! cargo bench -p flumen --bench wordcount -- [--megabytes 1024] [--runs 3]
//! ```
//!
//! The input has Zipf-distributed words. Each line of the result gives words per second of wall time, CPU time per word of
//! the whole process, and the ratio of the speeds to the hand-written loop's. The loop reads lines into owned strings,
//! makes an owned string of every word and counts in a hash map: what a careful programmer writes without a framework.
//! Two subtasks are measured beside two threads of that loop, each with a half of the file, whose maps are merged.

#![allow(clippy::print_stdout, reason = "a benchmark reports on its standard output")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use flumen::{Collector, RuntimeMode, StreamExecutionEnvironment};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    // Each measurement is a process of its own: its CPU time is its own, and its memory begins empty.
    if let Some(at) = arguments.iter().position(|a| a == "--measure") {
        return measure(
            &arguments[at + 1],
            Path::new(&arguments[at + 2]),
            arguments[at + 3].parse().expect("a number"),
        );
    }
    let (megabytes, runs) = (value("--megabytes", 1024), value("--runs", 3));
    let input = std::env::temp_dir().join(format!("flumen-zipf-{megabytes}.txt"));
    let words = zipf_text(&input, megabytes << 20);
    println!("{megabytes} MiB, {:.1} M words, best of {runs} runs", words as f64 / 1e6);
    println!("{:<34} {:>10} {:>12} {:>8}", "", "M words/s", "CPU µs/word", "ratio");
    for parallelism in [1, 2] {
        let mut reference = None;
        for what in ["hand", "batch", "streaming"] {
            let best = (0..runs).map(|_| in_own_process(what, &input, parallelism)).min_by(|a, b| a.0.total_cmp(&b.0));
            let (seconds, cpu) = best.expect("at least one run");
            let speed = words as f64 / seconds;
            let ratio = speed / *reference.get_or_insert(speed);
            let name = match what {
                "hand" => "hand-written loop".to_owned(),
                mode => format!("Flumen, {mode} execution"),
            };
            let name = format!("{name}, {parallelism} {}", if parallelism == 1 { "subtask" } else { "subtasks" });
            println!("{name:<34} {:>10.2} {:>12.3} {ratio:>8.2}", speed / 1e6, cpu * 1e6 / words as f64);
        }
    }
}

/// Wall and CPU seconds of one measurement.
fn in_own_process(what: &str, input: &Path, parallelism: u32) -> (f64, f64) {
    let executable = std::env::current_exe().expect("this executable");
    let output = Command::new(executable)
        .args(["--measure", what])
        .arg(input)
        .arg(parallelism.to_string())
        .output()
        .expect("the measurement can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(cpu)) => (seconds, cpu),
        _ => panic!("no measurement of {what}: {text} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn measure(what: &str, input: &Path, parallelism: u32) {
    let start = Instant::now();
    match what {
        "hand" => hand_written(input, u64::from(parallelism)),
        "batch" => flumen(input, parallelism, RuntimeMode::Batch),
        "streaming" => flumen(input, parallelism, RuntimeMode::Streaming),
        other => panic!("nothing to measure is named {other}"),
    }
    println!("{} {}", start.elapsed().as_secs_f64(), cpu_time().as_secs_f64());
}

fn output_directory() -> PathBuf {
    std::env::temp_dir().join(format!("flumen-wordcount-{}", std::process::id()))
}

fn flumen(input: &Path, parallelism: u32, mode: RuntimeMode) {
    let output = output_directory();
    let env = StreamExecutionEnvironment::get().expect("an environment");
    env.set_parallelism(parallelism);
    env.set_runtime_mode(mode);
    env.read_text_file(input.to_str().expect("a name in UTF-8"))
        .expect("the input was made")
        .flat_map(|line: String, out: &mut Collector<(String, u64)>| {
            for word in line.split_ascii_whitespace() {
                out.collect((word.to_owned(), 1));
            }
        })
        .key_by_ref(|(word, _)| word)
        .sum(|t| &mut t.1)
        .write_as_text(output.to_str().expect("a name in UTF-8"));
    env.execute("WordCount").expect("the job finishes");
    std::fs::remove_dir_all(output).expect("the output can be removed");
}

fn hand_written(input: &Path, threads: u64) {
    let length = std::fs::metadata(input).expect("the input was made").len();
    let count = |start: u64, end: u64| {
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
    };
    let counts = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|i| scope.spawn(move || count(length * i / threads, length * (i + 1) / threads)))
            .collect();
        let mut all = HashMap::new();
        for part in parts {
            for (word, n) in part.join().expect("a thread that counts") {
                *all.entry(word).or_insert(0) += n;
            }
        }
        all
    });
    let path = output_directory();
    let mut output = BufWriter::new(File::create(&path).expect("a temporary file"));
    for (word, n) in &counts {
        writeln!(output, "({word},{n})").expect("room in the temporary directory");
    }
    drop(output);
    std::fs::remove_file(path).expect("the output can be removed");
}

/// CPU time of this process, all threads, user and system.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The name of the program stands in parentheses and may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

/// Writes lines of words whose ranks follow Zipf's law, unless the file is there already; returns the number of words.
fn zipf_text(path: &Path, bytes: u64) -> u64 {
    const WORDS: usize = 100_000;
    if !path.try_exists().expect("a look at the temporary directory") {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let word = |rank: usize| {
            let mut n = rank as u64 + 1;
            let mut word = String::new();
            while n > 0 {
                word.push(char::from(b'a' + (n % 23) as u8));
                n /= 23;
            }
            word + ["", "s", "ing", "tion"][rank % 4]
        };
        let words: Vec<String> = (0..WORDS).map(word).collect();
        let mut total = 0.0;
        let cumulative: Vec<f64> = (0..WORDS)
            .map(|rank| {
                total += 1.0 / (rank + 1) as f64;
                total
            })
            .collect();
        let temporary = path.with_extension("tmp");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary).expect("a temporary file"));
        let mut written = 0;
        while written < bytes {
            for i in 0..12 {
                let at = (next() >> 11) as f64 / (1u64 << 53) as f64 * total;
                let word = &words[cumulative.partition_point(|sum| *sum < at).min(WORDS - 1)];
                write!(file, "{word}{}", if i == 11 { '\n' } else { ' ' }).expect("room for the input");
                written += word.len() as u64 + 1;
            }
        }
        file.flush().expect("room for the input");
        std::fs::rename(temporary, path).expect("the file can be renamed");
    }
    let mut words = 0;
    let mut file = File::open(path).expect("the input");
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).expect("the input can be read");
        if n == 0 {
            return words;
        }
        words += buffer[..n].iter().filter(|b| **b == b' ' || **b == b'\n').count() as u64;
    }
}
