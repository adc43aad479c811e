//! Identifiers. Each prints short and greppable, and is serialised as that text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: 32 hexadecimal digits are expected")]
pub struct BadId {
    /// What was given.
    pub text: String,
    /// What it should have been.
    pub what: &'static str,
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId { text: text.to_owned(), what: $what };
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(bad());
                }
                u128::from_str_radix(text, 16).map($name).map_err(|_| bad())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id128!(
    /// One submitted job, as Flink's `JobID`: 32 hexadecimal digits.
    JobId,
    "a job id"
);
id128!(
    /// One vertex of a [`JobGraph`](crate::job_graph::JobGraph), derived from the program's structure, so that every
    /// process that runs the same program with the same arguments finds the same id.
    VertexId,
    "a vertex id"
);
id128!(
    /// One operator of a program, derived from its `uid` (or, without one, from its place in the program): its state is found
    /// again under this id.
    OperatorId,
    "an operator id"
);

/// One parallel instance of a vertex: `<vertex>#<index>`, the index counting from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SubtaskId {
    /// The vertex.
    pub vertex: VertexId,
    /// Which of its parallel instances, from 0.
    pub index: u32,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.vertex, self.index)
    }
}

/// How often the job's subtasks were started, from 0: all subtasks of one execution of the job carry the same number, and
/// whatever carries an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct ExecutionAttempt(pub u32);

impl ExecutionAttempt {
    /// The attempt after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ExecutionAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A leader's number, greater than every earlier leader's. A receiver that has seen a higher one refuses a lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A TaskExecutor's name, unique in its cluster: the container's id on YARN, `embedded` inside one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecutorId(pub String);

impl fmt::Display for ExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text() {
        let id = JobId(0x00ff_0000_0000_0000_0000_0000_0000_0001);
        assert_eq!(id.to_string(), "00ff0000000000000000000000000001");
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"00ff0000000000000000000000000001\"");
    }

    #[test]
    fn a_text_of_another_shape_is_no_id() {
        for text in ["", "1", "00ff000000000000000000000000000g", "+0ff0000000000000000000000000001"] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
