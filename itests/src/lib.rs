//! Tests against the real Hadoop, with processes really killed; and the workspace's own tidy rules.
//!
//! Start at [`hadoop::HadoopCluster`]: HDFS and YARN, one JVM per daemon, on this machine, from Maven's jars. Around it:
//! [`flink`] runs the command under test, [`flink_client`] Flink's own, [`hdfs`] and [`yarn`] look at what it did from outside, over Hadoop's own HTTP
//! interfaces and not through Flumen's code, [`process`] looks into `/proc`, and [`workload`] makes inputs whose right
//! answer is known. [`job`] has a job that is slow, or goes wrong, on demand, [`stateful`] one whose windows and totals are known;
//! [`traces`] sees to it that nothing stays behind; [`cut`] loses messages on their way, [`clock`] has a clock that jumps, [`disk`] a disk that is full, [`firewall`] cuts the network,
//! [`slow`] makes a process slow,
//! [`watched`] looks at an application that something happens to, [`subject`] is one with the stateful job, and [`recovery`] kills parts of
//! it and looks how long what takes.
//!
//! Everything is blocking: a test reads from top to bottom. Every wait has a limit ([`wait::until`]).

pub mod binaries;
pub mod clock;
pub mod cut;
pub mod disk;
pub mod firewall;
pub mod flink;
pub mod flink_client;
pub mod hadoop;
pub mod hdfs;
pub mod http;
pub mod job;
pub mod process;
pub mod random;
pub mod recovery;
pub mod slow;
pub mod stateful;
pub mod subject;
pub mod traces;
pub mod wait;
pub mod watched;
pub mod workload;
pub mod yarn;

use std::io::Write as _;

/// Tells whoever watches the test run what takes time, on stderr; `cargo test` doesn't capture it.
pub fn say(text: &str) {
    // Not `eprintln!`: progress must be visible while a test runs, not only after it failed.
    let _ = writeln!(std::io::stderr().lock(), "itests: {text}");
}
