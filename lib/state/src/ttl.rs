//! State that is forgotten some time after its last use.

use serde::{Deserialize, Serialize};

/// How long state lives (Flink's `StateTtlConfig`). In processing time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateTtlConfig {
    /// How long after the last use: milliseconds.
    pub ttl_ms: u64,
    /// What counts as a use.
    pub update: TtlUpdate,
    /// Whether expired state is still returned as long as it is there.
    pub visibility: TtlVisibility,
}

/// What counts as a use of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TtlUpdate {
    /// Writing.
    OnCreateAndWrite,
    /// Writing and reading.
    OnReadAndWrite,
}

/// Whether expired state is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TtlVisibility {
    /// Never.
    NeverReturnExpired,
    /// Until it is cleaned up.
    ReturnExpiredIfNotCleanedUp,
}

impl StateTtlConfig {
    /// State that lives so many milliseconds after it was last written, and is never seen afterwards.
    pub fn new(ttl_ms: u64) -> Self {
        Self { ttl_ms, update: TtlUpdate::OnCreateAndWrite, visibility: TtlVisibility::NeverReturnExpired }
    }

    /// With another notion of use.
    pub fn update_type(mut self, update: TtlUpdate) -> Self {
        self.update = update;
        self
    }

    /// With another visibility.
    pub fn visibility(mut self, visibility: TtlVisibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// Whether what was last used then is expired now.
    #[inline]
    pub(crate) fn expired(&self, used_ms: i64, now_ms: i64) -> bool {
        now_ms >= used_ms.saturating_add_unsigned(self.ttl_ms)
    }

    /// Whether a value is returned.
    #[inline]
    pub(crate) fn visible(&self, used_ms: i64, now_ms: i64) -> bool {
        self.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp || !self.expired(used_ms, now_ms)
    }

    /// Whether reading counts as a use.
    #[inline]
    pub(crate) fn reading_is_use(&self) -> bool {
        self.update == TtlUpdate::OnReadAndWrite
    }
}
