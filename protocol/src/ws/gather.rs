//! The message that is being put together from frames that do not lie in one read (RFC 6455, section 5.4).

use super::frame::{Header, turned, unmask};

/// Capacity in bytes that is kept after a message is done.
const IDLE_BYTES_MAX: usize = 1024;

/// What a data message says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Must be UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// A message whose parts are kept until its last one is here.
///
/// Memory follows the bytes that came, not the length that the peer announced. The caller checks
/// `Limits::message_bytes_max` before each frame.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The unmasked parts so far.
    bytes: Vec<u8>,
    /// Set from the first frame of a message to its last byte.
    kind: Option<Kind>,
    /// The frame whose payload is still coming.
    partial: Option<Partial>,
}

/// A frame whose header has been consumed and whose payload has not.
#[derive(Debug, Clone, Copy)]
struct Partial {
    /// The mask, turned to fit the next byte.
    mask: [u8; 4],
    is_final: bool,
    remaining_bytes: u64,
}

impl Partial {
    /// Bytes to make room for when `part` more do not fit behind the `kept` ones. Doubling keeps the copying linear however
    /// small the parts are; the announced end of the last frame caps it.
    fn room_wanted(&self, kept: usize, part: usize) -> usize {
        let doubling = kept.max(part);
        if self.is_final { doubling.min(usize::try_from(self.remaining_bytes).unwrap_or(usize::MAX)) } else { doubling }
    }
}

impl Gather {
    /// A message has begun and not ended, so only a continuation frame may follow.
    pub(super) fn is_begun(&self) -> bool {
        self.kind.is_some()
    }

    /// There is no message here, neither begun nor finished.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.kind.is_none() && self.partial.is_none() && self.bytes.is_empty()
    }

    /// The payload of a frame is still coming.
    pub(super) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Bytes of the message so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The finished message, until [`Self::forget`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A message of this kind begins with the next frame.
    pub(super) fn begin(&mut self, kind: Kind) {
        self.bytes.clear();
        self.kind = Some(kind);
    }

    /// The payload of this frame comes next, in as many [`Self::take`] as it needs.
    pub(super) fn expect(&mut self, header: &Header) {
        self.partial =
            Some(Partial { mask: header.mask, is_final: header.is_final, remaining_bytes: header.payload_bytes });
    }

    /// Takes what is here of the frame's payload from the front of `input`. Returns how many bytes that was, and the
    /// kind of the message when they were its last: then [`Self::bytes`] is the message.
    pub(super) fn take(&mut self, input: &mut [u8]) -> (usize, Option<Kind>) {
        let (taken, is_final) = self.advance(input, |bytes, part, partial| {
            unmask(part, partial.mask);
            if bytes.capacity() - bytes.len() < part.len() {
                bytes.reserve_exact(partial.room_wanted(bytes.len(), part.len()));
            }
            bytes.extend_from_slice(part);
        });
        (taken, if is_final { self.kind.take() } else { None })
    }

    /// As [`Self::take`], but the bytes are thrown away. Returns how many that was.
    pub(super) fn skip(&mut self, input: &mut [u8]) -> usize {
        self.advance(input, |_, _, _| ()).0
    }

    /// Hands the part of the frame's payload that is here to `keep`. Returns its length, and whether it ended the last
    /// frame of the message.
    fn advance(&mut self, input: &mut [u8], keep: impl FnOnce(&mut Vec<u8>, &mut [u8], &Partial)) -> (usize, bool) {
        let Some(partial) = &mut self.partial else { return (0, false) };
        let length = usize::try_from(partial.remaining_bytes).unwrap_or(usize::MAX).min(input.len());
        keep(&mut self.bytes, &mut input[..length], partial);
        partial.mask = turned(partial.mask, length);
        partial.remaining_bytes -= length as u64;
        let is_final = partial.is_final;
        if partial.remaining_bytes > 0 {
            return (length, false);
        }
        self.partial = None;
        (length, is_final)
    }

    /// Forgets the message, finished or not, and gives back what an idle connection does not need. The place within a
    /// frame that is still coming is kept.
    pub(super) fn forget(&mut self) {
        self.kind = None;
        self.bytes.clear();
        if self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    fn header(is_final: bool, payload_bytes: u64) -> Header {
        Header { is_final, opcode: OpCode::Data(Data::Binary), mask: [0; 4], header_bytes: 14, payload_bytes }
    }

    #[test]
    fn memory_follows_the_bytes_that_came() {
        let mut gather = Gather::default();
        gather.begin(Kind::Binary);
        gather.expect(&header(true, 1 << 40));
        for _ in 0..100 {
            assert_eq!(gather.take(&mut [0; 1000]), (1000, None));
            assert!(gather.bytes.capacity() <= 2 * gather.len());
        }
    }

    #[test]
    fn memory_stops_at_the_end_of_the_frame() {
        let mut gather = Gather::default();
        gather.begin(Kind::Binary);
        gather.expect(&header(true, 10_000));
        assert_eq!(gather.take(&mut [0; 9_999]), (9_999, None));
        assert_eq!(gather.take(&mut [0; 9_999]), (1, Some(Kind::Binary)));
        assert_eq!(gather.bytes.capacity(), 10_000);
        gather.forget();
        assert_eq!(gather.bytes.capacity(), 0);
    }

    #[test]
    fn many_small_fragments_are_copied_a_few_times_only() {
        let mut gather = Gather::default();
        gather.begin(Kind::Binary);
        let mut growths = 0;
        for _ in 0..100_000 {
            let before = gather.bytes.capacity();
            gather.expect(&header(false, 1));
            assert_eq!(gather.take(&mut [7]), (1, None));
            growths += u32::from(gather.bytes.capacity() != before);
        }
        assert!(growths <= 18, "{growths} growths");
    }

    #[test]
    fn skipping_keeps_nothing_and_ends_where_the_frame_ends() {
        let mut gather = Gather::default();
        gather.expect(&header(true, 5_000));
        assert_eq!(gather.skip(&mut [0; 4_000]), 4_000);
        assert!(gather.is_partial());
        assert_eq!(gather.skip(&mut [0; 4_000]), 1_000);
        assert!(!gather.is_partial());
        assert_eq!(gather.bytes.capacity(), 0);
    }
}
