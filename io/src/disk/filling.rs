//! Preparing a segment: a file of zeros, on the disk before anyone writes into it.
//!
//! Zeros are written, not only reserved: the first write into a reserved block changes the file's metadata, and a commit
//! would wait for that change as well. (Overwriting zeros took 97 us where overwriting reserved blocks took 148 us.)

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use super::folder::{Access, Folder};
use conduit_shard::log::SegmentId;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Zeros of one write. A commit that comes in between waits for no more than this.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// A segment that is being prepared.
#[derive(Debug)]
pub(crate) struct Filling {
    file: OwnedFd,
    segment: SegmentId,
    written: u64,
    bytes: u64,
}

impl Filling {
    /// Creates the file and reserves its room, so that a full disk is found out at once.
    pub(crate) fn begin(folder: &Folder, segment: SegmentId, bytes: u64, access: Access) -> Result<Self, Errno> {
        let file = folder.create_prepared(segment, access)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // A file system without reservations finds out while it writes.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Self { file, segment, written: 0, bytes }),
            Err(errno) => {
                folder.discard_prepared(segment);
                Err(errno)
            }
        }
    }

    pub(crate) fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Writes the next piece; true when the segment is complete and on the disk. `zeros` holds [`PIECE_BYTES`].
    pub(crate) fn step(&mut self, zeros: &AlignedBuffer) -> Result<bool, Errno> {
        let piece = (self.bytes - self.written).min(PIECE_BYTES as u64) as usize;
        if piece > 0 {
            match rustix::io::pwrite(&self.file, &zeros.bytes()[..piece], self.written) {
                // Regular files are written short when there is no more room.
                Ok(n) if n < BLOCK_BYTES => return Err(Errno::NOSPC),
                Ok(n) => self.written += (n - n % BLOCK_BYTES) as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if self.written < self.bytes {
            return Ok(false);
        }
        rustix::fs::fdatasync(&self.file)?;
        Ok(true)
    }
}

/// Prepares a segment from beginning to end; what is left of a failed one is removed.
pub(crate) fn fill(folder: &Folder, segment: SegmentId, bytes: u64, access: Access) -> Result<(), Errno> {
    let mut filling = Filling::begin(folder, segment, bytes, access)?;
    let zeros = AlignedBuffer::zeroed(PIECE_BYTES);
    loop {
        match filling.step(&zeros) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(errno) => {
                folder.discard_prepared(segment);
                return Err(errno);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::folder::prepared_name;
    use crate::disk::scratch::Scratch;

    #[test]
    fn a_prepared_segment_is_zeros_of_its_full_size_whatever_was_there() {
        for scratch in Scratch::everywhere() {
            let folder = Folder::open(scratch.path()).expect("a folder");
            let access = folder.probe().expect("an answer");
            for bytes in [4_096, PIECE_BYTES as u64 - 4_096, PIECE_BYTES as u64, PIECE_BYTES as u64 * 2 + 8_192] {
                let path = scratch.path().join(prepared_name(SegmentId(3)));
                std::fs::write(&path, vec![1; 3 << 20]).expect("written");
                fill(&folder, SegmentId(3), bytes, access).expect("filled");
                let found = std::fs::read(&path).expect("readable");
                assert_eq!(found.len() as u64, bytes);
                assert!(found.iter().all(|byte| *byte == 0));
            }
        }
    }
}
