//! Containers that failed: what a failure means, and when to stop trying. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flumen_hadoop::yarn::exit_code;

use crate::text::shortened;

/// The time in which `resourcemanager.start-worker.max-failure-rate` counts.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Causes that are kept for the final message: enough to see whether they are all the same.
const CAUSES_MAX: usize = 3;
/// Longest piece of YARN's diagnostics that is shown.
const DIAGNOSTICS_CHARS_MAX: usize = 1000;

/// Counts containers that failed before their TaskExecutor registered.
#[derive(Debug)]
pub struct FailureRate {
    per_minute_max: f64,
    failures: VecDeque<Instant>,
    causes: VecDeque<String>,
}

/// What to do after a failed container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ask for another one.
    Retry,
    /// Ask for no more, for this reason.
    GiveUp(String),
}

impl FailureRate {
    /// Allows that many failures within a minute (`resourcemanager.start-worker.max-failure-rate`); 0 or less: none.
    pub fn new(per_minute_max: f64) -> Self {
        Self { per_minute_max, failures: VecDeque::new(), causes: VecDeque::new() }
    }

    /// Takes note of a failure.
    pub fn record(&mut self, now: Instant, cause: String) -> Verdict {
        while self.failures.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        // The same cause again says nothing new.
        if self.causes.back() != Some(&cause) {
            self.causes.push_back(cause);
        }
        if self.causes.len() > CAUSES_MAX {
            self.causes.pop_front();
        }
        if (self.failures.len() as f64) <= self.per_minute_max {
            return Verdict::Retry;
        }
        Verdict::GiveUp(format!(
            "{} containers failed within a minute before their TaskExecutor registered; allowed are {} \
             (resourcemanager.start-worker.max-failure-rate). Last causes:\n{}",
            self.failures.len(),
            self.per_minute_max.max(0.0),
            self.causes.iter().map(|cause| format!("- {cause}")).collect::<Vec<_>>().join("\n"),
        ))
    }
}

/// True for an end that says nothing about the program or its set-up: YARN or the node took the container away.
pub fn is_clusters_doing(code: i32) -> bool {
    matches!(code, exit_code::ABORTED | exit_code::DISKS_FAILED | exit_code::PREEMPTED)
}

/// What the end of a container means: exit code in words, what to do about it, and YARN's own words.
pub fn explain(code: i32, diagnostics: &str) -> String {
    let meaning = match code {
        0 => "its process ended by itself".to_owned(),
        exit_code::INVALID => "it never ran: the NodeManager could not fetch its files or start it".to_owned(),
        exit_code::ABORTED => "it was released, or its node was lost".to_owned(),
        exit_code::DISKS_FAILED => "the disks of its node failed".to_owned(),
        exit_code::PREEMPTED => "it was preempted: YARN gave its resources to another application".to_owned(),
        exit_code::KILLED_EXCEEDED_VMEM => "YARN killed it because it used more virtual memory than allowed: raise \
            taskmanager.memory.process.size, or have yarn.nodemanager.vmem-check-enabled set to false"
            .to_owned(),
        exit_code::KILLED_EXCEEDED_PMEM => "YARN killed it because it used more memory than it had asked for: raise \
            taskmanager.memory.process.size"
            .to_owned(),
        exit_code::KILLED_BY_APPMASTER => "it was stopped by this ApplicationMaster".to_owned(),
        exit_code::KILLED_BY_RESOURCEMANAGER => "the ResourceManager of YARN stopped it".to_owned(),
        exit_code::KILLED_AFTER_APP_COMPLETION => "it was stopped because the application had ended".to_owned(),
        -108 => "the NodeManager stopped it in favour of containers with guaranteed resources".to_owned(),
        -109 => {
            "YARN killed it because its log files grew too large: lower env.log.file.size or env.log.max".to_owned()
        }
        126 | 127 => {
            "its program could not be executed: a library or the program itself is missing on the node, or it was \
            built for another kind of machine"
                .to_owned()
        }
        134 => "its process aborted (SIGABRT)".to_owned(),
        137 => "its process was killed (SIGKILL): by an operator, or by the system because memory was short".to_owned(),
        139 => "its process crashed (SIGSEGV)".to_owned(),
        143 => "its process was told to stop (SIGTERM)".to_owned(),
        other => format!("its process ended with exit code {other}"),
    };
    let diagnostics = own_words(diagnostics);
    if diagnostics.is_empty() { meaning } else { format!("{meaning}. YARN says: {diagnostics}") }
}

/// Lines of YARN's diagnostics that say nothing beyond the exit code.
const EMPTY_WORDS: [&str; 9] = [
    "Exception from container-launch",
    "Container id:",
    "Exit code:",
    "Container exited with a non-zero exit code",
    "Container killed on request. Exit code is",
    "Killed by external signal",
    "Last 4096 bytes of",
    "Shell output:",
    "main : ",
];

/// What YARN's diagnostics say beyond the exit code, in one line: without time stamps, repetitions and stack traces, cut to
/// a length that can be read.
fn own_words(diagnostics: &str) -> String {
    let mut said: Vec<&str> = Vec::new();
    for line in diagnostics.lines().filter(|line| !line.starts_with("\tat ")) {
        let line = without_time(line.trim());
        if !line.is_empty() && !EMPTY_WORDS.iter().any(|words| line.starts_with(words)) && !said.contains(&line) {
            said.push(line);
        }
    }
    shortened(&said.join("; "), DIAGNOSTICS_CHARS_MAX)
}

/// The line without `[2026-11-21 06:38:37.189]` at its start.
fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match rest {
        Some((time, rest)) if time.starts_with(|c: char| c.is_ascii_digit()) => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgiven_up_to_the_rate_and_forgotten_after_a_minute() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut rate = FailureRate::new(2.0);
        for second in [0, 10, 60, 70, 120, 130] {
            assert_eq!(rate.record(at(second), "boom".into()), Verdict::Retry, "at {second} s");
        }
        let Verdict::GiveUp(reason) = rate.record(at(131), "bang".into()) else { panic!("the rate was exceeded") };
        assert!(reason.contains("3 containers") && reason.contains("- boom\n- bang"), "{reason}");
    }

    #[test]
    fn a_rate_of_zero_gives_up_at_once() {
        assert!(matches!(FailureRate::new(0.0).record(Instant::now(), "boom".into()), Verdict::GiveUp(_)));
    }

    #[test]
    fn only_the_last_causes_are_told() {
        let mut rate = FailureRate::new(9.0);
        for cause in 0..9 {
            rate.record(Instant::now(), format!("cause {cause}"));
        }
        let Verdict::GiveUp(reason) = rate.record(Instant::now(), "cause 9".into()) else { panic!("exceeded") };
        assert!(!reason.contains("cause 6") && reason.ends_with("- cause 7\n- cause 8\n- cause 9"), "{reason}");
    }

    #[test]
    fn the_end_of_a_container_is_told_in_words_with_yarns_own() {
        for (code, words) in [
            (-1000, "never ran"),
            (-104, "taskmanager.memory.process.size"),
            (-102, "preempted"),
            (127, "could not be executed"),
            (137, "SIGKILL"),
            (42, "exit code 42"),
        ] {
            let text = explain(code, "File does not exist: hdfs://nn/x\n\tat org.apache.Foo(Foo.java:1)\n\tat b");
            assert!(text.contains(words), "{code}: {text}");
            assert!(text.ends_with("YARN says: File does not exist: hdfs://nn/x"), "{text}");
        }
        assert_eq!(explain(0, " \n"), "its process ended by itself");
        let long = explain(1, &"ä".repeat(5000));
        assert!(long.chars().count() < 1100 && long.ends_with('…'), "{}", long.len());
    }

    #[test]
    fn yarns_text_is_told_without_what_the_exit_code_says_already() {
        let text = "[2026-11-21 06:38:36.951]Exception from container-launch.\nContainer id: container_e01_1_0001_01_000002\n\
                    Exit code: 3\n\n[2026-11-21 06:38:37.002]Container exited with a non-zero exit code 3. Error file: \
                    prelaunch.err.\nLast 4096 bytes of prelaunch.err :\nno such library\n\n[2026-11-21 06:38:37.002]Container \
                    exited with a non-zero exit code 3. Error file: prelaunch.err.\nLast 4096 bytes of prelaunch.err :\n\
                    no such library\n";
        assert_eq!(explain(3, text), "its process ended with exit code 3. YARN says: no such library");
        let killed = "[2026-11-21 06:36:53.751]Container killed on request. Exit code is 137\n[2026-11-21 06:36:53.752]Container \
                      exited with a non-zero exit code 137. \n[2026-11-21 06:36:53.752]Killed by external signal\n";
        assert!(!explain(137, killed).contains("YARN says"));
        assert_eq!(own_words("[no time] x"), "[no time] x");
    }

    #[test]
    fn ends_that_the_cluster_caused_are_known() {
        for (code, expected) in [(-100, true), (-101, true), (-102, true), (-104, false), (-1000, false), (1, false)] {
            assert_eq!(is_clusters_doing(code), expected, "{code}");
        }
    }
}
