//! Tests against the real Hadoop, with processes really killed; and the workspace's own tidy rules.
