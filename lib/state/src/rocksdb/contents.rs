//! What a snapshot in RocksDB's format says of itself: its part `contents`, JSON.

use std::path::Path;

use flumen_model::checkpoint::KeyGroupRange;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::meta::StateMeta;

use super::instance::io_error;

/// The name of the part, and of its file.
pub(super) const PART: &str = "contents";
/// The version that is written.
const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Contents {
    version: u32,
    /// Key groups of the operator.
    pub(super) max_parallelism: u32,
    /// Key groups of the instance.
    pub(super) groups: KeyGroupRange,
    /// The states; the rows of number `n` are in the column family `n`.
    pub(super) states: Vec<StateMeta>,
}

impl Contents {
    pub(super) fn new(max_parallelism: u32, groups: KeyGroupRange, states: Vec<StateMeta>) -> Self {
        Self { version: VERSION, max_parallelism, groups, states }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), StateError> {
        // A struct of strings and numbers always becomes JSON.
        let text = serde_json::to_vec(self).unwrap_or_default();
        std::fs::write(path, text).map_err(io_error(format!("writing {}", path.display())))
    }

    /// What the bytes of the part say, of an operator with that many key groups.
    pub(super) fn read(text: &[u8], max_parallelism: u32) -> Result<Self, StateError> {
        let contents: Self =
            serde_json::from_slice(text).map_err(|error| StateError::corrupt(PART, 0, error.to_string()))?;
        if contents.version != VERSION {
            let version = contents.version;
            let what = format!("version {version} was written by a newer Flumen than this one, which reads {VERSION}");
            return Err(StateError::corrupt(PART, 0, what));
        }
        if contents.max_parallelism != max_parallelism {
            let written = contents.max_parallelism;
            return Err(StateError::misuse(format!(
                "the snapshot has {written} key groups, this operator {max_parallelism}: set its maximum parallelism to {written}"
            )));
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_of_another_version_or_with_other_key_groups_are_refused() {
        let contents = Contents::new(128, KeyGroupRange { start: 0, end: 64 }, vec![]);
        let text = serde_json::to_string(&contents).unwrap();
        assert_eq!(Contents::read(text.as_bytes(), 128).unwrap(), contents);
        let error = Contents::read(text.as_bytes(), 64).unwrap_err().to_string();
        assert!(error.contains("set its maximum parallelism to 128"), "{error}");
        let newer = text.replace("\"version\":1", "\"version\":2");
        let error = Contents::read(newer.as_bytes(), 128).unwrap_err().to_string();
        assert!(error.contains("written by a newer Flumen"), "{error}");
    }
}
