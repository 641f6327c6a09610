//! Memory at the addresses that direct I/O takes.

/// What direct I/O counts in: offsets, lengths and addresses are multiples of it. Devices ask for 512 or 4,096 bytes; the
/// larger serves both.
pub(crate) const BLOCK_BYTES: usize = 4_096;

#[derive(Debug, Clone)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// Bytes that begin at a multiple of [`BLOCK_BYTES`] and fill whole blocks. They stay where they are when the value moves.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuffer {
    blocks: Vec<Block>,
}

impl AlignedBuffer {
    /// Zeros, at least so many bytes.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        Self { blocks: vec![Block([0; BLOCK_BYTES]); bytes.div_ceil(BLOCK_BYTES)] }
    }

    /// Makes room for at least so many bytes; what the buffer held is of no use afterwards.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, Block([0; BLOCK_BYTES]));
        }
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// All of them.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: blocks are plain bytes without padding, one after the other, and every one is initialised.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.len()) }
    }

    /// All of them, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        // SAFETY: as in `bytes`; any byte is a valid byte of a block, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_and_end_on_blocks_and_keep_what_is_written() {
        for (asked, len) in [(0, 0), (1, 4_096), (4_096, 4_096), (4_097, 8_192)] {
            let mut buffer = AlignedBuffer::zeroed(asked);
            assert_eq!((buffer.len(), buffer.bytes().len()), (len, len));
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
            buffer.bytes_mut().fill(7);
            let moved = buffer;
            assert!(moved.bytes().iter().all(|byte| *byte == 7));
            assert_eq!(moved.bytes().as_ptr().addr() % BLOCK_BYTES, 0);
        }
        let mut buffer = AlignedBuffer::default();
        buffer.make_room(5_000);
        assert_eq!(buffer.len(), 8_192);
        buffer.make_room(1);
        assert_eq!(buffer.len(), 8_192, "it never shrinks by itself");
    }
}
