//! Memory of blocks that were written to a file system, for the blocks of later snapshots.
//!
//! A snapshot has as many blocks as the one before, as a rule. Their memory goes from the thread that makes them to the one that
//! writes them; given back to the allocator there, it would go to the kernel, which fills each of its pages with zeros again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As much is kept at most, bytes.
const KEPT_BYTES: usize = 16 << 20;

/// See the module. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct SpareBlocks(Arc<Mutex<Spare>>);

#[derive(Debug, Default)]
struct Spare {
    /// Empty, and each with this capacity.
    blocks: Vec<Vec<u8>>,
    room: usize,
    /// As many were never taken since [`SpareBlocks::forget_unused`].
    unused: usize,
}

impl SpareBlocks {
    /// An empty one with room for so many bytes, and for more if there happens to be.
    pub(super) fn take(&self, room: usize) -> Vec<u8> {
        let mut spare = self.lock();
        if spare.room != room {
            *spare = Spare { room, ..Spare::default() };
        }
        let block = spare.blocks.pop();
        spare.unused = spare.unused.min(spare.blocks.len());
        drop(spare);
        block.unwrap_or_else(|| Vec::with_capacity(room))
    }

    /// Nobody needs the block any more.
    pub(super) fn give(&self, mut block: Vec<u8>) {
        let mut spare = self.lock();
        if block.capacity() == spare.room && (spare.blocks.len() + 1) * spare.room <= KEPT_BYTES {
            block.clear();
            spare.blocks.push(block);
        }
    }

    /// Gives up what was not needed since the last time.
    pub(crate) fn forget_unused(&self) {
        let mut spare = self.lock();
        let kept = spare.blocks.len() - spare.unused;
        spare.blocks.truncate(kept);
        spare.unused = kept;
    }

    /// A block whose memory comes back when it is dropped.
    pub fn lend(&self, bytes: Vec<u8>) -> LentBlock {
        LentBlock { bytes, spare: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Spare> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`SpareBlocks::lend`].
#[derive(Debug)]
pub struct LentBlock {
    bytes: Vec<u8>,
    spare: SpareBlocks,
}

impl AsRef<[u8]> for LentBlock {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for LentBlock {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_when_they_are_dropped_and_those_that_nobody_needs_are_forgotten() {
        let spare = SpareBlocks::default();
        let kept = |spare: &SpareBlocks| spare.lock().blocks.len();
        let lent: Vec<_> = (0..10).map(|_| spare.lend(spare.take(1000))).collect();
        assert!(lent.iter().all(|block| block.as_ref().is_empty()));
        drop(lent);
        assert_eq!(kept(&spare), 10);
        spare.forget_unused();
        // Three at once are needed from now on.
        for _ in 0..5 {
            let mut blocks: Vec<_> = (0..3).map(|_| spare.take(1000)).collect();
            blocks[0].push(1);
            assert!(blocks.iter().all(|block| block.capacity() == 1000));
            blocks.into_iter().for_each(|block| drop(spare.lend(block)));
        }
        assert!(spare.take(1000).is_empty());
        assert_eq!(kept(&spare), 9);
        spare.forget_unused();
        assert_eq!(kept(&spare), 2, "seven were in nobody's hands");
        // One that has grown, or is of another size, is none of these.
        let mut grown = spare.take(1000);
        grown.resize(1001, 0);
        spare.give(grown);
        spare.give(Vec::with_capacity(10));
        assert_eq!(kept(&spare), 1);
        assert_eq!(spare.take(2000).capacity(), 2000);
        assert_eq!(kept(&spare), 0);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let spare = SpareBlocks::default();
        let blocks: Vec<_> = (0..5).map(|_| spare.take(KEPT_BYTES / 4)).collect();
        blocks.into_iter().for_each(|block| spare.give(block));
        assert_eq!(spare.lock().blocks.len(), 4);
    }
}
