//! YARN's ids and their text forms, as its logs, its web pages and `$CONTAINER_ID` show them.

use std::fmt;
use std::str::FromStr;

use super::messages::{ApplicationAttemptIdProto, ApplicationIdProto, ContainerIdProto, NodeIdProto};
use super::{DecodeError, required};

/// Bits of a container id below the ResourceManager's epoch.
const SEQUENCE_BITS: u32 = 40;
const SEQUENCE_MASK: i64 = (1 << SEQUENCE_BITS) - 1;

/// Text that is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {wanted}")]
pub struct ParseIdError {
    /// The form that was expected, with an example.
    pub wanted: &'static str,
    /// What stood there instead.
    pub text: String,
}

/// An application: `application_1795228637142_0001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationId {
    /// Start time of the ResourceManager that gave out the id, in milliseconds since 1970.
    pub cluster_timestamp: i64,
    /// Number of the application since that start, from 1.
    pub id: i32,
}

/// One attempt to run an application's master: `appattempt_1795228637142_0001_000002`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationAttemptId {
    /// The application.
    pub application: ApplicationId,
    /// Number of the attempt, from 1.
    pub attempt: i32,
}

/// A container: `container_1795228637142_0001_01_000003`, or `container_e17_1795228637142_0001_01_000003` once the
/// ResourceManager has been restarted 17 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId {
    /// The attempt that the container was given to.
    pub attempt: ApplicationAttemptId,
    /// The whole 64-bit number: epoch of the ResourceManager in the upper 24 bits, sequence number below.
    pub id: i64,
}

/// A NodeManager: host and RPC port, as the ResourceManager knows it. Prints as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Host name or address.
    pub host: String,
    /// Port of the ContainerManagementProtocol.
    pub port: u16,
}

impl ContainerId {
    /// How often the ResourceManager had been restarted when it gave out the container.
    pub fn epoch(&self) -> i64 {
        self.id >> SEQUENCE_BITS
    }

    /// Number of the container within the attempt and epoch, from 1. 1 is usually the ApplicationMaster's own.
    pub fn sequence(&self) -> i64 {
        self.id & SEQUENCE_MASK
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application_{}_{:04}", self.cluster_timestamp, self.id)
    }
}

impl fmt::Display for ApplicationAttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplicationId { cluster_timestamp, id } = self.application;
        write!(f, "appattempt_{cluster_timestamp}_{id:04}_{:06}", self.attempt)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("container_")?;
        if self.epoch() > 0 {
            write!(f, "e{:02}_", self.epoch())?;
        }
        let ApplicationId { cluster_timestamp, id } = self.attempt.application;
        write!(f, "{cluster_timestamp}_{id:04}_{:02}_{:06}", self.attempt.attempt, self.sequence())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A number without sign or blanks: `i64::from_str` alone would take `+1`.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The parts of an id between underscores, when there are exactly `N`.
fn parts<'a, const N: usize>(text: &'a str, prefix: &str) -> Option<[&'a str; N]> {
    let rest = text.strip_prefix(prefix)?;
    let mut split = rest.split('_');
    let mut out = [""; N];
    for slot in &mut out {
        *slot = split.next()?;
    }
    split.next().is_none().then_some(out)
}

impl FromStr for ApplicationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let [timestamp, id] = parts(text, "application_")?;
            Some(Self { cluster_timestamp: digits(timestamp)?, id: digits(id)? })
        };
        parse().ok_or_else(|| ParseIdError {
            wanted: "application id (application_<timestamp>_<number>)",
            text: text.to_owned(),
        })
    }
}

impl FromStr for ApplicationAttemptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let [timestamp, id, attempt] = parts(text, "appattempt_")?;
            let application = ApplicationId { cluster_timestamp: digits(timestamp)?, id: digits(id)? };
            Some(Self { application, attempt: digits(attempt)? })
        };
        parse().ok_or_else(|| ParseIdError {
            wanted: "application attempt id (appattempt_<timestamp>_<application>_<number>)",
            text: text.to_owned(),
        })
    }
}

impl FromStr for ContainerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (epoch, [timestamp, id, attempt, sequence]) = match parts::<5>(text, "container_e") {
                Some([epoch, rest @ ..]) => (digits::<i64>(epoch)?, rest),
                None => (0, parts::<4>(text, "container_")?),
            };
            let sequence: i64 = digits(sequence)?;
            if epoch >= 1 << (63 - SEQUENCE_BITS) || sequence > SEQUENCE_MASK {
                return None;
            }
            let application = ApplicationId { cluster_timestamp: digits(timestamp)?, id: digits(id)? };
            let attempt = ApplicationAttemptId { application, attempt: digits(attempt)? };
            Some(Self { attempt, id: epoch << SEQUENCE_BITS | sequence })
        };
        parse().ok_or_else(|| ParseIdError {
            wanted: "container id (container_[e<epoch>_]<timestamp>_<application>_<attempt>_<number>)",
            text: text.to_owned(),
        })
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = digits(port)?;
            (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
        };
        parse().ok_or_else(|| ParseIdError { wanted: "node id (<host>:<port>)", text: text.to_owned() })
    }
}

impl From<ApplicationId> for ApplicationIdProto {
    fn from(id: ApplicationId) -> Self {
        Self { id: Some(id.id), cluster_timestamp: Some(id.cluster_timestamp) }
    }
}

impl From<ApplicationAttemptId> for ApplicationAttemptIdProto {
    fn from(id: ApplicationAttemptId) -> Self {
        Self { application_id: Some(id.application.into()), attempt_id: Some(id.attempt) }
    }
}

impl From<ContainerId> for ContainerIdProto {
    fn from(id: ContainerId) -> Self {
        Self { app_attempt_id: Some(id.attempt.into()), id: Some(id.id) }
    }
}

impl From<&NodeId> for NodeIdProto {
    fn from(node: &NodeId) -> Self {
        Self { host: Some(node.host.clone()), port: Some(node.port.into()) }
    }
}

impl TryFrom<ApplicationIdProto> for ApplicationId {
    type Error = DecodeError;

    fn try_from(proto: ApplicationIdProto) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster_timestamp: required(proto.cluster_timestamp, "ApplicationId.cluster_timestamp")?,
            id: required(proto.id, "ApplicationId.id")?,
        })
    }
}

impl TryFrom<ApplicationAttemptIdProto> for ApplicationAttemptId {
    type Error = DecodeError;

    fn try_from(proto: ApplicationAttemptIdProto) -> Result<Self, DecodeError> {
        Ok(Self {
            application: required(proto.application_id, "ApplicationAttemptId.application_id")?.try_into()?,
            attempt: required(proto.attempt_id, "ApplicationAttemptId.attemptId")?,
        })
    }
}

impl TryFrom<ContainerIdProto> for ContainerId {
    type Error = DecodeError;

    fn try_from(proto: ContainerIdProto) -> Result<Self, DecodeError> {
        Ok(Self {
            attempt: required(proto.app_attempt_id, "ContainerId.app_attempt_id")?.try_into()?,
            id: required(proto.id, "ContainerId.id")?,
        })
    }
}

impl TryFrom<NodeIdProto> for NodeId {
    type Error = DecodeError;

    fn try_from(proto: NodeIdProto) -> Result<Self, DecodeError> {
        let port = required(proto.port, "NodeId.port")?;
        Ok(Self {
            host: required(proto.host, "NodeId.host")?,
            port: port.try_into().map_err(|_| DecodeError::out_of_range("NodeId.port", port.into()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn app() -> ApplicationId {
        ApplicationId { cluster_timestamp: 1_795_228_637_142, id: 3 }
    }

    #[test]
    fn ids_print_as_yarn_prints_them_and_read_back() {
        let attempt = ApplicationAttemptId { application: app(), attempt: 2 };
        assert_eq!(app().to_string(), "application_1795228637142_0003");
        assert_eq!(attempt.to_string(), "appattempt_1795228637142_0003_000002");
        for (id, text) in [
            (1, "container_1795228637142_0003_02_000001"),
            (17 << 40 | 1_234_567, "container_e17_1795228637142_0003_02_1234567"),
            (3 << 40 | 4, "container_e03_1795228637142_0003_02_000004"),
        ] {
            let container = ContainerId { attempt, id };
            assert_eq!(container.to_string(), text);
            assert_eq!(text.parse(), Ok(container));
        }
        assert_eq!(app().to_string().parse(), Ok(app()));
        assert_eq!(attempt.to_string().parse(), Ok(attempt));
        assert_eq!("a:b:8041".parse(), Ok(NodeId { host: "a:b".into(), port: 8041 }));
    }

    #[test]
    fn text_of_another_kind_is_refused_with_what_was_wanted() {
        for bad in
            ["", "application_1", "application_1_2_3", "application_+1_2", "application_1_99999999999", "job_1_2"]
        {
            let error = bad.parse::<ApplicationId>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
        for bad in
            ["container_e_1_1_1_1", "container_1_1_1", "container_e8388608_1_1_1_1", "container_1_1_1_1099511627776"]
        {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
        for bad in ["host", ":1", "host:", "host:65536", "host:-1"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_without_the_needed_fields_is_an_error() {
        let error = ContainerId::try_from(ContainerIdProto::default()).unwrap_err();
        assert_eq!(error.to_string(), "field ContainerId.app_attempt_id is missing");
        let error = NodeId::try_from(NodeIdProto { host: Some("h".into()), port: Some(70_000) }).unwrap_err();
        assert_eq!(error.to_string(), "field NodeId.port has the impossible value 70000");
    }

    proptest! {
        #[test]
        fn any_container_id_survives_text_and_message(
            timestamp in 0i64.., id in 0i32.., attempt in 0i32.., number in 0i64..
        ) {
            let application = ApplicationId { cluster_timestamp: timestamp, id };
            let container = ContainerId { attempt: ApplicationAttemptId { application, attempt }, id: number };
            prop_assert_eq!(container.to_string().parse(), Ok(container));
            prop_assert_eq!(ContainerId::try_from(ContainerIdProto::from(container)).ok(), Some(container));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*", tail in "[e0-9_]*") {
            let _ = text.parse::<NodeId>();
            let _ = format!("container_{tail}").parse::<ContainerId>();
            let _ = format!("application_{tail}").parse::<ApplicationId>();
            let _ = format!("appattempt_{tail}").parse::<ApplicationAttemptId>();
        }
    }
}
