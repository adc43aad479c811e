//! Windows that grow together, by key: which there are, and under which window the contents of each are kept.
//!
//! The contents of a window stay where they were first put when the window grows, so that growing moves nothing.

use flumen_state::{Keyed, Table, TableDescriptor};

use crate::keyed::Key;
use crate::operator::TaskResult;

use super::assigner::WindowAssigner;
use super::window::Window;

/// See the module.
pub(crate) struct MergingWindows<K, W: Window> {
    table: Table<K, (), Vec<(W, W)>>,
    /// Those of the current key: the window, and where its contents are kept.
    current: Vec<(W, W)>,
    is_changed: bool,
}

/// Windows that have become one.
pub(crate) struct Merge<W> {
    /// The one.
    pub(crate) result: W,
    /// Those that it consists of, without the new one.
    pub(crate) merged: Vec<W>,
    /// Where its contents are kept.
    pub(crate) into: W,
    /// What has to be moved there.
    pub(crate) from: Vec<W>,
}

impl<K: Key, W: Window> MergingWindows<K, W> {
    pub(crate) fn open(keyed: &mut Keyed<K>) -> TaskResult<Self> {
        let table = keyed.table(TableDescriptor::new("merging-windows"))?;
        Ok(Self { table, current: Vec::new(), is_changed: false })
    }

    /// Makes the windows of a key the current ones.
    pub(crate) fn load(&mut self, key: &K) -> TaskResult {
        let current = &mut self.current;
        current.clear();
        self.is_changed = false;
        Ok(self.table.with(key, &(), |windows| current.extend(windows.into_iter().flatten().cloned()))?)
    }

    /// Stores the current ones.
    pub(crate) fn store(&mut self, key: &K) -> TaskResult {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        if self.current.is_empty() {
            return Ok(self.table.remove(key, &())?);
        }
        Ok(self.table.upsert(key, &(), Vec::new, |windows| windows.clone_from(&self.current))?)
    }

    /// Where the contents of a current window are kept; `None` when there is no such window.
    pub(crate) fn state_window(&self, window: &W) -> Option<&W> {
        self.current.iter().find(|(known, _)| known == window).map(|(_, kept_in)| kept_in)
    }

    /// Forgets a current window.
    pub(crate) fn retire(&mut self, _: &K, window: &W) -> TaskResult {
        let before = self.current.len();
        self.current.retain(|(known, _)| known != window);
        self.is_changed |= self.current.len() != before;
        Ok(())
    }

    /// Adds a window to the current ones; returns the one that it is a part of then, and what became one window.
    pub(crate) fn add<T, A>(&mut self, assigner: &A, new: W) -> (W, Vec<Merge<W>>)
    where
        A: WindowAssigner<T, Window = W>,
    {
        if self.state_window(&new).is_some() {
            return (new, Vec::new());
        }
        let mut windows: Vec<W> = self.current.iter().map(|(window, _)| window.clone()).collect();
        windows.push(new.clone());
        let mut actual = None;
        let mut merges = Vec::new();
        for (result, mut merged) in assigner.merge(&windows) {
            if let Some(at) = merged.iter().position(|window| *window == new) {
                merged.remove(at);
                actual = Some(result.clone());
            }
            let mut kept_in = Vec::with_capacity(merged.len());
            self.current.retain(|(window, place)| {
                let is_part = merged.contains(window);
                if is_part {
                    kept_in.push(place.clone());
                }
                !is_part
            });
            // The new window alone, in a group of its own, or nothing.
            let mut kept_in = kept_in.into_iter();
            let into = kept_in.next().unwrap_or_else(|| result.clone());
            self.current.push((result.clone(), into.clone()));
            // It is the same window as before when it only took in the new one.
            if merged.len() == 1 && merged[0] == result {
                continue;
            }
            self.is_changed = true;
            if !merged.is_empty() {
                merges.push(Merge { result, merged, into, from: kept_in.collect() });
            }
        }
        self.is_changed |= actual.is_none();
        let actual = actual.unwrap_or_else(|| {
            self.current.push((new.clone(), new.clone()));
            new
        });
        (actual, merges)
    }
}
