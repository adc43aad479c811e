//! What YARN tells a container of its surroundings: its environment variables.

use std::path::PathBuf;

use flumen_hadoop::yarn::{ContainerId, ParseIdError};

/// What the ApplicationMaster reads of its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its own container, which names the application and the attempt.
    pub container: ContainerId,
    /// The host of its NodeManager: the name under which others reach this process.
    pub host: String,
    /// The file with its tokens.
    pub token_file: PathBuf,
}

/// A process that YARN did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInContainer {
    /// A variable that every container has is not set.
    #[error("environment variable {0} is not set: this program runs in a container of YARN; `flink run` submits it")]
    Missing(&'static str),
    /// `CONTAINER_ID` is no id.
    #[error("environment variable CONTAINER_ID can't be understood")]
    ContainerId(#[from] ParseIdError),
}

impl Environment {
    /// Reads the variables through `lookup`.
    ///
    /// # Errors
    /// [`NotInContainer`] when one is missing or no id.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, NotInContainer> {
        let required =
            |name: &'static str| lookup(name).filter(|value| !value.is_empty()).ok_or(NotInContainer::Missing(name));
        Ok(Self {
            container: required("CONTAINER_ID")?.parse()?,
            host: required("NM_HOST")?,
            token_file: required("HADOOP_TOKEN_FILE_LOCATION")?.into(),
        })
    }

    /// The number of this application attempt, from 1.
    pub fn attempt(&self) -> u32 {
        u32::try_from(self.container.attempt.attempt).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "CONTAINER_ID" => "container_e17_1795228637142_0003_02_000001",
            "NM_HOST" => "node1",
            "HADOOP_TOKEN_FILE_LOCATION" => "/c/container_tokens",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn the_container_tells_attempt_host_and_files() {
        let environment = Environment::read(lookup).unwrap();
        assert_eq!(environment.container.attempt.to_string(), "appattempt_1795228637142_0003_000002");
        assert_eq!(environment.attempt(), 2);
        assert_eq!((environment.host.as_str(), environment.token_file), ("node1", "/c/container_tokens".into()));
    }

    #[test]
    fn a_missing_variable_is_named() {
        for name in ["CONTAINER_ID", "NM_HOST", "HADOOP_TOKEN_FILE_LOCATION"] {
            let without = |asked: &str| if asked == name { Some(String::new()) } else { lookup(asked) };
            assert_eq!(Environment::read(without), Err(NotInContainer::Missing(name)));
        }
        let bad = |name: &str| if name == "CONTAINER_ID" { Some("x".into()) } else { lookup(name) };
        assert!(matches!(Environment::read(bad), Err(NotInContainer::ContainerId(_))));
    }
}
