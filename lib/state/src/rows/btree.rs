//! Rows in sorted maps in memory: for tests of what is above a [`RowStore`](super::RowStore).
