//! The rules of this workspace that no compiler checks.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

mod arrows;
mod files;
mod licences;
mod manifests;
mod metadata;
mod versions;
