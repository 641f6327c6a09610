//! One stored message.

use crate::log::MessageRecord;
use crate::pool::{Buffers, Size};
use crate::publish::NewMessage;
use conduit_protocol::{Encoding, Now, TraceContext};

/// A message: its id and its envelope side by side in one pooled buffer, and a copy in the other encoding once a
/// consumer needed one.
///
/// What few messages have costs the others nothing: times stand behind the envelope, eight bytes each, then the trace
/// context, and flags say which of them are there.
#[derive(Debug)]
pub(crate) struct Message {
    buffer: Box<[u8]>,
    /// Empty until the first consumer of the other encoding.
    transcoded: Box<[u8]>,
    /// When it was published.
    pub(crate) published: Now,
    envelope_len: u32,
    transcoded_len: u32,
    id_len: u16,
    encoding: Encoding,
    class: u8,
    transcoded_class: u8,
    flags: Flags,
}

// Messages lie side by side in the blocks of a ring: one cache line each.
const _: () = assert!(size_of::<Message>() <= 64 && size_of::<Option<Message>>() <= 64);

/// What a message has besides id and envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extras {
    /// 0 (usual) to 3 (most urgent).
    pub(crate) priority: u8,
    /// Not to be delivered before, in milliseconds since 1970; 0: at once.
    pub(crate) not_before_unix_ms: u64,
    /// Expires at this time, in milliseconds since 1970; 0: never.
    pub(crate) expires_unix_ms: u64,
    /// Which trace it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

impl Extras {
    /// As the log says it.
    pub(crate) const fn of_record(record: &MessageRecord<'_>) -> Self {
        let MessageRecord { priority, not_before_unix_ms, expires_unix_ms, trace, .. } = *record;
        Self { priority, not_before_unix_ms, expires_unix_ms, trace }
    }

    /// Nothing of the message but its trace context.
    pub(crate) fn of_trace(trace: Option<TraceContext>) -> Self {
        Self { trace, ..Self::default() }
    }

    /// There is nothing that the stream has to know.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.priority == 0 && self.not_before_unix_ms == 0 && self.expires_unix_ms == 0
    }

    /// What of it follows the envelope.
    #[inline]
    const fn flags(&self) -> Flags {
        let not_before = if self.not_before_unix_ms > 0 { Flags::NOT_BEFORE } else { 0 };
        let expires = if self.expires_unix_ms > 0 { Flags::EXPIRES } else { 0 };
        let trace = if self.trace.is_some() { Flags::TRACE } else { 0 };
        Flags(not_before | expires | trace)
    }
}

/// What follows the envelope. The priority is not kept here: the stream's lanes know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    const NOT_BEFORE: u8 = 1;
    const EXPIRES: u8 = 2;
    const TRACE: u8 = 4;

    /// Bytes of what is there.
    #[inline]
    const fn bytes(self) -> usize {
        let trace = if self.0 & Self::TRACE == 0 { 0 } else { TraceContext::BYTES };
        self.time_bytes() + trace
    }

    /// Bytes of the times.
    #[inline]
    const fn time_bytes(self) -> usize {
        (self.0 & (Self::NOT_BEFORE | Self::EXPIRES)).count_ones() as usize * size_of::<u64>()
    }
}

impl Message {
    /// The buffer for an id, an envelope and what else there is: its bytes are what counts against the limits.
    #[inline(always)]
    pub(crate) const fn size_for(id: &str, envelope: &[u8], extras: &Extras) -> Size {
        Size::of(id.len() + envelope.len() + extras.flags().bytes())
    }

    /// Copies id and envelope. `None` when one of them is longer than the record can say (64 KiB, 4 GiB).
    pub(crate) fn new(
        now: Now,
        id: &str,
        encoding: Encoding,
        envelope: &[u8],
        extras: &Extras,
        buffers: &mut Buffers,
    ) -> Option<Self> {
        let size = Self::size_for(id, envelope, extras);
        let new = NewMessage { id, encoding, envelope, extras: *extras, dedup_id: "", is_letter: false };
        Self::can_be(id, envelope).then(|| Self::of_size(size, now, &new, buffers))
    }

    /// Id and envelope are not longer than the record can say (64 KiB, 4 GiB).
    #[inline(always)]
    pub(crate) fn can_be(id: &str, envelope: &[u8]) -> bool {
        u16::try_from(id.len()).is_ok() && u32::try_from(envelope.len()).is_ok()
    }

    /// The same as [`Self::new`] where [`Self::size_for`] and [`Self::can_be`] have been asked already.
    #[inline(always)]
    pub(crate) fn of_size(size: Size, now: Now, new: &NewMessage<'_>, buffers: &mut Buffers) -> Self {
        let NewMessage { id, encoding, envelope, ref extras, .. } = *new;
        debug_assert!(Self::can_be(id, envelope), "what is longer was refused");
        let (id_len, envelope_len) = (id.len() as u16, envelope.len() as u32);
        let mut buffer = buffers.take(size);
        let (id_part, rest) = buffer.split_at_mut(id.len());
        id_part.copy_from_slice(id.as_bytes());
        let (envelope_part, rest) = rest.split_at_mut(envelope.len());
        envelope_part.copy_from_slice(envelope);
        let flags = extras.flags();
        if flags.0 != 0 {
            write_extras(extras, rest);
        }
        Self {
            buffer,
            transcoded: Box::default(),
            published: now,
            envelope_len,
            transcoded_len: 0,
            id_len,
            encoding,
            class: size.class(),
            transcoded_class: 0,
            flags,
        }
    }

    /// Its id as bytes.
    #[inline]
    pub(crate) fn id_bytes(&self) -> &[u8] {
        &self.buffer[..usize::from(self.id_len)]
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        // The bytes came from a `str`; checking them again is cheaper than keeping a second allocation.
        std::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// The encoding it was published in.
    pub(crate) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The envelope as published.
    #[inline]
    pub(crate) fn envelope(&self) -> &[u8] {
        let from = usize::from(self.id_len);
        &self.buffer[from..from + self.envelope_len as usize]
    }

    /// It may have to wait, or expire.
    #[inline]
    pub(crate) const fn has_times(&self) -> bool {
        self.flags.0 & (Flags::NOT_BEFORE | Flags::EXPIRES) != 0
    }

    /// Which trace it belongs to.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace_bytes().copied().map(TraceContext::from_bytes)
    }

    /// The bytes of its trace context.
    #[inline]
    pub(crate) fn trace_bytes(&self) -> Option<&[u8; TraceContext::BYTES]> {
        if self.flags.0 & Flags::TRACE == 0 { None } else { self.kept_trace_bytes() }
    }

    #[cold]
    fn kept_trace_bytes(&self) -> Option<&[u8; TraceContext::BYTES]> {
        self.behind_envelope(self.flags.time_bytes())?.first_chunk()
    }

    /// It may be delivered at this time, in milliseconds since 1970: it need not wait any more, and has not expired.
    pub(crate) fn may_be_delivered(&self, unix_ms: u64) -> bool {
        self.not_before_unix_ms() <= unix_ms && unix_ms < self.expires_unix_ms()
    }

    /// It had to wait after it was published.
    #[inline]
    pub(crate) const fn is_delayed(&self) -> bool {
        self.flags.0 & Flags::NOT_BEFORE != 0
    }

    /// It must not be delivered before this time, in milliseconds since 1970; 0: at once.
    pub(crate) fn not_before_unix_ms(&self) -> u64 {
        if self.flags.0 & Flags::NOT_BEFORE == 0 { 0 } else { self.time(0) }
    }

    /// It expires at this time, in milliseconds since 1970; `u64::MAX`: never.
    pub(crate) fn expires_unix_ms(&self) -> u64 {
        if self.flags.0 & Flags::EXPIRES == 0 {
            u64::MAX
        } else {
            self.time(self.flags.time_bytes() - size_of::<u64>())
        }
    }

    /// The time so many bytes behind the envelope.
    fn time(&self, offset: usize) -> u64 {
        let word = self.behind_envelope(offset).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// What lies so many bytes behind the envelope.
    fn behind_envelope(&self, offset: usize) -> Option<&[u8]> {
        self.buffer.get(usize::from(self.id_len) + self.envelope_len as usize + offset..)
    }

    /// The envelope in the other encoding, if it was kept.
    pub(crate) fn transcoded(&self) -> Option<&[u8]> {
        (self.transcoded_len > 0).then(|| &self.transcoded[..self.transcoded_len as usize])
    }

    /// Keeps a copy in the other encoding and returns the bytes of its buffer; 0 when it is too long to be kept.
    pub(crate) fn keep_transcoded(&mut self, envelope: &[u8], buffers: &mut Buffers) -> u64 {
        let Ok(len) = u32::try_from(envelope.len()) else { return 0 };
        let size = Size::of(envelope.len());
        let mut copy = buffers.take(size);
        self.transcoded_class = size.class();
        copy[..envelope.len()].copy_from_slice(envelope);
        self.transcoded = copy;
        self.transcoded_len = len;
        self.transcoded.len() as u64
    }

    /// Bytes of its buffers.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.buffer.len() + self.transcoded.len()) as u64
    }

    /// Bytes that a delivery of it takes in a connection's outbox, near enough for the byte window.
    #[inline]
    pub(crate) fn delivery_bytes(&self) -> u64 {
        /// The frame header and the fields around the envelope.
        const AROUND_BYTES: u64 = 64;
        /// The member `traceparent`.
        const TRACE_BYTES: u64 = 72;
        let trace = if self.flags.0 & Flags::TRACE == 0 { 0 } else { TRACE_BYTES };
        u64::from(self.envelope_len) + u64::from(self.id_len) + AROUND_BYTES + trace
    }

    /// Gives its buffers back: so many bytes.
    #[inline(always)]
    pub(crate) fn release(self, buffers: &mut Buffers) -> u64 {
        let bytes = self.held_bytes();
        buffers.give_back(self.buffer, self.class);
        if self.transcoded_len > 0 {
            buffers.give_back(self.transcoded, self.transcoded_class);
        }
        bytes
    }
}

/// Writes the times that are there, in their order, and the trace context to the front of what is left of the buffer.
#[cold]
fn write_extras(extras: &Extras, rest: &mut [u8]) {
    let (times, rest) = rest.split_at_mut(extras.flags().time_bytes());
    let set = [extras.not_before_unix_ms, extras.expires_unix_ms].into_iter().filter(|time| *time > 0);
    for (time, place) in set.zip(times.chunks_exact_mut(size_of::<u64>())) {
        place.copy_from_slice(&time.to_le_bytes());
    }
    if let (Some(trace), Some(place)) = (&extras.trace, rest.first_chunk_mut()) {
        *place = *trace.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_extras_is_read_back() {
        let mut buffers = Buffers::new(1 << 20);
        let trace = Some(TraceContext::from_bytes(std::array::from_fn(|at| at as u8 + 1)));
        let times = [(0, 0), (5, 0), (0, 6), (u64::MAX, 1), (7, u64::MAX)];
        let all = times.into_iter().flat_map(|(from, to)| [(from, to, None), (from, to, trace)]);
        for (not_before_unix_ms, expires_unix_ms, trace) in all {
            for length in [0, 1, 60, 61, 62, 63, 64, 1_000] {
                let envelope = vec![b'x'; length];
                let extras = Extras { priority: 3, not_before_unix_ms, expires_unix_ms, trace };
                let message =
                    Message::new(Now::default(), "id", Encoding::Json, &envelope, &extras, &mut buffers).unwrap();
                assert_eq!(message.trace(), trace);
                assert_eq!((message.id(), message.envelope()), ("id", &envelope[..]));
                assert_eq!(message.not_before_unix_ms(), not_before_unix_ms);
                let expires = if expires_unix_ms == 0 { u64::MAX } else { expires_unix_ms };
                assert_eq!(message.expires_unix_ms(), expires);
                assert_eq!(message.has_times(), not_before_unix_ms > 0 || expires_unix_ms > 0);
                assert_eq!(message.held_bytes(), Message::size_for("id", &envelope, &extras).bytes());
                // The next message gets the same buffer, full of what this one left there.
                message.release(&mut buffers);
            }
        }
    }

    #[test]
    fn a_message_without_extras_takes_no_byte_more() {
        let extras = Extras { priority: 3, ..Extras::default() };
        assert_eq!(Message::size_for("ab", &[0; 62], &extras).bytes(), 64);
        let extras = Extras { expires_unix_ms: 1, ..Extras::default() };
        assert_eq!(Message::size_for("ab", &[0; 54], &extras).bytes(), 64);
        assert_eq!(Message::size_for("ab", &[0; 55], &extras).bytes(), 80);
        let extras = Extras::of_trace(Some(TraceContext::from_bytes([1; TraceContext::BYTES])));
        assert_eq!(Message::size_for("ab", &[0; 37], &extras).bytes(), 64);
        assert_eq!(Message::size_for("ab", &[0; 38], &extras).bytes(), 80);
    }
}
