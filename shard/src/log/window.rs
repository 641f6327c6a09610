//! A segment's bytes as recovery walks through them: read in large pieces, a few of them in memory at a time.

use super::format::{BLOCK, to_blocks};
use super::storage::SegmentFile;
use super::{SegmentId, Storage};

/// Bytes of one read.
pub(crate) const CHUNK: u64 = 2 << 20;

/// The part of a segment that is in memory.
pub(crate) struct Window<'s> {
    storage: &'s mut dyn Storage,
    progress: &'s mut dyn FnMut(u64, u64),
    file: SegmentFile,
    /// Where in the file `bytes` begin; a whole number of blocks.
    start: u64,
    bytes: Vec<u8>,
    /// Blocks of the file that the device would not give; zeros stand for them.
    unreadable: Vec<u64>,
    /// Bytes of files that are done, and of all.
    done: u64,
    total: u64,
}

/// Unreadable blocks that are told one by one; more of them are only part of the damage around them.
const UNREADABLE_MAX: usize = 1_024;

impl<'s> Window<'s> {
    pub(crate) fn new(storage: &'s mut dyn Storage, progress: &'s mut dyn FnMut(u64, u64), total: u64) -> Self {
        let file = SegmentFile { segment: SegmentId(0), bytes: 0 };
        Self { storage, progress, file, start: 0, bytes: Vec::new(), unreadable: Vec::new(), done: 0, total }
    }

    /// Turns to another file.
    pub(crate) fn open(&mut self, file: SegmentFile) {
        self.done += self.file.bytes;
        self.file = file;
        self.start = 0;
        self.bytes.clear();
        self.unreadable.clear();
        (self.progress)(self.done.min(self.total), self.total);
    }

    /// The first block of a file; `None` when the device does not give it.
    pub(crate) fn first_block(&mut self, segment: SegmentId) -> Option<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        self.storage.read(segment, 0, &mut block).ok().map(|_| block)
    }

    /// Everything was read.
    pub(crate) fn close(&mut self) {
        (self.progress)(self.total, self.total);
    }

    pub(crate) const fn file(&self) -> SegmentFile {
        self.file
    }

    /// Blocks of this file that could not be read so far.
    pub(crate) fn take_unreadable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unreadable)
    }

    /// The bytes from an offset on: as many as asked for, or as there are.
    #[inline]
    pub(crate) fn bytes(&mut self, from: u64, len: u64) -> &[u8] {
        let to = from.saturating_add(len).min(self.file.bytes);
        if from < self.start || to > self.start + self.bytes.len() as u64 {
            self.load(from, to);
        }
        let begin = from.saturating_sub(self.start) as usize;
        let end = to.saturating_sub(self.start) as usize;
        self.bytes.get(begin..end).unwrap_or_default()
    }

    /// Moves the window so that it begins at the block of `from` and reaches `to` at least.
    #[cold]
    fn load(&mut self, from: u64, to: u64) {
        let begin = from / BLOCK * BLOCK;
        let loaded = self.start + self.bytes.len() as u64;
        if (self.start..loaded).contains(&begin) {
            self.bytes.drain(..(begin - self.start) as usize);
        } else {
            self.bytes.clear();
        }
        self.start = begin;
        let wanted_end = to_blocks(to.max(begin + CHUNK)).min(self.file.bytes);
        while self.start + (self.bytes.len() as u64) < wanted_end {
            let at = self.start + self.bytes.len() as u64;
            let len = (wanted_end - at).min(CHUNK);
            self.read(at, len);
        }
        (self.progress)((self.done + wanted_end).min(self.total), self.total);
    }

    /// Reads one piece behind what is there; where the device refuses, block by block.
    fn read(&mut self, at: u64, len: u64) {
        let filled = self.bytes.len();
        self.bytes.resize(filled + to_blocks(len) as usize, 0);
        let piece = &mut self.bytes[filled..];
        if self.storage.read(self.file.segment, at, piece).is_err() {
            for (index, block) in piece.chunks_mut(BLOCK as usize).enumerate() {
                let block_at = at + index as u64 * BLOCK;
                if self.storage.read(self.file.segment, block_at, block).is_err() {
                    block.fill(0);
                    if self.unreadable.len() < UNREADABLE_MAX {
                        self.unreadable.push(block_at);
                    }
                }
            }
        }
        self.bytes.truncate(filled + len as usize);
    }
}
