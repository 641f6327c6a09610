//! A sparse, ordered map from seq to a value: blocks of slots behind a directory.
//!
//! Finding a value is a shift and two indexings. A block whose slots are all empty goes back to a bounded free list, so
//! in steady state nothing is allocated, an empty ring holds nothing but an empty directory, and one old value that
//! stays behind costs its block plus one directory entry for every [`BLOCK_SLOTS`] later seqs.

use std::collections::VecDeque;

/// Slots of one block.
pub(crate) const BLOCK_SLOTS: u64 = 32;

/// The block that a seq lives in.
const fn block_of(seq: u64) -> u64 {
    seq / BLOCK_SLOTS
}

const fn slot_of(seq: u64) -> usize {
    (seq % BLOCK_SLOTS) as usize
}

#[derive(Debug)]
pub(crate) struct Block<T> {
    used: u32,
    slots: [Option<T>; BLOCK_SLOTS as usize],
}

/// The blocks of all rings of one kind: how many are in use, and a few empty ones to be used again.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    free: Vec<Box<Block<T>>>,
    free_max: usize,
    used: usize,
    directory: usize,
}

impl<T> Blocks<T> {
    /// Keeps at most `free_max` empty blocks.
    pub(crate) const fn new(free_max: usize) -> Self {
        Self { free: Vec::new(), free_max, used: 0, directory: 0 }
    }

    /// Blocks that hold at least one value, in all rings.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Directory entries of all rings.
    pub(crate) const fn directory(&self) -> usize {
        self.directory
    }

    /// Bytes of one block.
    pub(crate) const fn block_bytes() -> usize {
        size_of::<Block<T>>()
    }

    fn take(&mut self) -> Box<Block<T>> {
        self.used += 1;
        self.free.pop().unwrap_or_else(|| Box::new(Block { used: 0, slots: [const { None }; BLOCK_SLOTS as usize] }))
    }

    fn give_back(&mut self, block: Box<Block<T>>) {
        debug_assert!(block.used == 0, "only empty blocks are given back");
        self.used -= 1;
        if self.free.len() < self.free_max {
            self.free.push(block);
        }
    }
}

/// The ring. Values are inserted at any seq from the ring's start on; the start moves up only by the two `trim`s.
#[derive(Debug)]
pub(crate) struct SeqRing<T> {
    directory: VecDeque<Option<Box<Block<T>>>>,
    /// Number of the block that `directory[0]` stands for.
    first: u64,
    len: u64,
}

impl<T> SeqRing<T> {
    /// An empty ring that holds no memory.
    pub(crate) const fn new() -> Self {
        Self { directory: VecDeque::new(), first: 0, len: 0 }
    }

    /// Values in the ring.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The lowest seq that may still be inserted. Other rings over the same seqs follow it with [`Self::trim_to`].
    pub(crate) const fn start(&self) -> u64 {
        self.first * BLOCK_SLOTS
    }

    #[inline]
    fn block(&self, seq: u64) -> Option<&Block<T>> {
        let index = block_of(seq).checked_sub(self.first)?;
        self.directory.get(index as usize)?.as_deref()
    }

    #[inline]
    fn block_mut(&mut self, seq: u64) -> Option<&mut Block<T>> {
        let index = block_of(seq).checked_sub(self.first)?;
        self.directory.get_mut(index as usize)?.as_deref_mut()
    }

    /// The value at a seq.
    #[inline]
    pub(crate) fn at(&self, seq: u64) -> Option<&T> {
        self.block(seq)?.slots[slot_of(seq)].as_ref()
    }

    /// The value at a seq, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, seq: u64) -> Option<&mut T> {
        self.block_mut(seq)?.slots[slot_of(seq)].as_mut()
    }

    /// Stores a value and says whether it could: below the ring's start and in a slot that is taken nothing is stored.
    /// A ring without directory starts at `start` (at the latest at the seq itself).
    #[inline]
    pub(crate) fn insert(&mut self, seq: u64, start: u64, value: T, blocks: &mut Blocks<T>) -> bool {
        let number = block_of(seq);
        if self.directory.is_empty() {
            self.first = number.min(block_of(start));
        }
        let Some(index) = number.checked_sub(self.first) else { return false };
        if self.directory.len() as u64 <= index {
            self.grow(index, blocks);
        }
        let Some(entry) = self.directory.get_mut(index as usize) else { return false };
        let block = entry.get_or_insert_with(|| blocks.take());
        let slot = &mut block.slots[slot_of(seq)];
        if slot.is_some() {
            return false;
        }
        *slot = Some(value);
        block.used += 1;
        self.len += 1;
        true
    }

    #[cold]
    fn grow(&mut self, index: u64, blocks: &mut Blocks<T>) {
        while self.directory.len() as u64 <= index {
            self.directory.push_back(None);
            blocks.directory += 1;
        }
    }

    /// Takes a value out; its block, when it was the last one in it, goes back to `blocks`.
    #[inline]
    pub(crate) fn remove(&mut self, seq: u64, blocks: &mut Blocks<T>) -> Option<T> {
        self.remove_if(seq, blocks, |_| true)
    }

    /// Takes a value out if it is wanted.
    #[inline]
    pub(crate) fn remove_if(
        &mut self,
        seq: u64,
        blocks: &mut Blocks<T>,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let index = block_of(seq).checked_sub(self.first)? as usize;
        let entry = self.directory.get_mut(index)?;
        let block = entry.as_mut()?;
        let value = block.slots[slot_of(seq)].take_if(|value| is_wanted(value))?;
        block.used -= 1;
        self.len -= 1;
        if block.used == 0
            && let Some(block) = entry.take()
        {
            blocks.give_back(block);
        }
        Some(value)
    }

    /// The start could be moved up.
    #[inline]
    pub(crate) fn has_empty_front(&self) -> bool {
        matches!(self.directory.front(), Some(None))
    }

    /// Moves the start up to the first block that holds a value. Without values the directory is given up.
    pub(crate) fn trim_empty(&mut self, blocks: &mut Blocks<T>) {
        while matches!(self.directory.front(), Some(None)) {
            self.pop_front(blocks);
        }
    }

    /// Moves the start up to the block of `seq`, over empty blocks only.
    pub(crate) fn trim_to(&mut self, seq: u64, blocks: &mut Blocks<T>) {
        while self.first < block_of(seq) && matches!(self.directory.front(), Some(None)) {
            self.pop_front(blocks);
        }
    }

    fn pop_front(&mut self, blocks: &mut Blocks<T>) {
        self.directory.pop_front();
        self.first += 1;
        blocks.directory -= 1;
        // A directory that was long once gives its memory back when it is empty.
        if self.directory.is_empty() && self.directory.capacity() > 1024 {
            self.directory = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_value_is_found_where_it_was_put_and_nowhere_else() {
        let mut blocks = Blocks::new(4);
        let mut ring = SeqRing::new();
        assert!(ring.insert(1, 1, 'a', &mut blocks));
        assert!(ring.insert(500, 1, 'b', &mut blocks));
        assert_eq!((ring.at(1), ring.at(500), ring.at(2), ring.at(499)), (Some(&'a'), Some(&'b'), None, None));
        assert!(!ring.insert(500, 1, 'c', &mut blocks), "a slot is taken once");
        assert_eq!(blocks.used(), 2, "the blocks between are not there");
    }

    #[test]
    fn an_empty_ring_holds_no_block_and_no_directory() {
        let mut blocks = Blocks::new(1);
        let mut ring = SeqRing::new();
        for seq in 1..=1_000 {
            assert!(ring.insert(seq, 1, seq, &mut blocks));
        }
        for seq in 1..=1_000 {
            assert_eq!(ring.remove(seq, &mut blocks), Some(seq));
            ring.trim_empty(&mut blocks);
        }
        assert_eq!((ring.len(), blocks.used(), blocks.directory(), blocks.free.len()), (0, 0, 0, 1));
        assert!(ring.insert(1_001, 1_001, 1, &mut blocks));
        assert_eq!(ring.at(1_001), Some(&1));
    }

    #[test]
    fn a_value_left_behind_costs_one_block() {
        let mut blocks = Blocks::new(8);
        let mut ring = SeqRing::new();
        assert!(ring.insert(1, 1, 0, &mut blocks));
        for seq in 2..=100_000 {
            assert!(ring.insert(seq, 1, seq, &mut blocks));
            ring.remove(seq, &mut blocks).unwrap();
            ring.trim_empty(&mut blocks);
        }
        assert_eq!(blocks.used(), 1);
        assert_eq!(blocks.directory() as u64, 100_000 / BLOCK_SLOTS + 1);
        assert_eq!(ring.remove(1, &mut blocks), Some(0));
        ring.trim_empty(&mut blocks);
        assert_eq!((blocks.used(), blocks.directory()), (0, 0));
    }

    #[test]
    fn a_following_ring_takes_low_seqs_until_it_is_trimmed() {
        let mut blocks = Blocks::new(8);
        let mut ring = SeqRing::new();
        assert!(ring.insert(640, 1, 'x', &mut blocks));
        assert!(ring.insert(2, 1, 'y', &mut blocks));
        ring.remove(2, &mut blocks);
        ring.trim_to(320, &mut blocks);
        assert!(!ring.insert(2, 1, 'z', &mut blocks));
        assert!(ring.insert(320, 1, 'z', &mut blocks));
        ring.trim_to(10_000, &mut blocks);
        assert_eq!((ring.at(320), ring.at(640)), (Some(&'z'), Some(&'x')), "a trim never passes a value");
    }

    proptest::proptest! {
        #[test]
        fn the_ring_is_a_map(steps in proptest::collection::vec((0u8..4, 0u64..400), 1..400)) {
            let mut blocks = Blocks::new(2);
            let mut ring = SeqRing::new();
            let mut model = BTreeMap::new();
            for (step, seq) in steps {
                match step {
                    0 | 1 => {
                        let wanted = ring.start() <= seq && !model.contains_key(&seq);
                        // An emptied ring starts anew wherever it is told to.
                        let wanted = wanted || (ring.directory.is_empty() && !model.contains_key(&seq));
                        let stored = ring.insert(seq, 0, seq, &mut blocks);
                        assert_eq!(stored, wanted);
                        if stored { model.insert(seq, seq); }
                    }
                    2 => assert_eq!(ring.remove(seq, &mut blocks), model.remove(&seq)),
                    _ => ring.trim_empty(&mut blocks),
                }
                assert_eq!(ring.len(), model.len() as u64);
                for probe in 0..400 { assert_eq!(ring.at(probe), model.get(&probe)); }
                let in_use: std::collections::BTreeSet<u64> = model.keys().map(|seq| block_of(*seq)).collect();
                assert_eq!(blocks.used(), in_use.len());
                assert_eq!(blocks.directory(), ring.directory.len());
            }
        }
    }
}
