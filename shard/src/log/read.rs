//! Records out of bytes that were read back: one that is wanted, and those that happen to follow it.

use super::codec::{self, Flaw, Scratch};
use super::format::{BATCH_HEADER, BLOCK, BatchHeader, Salt};
use super::{Location, LogIdentity, Record, SegmentId};

/// What is read for a record: whole blocks of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// The segment.
    pub segment: SegmentId,
    /// Where; a multiple of 4,096.
    pub offset: u64,
    /// How many bytes; a multiple of 4,096.
    pub len: u32,
}

impl ReadRange {
    /// The range to read for the record at a place: `bytes` from its begin, or a little more, and not beyond the end of the
    /// segment's file. The more, the more of the records that follow come with it.
    #[must_use]
    pub fn of(at: Location, bytes: u32, segment_bytes: u64) -> Self {
        let offset = at.offset() / BLOCK * BLOCK;
        let wanted = (at.offset() - offset + u64::from(bytes)).next_multiple_of(BLOCK);
        let len = wanted.min(segment_bytes.saturating_sub(offset)).min(u64::from(u32::MAX) / BLOCK * BLOCK);
        Self { segment: at.segment(), offset, len: len as u32 }
    }
}

/// What comes next out of bytes that were read.
#[derive(Debug, PartialEq)]
pub enum Next<'a> {
    /// A record, whole.
    Record(Location, Record<'a>),
    /// One begins here and goes on past the bytes: so many are needed from its start.
    More(Location, u32),
    /// Nothing believable follows in these bytes: the log ends here, or is damaged. For the first record asked for, it
    /// is damage: where it lies something was written.
    Nothing,
}

/// Walks through bytes of a segment, record by record and batch by batch. Every record is checked.
#[derive(Debug)]
pub struct Records<'b> {
    bytes: &'b [u8],
    segment: SegmentId,
    /// Where in the segment the bytes begin.
    start: u64,
    /// Where in the segment the next record is looked for.
    at: u64,
    salt: Salt,
    scratch: Scratch,
}

impl<'b> Records<'b> {
    /// The records from a place on, in bytes that were read of its segment from `offset` on.
    #[must_use]
    pub fn new(identity: LogIdentity, bytes: &'b [u8], offset: u64, from: Location) -> Self {
        Self {
            bytes,
            segment: from.segment(),
            start: offset,
            at: from.offset(),
            salt: Salt(identity.salt),
            scratch: Scratch::default(),
        }
    }

    /// The next one. After `More` or `Nothing` it stays the same.
    #[allow(clippy::should_implement_trait, reason = "what it says is lent until the next call")]
    pub fn next(&mut self) -> Next<'_> {
        loop {
            self.pass_batch_header();
            let Some(at) = Location::new(self.segment, self.at) else { return Next::Nothing };
            let Some(rest) = self.at.checked_sub(self.start).and_then(|begin| self.bytes.get(begin as usize..)) else {
                return Next::Nothing;
            };
            match codec::check(rest, self.salt.mark(at)) {
                Ok(checked) => {
                    self.at += checked.padded_len() as u64;
                    return codec::decode(&checked, &mut self.scratch)
                        .map_or(Next::Nothing, |record| Next::Record(at, record));
                }
                // The padding of a batch: the next one begins with the next block.
                Err(Flaw::Blank) if !self.at.is_multiple_of(BLOCK) => self.at = self.at.next_multiple_of(BLOCK),
                Err(Flaw::Short(_)) if rest.is_empty() => return Next::Nothing,
                Err(Flaw::Short(needed)) => return Next::More(at, needed as u32),
                Err(Flaw::Blank | Flaw::Bad) => return Next::Nothing,
            }
        }
    }

    /// At the start of a block there may be a batch's header, or a record of a batch that goes on.
    fn pass_batch_header(&mut self) {
        if !self.at.is_multiple_of(BLOCK) {
            return;
        }
        let (Some(at), Some(begin)) = (Location::new(self.segment, self.at), self.at.checked_sub(self.start)) else {
            return;
        };
        let rest = self.bytes.get(begin as usize..).unwrap_or_default();
        if BatchHeader::decode(rest, self.salt, at).is_some() {
            self.at += BATCH_HEADER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_whole_blocks_around_the_record_inside_the_file() {
        let at = |offset| Location::new(SegmentId(2), offset).unwrap();
        let of = |offset, bytes| {
            let range = ReadRange::of(at(offset), bytes, 1 << 20);
            assert_eq!(range.segment, SegmentId(2));
            (range.offset, range.len)
        };
        assert_eq!(of(4_096, 1), (4_096, 4_096));
        assert_eq!(of(4_136, 4_056), (4_096, 4_096));
        assert_eq!(of(4_136, 4_057), (4_096, 8_192));
        assert_eq!(of(8_184, 64 << 10), (4_096, 69_632));
        assert_eq!(of((1 << 20) - 8, 64 << 10), ((1 << 20) - 4_096, 4_096));
        assert_eq!(of(1 << 20, 64 << 10), (1 << 20, 0), "there is nothing behind the end");
    }
}
