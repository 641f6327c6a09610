//! The segments that hold something, oldest first, and what keeps each of them.

use super::{Location, SegmentId};
use crate::{Mutant, Planted};
use std::collections::VecDeque;

/// One segment that was written to (or that must not be written to any more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// The file's size.
    pub(crate) bytes: u64,
    /// How far it is valid: the end of its last record. Of the one that is written, as far as it is committed.
    pub(crate) end: u64,
    /// Records in it that somebody still needs.
    pub(crate) held: u64,
    /// Needed until then at least, in milliseconds since 1970.
    pub(crate) keep_until_unix_ms: u64,
}

impl Segment {
    pub(crate) const fn new(id: SegmentId, bytes: u64, end: u64) -> Self {
        Self { id, bytes, end, held: 0, keep_until_unix_ms: 0 }
    }
}

/// All of them. The last one is written to, if any is.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    list: VecDeque<Segment>,
    /// Bytes of all files.
    bytes: u64,
    /// The newest segment that carries everything over, and the batch that says so.
    carried_over: Option<(SegmentId, u64)>,
    /// The newest one of which that is known to be durable.
    carried_over_durably: Option<SegmentId>,
    planted: Planted,
}

impl Segments {
    /// None.
    pub(crate) fn new(planted: Planted) -> Self {
        Self { planted, ..Self::default() }
    }

    /// Adds one that is newer than all others.
    pub(crate) fn push(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        self.list.push_back(segment);
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn newest(&self) -> Option<&Segment> {
        self.list.back()
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut Segment> {
        self.list.back_mut()
    }

    pub(crate) fn find(&self, id: SegmentId) -> Option<&Segment> {
        self.index_of(id).and_then(|index| self.list.get(index))
    }

    /// Numbers nearly always follow each other, so the first guess is right.
    fn index_of(&self, id: SegmentId) -> Option<usize> {
        let guess = id.0.checked_sub(self.list.front()?.id.0)? as usize;
        match self.list.get(guess) {
            Some(segment) if segment.id == id => Some(guess),
            _ => self.list.binary_search_by_key(&id, |segment| segment.id).ok(),
        }
    }

    fn at_mut(&mut self, at: Location) -> Option<&mut Segment> {
        self.index_of(at.segment()).and_then(|index| self.list.get_mut(index))
    }

    pub(crate) fn hold(&mut self, at: Location) {
        match self.at_mut(at) {
            Some(segment) => segment.held += 1,
            None => debug_assert!(false, "a record is held in a segment that is there"),
        }
    }

    pub(crate) fn release(&mut self, at: Location) {
        match self.at_mut(at) {
            Some(segment) => {
                debug_assert!(segment.held > 0, "what is released was held");
                segment.held = segment.held.saturating_sub(1);
            }
            None => debug_assert!(false, "a segment is there while a record in it is held"),
        }
    }

    pub(crate) fn hold_until(&mut self, at: Location, unix_ms: u64) {
        if let Some(segment) = self.at_mut(at) {
            segment.keep_until_unix_ms = segment.keep_until_unix_ms.max(unix_ms);
        }
    }

    /// The newest segment carries everything over, as soon as this batch is durable.
    pub(crate) fn carry_over_in(&mut self, id: SegmentId, batch: u64) {
        self.carried_over = Some((id, batch));
    }

    /// Recovery read that a segment carries everything over.
    pub(crate) fn was_carried_over(&mut self, id: SegmentId) {
        self.carried_over = Some((id, 0));
        self.carried_over_durably = Some(id);
    }

    /// Everything up to this batch is durable.
    pub(crate) fn committed(&mut self, batch: u64) {
        if let Some((id, carried_in)) = self.carried_over
            && carried_in <= batch
        {
            self.carried_over_durably = Some(id);
        }
    }

    /// The oldest segment, if nobody needs anything that lies in it and it is not the one that is written.
    fn unneeded(&self, unix_ms: u64) -> Option<&Segment> {
        let oldest = self.list.front().filter(|_| self.list.len() > 1)?;
        let is_held = oldest.held > u64::from(self.planted.has(Mutant::TrimWhatIsNeeded));
        (!is_held && oldest.keep_until_unix_ms <= unix_ms).then_some(oldest)
    }

    /// The segment to remove now.
    pub(crate) fn removable(&self, unix_ms: u64) -> Option<SegmentId> {
        let oldest = self.unneeded(unix_ms)?;
        (oldest.id < self.carried_over_durably?).then_some(oldest.id)
    }

    /// Whether the oldest segment would be removable if everything were carried over, and that was not even begun.
    pub(crate) fn wants_carry_over(&self, unix_ms: u64) -> bool {
        self.unneeded(unix_ms).is_some_and(|oldest| self.carried_over.is_none_or(|(carried, _)| carried <= oldest.id))
    }

    /// When time alone may make the oldest segment unneeded, in milliseconds since 1970.
    pub(crate) fn unneeded_at_unix_ms(&self) -> Option<u64> {
        let oldest = self.list.front().filter(|_| self.list.len() > 1)?;
        (oldest.held == 0 && oldest.keep_until_unix_ms > 0).then_some(oldest.keep_until_unix_ms)
    }

    /// The oldest segment's file is gone.
    pub(crate) fn removed(&mut self, id: SegmentId) {
        if self.list.front().is_some_and(|oldest| oldest.id == id)
            && let Some(segment) = self.list.pop_front()
        {
            self.bytes -= segment.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32) -> Location {
        Location::new(SegmentId(segment), 4_136).unwrap()
    }

    fn of(ids: &[u32]) -> Segments {
        let mut segments = Segments::default();
        for &id in ids {
            segments.push(Segment::new(SegmentId(id), 100, 50));
        }
        segments
    }

    #[test]
    fn the_oldest_goes_when_nothing_needs_it_and_a_newer_one_durably_carries_everything_over() {
        let mut segments = of(&[1, 2, 3]);
        segments.hold(at(1));
        segments.hold_until(at(1), 1_000);
        assert!(!segments.wants_carry_over(1_000), "while something is held");
        segments.release(at(1));
        assert!(!segments.wants_carry_over(999), "before its time");
        assert_eq!(segments.unneeded_at_unix_ms(), Some(1_000));
        assert!(segments.wants_carry_over(1_000));
        segments.carry_over_in(SegmentId(3), 7);
        assert!(!segments.wants_carry_over(1_000), "once it is done");
        assert_eq!(segments.removable(1_000), None, "before it is durable");
        segments.committed(6);
        assert_eq!(segments.removable(1_000), None);
        segments.committed(7);
        assert_eq!(segments.removable(999), None);
        assert_eq!(segments.removable(1_000), Some(SegmentId(1)));
        segments.removed(SegmentId(1));
        assert_eq!(segments.bytes(), 200);
        assert_eq!(segments.removable(1_000), Some(SegmentId(2)));
        segments.removed(SegmentId(2));
        assert_eq!(segments.removable(1_000), None, "the one that is written stays");
    }

    #[test]
    fn a_needed_oldest_segment_keeps_all_newer_ones() {
        let mut segments = of(&[1, 2, 3]);
        segments.hold(at(1));
        segments.was_carried_over(SegmentId(3));
        assert_eq!(segments.removable(0), None);
        segments.release(at(1));
        assert_eq!(segments.removable(0), Some(SegmentId(1)));
    }

    #[test]
    fn a_segment_does_not_carry_itself_over() {
        let mut segments = of(&[1, 2]);
        segments.was_carried_over(SegmentId(1));
        assert_eq!(segments.removable(0), None);
        assert!(segments.wants_carry_over(0));
    }

    #[test]
    fn segments_are_found_across_missing_numbers() {
        let segments = of(&[3, 7, 8, 20]);
        for id in 0..25 {
            let found = segments.find(SegmentId(id)).map(|segment| segment.id);
            assert_eq!(found, [3, 7, 8, 20].contains(&id).then_some(SegmentId(id)));
        }
    }
}
