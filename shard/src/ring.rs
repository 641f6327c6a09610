//! A sparse, ordered map from seq to a value: blocks of slots behind a directory.
//!
//! Finding a value is a shift and two indexings; finding the next one looks at one bit mask for every [`BLOCK_SLOTS`]
//! seqs. A block whose slots are all empty goes back to a bounded free list, so in steady state nothing is allocated, an
//! empty ring holds nothing but an empty directory, and one old value that stays behind costs its block plus one
//! directory entry for every [`BLOCK_SLOTS`] later seqs.

use std::collections::VecDeque;

/// Slots of one block: the bits of its mask.
pub(crate) const BLOCK_SLOTS: u64 = u32::BITS as u64;
/// An empty directory that once was longer than this gives its memory back.
const DIRECTORY_KEPT: usize = 1_024;

/// The block that a seq lives in.
pub(crate) const fn block_of(seq: u64) -> u64 {
    seq / BLOCK_SLOTS
}

const fn slot_of(seq: u64) -> usize {
    (seq % BLOCK_SLOTS) as usize
}

#[derive(Debug)]
pub(crate) struct Block<T> {
    /// Bit n: slot n holds a value.
    mask: u32,
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

    #[inline(never)]
    fn take(&mut self) -> Box<Block<T>> {
        self.used += 1;
        self.free.pop().unwrap_or_else(|| Box::new(Block { mask: 0, slots: [const { None }; BLOCK_SLOTS as usize] }))
    }

    #[inline(never)]
    fn give_back(&mut self, block: Box<Block<T>>) {
        debug_assert!(block.mask == 0, "only empty blocks are given back");
        self.used -= 1;
        if self.free.len() < self.free_max {
            self.free.push(block);
        }
    }
}

/// The ring. Values may be inserted at any seq; its directory spans from the lowest to the highest block in use, and
/// over blocks that were in use until somebody trims it.
#[derive(Debug)]
pub(crate) struct SeqRing<T> {
    directory: VecDeque<Option<Box<Block<T>>>>,
    /// Number of the block that `directory[0]` stands for.
    first: u64,
    len: u64,
}

/// An empty slot.
#[derive(Debug)]
#[must_use]
pub(crate) struct Vacant<'r, T> {
    slot: &'r mut Option<T>,
}

impl<T> Vacant<'_, T> {
    /// Stores a value.
    #[inline(always)]
    pub(crate) fn fill(self, value: T) {
        // There is nothing to drop, which the compiler does not see of an assignment.
        std::mem::forget(self.slot.replace(value));
    }
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

    /// The blocks that may hold values: from this number up to, and without, that one.
    pub(crate) fn span(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.directory.len() as u64
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

    /// Which seqs of a block hold values: bit n stands for seq `number * BLOCK_SLOTS + n`.
    #[inline]
    pub(crate) fn mask(&self, number: u64) -> u32 {
        let index = number.checked_sub(self.first);
        index.and_then(|index| self.directory.get(index as usize)?.as_deref()).map_or(0, |block| block.mask)
    }

    /// The lowest seq that holds a value.
    #[inline]
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.span().find_map(|number| match self.mask(number) {
            0 => None,
            mask => Some(number * BLOCK_SLOTS + u64::from(mask.trailing_zeros())),
        })
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

    /// Stores a value and says whether it could: in a slot that is taken nothing is stored.
    #[inline(always)]
    pub(crate) fn insert(&mut self, seq: u64, value: T, blocks: &mut Blocks<T>) -> bool {
        let Some(vacant) = self.occupy(seq, blocks) else { return false };
        vacant.fill(value);
        true
    }

    /// Takes the empty slot of a seq, which is to be filled at once. A value that is made right there need not be moved:
    /// what has been written field by field is slow to move as a whole. `None`: it is taken.
    #[inline(always)]
    pub(crate) fn occupy(&mut self, seq: u64, blocks: &mut Blocks<T>) -> Option<Vacant<'_, T>> {
        let number = block_of(seq);
        if self.directory.is_empty() {
            self.first = number;
        }
        if number < self.first || self.directory.len() as u64 <= number - self.first {
            self.grow(number, blocks);
        }
        let entry = self.directory.get_mut((number - self.first) as usize)?;
        let block = match entry {
            Some(block) => block,
            None => entry.insert(blocks.take()),
        };
        let slot = &mut block.slots[slot_of(seq)];
        if slot.is_some() {
            return None;
        }
        block.mask |= 1 << slot_of(seq);
        self.len += 1;
        Some(Vacant { slot })
    }

    /// Makes the directory reach to a block, at whichever end it is.
    #[cold]
    fn grow(&mut self, number: u64, blocks: &mut Blocks<T>) {
        while number < self.first {
            self.directory.push_front(None);
            self.first -= 1;
            blocks.directory += 1;
        }
        while self.directory.len() as u64 <= number - self.first {
            self.directory.push_back(None);
            blocks.directory += 1;
        }
    }

    /// Takes a value out; its block, when it was the last one in it, goes back to `blocks`.
    #[inline(always)]
    pub(crate) fn remove(&mut self, seq: u64, blocks: &mut Blocks<T>) -> Option<T> {
        self.remove_if(seq, blocks, |_| true)
    }

    /// Takes a value out and takes it apart at once, so that it need not be moved.
    #[inline(always)]
    pub(crate) fn remove_with<R>(
        &mut self,
        seq: u64,
        blocks: &mut Blocks<T>,
        take_apart: impl FnOnce(T) -> R,
    ) -> Option<R> {
        self.remove_if_with(seq, blocks, |_| true, take_apart)
    }

    /// Takes a value out if it is wanted.
    #[inline(always)]
    pub(crate) fn remove_if(
        &mut self,
        seq: u64,
        blocks: &mut Blocks<T>,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        self.remove_if_with(seq, blocks, is_wanted, |value| value)
    }

    #[inline(always)]
    fn remove_if_with<R>(
        &mut self,
        seq: u64,
        blocks: &mut Blocks<T>,
        is_wanted: impl FnOnce(&T) -> bool,
        take_apart: impl FnOnce(T) -> R,
    ) -> Option<R> {
        let index = block_of(seq).checked_sub(self.first)? as usize;
        let entry = self.directory.get_mut(index)?;
        let block = entry.as_mut()?;
        let taken = take_apart(block.slots[slot_of(seq)].take_if(|value| is_wanted(value))?);
        block.mask &= !(1 << slot_of(seq));
        self.len -= 1;
        if block.mask == 0
            && let Some(block) = entry.take()
        {
            blocks.give_back(block);
        }
        Some(taken)
    }

    /// The directory could be shorter.
    #[inline]
    pub(crate) fn has_empty_front(&self) -> bool {
        matches!(self.directory.front(), Some(None))
    }

    /// Shortens the directory to begin with a block that holds a value. Without values it is given up.
    pub(crate) fn trim_empty(&mut self, blocks: &mut Blocks<T>) {
        while self.has_empty_front() {
            self.directory.pop_front();
            self.first += 1;
            blocks.directory -= 1;
        }
        if self.directory.is_empty() && self.directory.capacity() > DIRECTORY_KEPT {
            self.directory = VecDeque::new();
        }
    }

    /// Gives up at most `blocks_max` blocks from the front with everything in them; `true` when the ring is empty.
    pub(crate) fn clear_some(&mut self, blocks_max: u64, blocks: &mut Blocks<T>, mut each: impl FnMut(u64, T)) -> bool {
        for _ in 0..blocks_max {
            let Some(entry) = self.directory.pop_front() else { break };
            if let Some(mut block) = entry {
                for (slot, value) in block.slots.iter_mut().enumerate() {
                    if let Some(value) = value.take() {
                        self.len -= 1;
                        each(self.first * BLOCK_SLOTS + slot as u64, value);
                    }
                }
                block.mask = 0;
                blocks.give_back(block);
            }
            self.first += 1;
            blocks.directory -= 1;
        }
        self.trim_empty(blocks);
        self.directory.is_empty()
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
        assert!(ring.insert(1, 'a', &mut blocks));
        assert!(ring.insert(500, 'b', &mut blocks));
        assert_eq!((ring.at(1), ring.at(500), ring.at(2), ring.at(499)), (Some(&'a'), Some(&'b'), None, None));
        assert!(!ring.insert(500, 'c', &mut blocks), "a slot is taken once");
        assert_eq!(blocks.used(), 2, "the blocks between are not there");
    }

    #[test]
    fn an_empty_ring_holds_no_block_and_no_directory() {
        let mut blocks = Blocks::new(1);
        let mut ring = SeqRing::new();
        for seq in 1..=1_000 {
            assert!(ring.insert(seq, seq, &mut blocks));
        }
        for seq in 1..=1_000 {
            assert_eq!(ring.remove(seq, &mut blocks), Some(seq));
            ring.trim_empty(&mut blocks);
        }
        assert_eq!((ring.len(), blocks.used(), blocks.directory(), blocks.free.len()), (0, 0, 0, 1));
        assert!(ring.insert(1_001, 1, &mut blocks));
        assert_eq!(ring.at(1_001), Some(&1));
    }

    #[test]
    fn a_value_left_behind_costs_one_block() {
        let mut blocks = Blocks::new(8);
        let mut ring = SeqRing::new();
        assert!(ring.insert(1, 0, &mut blocks));
        for seq in 2..=100_000 {
            assert!(ring.insert(seq, seq, &mut blocks));
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
    fn a_ring_grows_at_both_ends() {
        let mut blocks = Blocks::new(8);
        let mut ring = SeqRing::new();
        assert!(ring.insert(640, 'x', &mut blocks));
        assert!(ring.insert(2, 'y', &mut blocks));
        assert!(ring.insert(5_000, 'z', &mut blocks));
        assert_eq!((ring.lowest(), ring.span()), (Some(2), 0..157));
        ring.remove(2, &mut blocks);
        assert_eq!(ring.lowest(), Some(640));
        ring.trim_empty(&mut blocks);
        assert_eq!((ring.span(), blocks.directory()), (20..157, 137), "a trim never passes a value");
        assert!(ring.insert(3, 'y', &mut blocks));
        assert_eq!((ring.at(3), ring.at(640), ring.at(5_000)), (Some(&'y'), Some(&'x'), Some(&'z')));
    }

    #[test]
    fn a_ring_is_cleared_in_pieces() {
        let mut blocks = Blocks::new(8);
        let mut ring = SeqRing::new();
        for seq in [3, 4, 40, 200] {
            ring.insert(seq, seq * 10, &mut blocks);
        }
        let mut gone = Vec::new();
        assert!(!ring.clear_some(1, &mut blocks, |seq, value| gone.push((seq, value))));
        assert_eq!((gone.as_slice(), ring.len()), ([(3, 30), (4, 40)].as_slice(), 2));
        assert!(!ring.clear_some(1, &mut blocks, |seq, value| gone.push((seq, value))));
        assert!(ring.clear_some(1, &mut blocks, |seq, value| gone.push((seq, value))), "empty blocks are skipped");
        assert_eq!(gone[2..], [(40, 400), (200, 2_000)]);
        assert_eq!((ring.len(), blocks.used(), blocks.directory()), (0, 0, 0));
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
                        let wanted = !model.contains_key(&seq);
                        assert_eq!(ring.insert(seq, seq, &mut blocks), wanted);
                        model.insert(seq, seq);
                    }
                    2 => assert_eq!(ring.remove(seq, &mut blocks), model.remove(&seq)),
                    _ => ring.trim_empty(&mut blocks),
                }
                assert_eq!(ring.len(), model.len() as u64);
                assert_eq!(ring.lowest(), model.keys().next().copied());
                for probe in 0..400 {
                    assert_eq!(ring.at(probe), model.get(&probe));
                    let is_in_mask = ring.mask(block_of(probe)) >> (probe % BLOCK_SLOTS) & 1 == 1;
                    assert_eq!(is_in_mask, model.contains_key(&probe));
                }
                let in_use: std::collections::BTreeSet<u64> = model.keys().map(|seq| block_of(*seq)).collect();
                assert_eq!(blocks.used(), in_use.len());
                assert_eq!(blocks.directory(), ring.directory.len());
            }
        }
    }
}
