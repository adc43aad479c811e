//! From the end of a worker's process to what the user is told: pure.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use flumen_model::failure::{Blame, Failure};

/// How far a worker had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has said nothing yet: the program has not called `execute`.
    Starting,
    /// Its program called `execute`.
    Ready,
    /// It said that it can't be a worker of this job; the failure that it gave was passed on.
    Refused,
}

/// How a worker's process came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself or was killed by someone else.
    Exit(ExitStatus),
    /// The TaskExecutor killed it, for this reason.
    Killed(String),
    /// It never ran, or was lost sight of, for this reason.
    Unknown(String),
}

/// The failure that is reported. `who` names the worker and its process; `tail` is the end of its standard error.
///
/// A program that returns without calling `execute` will do so again: the user's fault. Everything else may have come from
/// outside, and the job's restart strategy decides.
pub fn failure(who: &str, phase: Phase, cause: &Cause, tail: &str) -> Failure {
    let (blame, what) = match cause {
        Cause::Exit(status) => exited(who, phase, *status),
        Cause::Killed(reason) => (Blame::Outside, format!("{reason}: {who}")),
        Cause::Unknown(reason) => (Blame::Outside, format!("{who} {reason}")),
    };
    let tail = tail.trim_end();
    if tail.is_empty() {
        return Failure::new(blame, what);
    }
    Failure::new(blame, format!("{what}\nThe last lines of its standard error:\n{tail}"))
}

fn exited(who: &str, phase: Phase, status: ExitStatus) -> (Blame, String) {
    if let Some(signal) = status.signal() {
        let hint = signal_hint(signal).map(|hint| format!(": {hint}")).unwrap_or_default();
        return (Blame::Outside, format!("{who} was killed by {}{hint}", signal_name(signal)));
    }
    match (status.code().unwrap_or_default(), phase) {
        (0, Phase::Starting) => (Blame::User, format!("the program ended without calling `execute`: {who}")),
        (0, Phase::Ready) => (Blame::Outside, format!("{who} ended with exit code 0 before its job did")),
        (101, Phase::Starting | Phase::Ready) => {
            (Blame::Outside, format!("{who} ended with exit code 101: its main thread panicked"))
        }
        (code, Phase::Starting | Phase::Ready | Phase::Refused) => {
            (Blame::Outside, format!("{who} ended with exit code {code}"))
        }
    }
}

/// `SIGKILL (signal 9)`.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("{name} (signal {signal})")
}

fn signal_hint(signal: i32) -> Option<&'static str> {
    match signal {
        6 => Some("an abort, such as a failed allocation, a stack overflow or a panic while panicking"),
        9 => Some("probably the kernel's out-of-memory killer or a memory limit of the container; raise -ytm if so"),
        7 | 11 => Some("invalid access to memory, in unsafe or foreign code"),
        25 => Some("a file grew beyond the limit of the process"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: &str = "worker 0 of job j (pid 7)";

    fn code(code: i32) -> Cause {
        Cause::Exit(ExitStatus::from_raw(code << 8))
    }

    fn signal(signal: i32) -> Cause {
        Cause::Exit(ExitStatus::from_raw(signal))
    }

    #[test]
    fn the_end_of_a_process_is_told_in_words() {
        use Phase::{Ready, Refused, Starting};
        for (phase, cause, blame, words) in [
            (Starting, code(0), Blame::User, "the program ended without calling `execute`: worker 0 of job j (pid 7)"),
            (Ready, code(0), Blame::Outside, "worker 0 of job j (pid 7) ended with exit code 0 before its job did"),
            (Refused, code(0), Blame::Outside, "ended with exit code 0"),
            (Ready, code(3), Blame::Outside, "worker 0 of job j (pid 7) ended with exit code 3"),
            (Ready, code(101), Blame::Outside, "main thread panicked"),
            (Ready, signal(9), Blame::Outside, "was killed by SIGKILL (signal 9): probably the kernel's out-of-memory"),
            (Ready, signal(6 | 0x80), Blame::Outside, "was killed by SIGABRT (signal 6): an abort"),
            (Starting, signal(15), Blame::Outside, "was killed by SIGTERM (signal 15)"),
            (Ready, signal(40), Blame::Outside, "was killed by signal 40"),
            (Ready, Cause::Killed("it was slow".into()), Blame::Outside, "it was slow: worker 0 of job j (pid 7)"),
            (Starting, Cause::Unknown("could not be started".into()), Blame::Outside, "(pid 7) could not be started"),
        ] {
            let failure = failure(WHO, phase, &cause, "");
            assert_eq!(failure.blame, blame, "{cause:?}");
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn what_the_worker_wrote_last_follows() {
        let failure = failure(WHO, Phase::Ready, &code(3), "disk is full\nand so on\n\n");
        assert_eq!(
            failure.message,
            "worker 0 of job j (pid 7) ended with exit code 3\nThe last lines of its standard error:\ndisk is full\nand so on"
        );
    }
}
