//! Counts words as they come over a socket.
//!
//! ```text
//! nc -lk 9999        # in another terminal, then type
//! socket-wordcount --hostname localhost --port 9999
//! ```
//!
//! It prints the new count of a word whenever the word comes again, until the other side closes.

use clap::Parser;
use flumen::{Collector, StreamExecutionEnvironment};

#[derive(Parser)]
struct Arguments {
    /// Where the text comes from
    #[arg(long, default_value = "localhost")]
    hostname: String,
    /// Its port
    #[arg(long)]
    port: u16,
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    env.socket_text_stream(&arguments.hostname, arguments.port)
        .flat_map(|line: String, out: &mut Collector<(String, u64)>| {
            for word in line.split_whitespace() {
                out.collect((word.to_owned(), 1));
            }
        })
        .key_by_ref(|(word, _)| word)
        .sum(|t| &mut t.1)
        .print()
        .set_parallelism(1);
    env.execute("Socket WordCount")?;
    Ok(())
}
