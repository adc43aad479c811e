//! What a snapshot says about each state in it.

use serde::{Deserialize, Serialize};

use crate::ttl::StateTtlConfig;

/// What kind of state it is: decides how its rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// One value for a key and namespace (value, reducing and aggregating state, tables).
    Value,
    /// A list of items.
    List,
    /// Values by a key of the user.
    Map,
    /// Timers: key, namespace and time.
    Timers,
}

/// A keyed state: how it is called and what its rows consist of. Schemas are the texts of [`crate::schema`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateMeta {
    /// Its name, unique in its operator.
    pub name: String,
    /// What kind.
    pub kind: StateKind,
    /// Schema of the keys.
    pub key: String,
    /// Schema of the namespaces.
    pub namespace: String,
    /// Schema of a map's own keys, else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_key: String,
    /// Schema of the values, or of a list's items; empty for timers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Whether values carry the time of their last use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<StateTtlConfig>,
}

impl StateMeta {
    /// As text, for [`OperatorDescription::states`](flumen_model::checkpoint::OperatorDescription::states).
    pub fn to_text(&self) -> String {
        // A struct of strings and numbers always becomes JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
