//! The commands that an attached session takes on standard input.

use std::io::{BufRead as _, BufReader};

use tokio::sync::mpsc;

/// What the user may say.
pub const HELP: &str = "Available commands:\nhelp - show these commands\nstop - stop the session";

/// Lines that wait to be understood.
const LINES: usize = 16;

/// What the user has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// `stop`, or `quit`: end the session.
    Stop,
    /// `help`.
    Help,
    /// Something else.
    Unknown(String),
    /// An empty line.
    Nothing,
}

impl Said {
    fn read(line: &str) -> Self {
        match line.trim() {
            "stop" | "quit" => Self::Stop,
            "help" => Self::Help,
            "" => Self::Nothing,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// Standard input, line by line.
pub struct Console {
    lines: mpsc::Receiver<String>,
}

impl Console {
    /// From now on standard input is read: on a thread of its own, which ends with the process, because reading can't be
    /// given up.
    pub fn open() -> Self {
        Self::of(BufReader::new(std::io::stdin()).lines())
    }

    fn of(input: impl Iterator<Item = std::io::Result<String>> + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in input.map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next thing that is said. After the end of the input nothing is ever said: as in Flink, the session is still
    /// watched. Safe to cancel.
    pub async fn next(&mut self) -> Said {
        match self.lines.recv().await {
            Some(line) => Said::read(&line),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn a_line_is_understood_as_in_flink() {
        for (line, said) in [
            ("stop", Said::Stop),
            (" stop \r", Said::Stop),
            ("quit", Said::Stop),
            ("help", Said::Help),
            ("", Said::Nothing),
            ("STOP", Said::Unknown("STOP".into())),
            ("stop now", Said::Unknown("stop now".into())),
        ] {
            assert_eq!(Said::read(line), said, "{line}");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_input_says_nothing() {
        let lines = ["help", "stop"].map(|line| Ok(line.to_owned()));
        let mut console = Console::of(lines.into_iter());
        assert_eq!((console.next().await, console.next().await), (Said::Help, Said::Stop));
        assert_eq!(console.lines.recv().await, None, "the input has ended");
        assert_eq!(console.next().now_or_never(), None);
    }
}
