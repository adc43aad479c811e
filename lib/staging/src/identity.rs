//! Which process writes a file: a name that stays true after the process is gone.

use std::fmt;

/// One process of one host, distinguishable from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The host's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// Clock ticks from the host's start to the process's.
    pub started: u64,
}

impl ProcessIdentity {
    /// This process.
    pub fn own() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let pid = std::process::id();
        Self { host: host.trim().to_owned(), pid, started: start_of(pid).unwrap_or(0) }
    }

    /// Whether the process still runs; only to be asked on its own host.
    pub fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '-');
        let (started, pid, host) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { host: host.to_owned(), pid: pid.parse().ok()?, started: started.parse().ok()? })
    }
}

/// `<host>-<pid>-<start>`, fit for file names.
impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.host, self.pid, self.started)
    }
}

/// `.<name>.<host>-<pid>-<start>.tmp`: what is to be called `name` once it is complete.
pub fn temporary_name(name: &str, owner: &ProcessIdentity) -> String {
    format!(".{name}.{owner}.tmp")
}

/// Field 22 of `/proc/<pid>/stat`; the command's name before it may hold anything but ends with the last parenthesis.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognised_by_its_name_and_told_from_its_successor() {
        let own = ProcessIdentity::own();
        assert!(own.is_alive() && own.started > 0);
        assert_eq!(ProcessIdentity::parse(&own.to_string()), Some(own.clone()));
        assert!(!ProcessIdentity { started: own.started + 1, ..own }.is_alive());
        let dashed = ProcessIdentity { host: "my-host-1".into(), pid: 7, started: 8 };
        assert_eq!(ProcessIdentity::parse("my-host-1-7-8"), Some(dashed));
        assert_eq!(ProcessIdentity::parse("nonsense"), None);
    }
}
