//! What a TaskExecutor is started with. No secrets: arguments can be read by everyone on the node.

use flumen_model::config::MemorySize;
use flumen_model::ids::ExecutorId;

/// How it is called.
pub const USAGE: &str =
    "flumen-taskexecutor --jobmanager HOST:PORT --slots N --memory BYTES [--id ID] [--host HOST] [--no-tls]";

/// The meaning of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `host:port` of the JobManager.
    pub jobmanager: String,
    /// Slots to offer.
    pub slots: u32,
    /// Bytes of the container's memory.
    pub memory: u64,
    /// This TaskExecutor's name: `--id`, or the container's (`CONTAINER_ID`).
    pub id: ExecutorId,
    /// Its node's host: `--host`, or what the NodeManager says (`NM_HOST`).
    pub host: String,
    /// True when a connection without TLS is allowed.
    pub no_tls: bool,
}

/// A command line that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// An option is not one of ours.
    #[error("unknown option `{0}`; usage: {USAGE}")]
    Unknown(String),
    /// An option has no value, or an impossible one.
    #[error("option `{option}`: {expected} is expected; usage: {USAGE}")]
    Value {
        /// The option.
        option: &'static str,
        /// What its value must be.
        expected: &'static str,
    },
    /// Something is not given.
    #[error("{0} is missing; usage: {USAGE}")]
    Missing(&'static str),
}

impl Arguments {
    /// Reads the arguments (without the program's name); `environment` looks up a variable.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, UsageError> {
        let (mut jobmanager, mut slots, mut memory, mut id, mut host) = (None, None, None, None, None);
        let mut no_tls = false;
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            let mut value = |option, expected| arguments.next().ok_or(UsageError::Value { option, expected });
            match option.as_str() {
                "--jobmanager" => jobmanager = Some(address(&value("--jobmanager", "HOST:PORT")?)?),
                "--slots" => slots = Some(slot_count(&value("--slots", "a number above 0")?)?),
                "--memory" => memory = Some(bytes(&value("--memory", "a number of bytes")?)?),
                "--id" => id = Some(value("--id", "a name")?),
                "--host" => host = Some(value("--host", "a host name")?),
                "--no-tls" => no_tls = true,
                _ => return Err(UsageError::Unknown(option)),
            }
        }
        let given = |value: Option<String>, variable| value.or_else(|| environment(variable)).filter(|v| !v.is_empty());
        Ok(Self {
            jobmanager: jobmanager.ok_or(UsageError::Missing("`--jobmanager`"))?,
            slots: slots.ok_or(UsageError::Missing("`--slots`"))?,
            memory: memory.ok_or(UsageError::Missing("`--memory`"))?,
            id: ExecutorId(given(id, "CONTAINER_ID").ok_or(UsageError::Missing("`--id` (or CONTAINER_ID)"))?),
            host: given(host, "NM_HOST").ok_or(UsageError::Missing("`--host` (or NM_HOST)"))?,
            no_tls,
        })
    }
}

fn address(text: &str) -> Result<String, UsageError> {
    let bad = UsageError::Value { option: "--jobmanager", expected: "HOST:PORT" };
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        _ => Err(bad),
    }
}

fn slot_count(text: &str) -> Result<u32, UsageError> {
    let bad = UsageError::Value { option: "--slots", expected: "a number above 0" };
    text.parse().ok().filter(|slots| *slots > 0).ok_or(bad)
}

fn bytes(text: &str) -> Result<u64, UsageError> {
    let bad = UsageError::Value { option: "--memory", expected: "a number of bytes" };
    text.parse().ok().filter(|size: &MemorySize| size.0 > 0).map(|size| size.0).ok_or(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, environment: &[(&str, &str)]) -> Result<Arguments, UsageError> {
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Arguments::read(line.split_whitespace().map(str::to_owned), find)
    }

    const CONTAINER: [(&str, &str); 2] = [("CONTAINER_ID", "container_1_0001_01_000002"), ("NM_HOST", "node7")];

    #[test]
    fn a_container_needs_only_the_jobmanager_slots_and_memory() {
        let arguments = read("--jobmanager am.example:4711 --slots 2 --memory 536870912", &CONTAINER).unwrap();
        assert_eq!(
            arguments,
            Arguments {
                jobmanager: "am.example:4711".into(),
                slots: 2,
                memory: 512 << 20,
                id: ExecutorId("container_1_0001_01_000002".into()),
                host: "node7".into(),
                no_tls: false,
            }
        );
    }

    #[test]
    fn options_win_over_the_environment() {
        let arguments =
            read("--id a --host b --no-tls --jobmanager [::1]:1 --slots 1 --memory 1g", &CONTAINER).unwrap();
        assert_eq!((arguments.id.0.as_str(), arguments.host.as_str()), ("a", "b"));
        assert_eq!((arguments.memory, arguments.no_tls), (1 << 30, true));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (line, environment, named) in [
            ("--slots 1 --memory 1", &CONTAINER[..], "`--jobmanager` is missing"),
            ("--jobmanager h:1 --memory 1", &CONTAINER[..], "`--slots` is missing"),
            ("--jobmanager h:1 --slots 1 --memory 1", &[], "CONTAINER_ID"),
            ("--jobmanager h:1 --slots 1 --memory 1", &CONTAINER[..1], "NM_HOST"),
            ("--jobmanager h --slots 1 --memory 1", &CONTAINER[..], "HOST:PORT"),
            ("--jobmanager h:0 --slots 1 --memory 1", &CONTAINER[..], "HOST:PORT"),
            ("--jobmanager h:1 --slots 0 --memory 1", &CONTAINER[..], "a number above 0"),
            ("--jobmanager h:1 --slots 1 --memory much", &CONTAINER[..], "a number of bytes"),
            ("--jobmanager h:1 --slots 1 --memory", &CONTAINER[..], "a number of bytes"),
            ("--verbose", &CONTAINER[..], "unknown option `--verbose`"),
        ] {
            let error = read(line, environment).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
