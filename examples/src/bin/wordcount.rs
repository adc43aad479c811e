//! Counts the words of texts: the first program of every stream processor.
//!
//! ```text
//! wordcount [--input PATH]… [--output DIRECTORY] [--execution-mode STREAMING|BATCH|AUTOMATIC]
//! ```
//!
//! A word is a run of letters, digits and `_`, in lower case. Without `--input` it counts a text of its own; without
//! `--output` it prints.

use clap::{Parser, ValueEnum};
use flumen::{Collector, RuntimeMode, StreamExecutionEnvironment};

#[derive(Parser)]
struct Arguments {
    /// A file, directory or pattern to read; may be given several times
    #[arg(long)]
    input: Vec<String>,
    /// The directory to write to; it must not exist
    #[arg(long)]
    output: Option<String>,
    /// Whether counts are emitted on every update (STREAMING), once at the end (BATCH), or at the end where the input has
    /// one (AUTOMATIC) [default: execution.runtime-mode if it is set, else AUTOMATIC]
    #[arg(long, ignore_case = true)]
    execution_mode: Option<Mode>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Streaming,
    Batch,
    Automatic,
}

fn main() -> flumen::Result<()> {
    let arguments = Arguments::parse();
    let env = StreamExecutionEnvironment::get()?;
    match arguments.execution_mode {
        Some(Mode::Streaming) => env.set_runtime_mode(RuntimeMode::Streaming),
        Some(Mode::Batch) => env.set_runtime_mode(RuntimeMode::Batch),
        // All its inputs are bounded.
        Some(Mode::Automatic) => env.set_runtime_mode(RuntimeMode::Batch),
        None if env.configuration().raw("execution.runtime-mode").is_none() => env.set_runtime_mode(RuntimeMode::Batch),
        None => {}
    }

    let mut inputs = arguments.input.iter().map(|input| env.read_text_file(input));
    let text = match inputs.next() {
        Some(first) => inputs.try_fold(first?, |all, next| Ok::<_, flumen::Error>(all.union(next?)))?,
        None => env.from_collection(TEXT.lines().map(str::to_owned)),
    };
    let counts = text.flat_map(tokenize).key_by_ref(|(word, _)| word).sum(|t| &mut t.1);
    match &arguments.output {
        Some(output) => counts.write_as_text(output),
        None => counts.print(),
    };
    env.execute("WordCount")?;
    Ok(())
}

/// The words of a line, each with the count 1.
fn tokenize(mut line: String, out: &mut Collector<(String, u64)>) {
    // Most lines are ASCII, and those need no second text for their lower case.
    if line.is_ascii() {
        line.make_ascii_lowercase();
    } else {
        line = line.to_lowercase();
    }
    for word in line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
        out.collect((word.to_owned(), 1));
    }
}

const TEXT: &str = "\
To be, or not to be,--that is the question:--
Whether 'tis nobler in the mind to suffer
The slings and arrows of outrageous fortune
Or to take arms against a sea of troubles,
And by opposing end them?--To die,--to sleep,--
No more; and by a sleep to say we end
The heartache, and the thousand natural shocks
That flesh is heir to,--'tis a consummation
Devoutly to be wish'd. To die,--to sleep;--
To sleep! perchance to dream:--ay, there's the rub;
For in that sleep of death what dreams may come,
When we have shuffled off this mortal coil,
Must give us pause: there's the respect
That makes calamity of so long life;
For who would bear the whips and scorns of time,
The oppressor's wrong, the proud man's contumely,
The pangs of despis'd love, the law's delay,
The insolence of office, and the spurns
That patient merit of the unworthy takes,
When he himself might his quietus make
With a bare bodkin? who would these fardels bear,
To grunt and sweat under a weary life,
But that the dread of something after death,--
The undiscover'd country, from whose bourn
No traveller returns,--puzzles the will,
And makes us rather bear those ills we have
Than fly to others that we know not of?
Thus conscience does make cowards of us all;
And thus the native hue of resolution
Is sicklied o'er with the pale cast of thought;
And enterprises of great pith and moment,
With this regard, their currents turn awry,
And lose the name of action.--Soft you now!
The fair Ophelia!--Nymph, in thy orisons
Be all my sins remember'd.";
