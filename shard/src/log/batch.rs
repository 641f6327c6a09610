//! Batches: one is filled while the one before is on its way to the disk.

use super::codec;
use super::format::{BATCH_HEADER, BLOCK, BatchHeader, Salt, to_blocks};
use super::{Location, Record, SegmentId};

/// The batch that is being filled.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) segment: SegmentId,
    /// Where in the segment it begins.
    pub(crate) offset: u64,
    pub(crate) number: u64,
    pub(crate) records: u32,
    /// When it is to leave, by the clock that never goes back. `None` while it is empty.
    pub(crate) due_ns: Option<u64>,
    /// Room for the header, then the records.
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn open(segment: SegmentId, offset: u64, number: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(BATCH_HEADER as usize, 0);
        Self { segment, offset, number, records: 0, due_ns: None, bytes: buffer }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of header and records.
    pub(crate) const fn used(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Where in the segment its last record ends.
    pub(crate) const fn end(&self) -> u64 {
        self.offset + self.used()
    }

    /// Where the next batch of the segment begins: here, while nothing is in this one.
    pub(crate) const fn next_offset(&self) -> u64 {
        if self.is_empty() { self.offset } else { to_blocks(self.end()) }
    }

    /// Adds an encodable record. `None`, and nothing added, where no location can name the place.
    #[inline]
    pub(crate) fn push(&mut self, record: &Record<'_>, salt: Salt, due_ns: u64) -> Option<Location> {
        let at = Location::new(self.segment, self.end())?;
        codec::encode(&mut self.bytes, record, salt, at);
        self.records += 1;
        self.due_ns = Some(self.due_ns.map_or(due_ns, |due| due.min(due_ns)));
        Some(at)
    }

    /// Closes the batch: header and padding are written, and what comes next goes elsewhere.
    pub(crate) fn seal(mut self, salt: Salt, is_clean_end: bool) -> Sealed {
        let used = self.bytes.len();
        let header = BatchHeader { number: self.number, used: used as u32, records: self.records, is_clean_end };
        if let Some(at) = Location::new(self.segment, self.offset) {
            self.bytes[..BATCH_HEADER as usize].copy_from_slice(&header.encode(salt, at));
        }
        self.bytes.resize(to_blocks(used as u64) as usize, 0);
        Sealed {
            segment: self.segment,
            offset: self.offset,
            records: self.records,
            used: used as u64,
            batch: Some(self.number),
            is_clean_end,
            bytes: self.bytes,
        }
    }

    /// Gives the buffer of an unused batch back.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whole blocks, ready to be committed.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) records: u32,
    /// Bytes that mean something; the rest is padding.
    pub(crate) used: u64,
    /// The batch's number; `None` for the header block of a segment.
    pub(crate) batch: Option<u64>,
    pub(crate) is_clean_end: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Sealed {
    /// The first block of a segment.
    pub(crate) const fn header_block(segment: SegmentId, bytes: Vec<u8>) -> Self {
        Self { segment, offset: 0, records: 0, used: BLOCK, batch: None, is_clean_end: false, bytes }
    }
}

/// Empty buffers kept for later batches.
pub(crate) const SPARE_BUFFERS_MAX: usize = 4;

/// Buffers of batches that are done, used again so that nothing is allocated in steady state.
#[derive(Debug)]
pub(crate) struct Buffers {
    spare: Vec<Vec<u8>>,
    /// A buffer that grew beyond goes back to the allocator.
    capacity_max: usize,
}

impl Buffers {
    pub(crate) fn new(batch_bytes_max: u64) -> Self {
        Self { spare: Vec::with_capacity(SPARE_BUFFERS_MAX), capacity_max: 2 * batch_bytes_max as usize }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub(crate) fn give(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= self.capacity_max {
            self.spare.push(buffer);
        }
    }
}
