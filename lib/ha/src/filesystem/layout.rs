//! Names in the directory of a cluster.
//!
//! ```text
//! <storageDir>/<cluster id>/ha-1/<epoch>.<owner>.<attempt>.<token>/     exactly one: whose everything in it is
//!     at,<epoch>,<internal>,<rest>                                       empty: where that leader is reached
//!     job-<job id>                                                       a job's graph
//!     result-<job id>                                                    how a job ended
//! <storageDir>/<cluster id>/tmp/<token>                                  files on their way there
//! ```

use std::fmt::Write as _;

use flumen_model::ids::{Epoch, JobId};

use crate::Addresses;

/// Version of this layout.
pub(super) const VERSION: u32 = 1;
/// Start of the name of the directory that holds the leader's.
pub(super) const HA: &str = "ha-";
/// Name of the directory of files that are on their way.
pub(super) const TEMPORARY: &str = "tmp";
/// Longest name that is relied on: HDFS's default limit, and that of most local file systems.
const NAME_MAX: usize = 255;

const AT: &str = "at";

/// What is kept of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Graph,
    Result,
}

impl Kept {
    /// As a message calls it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Graph => "the graph",
            Self::Result => "the result",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Graph => "job-",
            Self::Result => "result-",
        }
    }

    /// Name of the file.
    pub(super) fn name(self, job: JobId) -> String {
        format!("{}{job}", self.prefix())
    }

    /// The job whose file this is.
    pub(super) fn job(self, name: &str) -> Option<JobId> {
        name.strip_prefix(self.prefix())?.parse().ok()
    }
}

/// Name of the file that says where a leader is; `None` when it would be too long.
pub(super) fn address_name(epoch: Epoch, addresses: &Addresses) -> Option<String> {
    let name = format!("{AT},{epoch},{},{}", escaped(&addresses.internal), escaped(&addresses.rest));
    (name.len() <= NAME_MAX).then_some(name)
}

/// Whether the file says where some leader is.
pub(super) fn is_address(name: &str) -> bool {
    name.split(',').next() == Some(AT)
}

/// Where the leader of `epoch` is, if this name says so.
pub(super) fn addresses_of(name: &str, epoch: Epoch) -> Option<Addresses> {
    let mut parts = name.split(',');
    let of_this = parts.next() == Some(AT) && parts.next() == Some(&epoch.to_string());
    let addresses = Addresses { internal: unescaped(parts.next()?)?, rest: unescaped(parts.next()?)? };
    (of_this && parts.next().is_none()).then_some(addresses)
}

/// HDFS allows no colon in a name.
fn escaped(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "={byte:02x}");
        }
    }
    name
}

fn unescaped(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_page_of_the_format_says() {
        let addresses = Addresses { internal: "node-1.example:40123".into(), rest: "[fe80::1]:8081".into() };
        let name = address_name(Epoch(7), &addresses).unwrap();
        assert_eq!(name, "at,7,node-1.example=3a40123,=5bfe80=3a=3a1=5d=3a8081");
        assert_eq!(addresses_of(&name, Epoch(7)), Some(addresses));
        assert_eq!(addresses_of(&name, Epoch(8)), None, "another leader's");
        let graph = Kept::Graph.name(JobId(0xab));
        assert_eq!(graph, "job-000000000000000000000000000000ab");
        assert_eq!((Kept::Graph.job(&graph), Kept::Result.job(&graph)), (Some(JobId(0xab)), None));
    }

    #[test]
    fn an_address_that_is_too_long_for_a_name_has_none() {
        let addresses = Addresses { internal: "x".repeat(245), rest: String::new() };
        assert!(address_name(Epoch(7), &addresses).is_some());
        assert!(address_name(Epoch(70_000_000), &addresses).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_address_is_read_back(internal in "\\PC{0,30}", rest in "\\PC{0,30}") {
            let addresses = Addresses { internal, rest };
            if let Some(name) = address_name(Epoch(3), &addresses) {
                proptest::prop_assert_eq!(addresses_of(&name, Epoch(3)), Some(addresses));
            }
        }
    }
}
