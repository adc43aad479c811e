//! What is kept is named alike in every store.

use std::fmt::Write as _;

use flumen_model::ids::{Epoch, JobId};

use crate::{Addresses, HaError};

/// How often a step is tried: a competitor that comes between is rare, an answer that is lost as well.
pub(crate) const TRIES: u32 = 8;
/// The largest graph or result that is read back.
pub(crate) const CONTENT_MAX: usize = 256 << 20;
/// Version of the layout.
pub(crate) const VERSION: u32 = 1;
/// Start of the name of what holds everything; the version follows.
pub(crate) const HA: &str = "ha-";
/// Longest name that is relied on: HDFS's default limit, and that of most local file systems.
const NAME_MAX: usize = 255;

/// Start of what says where a leader is.
pub(crate) const AT: &str = "at";

/// What is kept of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Graph,
    Result,
}

impl Kept {
    /// As a message calls it.
    pub(crate) const fn text(self) -> &'static str {
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

    /// Name of the file or node.
    pub(crate) fn name(self, job: JobId) -> String {
        format!("{}{job}", self.prefix())
    }

    /// The job whose file or node this is.
    pub(crate) fn job(self, name: &str) -> Option<JobId> {
        name.strip_prefix(self.prefix())?.parse().ok()
    }
}

/// What says where a leader is: a file's name, or a node's text.
///
/// # Errors
/// [`HaError::Setting`] when it would be too long for a name.
pub(crate) fn address_name(epoch: Epoch, addresses: &Addresses) -> Result<String, HaError> {
    let Addresses { internal, rest } = addresses;
    let name = format!("{AT},{epoch},{},{}", escaped(internal), escaped(rest));
    if name.len() > NAME_MAX {
        return Err(HaError::Setting(format!(
            "the addresses `{internal}` and `{rest}` are too long for a file's name"
        )));
    }
    Ok(name)
}

/// Whether the file says where some leader is.
pub(crate) fn is_address(name: &str) -> bool {
    name.split(',').next() == Some(AT)
}

/// Where the leader of `epoch` is, if this name says so.
pub(crate) fn addresses_of(name: &str, epoch: Epoch) -> Option<Addresses> {
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
    fn an_address_that_is_too_long_for_a_name_is_refused() {
        let addresses = Addresses { internal: "x".repeat(245), rest: String::new() };
        assert!(address_name(Epoch(7), &addresses).is_ok());
        assert!(matches!(address_name(Epoch(70_000_000), &addresses), Err(HaError::Setting(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_address_is_read_back(internal in "\\PC{0,30}", rest in "\\PC{0,30}") {
            let addresses = Addresses { internal, rest };
            if let Ok(name) = address_name(Epoch(3), &addresses) {
                proptest::prop_assert_eq!(addresses_of(&name, Epoch(3)), Some(addresses));
            }
        }
    }
}
