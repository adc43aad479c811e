//! Counts words in windows.
//!
//! ```text
//! windowed-wordcount --hostname HOST --port PORT [--window-seconds N]
//! windowed-wordcount --input PATH… [--window N] [--slide N] [--output DIRECTORY]
//! ```
//!
//! From a socket (`nc -lk 9999` in another terminal) it counts the words of every few seconds of the clock. From files it
//! counts, each time that a word has come `slide` more times, how often it is among its last `window` ones: windows of a
//! count, which give the same results however fast the files are read.

use std::time::Duration;

use clap::Parser;
use flumen::windows::TumblingProcessingTimeWindows;
use flumen::{Collector, DataStream, Error, StreamExecutionEnvironment};

#[derive(Parser)]
struct Arguments {
    /// Where the text comes from
    #[arg(long, default_value = "localhost")]
    hostname: String,
    /// Its port; without it, files are read
    #[arg(long)]
    port: Option<u16>,
    /// Seconds of a window of the text from a socket
    #[arg(long, default_value_t = 5)]
    window_seconds: u64,
    /// A file, directory or pattern to read; may be given several times
    #[arg(long, required_unless_present = "port")]
    input: Vec<String>,
    /// Size of a window of the text of files, in words
    #[arg(long, default_value_t = 250)]
    window: u64,
    /// After how many words there is another one
    #[arg(long, default_value_t = 150)]
    slide: u64,
    /// The directory to write to; without it, counts are printed
    #[arg(long)]
    output: Option<String>,
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    let counts = match arguments.port {
        Some(port) => {
            let windows = TumblingProcessingTimeWindows::of(Duration::from_secs(arguments.window_seconds.max(1)));
            let words = words(env.socket_text_stream(&arguments.hostname, port));
            words.key_by_ref(|(word, _)| word).window(windows).sum(|t| &mut t.1)
        }
        None => {
            let mut inputs = arguments.input.iter().map(|input| env.read_text_file(input));
            let Some(first) = inputs.next() else { return Err(Error::Program("there is nothing to read".to_owned())) };
            let text = inputs.try_fold(first?, |all, next| Ok::<_, Error>(all.union(next?)))?;
            let windows =
                words(text).key_by_ref(|(word, _)| word).sliding_count_window(arguments.window, arguments.slide);
            windows.reduce(|count, word| count.1 += word.1)
        }
    };
    let counts = counts.uid("counts");
    match &arguments.output {
        Some(output) => counts.write_as_text(output),
        None => counts.print(),
    };
    env.execute("Windowed WordCount")?;
    Ok(())
}

/// The words of lines, in lower case, each with the count 1.
fn words(text: DataStream<String>) -> DataStream<(String, u64)> {
    text.flat_map(|line: String, out: &mut Collector<(String, u64)>| {
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            out.collect((word.to_lowercase(), 1));
        }
    })
}
