//! How many segments there may be: what keeps the old ones, and when another one is wanted.

use super::Log;
use crate::log::limits::SPARE_SEGMENTS;
use crate::log::{Location, SegmentId};
use conduit_protocol::Now;

impl Log {
    /// The record at this place is needed: its segment, and every newer one, stays. Counts.
    pub fn hold(&mut self, at: Location) {
        self.segments.hold(at);
    }

    /// It is not needed any more, for one time that it was held.
    pub fn release(&mut self, at: Location) {
        self.segments.release(at);
    }

    /// The record is needed until a time, in milliseconds since 1970, besides.
    pub fn hold_until(&mut self, at: Location, unix_ms: u64) {
        self.segments.hold_until(at, unix_ms);
    }

    /// Old segments could go if every stream and group were written again in the segment named here: the core appends
    /// those that it does not name yet, then `Record::CarriedOver`. If writing has gone on to another segment
    /// meanwhile, the mark must wait until all are in that one. `None` when there is nothing to gain, or when the mark
    /// was made and only waits for its commit.
    #[must_use]
    pub fn needs_carry_over(&self, now: Now) -> Option<SegmentId> {
        let segment = match &self.filling {
            Some(batch) => batch.segment,
            // It is begun by what is carried over.
            None => self.room.next()?,
        };
        self.segments.wants_carry_over(now.unix_ms).then_some(segment)
    }

    /// One segment beside the written one is always ready, for upkeep; a second one from a quarter on, to go on in.
    pub(super) fn wants_segment(&self) -> bool {
        let is_begun = match (self.segments.newest(), &self.filling) {
            (Some(newest), Some(batch)) => batch.end() >= newest.bytes / 4,
            _ => true,
        };
        let wanted = if is_begun { 2 } else { 1 };
        self.room.ready() < wanted && (self.is_within_bounds() || self.is_cornered())
    }

    /// At its bound, and with no place left for what would make room: it may go beyond, by a little. Acks would be logged
    /// nowhere otherwise, and no old segment would ever go.
    fn is_cornered(&self) -> bool {
        let is_nowhere = self.filling.is_none() || self.has_no_room_to_carry;
        let spare_bytes = SPARE_SEGMENTS * self.limits.segment_bytes;
        let bytes = self.bytes_now() + self.limits.segment_bytes;
        is_nowhere && self.room.files() == 0 && bytes <= self.limits.log_bytes_max + spare_bytes
    }

    /// There may be another segment.
    pub(super) fn is_within_bounds(&self) -> bool {
        let bytes = self.bytes_now() + self.limits.segment_bytes;
        self.limits.log_bytes_max == 0 || bytes <= self.limits.log_bytes_max
    }

    pub(super) fn bytes_now(&self) -> u64 {
        self.segments.bytes() + self.room.files() as u64 * self.limits.segment_bytes
    }
}
