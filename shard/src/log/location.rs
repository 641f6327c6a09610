//! Where a record lies.

use std::num::NonZeroU64;

/// A segment's number in its shard: 1 for the first, then rising by one, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u32);

/// Records begin at multiples of this many bytes.
pub const RECORD_ALIGN: u64 = 8;

/// The place of one record, in eight bytes: the segment in the upper half, the offset in units of [`RECORD_ALIGN`] in the
/// lower. Segments count from 1, so an `Option<Location>` takes eight bytes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location(NonZeroU64);

impl Location {
    /// The place at an offset of a segment. `None` for segment 0 and for offsets that are not aligned or beyond 32 GiB.
    #[must_use]
    pub fn new(segment: SegmentId, offset: u64) -> Option<Self> {
        let units = u32::try_from(offset / RECORD_ALIGN).ok()?;
        if segment.0 == 0 || !offset.is_multiple_of(RECORD_ALIGN) {
            return None;
        }
        NonZeroU64::new(u64::from(segment.0) << 32 | u64::from(units)).map(Self)
    }

    /// Both halves as one number: different for every place of a log.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The segment.
    #[must_use]
    pub const fn segment(self) -> SegmentId {
        SegmentId((self.0.get() >> 32) as u32)
    }

    /// The offset of the record's first byte in the segment's file.
    #[must_use]
    pub const fn offset(self) -> u64 {
        (self.0.get() & 0xffff_ffff) * RECORD_ALIGN
    }
}
