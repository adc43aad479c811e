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

mod shared;

use std::path::Path;

use flumen::{Collector, RuntimeMode, StreamExecutionEnvironment};
use shared::hand_written::{self, Emit};
use shared::own_process::{self, Task};
use shared::zipf::Text;

fn main() {
    if let Some(task) = own_process::task() {
        return own_process::run(|| run(&task));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| {
        arguments.iter().position(|a| a == name).map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (megabytes, runs) = (value("--megabytes", 1024), value("--runs", 3));
    let text = Text::of(megabytes);
    let words = text.words as f64;
    println!("{megabytes} MiB, {:.1} M words, best of {runs} runs", words / 1e6);
    println!("{:<34} {:>10} {:>12} {:>8}", "", "M words/s", "CPU µs/word", "ratio");
    for parallelism in [1, 2] {
        let mut reference = None;
        for what in ["hand", "batch", "streaming"] {
            let all = (0..runs).map(|_| own_process::measure(what, &text.path, parallelism));
            let best = all.min_by_key(|one| one.wall).expect("at least one run");
            let speed = words / best.wall.as_secs_f64();
            let ratio = speed / *reference.get_or_insert(speed);
            let name = match what {
                "hand" => "hand-written loop".to_owned(),
                mode => format!("Flumen, {mode} execution"),
            };
            let name = format!("{name}, {parallelism} {}", if parallelism == 1 { "subtask" } else { "subtasks" });
            let cpu = best.cpu.as_secs_f64() * 1e6 / words;
            println!("{name:<34} {:>10.2} {cpu:>12.3} {ratio:>8.2}", speed / 1e6);
        }
    }
}

fn run(task: &Task) {
    match task.what.as_str() {
        "hand" => hand_written::word_count(&task.input, u64::from(task.parallelism), Emit::Final),
        "batch" => flumen(&task.input, task.parallelism, RuntimeMode::Batch),
        "streaming" => flumen(&task.input, task.parallelism, RuntimeMode::Streaming),
        other => panic!("nothing to measure is named {other}"),
    }
}

fn flumen(input: &Path, parallelism: u32, mode: RuntimeMode) {
    let output = hand_written::output_path();
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
