//! One stored message.

use crate::pool::{Buffers, Size};
use conduit_protocol::{Encoding, Now};

/// A message: its id and its envelope side by side in one pooled buffer, and a copy in the other encoding once a
/// consumer needed one.
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
}

impl Message {
    /// The buffer for an id and an envelope: its bytes are what counts against the limits.
    #[inline]
    pub(crate) const fn size_for(id: &str, envelope: &[u8]) -> Size {
        Size::of(id.len() + envelope.len())
    }

    /// Copies id and envelope. `None` when one of them is longer than the record can say (64 KiB, 4 GiB).
    #[inline]
    pub(crate) fn new(now: Now, id: &str, encoding: Encoding, envelope: &[u8], buffers: &mut Buffers) -> Option<Self> {
        let id_len = u16::try_from(id.len()).ok()?;
        let envelope_len = u32::try_from(envelope.len()).ok()?;
        let size = Self::size_for(id, envelope);
        let mut buffer = buffers.take(size);
        let (id_part, rest) = buffer.split_at_mut(id.len());
        id_part.copy_from_slice(id.as_bytes());
        rest[..envelope.len()].copy_from_slice(envelope);
        Some(Self {
            buffer,
            transcoded: Box::default(),
            published: now,
            envelope_len,
            transcoded_len: 0,
            id_len,
            encoding,
            class: size.class(),
            transcoded_class: 0,
        })
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
    pub(crate) fn envelope(&self) -> &[u8] {
        let from = usize::from(self.id_len);
        &self.buffer[from..from + self.envelope_len as usize]
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
        u64::from(self.envelope_len) + u64::from(self.id_len) + AROUND_BYTES
    }

    /// Gives its buffers back.
    #[inline]
    pub(crate) fn release(self, buffers: &mut Buffers) {
        buffers.give_back(self.buffer, self.class);
        if self.transcoded_len > 0 {
            buffers.give_back(self.transcoded, self.transcoded_class);
        }
    }
}
